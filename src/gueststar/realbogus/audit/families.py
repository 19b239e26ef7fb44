"""A cause, the clues that speak for it, and what must be known to judge it."""

from __future__ import annotations

from dataclasses import dataclass

from gueststar.realbogus.audit.clues import Clue

__all__ = ["Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """One cause of false positives.

    Parameters
    ----------
    name : str
    words : str
        What it means, for a reader.
    clues : tuple of Clue
    prior : float
        Logarithm of odds before anything is measured.
    remedy : str
        What can be done about it.
    """

    name: str
    words: str
    clues: tuple[Clue, ...]
    prior: float = 0.0
    remedy: str = ""
