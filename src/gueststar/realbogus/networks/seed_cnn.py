"""A plain network on the difference alone, as in the first Tomo-e Gozen classifier.

Known of that classifier (Konan University 2019) is that it was a convolutional network which saw stamps of the
difference image, one channel, one network per detector chip; its layers, its stamp size and its scaling of pixels were
not given. Reconstructed here, by us:

- layers: those of the "simple" network of the same survey's later paper (Takahashi et al. 2022, PASJ 74, 946; see
  ``networks.takahashi``), which stands there for the conventional way, with one input channel instead of three;
- stamp size: 31 px, that of the network of this program;
- scaling: asinh(x / 3 sigma), that of the network of this program.

So it differs from ``takahashi-simple`` in seeing no science and no reference image, and from the network of this
program in that, in the measured numbers, and in the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from gueststar.realbogus.networks.pixel_net import PixelNet
from gueststar.realbogus.networks.takahashi import simple_layers
from gueststar.realbogus.preprocess import SEEN_SIZE, asinh
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar

__all__ = ["SeedCnn"]


class SeedCnn(PixelNet):
    """Two convolutions with pooling and three dense layers on the difference; about 233,000 parameters at 31 px.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``, whose sign decides about turning over; the others are not taken.
    size : int, optional
        Width of the centre that is seen, px, odd; None is 31.
    """

    own_size = SEEN_SIZE
    fixed_size = False
    normalisation = (
        "centre of the difference cut out, science and reference not looked at; fainter candidates turned over (sign "
        "of the difference changed); asinh(x / 3 sigma) with sigma from the image's noise map; missing pixels 0; of "
        "the measured numbers the sign of the signal to noise alone, for the turning over; all of it inside the model"
    )

    def __init__(self, scalars: Sequence[Scalar] = DEFAULT_SCALARS, *, size: int | None = None) -> None:
        super().__init__(scalars, size=size)
        self.layers = simple_layers(1, self.preprocess.size)

    def forward(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """Logit of being real, shape (n,); inputs as in `StampNet`."""
        difference = self.planes(cube, sigma, scalars)[:, 2:]
        return cast(Tensor, self.layers(asinh(difference / 3.0)))[:, 0]
