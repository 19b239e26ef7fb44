"""Which model of a set scores which candidate, and what is said about chips that a model does not know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.chips.model_set import ModelSet, SetMember
from gueststar.realbogus.runtime import Runtime

__all__ = ["Members", "chip_note", "routes"]


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The models of a set, opened when a chip asks for them.

    Parameters
    ----------
    folder : Path
        Of the set.
    models : ModelSet
    digest : str
        SHA-256 of its models.json.
    threads : int
        CPU threads of one session.
    runtime : str
        What runs the networks.
    prior : float or None
        Share of reals that scores are to hold for; None: those of the cards.
    """

    folder: Path
    models: ModelSet
    digest: str
    threads: int
    runtime: Runtime = "onnxruntime"
    prior: float | None = None

    def own(self, chip: str) -> SetMember | None:
        """The model of a chip; None where the fallback serves it."""
        entry = self.models.chips.get(chip)
        return None if entry is None else entry.own


def routes(chips: NDArray[np.str_], own: Collection[str]) -> list[tuple[str, NDArray[np.int64]]]:
    """Rows of each chip that has a model of its own, and of all others together under ''.

    Parameters
    ----------
    chips : ndarray of str, shape (n,)
    own : collection of str
        Chips with a model of their own.

    Returns
    -------
    list of (str, ndarray of int64)
        Every row once; no empty entry.
    """
    there, inverse = np.unique(chips, return_inverse=True)
    target = np.array([str(chip) if str(chip) in own else "" for chip in there], np.str_)[inverse.reshape(-1)]
    return [(str(chip), np.flatnonzero(target == chip)) for chip in np.unique(target)]


def chip_note(chips: Sequence[str], *, known: Sequence[str], members: Members | None) -> str:
    """Say which chips a model was not made for; empty when there is none.

    Parameters
    ----------
    chips : sequence of str
        Of the candidates.
    known : sequence of str
        Chips of the card of a model that is conditioned on them; empty for one that is not.
    members : Members or None
        Of a set of models.
    """
    names = sorted(set(chips))
    if members is not None:
        others = {name: members.models.why_fallback(name) for name in names}
        told = [f"{name or 'none'} ({why})" for name, why in others.items() if why]
        return f"scored by the fallback of the set, chip {', '.join(told)}" if told else ""
    if known:
        told = [name or "none" for name in names if name not in known]
        return f"scored as of an unknown chip, which the model does not know: {', '.join(told)}" if told else ""
    return ""
