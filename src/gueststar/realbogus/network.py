"""The real/bogus network: raw stamps and measured numbers in, one logit out; every preprocessing step is inside.

What is done to stamps and numbers before the first layer is in `gueststar.realbogus.preprocess`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from gueststar.realbogus.chips.film import ChipFilm, modulate
from gueststar.realbogus.preprocess import SEEN_PLANES, SEEN_SIZE, Preprocess
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar

__all__ = ["MeanNet", "RealBogusNet", "StampNet", "count_parameters"]

_OPTIONAL_DROPOUT = 0.1  # chance, in training, that a number that a table may lack is hidden while others are seen


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
        if self.training and self.preprocess.optional:
            numbers = self._without_optional(numbers)
        if self.training and self.preprocess.context:
            numbers = self._without_context(numbers)
        return self.after(pixels, numbers, chip)

    def after(self, pixels: Tensor, numbers: Tensor, chip: Tensor | None = None) -> Tensor:
        """Logit, shape (n,), of what `preprocess` gives: pixels (n, 3, size, size) and numbers (n, n_out)."""
        maps = self._maps(pixels, chip)
        features = torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3)), self.numbers(numbers)), dim=1)
        return cast(Tensor, self.head(features))[:, 0]

    def _without_optional(self, numbers: Tensor) -> Tensor:
        """Numbers with each that a table may lack hidden for some candidates: 0 is the mean."""
        columns = list(self.preprocess.optional)
        seen = torch.ones_like(numbers)
        seen[:, columns] = (torch.rand_like(numbers[:, columns]) >= _OPTIONAL_DROPOUT).to(numbers.dtype)
        return numbers * seen

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
