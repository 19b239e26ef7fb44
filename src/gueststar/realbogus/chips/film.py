"""Feature-wise linear modulation by the detector chip (FiLM; Perez et al. 2018, arXiv 1709.07871).

Each chip has a short learned vector. From it a linear layer makes a factor and an offset for each feature map of the
last two stages, eq. 2 there: FiLM(F) = gamma F + beta, after the normalisation and before the ReLU. As there, what is
made is gamma - 1, and all of it starts at zero: an untrained modulation changes nothing.

Vector 0 stands for a chip that is not known. In training some rows are shown as if theirs were not, so that it learns
what holds on the average chip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ChipFilm", "modulate"]


class ChipFilm(nn.Module):
    """Factors and offsets of feature maps for each chip.

    Parameters
    ----------
    n_chips : int
        Known chips; their numbers are 1 to n_chips.
    channels : sequence of int
        Feature maps of each modulated stage.
    width : int
        Length of a chip's vector.
    unknown_share : float
        Chance, in training, that a row is shown as of an unknown chip.
    """

    def __init__(self, n_chips: int, channels: Sequence[int], *, width: int = 8, unknown_share: float = 0.1) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.unknown_share = unknown_share
        self.embedding = nn.Embedding(n_chips + 1, width)
        self.generator = nn.Linear(width, 2 * sum(channels))
        nn.init.zeros_(self.generator.weight)
        nn.init.zeros_(self.generator.bias)

    def forward(self, chip: Tensor) -> tuple[Tensor, ...]:
        """Factors and offsets of every stage.

        Parameters
        ----------
        chip : Tensor, shape (n,), int64
            0 to n_chips.

        Returns
        -------
        tuple of Tensor
            For each stage gamma - 1 and beta, shape (n, 2, channels).
        """
        if self.training and self.unknown_share > 0:
            hidden = torch.rand(chip.shape, device=chip.device) < self.unknown_share
            chip = torch.where(hidden, torch.zeros_like(chip), chip)
        made = self.generator(self.embedding(chip))
        parts = torch.split(made, [2 * n for n in self.channels], dim=1)
        return tuple(part.reshape(-1, 2, n) for part, n in zip(parts, self.channels, strict=True))


def modulate(maps: Tensor, by: Tensor) -> Tensor:
    """Feature maps (n, c, y, x) times gamma plus beta, from one item of `ChipFilm`, shape (n, 2, c)."""
    return maps * (1.0 + by[:, 0, :, None, None]) + by[:, 1, :, None, None]
