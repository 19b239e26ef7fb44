"""Networks that can be trained: the one of this program, and published ones to compare it with on the same data.

All of them take raw stamps, noise and measured numbers and give one logit (`gueststar.realbogus.network.StampNet`);
training, export, card and scoring are the same. A candidate that is fainter in the science image is turned over, and
missing pixels are handled, in every one. A network to compare with is described in a file of its own, with what the
publication says and what it leaves open:

- ``seed``: a plain network on the difference alone, ``networks.seed_cnn``;
- ``braai``: Duev et al. 2019 (MNRAS 489, 3582), ``networks.braai``;
- ``takahashi-simple``, ``takahashi-complex``: Takahashi et al. 2022 (PASJ 74, 946), ``networks.takahashi``.

They are trained as the network of this program is (AdamW, one cycle of the learning rate, classes weighted, symmetries
of the square), not as their authors did: what is compared are networks and their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from gueststar.errors import InputError
from gueststar.realbogus.network import RealBogusNet, StampNet
from gueststar.realbogus.networks.braai import Braai
from gueststar.realbogus.networks.pixel_net import PixelNet
from gueststar.realbogus.networks.seed_cnn import SeedCnn
from gueststar.realbogus.networks.takahashi import TakahashiComplex, TakahashiSimple
from gueststar.realbogus.preprocess import SEEN_SIZE
from gueststar.realbogus.scalars import Scalar

if TYPE_CHECKING:
    from gueststar.realbogus.train_options import Train

__all__ = ["NetworkName", "build_network", "check_size", "seen_size", "shown_scalars"]

NetworkName = Literal["gueststar", "seed", "braai", "takahashi-simple", "takahashi-complex"]

#: Those that see pixels alone.
_PIXELS_ALONE: Mapping[NetworkName, type[PixelNet]] = {
    "seed": SeedCnn,
    "braai": Braai,
    "takahashi-simple": TakahashiSimple,
    "takahashi-complex": TakahashiComplex,
}


def build_network(options: Train, scalars: tuple[Scalar, ...]) -> StampNet:
    """The network of a training, with first weights from the global generator.

    Parameters
    ----------
    options : Train
    scalars : tuple of Scalar
        Measured numbers, in the order of the third input; a network of pixels alone takes the first, for its sign.
    """
    size = seen_size(options)
    if options.network == "gueststar":
        return RealBogusNet(
            scalars, size=size, planes=options.planes, numbers=options.numbers,
            scalar_dropout=options.scalar_dropout, dropout=options.dropout, context_dropout=options.context_dropout,
        )  # fmt: skip
    return _PIXELS_ALONE[options.network](scalars, size=size)


def seen_size(options: Train) -> int:
    """Width of the centre of a stamp that the network of a training sees, px."""
    return _own_size(options.network) if options.stamp_size is None else options.stamp_size


def shown_scalars(options: Train, scalars: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """The measured numbers, of those given, that the network of a training takes.

    A network of pixels alone takes the first, the signal to noise, and looks at its sign only.
    """
    return scalars if options.network == "gueststar" else scalars[:1]


def check_size(options: Train, stamp_size: int) -> None:
    """Refuse stamps of a width that the network of a training cannot see.

    Raises
    ------
    InputError
        When the network sees more than the stamps hold, an even width, or none but the published one.
    """
    size, name = seen_size(options), options.network
    fixed = name != "gueststar" and _PIXELS_ALONE[name].fixed_size
    if fixed and size != _own_size(name):
        raise InputError(
            f"network {name!r} sees {_own_size(name)} px, as published, not {size} px: leave out train.stamp_size",
            stamp_size=size,
        )
    if fixed and stamp_size < size:
        raise InputError(
            f"stamps of {stamp_size} px cannot train network {name!r}, which sees {size} px: cut stamps of {size} px "
            f"or more (data.stamp_size={size} where the set is made), or take a network that sees less "
            "(train.network=gueststar)",
            stamp_size=size,
        )
    if stamp_size < size or size % 2 == 0:
        raise InputError(
            f"stamps of {stamp_size} px cannot train a network that sees {size} px; it must be odd and no larger: set "
            f"stamp_size (train.stamp_size={stamp_size})",
            stamp_size=size,
        )


def _own_size(name: NetworkName) -> int:
    return SEEN_SIZE if name == "gueststar" else _PIXELS_ALONE[name].own_size
