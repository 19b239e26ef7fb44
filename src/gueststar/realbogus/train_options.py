"""Which network is trained, and how."""

from __future__ import annotations

import platform
from typing import Literal, Self

from pydantic import Field, model_validator

from gueststar.options import Options
from gueststar.realbogus.augment import Augment
from gueststar.realbogus.networks import NetworkName

__all__ = ["Train", "slow_precision"]


class Train(Options):
    """Which network is trained, and how."""

    network: NetworkName = Field(
        "gueststar",
        description="'gueststar': the network of this program; to compare with: 'seed', a plain network on the "
        "difference alone; 'braai' (Duev et al. 2019); 'takahashi-simple', 'takahashi-complex' (Takahashi et al. 2022)",
    )
    epochs: int = Field(24, ge=1, le=10000, description="Most passes over the training part")
    patience: int = Field(8, ge=1, le=10000, description="Passes without a better validation loss before it stops")
    batch_size: int = Field(256, ge=2, le=65536, description="Stamps of one step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Peak of the one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0, le=10, description="Weight decay of AdamW")
    warm_up: float = Field(0.15, gt=0, lt=1, description="Share of the steps until the peak learning rate")
    balance: Literal["snr", "class"] = Field(
        "snr",
        description="'class': both classes weigh the same; 'snr': in every interval of signal to noise, so that the "
        "signal to noise alone, which is a choice of the injection, tells nothing",
    )
    stamp_size: int | None = Field(
        None,
        ge=15,
        le=255,
        description="Width of the centre that is seen, px, odd; none: that of the network, 31 (gueststar, seed), "
        "63 (braai) or 29 (takahashi-simple, takahashi-complex)",
    )
    planes: tuple[Literal["science", "reference", "difference"], ...] = Field(
        ("science", "reference", "difference"),
        description="Planes that 'gueststar' sees; the others are hidden inside the network, so stamps stay triplets",
    )
    numbers: bool = Field(True, description="Whether 'gueststar' sees the measured numbers")
    scalar_dropout: float = Field(
        0.25, ge=0, lt=1, description="Chance that all measured numbers are hidden; 'gueststar' alone sees any"
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Chance that a feature of the head is hidden; others than 'gueststar' have theirs",
    )
    chips: Literal["none", "film"] = Field(
        "none",
        description="'film': the network is told the chip of each candidate, which modulates its last two stages; "
        "'none': it is not",
    )
    chip_numbers: int = Field(8, ge=1, le=256, description="Length of the vector that stands for a chip")
    unknown_chip: float = Field(
        0.1, gt=0, lt=1, description="Share of the rows whose chip is hidden in training, for chips that are not known"
    )
    seed: int = Field(0, ge=0, description="Of first weights, order, symmetries and dropout")
    context: tuple[str, ...] = Field(
        (),
        description="Columns of the data set that say what stands around a candidate, such as 'star_distance', as "
        "further inputs; 'column:compression' with log1p (as when not told), linear, asinh or log10_abs",
    )
    context_dropout: float = Field(0.5, ge=0, lt=1, description="Chance that the whole context is hidden")
    augment: Augment = Field(Augment(), description="Changes of the stamps beside the symmetries of the square")
    views: Literal[1, 2, 4, 8] = Field(
        4,
        description="How often the finished model looks at a candidate that the first look takes for no clear "
        "artifact, each time turned or mirrored; the mean counts",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="'bfloat16': convolutions in half the bits while training, weights stay in float32; quicker on "
        "processors and GPUs that have it",
    )
    device: str = Field("cpu", description="'cpu', 'cuda' or 'cuda:N'")
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads; 0: one for each core, at most 8 (in a program: as PyTorch is set). The same number "
        "gives the same model",
    )
    checkpoint_minutes: float = Field(
        5.0,
        ge=0,
        le=10000,
        description="How often the state within a pass is kept, beside the one after each; 0: never",
    )

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if not self.planes and not self.numbers:
            raise ValueError("a network that sees no plane needs numbers=true")
        if self.network != "gueststar" and (len(set(self.planes)) < 3 or not self.numbers):
            raise ValueError(f"planes and numbers can be hidden from 'gueststar' alone, not from {self.network!r}")
        return self


def slow_precision(options: Train) -> str:
    """Advice where half the bits are asked of a processor that has to imitate them; empty where they are not."""
    if options.precision != "bfloat16" or options.device != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return ""
    import torch

    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        check = getattr(torch.cpu, name, None)
        if check is None or check():
            return ""
    return "this processor has neither AVX-512 BF16 nor AMX: train.precision=float32 is nearly three times quicker here"
