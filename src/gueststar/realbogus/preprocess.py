"""From raw stamps and measured numbers to what the first layers of the network want.

The score answers one question: *is this a real change of brightness of a point source, of either sign?* A candidate
that is fainter in the science image is turned over before the network sees it: science and reference change places and
the difference changes its sign, so a vanished source looks like an appeared one with the epochs swapped. One network
then serves both signs and the sign itself tells it nothing; whether fading sources are of interest is for the alert
rules to say, by the sign of ``flux``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gueststar.realbogus.scalars import COMPRESSIONS, DEFAULT_SCALARS, Scalar

__all__ = ["SEEN_PLANES", "SEEN_SIZE", "Preprocess", "asinh"]

SEEN_SIZE = 31  #: width of the centre of a stamp that the network looks at, px
SEEN_PLANES = ("science", "reference", "difference")  #: planes of a stamp, in order
_USABLE = 1e30  # |value| of any measured number is below; NaN and infinity fail the comparison
_LARGEST = 1e15  # |value| of any real pixel, in units of 3 sigma; its square is a number still
_CLIP = 5.0  # standard deviations; a measured number further out says no more than "very large"


class Preprocess(nn.Module):
    """From raw stamps and numbers to what the first layers want; identical in training and inference.

    1. The centre of size x size is cut out.
    2. Pixels become asinh(x / 3 sigma); missing ones (NaN, infinite, or in a plane whose sigma is not positive)
       become 0 and their share in each plane becomes a number.
    3. Candidates with negative ``snr`` are turned over (see the module).
    4. Measured numbers are compressed, standardised and clipped to 5 standard deviations; missing ones become 0, the
       mean. Those of the context get a second number: 1 known, 0 missing.
    5. Planes and numbers that are not to be seen become 0 everywhere.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``, whose sign decides about turning over.
    size : int
        Width of the centre that is seen, px, odd.
    planes : sequence of str
        Planes that are seen, of `SEEN_PLANES`, after turning over: what is called science then is the image in which
        the source is bright. The missing share of a plane goes with it.
    numbers : bool
        Whether measured numbers are seen, the context included. The sign of ``snr`` turns over in any case.
    """

    def __init__(
        self,
        scalars: Sequence[Scalar] = DEFAULT_SCALARS,
        *,
        size: int = SEEN_SIZE,
        planes: Sequence[str] = SEEN_PLANES,
        numbers: bool = True,
    ) -> None:
        super().__init__()
        if set(planes) - set(SEEN_PLANES) or not (planes or numbers):
            raise ValueError(f"planes {list(planes)}, numbers {numbers}: any of {', '.join(SEEN_PLANES)}, or numbers")
        names = [scalar.name for scalar in scalars]
        if not names or names[0] != "snr":
            raise ValueError(f"the first measured number must be 'snr', which carries the sign; got {names}")
        if size % 2 == 0 or size < SEEN_SIZE // 2:
            raise ValueError(f"seen size {size} must be odd and at least {SEEN_SIZE // 2}")
        self.scalars = tuple(scalars)
        self.size = size
        self.planes = tuple(name for name in SEEN_PLANES if name in planes)
        self.sees_numbers = numbers
        turned = list(range(len(names)))
        if "science_snr" in names and "reference_snr" in names:
            i, j = names.index("science_snr"), names.index("reference_snr")
            turned[i], turned[j] = j, i
        self.context = tuple(i for i, scalar in enumerate(scalars) if scalar.context)
        self.optional = tuple(i for i, scalar in enumerate(scalars) if scalar.optional)
        self.register_buffer("_turned", torch.tensor(turned))
        shown = torch.tensor([float(name in self.planes) for name in SEEN_PLANES])
        self.register_buffer("_shown", shown, persistent=False)  # an option, not a weight
        self.register_buffer("_planes", torch.tensor([1, 0, 2]), persistent=False)
        self.register_buffer("mean", torch.zeros(len(names)))
        self.register_buffer("scale", torch.ones(len(names)))

    @property
    def n_out(self) -> int:
        """How many numbers leave: the measured ones, the missing share of each plane, which of the context is known."""
        return len(self.scalars) + 3 + len(self.context)

    @property
    def context_columns(self) -> tuple[int, ...]:
        """Which of the numbers that leave belong to the context."""
        return (*self.context, *range(len(self.scalars) + 3, self.n_out))

    @torch.no_grad()
    def fit(self, scalars: NDArray[np.float32]) -> None:
        """Take mean and scatter of each compressed number from training rows (n, m); NaN is left out."""
        parts = [scalars[start : start + 65536] for start in range(0, len(scalars), 65536)]  # bounds the memory
        mean = torch.zeros(scalars.shape[1], dtype=torch.float64)
        spread, count = mean.clone(), mean.clone()
        for part in parts:
            values = self._compress(self._turn_scalars(torch.from_numpy(np.ascontiguousarray(part))))
            mean += torch.where(values.abs() < _USABLE, values, torch.zeros_like(values)).double().sum(0)
            count += (values.abs() < _USABLE).sum(0)
        count = count.clamp_min(1)
        mean /= count
        for part in parts:
            values = self._compress(self._turn_scalars(torch.from_numpy(np.ascontiguousarray(part))))
            spread += torch.where(values.abs() < _USABLE, (values.double() - mean) ** 2, torch.zeros_like(mean)).sum(0)
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_((spread / count).sqrt().clamp_min(1e-3))

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (n, 3, size, size) and numbers (n, n_out) from `cube`, `sigma` and `scalars` as in `StampNet`."""
        pixels, usable, faded = self._scaled(cube, sigma, scalars, unit=3.0)
        pixels, missing = asinh(pixels), 1.0 - usable.to(pixels.dtype).mean(dim=(2, 3))
        planes = self.get_buffer("_planes")
        pixels = torch.where(faded[:, :, None, None], pixels[:, planes], pixels)
        missing = torch.where(faded, missing[:, planes], missing)

        turned = self._turn_scalars(scalars)
        known = turned.abs() < _USABLE
        # Not a NaN may reach the compression: runtimes disagree about what its bounds make of one.
        values = self._compress(torch.where(known, turned, torch.zeros_like(turned)))
        values = torch.where(known, values, self.get_buffer("mean").expand_as(values))
        values = ((values - self.get_buffer("mean")) / self.get_buffer("scale")).clamp(-_CLIP, _CLIP)
        if len(self.planes) < len(SEEN_PLANES):
            shown = self.get_buffer("_shown")
            pixels, missing = pixels * shown[:, None, None], missing * shown
        told = known[:, list(self.context)].to(values.dtype) if self.context else values[:, :0]
        if not self.sees_numbers:
            values, told = torch.zeros_like(values), torch.zeros_like(told)
        return pixels, torch.cat((values, missing, told) if self.context else (values, missing), dim=1)

    def seen(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """The centre, turned over where the source has faded, in units of the noise; inputs as in `StampNet`.

        Returns
        -------
        pixels : Tensor, shape (n, 3, size, size)
            0 where missing.
        usable : Tensor of bool, shape (n, 3, size, size)
            False is missing.
        """
        pixels, usable, faded = self._scaled(cube, sigma, scalars, unit=1.0)
        turned = faded[:, :, None, None]
        planes = self.get_buffer("_planes")
        return torch.where(turned, pixels[:, planes], pixels), torch.where(turned, usable[:, planes], usable)

    def _scaled(self, cube: Tensor, sigma: Tensor, scalars: Tensor, *, unit: float) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels of the centre in units of `unit` times the noise, 0 where missing; which are not; which have faded.

        Of those that have faded the difference has its other sign already, and the planes are still to be exchanged.
        Every step here touches all pixels, and scoring spends a fifth of its time on them: as few as possible.
        """
        margin = (cube.shape[-1] - self.size) // 2
        centre = cube[:, :, margin : margin + self.size, margin : margin + self.size]
        faded = scalars[:, :1] < 0
        measured = (sigma > 0) & (sigma < _USABLE)
        ones = torch.ones_like(scalars[:, :1])
        sign = torch.cat((ones, ones, torch.where(faded, -ones, ones)), dim=1)
        scale = torch.where(measured, sign / (unit * sigma), torch.zeros_like(sigma))[:, :, None, None]
        scaled = centre * scale
        usable = (scaled.abs() < _LARGEST) & measured[:, :, None, None]
        return torch.where(usable, scaled, scaled.new_zeros(())), usable, faded

    def _turn_scalars(self, scalars: Tensor) -> Tensor:
        return torch.where(scalars[:, :1] < 0, scalars[:, self.get_buffer("_turned")], scalars)

    def _compress(self, scalars: Tensor) -> Tensor:
        pieces, order = [], []
        for compression in COMPRESSIONS:
            which = [i for i, scalar in enumerate(self.scalars) if scalar.compression == compression]
            if which:
                pieces.append(_COMPRESS[compression](scalars[:, which]))
                order += which
        return torch.cat(pieces, dim=1)[:, [order.index(i) for i in range(len(order))]]


def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine from operations that every ONNX opset has, for |x| up to 1e15; NaN stays NaN.

    x / size is the sign, exactly; ONNX Runtime takes eight times as long for the operation of that name.
    """
    size = x.abs().clamp_min(1e-30)
    return x / size * torch.log(size + torch.sqrt(size * size + 1.0))


# A comparison with NaN is false, and clamp keeps NaN: missing stays missing.
_COMPRESS: dict[str, Callable[[Tensor], Tensor]] = {
    "log10_abs": lambda value: torch.log10(value.abs().clamp_min(1e-3)),
    "log1p": lambda value: torch.log(1.0 + value.clamp_min(0.0)),
    "asinh": lambda value: asinh(value.clamp(-_LARGEST, _LARGEST)),
    "linear": lambda value: value,
}
