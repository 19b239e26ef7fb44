"""What the networks to compare with have in common: pixels alone, and first weights as Keras draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from gueststar.realbogus.network import StampNet
from gueststar.realbogus.preprocess import Preprocess
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar

__all__ = ["PixelNet", "glorot"]


class PixelNet(StampNet):
    """A network that sees pixels alone; of the measured numbers it takes the signal to noise, for its sign.

    Parameters
    ----------
    scalars : sequence of Scalar
        The first must be ``snr``; the others are not taken.
    size : int, optional
        Width of the centre that is seen, px, odd; None is the network's own.
    """

    own_size: ClassVar[int]  #: width of the centre that is seen, px
    fixed_size: ClassVar[bool] = True  #: whether the layers fit no other width

    def __init__(self, scalars: Sequence[Scalar] = DEFAULT_SCALARS, *, size: int | None = None) -> None:
        super().__init__()
        self.preprocess = Preprocess(scalars[:1], size=self.own_size if size is None else size)

    def planes(self, cube: Tensor, sigma: Tensor, scalars: Tensor) -> Tensor:
        """The seen centre, shape (n, 3, size, size): turned over where faded, in sky noise, 0 where missing."""
        pixels, _ = self.preprocess.seen(cube, sigma, scalars)
        return pixels


def glorot(network: nn.Module) -> None:
    """Draw weights as Keras does unless told otherwise: uniform (Glorot & Bengio 2010, eq. 16), biases 0.

    PyTorch's own choice is smaller, and its biases are not 0: with inputs as small as those of braai, 0.02, they would
    drown the pixels.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)
