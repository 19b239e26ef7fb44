"""The real/bogus network: raw stamps and measured numbers in, one logit out; every preprocessing step is inside.

The score answers one question: *is this a real change of brightness of a point source, of either sign?* A candidate
that is fainter in the science image is turned over before the network sees it: science and reference change places and
the difference changes its sign, so a vanished source looks like an appeared one with the epochs swapped. One network
then serves both signs and the sign itself tells it nothing; whether fading sources are of interest is for the alert
rules to say, by the sign of ``flux``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gueststar.realbogus.chips.film import ChipFilm, modulate
from gueststar.realbogus.scalars import COMPRESSIONS, DEFAULT_SCALARS, Scalar

__all__ = ["SEEN_PLANES", "SEEN_SIZE", "MeanNet", "Preprocess", "RealBogusNet", "StampNet", "asinh", "count_parameters"]

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


class StampNet(nn.Module, ABC):
    """A network from raw stamps and measured numbers to a logit; every one is trained, stored and served alike."""

    normalisation: str  #: what is done to the inputs, in words, for the card

    preprocess: Preprocess  #: seen size and measured numbers, and the first steps on both

    @abstractmethod
    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """Logit of being real.

        Parameters
        ----------
        cube : Tensor, shape (n, 3, k, k), float32
            Science, aligned reference, difference in e-, k odd and at least the seen size; NaN where missing.
        sigma : Tensor, shape (n, 3), float32
            Sky noise per pixel of each plane, e-.
        scalars : Tensor, shape (n, m), float32
            Raw measured numbers; NaN where missing.

        Returns
        -------
        Tensor, shape (n,), float32
        """


class _Residual(nn.Module):
    """x + conv(relu(norm(conv(x)))), normalised."""

    def __init__(self, channels: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(convolutions):
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
            if i < convolutions - 1:
                layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, by: Tensor | None = None) -> Tensor:
        total = x + self.body(x)
        return torch.relu(total if by is None else modulate(total, by))


def _step(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


class RealBogusNet(StampNet):
    """Small residual network on the triplet, with the measured numbers joined at its head; about 200,000 parameters.

    Parameters
    ----------
    scalars : sequence of Scalar
        Measured numbers, in the order of the third input.
    size : int
        Width of the centre of each stamp that is seen, px.
    planes, numbers
        What is seen at all; see `Preprocess`.
    scalar_dropout : float
        Chance, in training, that a candidate's numbers are all hidden, so that the pixels have to do.
    dropout : float
        Chance, in training, that a feature of the head is hidden.
    context_dropout : float
        Chance, in training, that the numbers of the context are all hidden, beside what `scalar_dropout` hides.
    """

    normalisation = (
        "centre cut out; fainter candidates turned over (epochs exchanged, sign of the difference changed); "
        "asinh(x / 3 sigma) with sigma from the image's noise map; missing pixels 0, their share in each plane a "
        "number; measured numbers compressed, standardised, clipped to 5 standard deviations; all of it inside the "
        "model"
    )

    def __init__(
        self,
        scalars: Sequence[Scalar] = DEFAULT_SCALARS,
        *,
        size: int = SEEN_SIZE,
        planes: Sequence[str] = SEEN_PLANES,
        numbers: bool = True,
        scalar_dropout: float = 0.25,
        dropout: float = 0.1,
        context_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess(scalars, size=size, planes=planes, numbers=numbers)
        self.scalar_dropout, self.context_dropout = scalar_dropout, context_dropout
        self.pixels = nn.Sequential(
            _step(3, 16, 1), _step(16, 32, 2), _Residual(32, 2), _step(32, 64, 2), _Residual(64, 1), _step(64, 128, 2)
        )
        self.numbers = nn.Sequential(nn.Linear(self.preprocess.n_out, 32), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(2 * 128 + 32, 96), nn.ReLU(), nn.Dropout(dropout), nn.Linear(96, 1))
        self.chips: tuple[str, ...] = ()
        self.film: ChipFilm | None = None
        self.frozen = False

    def condition(self, chips: Sequence[str], *, width: int = 8, unknown_share: float = 0.1) -> Self:
        """Let the last two stages depend on the chip; see `gueststar.realbogus.chips.film`.

        Parameters
        ----------
        chips : sequence of str
            Known chips, in the order of their numbers, which start at 1.
        width : int
            Length of a chip's vector.
        unknown_share : float
            Chance, in training, that a row is shown as of an unknown chip.
        """
        self.chips = tuple(chips)
        self.film = ChipFilm(len(self.chips), (64, 128), width=width, unknown_share=unknown_share)
        return self

    def freeze(self, *, film: bool = False) -> None:
        """Leave the head alone trainable, and the modulation by the chip where `film`; the rest stays as it is."""
        self.frozen = True
        self.requires_grad_(False)
        self.head.requires_grad_(True)
        if film and self.film is not None:
            self.film.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Training mode; the running statistics of a frozen network do not follow."""
        super().train(mode)
        if self.frozen:
            self.pixels.eval()
        return self

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor, chip: Tensor | None = None) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`.

        `chip` (n,), int64, is the number of the chip where the network is conditioned: 1 is the first of `chips`; 0, or
        None: unknown.
        """
        pixels, numbers = self.preprocess(cube, sigma, scalars)
        if self.training and self.scalar_dropout > 0:
            numbers = numbers * (torch.rand_like(numbers[:, :1]) >= self.scalar_dropout)
        if self.training and self.preprocess.context:
            numbers = self._without_context(numbers)
        return self.after(pixels, numbers, chip)

    def after(self, pixels: Tensor, numbers: Tensor, chip: Tensor | None = None) -> Tensor:
        """Logit, shape (n,), of what `preprocess` gives: pixels (n, 3, size, size) and numbers (n, n_out)."""
        maps = self._maps(pixels, chip)
        features = torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), self.numbers(numbers)), dim=1)
        return cast(Tensor, self.head(features))[:, 0]

    def _without_context(self, numbers: Tensor) -> Tensor:
        """Numbers with the whole context of some candidates hidden, as if nothing of it were known."""
        seen = torch.ones_like(numbers)
        kept = (torch.rand_like(numbers[:, :1]) >= self.context_dropout).to(numbers.dtype)
        seen[:, list(self.preprocess.context_columns)] = kept
        return numbers * seen

    def _maps(self, pixels: Tensor, chip: Tensor | None) -> Tensor:
        """Feature maps of the last stage; the last two modulated where there is a modulation."""
        if self.film is None:
            return cast(Tensor, self.pixels(pixels))
        if chip is None:
            chip = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
        first, second = self.film(chip)
        maps = self.pixels[:4](pixels)
        maps = self.pixels[4](maps, first)
        convolution, norm, relu = cast(nn.Sequential, self.pixels[5])
        return cast(Tensor, relu(modulate(norm(convolution(maps)), second)))


class MeanNet(StampNet):
    """Mean logit of networks that see the same stamps and numbers; takes what one of them takes.

    Parameters
    ----------
    members : sequence of StampNet
        Of one kind, one seen size, one list of measured numbers and one list of chips.
    """

    def __init__(self, members: Sequence[StampNet]) -> None:
        super().__init__()
        first = members[0]
        if any(
            (type(m), m.preprocess.size, m.preprocess.scalars)
            != (type(first), first.preprocess.size, first.preprocess.scalars)
            for m in members
        ):
            raise ValueError("networks of different kinds, seen sizes or measured numbers have no mean")
        if any(getattr(m, "chips", ()) != getattr(first, "chips", ()) for m in members):
            raise ValueError("networks that know different chips have no mean")
        self.members = nn.ModuleList(members)

    @property
    def preprocess(self) -> Preprocess:  # type: ignore[override]
        """Seen size and measured numbers, those of every member."""
        return cast(StampNet, self.members[0]).preprocess

    @property
    def normalisation(self) -> str:  # type: ignore[override]
        """What every member does to its inputs."""
        return cast(StampNet, self.members[0]).normalisation

    @property
    def chips(self) -> tuple[str, ...]:
        """Chips that every member knows."""
        return tuple(getattr(self.members[0], "chips", ()))

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor, chip: Tensor | None = None) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`, with `chip` where the members take it."""
        inputs = (cube, sigma, scalars, chip) if self.chips else (cube, sigma, scalars)
        return torch.stack([member(*inputs) for member in self.members]).mean(dim=0)


def count_parameters(network: nn.Module) -> int:
    """Number of trained weights."""
    return sum(weight.numel() for weight in network.parameters())
