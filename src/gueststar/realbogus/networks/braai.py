"""braai, the real/bogus network of the Zwicky Transient Facility: Duev et al. 2019 (MNRAS 489, 3582).

Layers and their numbers follow the paper and the architecture file of its released models (``d6_m9``): 3 x 3
convolutions without padding, 16 and 16, 2 x 2 pooling, 32 and 32, 4 x 4 pooling, a dense layer of 256, all with ReLU;
dropout of 0.25 after each pooling and of 0.5 before the output; 312,081 parameters. Each plane of the 63 x 63 triplet
is divided by its L2 norm, missing pixels are 0.

Different here: the planes come without sky, while stamps of ZTF alerts contain it; candidates fainter than the
reference are turned over, while ZTF turns the difference only; the training is the one of this program, with rotations
where the authors mirrored only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from gueststar.realbogus.networks.pixel_net import PixelNet, glorot
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar

__all__ = ["Braai"]

_SMALLEST_NORM = 1e-3  # in sky noise; only a plane without any usable pixel is below


class Braai(PixelNet):
    """VGG-like network of six layers on the triplet; 312,081 parameters.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``, whose sign decides about turning over; the others are not taken.
    size : int, optional
        Width of the centre that is seen, px; 63 is the only one.
    """

    own_size = 63
    normalisation = (
        "centre cut out; fainter candidates turned over (epochs exchanged, sign of the difference changed); missing "
        "pixels 0; each plane divided by its L2 norm; of the measured numbers the sign of the signal to noise alone, "
        "for the turning over; all of it inside the model"
    )

    def __init__(self, scalars: Sequence[Scalar] = DEFAULT_SCALARS, *, size: int | None = None) -> None:
        super().__init__(scalars, size=size)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(32 * 6 * 6, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 1),
        )  # fmt: skip
        glorot(self.layers)

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`."""
        return cast(Tensor, self.layers(unit_norm(self.planes(cube, sigma, scalars))))[:, 0]


def unit_norm(planes: Tensor) -> Tensor:
    """Each plane (n, p, k, k) divided by the root of its sum of squares; a plane of zeros stays so."""
    # The largest pixel is divided out first: squares of saturated stars in units of the noise would overflow.
    largest = planes.abs().amax(dim=(2, 3), keepdim=True).clamp_min(_SMALLEST_NORM)
    scaled = planes / largest
    norm = (scaled * scaled).sum(dim=(2, 3), keepdim=True).sqrt()
    return scaled / norm.clamp_min(_SMALLEST_NORM)
