"""The two networks of Takahashi et al. 2022 (PASJ 74, 946; arXiv 2206.12478) for the Tomo-e Gozen transient survey.

Both see 29 x 29 triplets, each plane scaled from its smallest to its largest pixel. The layers are those of the program
that the authors released; they give the numbers of weights that the paper tells:

- *simple*, 234 thousand parameters: a 5 x 5 convolution to 32 maps and a 3 x 3 one to 64, without padding, each
  followed by 2 x 2 pooling; dropout of 0.3; dense layers of 128 and 64;
- *complex*, 2.4 million: a 5 x 5 and four 3 x 3 convolutions to 32 maps, pooling, one to 64 and a residual block,
  pooling, one to 128 and three residual blocks, to 128, to 256 with half the width, and to 256, the mean of each map. A
  residual block is twice (normalisation of filter responses, 3 x 3 convolution), then attention by place and by map
  together, added to a 1 x 1 convolution of its input. Normalisation of filter responses: Singh & Krishnan 2020
  (CVPR), with the sum of squares of a map in place of its mean as in the released program; attention: Roy et al.
  2018 (MICCAI, scSE).

The last layer has one output, the logit, where theirs has two whose difference it is: 65 and 257 parameters fewer.
Missing pixels are 0, the sky, before the scaling; the publication knows none. Turning over, and the training, are those
of this program; the two-stage training of the paper is a method against wrong labels, `label_noise.two_stage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gueststar.realbogus.networks.pixel_net import PixelNet, glorot
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar

__all__ = ["TakahashiComplex", "TakahashiSimple", "simple_layers"]

_SMALLEST_RANGE = 1e-3  # in sky noise; only a plane without any usable pixel is below
_NORMALISATION = (
    "centre cut out; fainter candidates turned over (epochs exchanged, sign of the difference changed); missing "
    "pixels 0; each plane scaled from its smallest pixel, 0, to its largest, 1; of the measured numbers the sign of "
    "the signal to noise alone, for the turning over; all of it inside the model"
)


class TakahashiSimple(PixelNet):
    """Two convolutions with pooling and three dense layers on the triplet; 234,177 parameters.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``, whose sign decides about turning over; the others are not taken.
    size : int, optional
        Width of the centre that is seen, px; 29 is the only one.
    """

    own_size = 29
    normalisation = _NORMALISATION

    def __init__(self, scalars: Sequence[Scalar] = DEFAULT_SCALARS, *, size: int | None = None) -> None:
        super().__init__(scalars, size=size)
        self.layers = simple_layers(3, self.preprocess.size)

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`."""
        return cast(Tensor, self.layers(full_range(self.planes(cube, sigma, scalars))))[:, 0]


class TakahashiComplex(PixelNet):
    """Nine convolutions and four residual blocks with attention on the triplet; 2,401,381 parameters.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``, whose sign decides about turning over; the others are not taken.
    size : int, optional
        Width of the centre that is seen, px; 29 is the only one.
    """

    own_size = 29
    normalisation = _NORMALISATION

    def __init__(self, scalars: Sequence[Scalar] = DEFAULT_SCALARS, *, size: int | None = None) -> None:
        super().__init__(scalars, size=size)
        first = [layer for _ in range(4) for layer in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
        self.maps = nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), *first, nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), _Block(64, 64), nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(),
            _Block(128, 128), _Block(128, 256, stride=2), _Block(256, 256),
        )  # fmt: skip
        self.head = nn.Linear(256, 1)
        glorot(self)

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`."""
        maps = self.maps(full_range(self.planes(cube, sigma, scalars)))
        return cast(Tensor, self.head(maps.mean(dim=(2, 3))))[:, 0]


def simple_layers(planes: int, size: int) -> nn.Sequential:
    """Layers of the simple network, from pixels (n, planes, size, size) to logits (n, 1)."""
    width = ((size - 4) // 2 - 2) // 2
    layers = nn.Sequential(
        nn.Conv2d(planes, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.3), nn.Flatten(),
        nn.Linear(64 * width * width, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1),
    )  # fmt: skip
    glorot(layers)
    return layers


def full_range(planes: Tensor) -> Tensor:
    """Each plane (n, p, k, k) scaled so that its smallest pixel is 0 and its largest 1; one of zeros stays so."""
    low = planes.amin(dim=(2, 3), keepdim=True)
    high = planes.amax(dim=(2, 3), keepdim=True)
    return (planes - low) / (high - low).clamp_min(_SMALLEST_RANGE)


class _FilterResponse(nn.Module):
    """max(gamma x / sqrt(sum of squares of the map + epsilon) + beta, tau), all four learnt for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))
        self.tau = nn.Parameter(torch.zeros(channels, 1, 1))
        self.epsilon = nn.Parameter(torch.zeros(channels, 1, 1))  # through softplus, so that it stays positive

    def forward(self, x: Tensor) -> Tensor:
        power = (x * x).sum(dim=(2, 3), keepdim=True)
        return torch.maximum(self.gamma * x * torch.rsqrt(power + 1e-6 + softplus(self.epsilon)) + self.beta, self.tau)


class _Attention(nn.Module):
    """Each pixel weighed by the sum of two weights, one of its place and one of its map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.place = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())
        self.map = nn.Sequential(
            nn.Linear(channels, channels // 2), nn.ReLU(), nn.Linear(channels // 2, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x * (self.place(x) + self.map(x.mean(dim=(2, 3)))[:, :, None, None]))


class _Block(nn.Module):
    """Residual block: two normalised convolutions with attention, beside a 1 x 1 convolution."""

    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _FilterResponse(inside), nn.Conv2d(inside, inside, 3, stride=stride, padding=1),
            _FilterResponse(inside), nn.Conv2d(inside, outside, 3, padding=1),
            _Attention(outside),
        )  # fmt: skip
        self.beside = nn.Conv2d(inside, outside, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.beside(x) + self.body(x))
