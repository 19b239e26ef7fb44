"""What speaks against a label beside the pixels: catalogues, other visits, and the shape that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.evaluation.causes import CAUSE_COLUMNS, likely_causes
from gueststar.realbogus.suspicion import has_reason

__all__ = ["KNOWN", "PHYSICS_COLUMNS", "PHYSICS_WORDS", "Physics", "PhysicsWeights", "physics_evidence"]

#: Columns that are read where the set has them.
PHYSICS_COLUMNS: tuple[str, ...] = (*CAUSE_COLUMNS, "psf_chi2", "snr_beyond_shift")
#: Reasons in words.
PHYSICS_WORDS: Mapping[str, str] = {
    "known_transient": "a known transient is at its place",
    "known_asteroid": "a known asteroid is at its place",
    "known_variable": "a known variable star or nucleus is at its place",
    "repeated": "other visits have something at its place, too",
    "point_like": "a new point source by its shape: brighter than before, as wide as the PSF, round, no second lobe",
    "artifact_like": "the shape of an artifact",
}
KNOWN = ("known_transient", "known_asteroid", "known_variable")  #: reasons that come from catalogues
_ARTIFACTS = ("bright star", "bad pixels", "misalignment", "PSF shape")  # causes that speak for an artifact


class PhysicsWeights(Options):
    """How much each reason weighs, as a logarithm of odds (natural), like the logits of a network."""

    known_transient: float = Field(4.0, ge=0, le=20, description="Artifact at the place of a known transient")
    known_asteroid: float = Field(4.0, ge=0, le=20, description="Artifact at the place of a known asteroid")
    known_variable: float = Field(3.0, ge=0, le=20, description="Artifact at the place of a known variable or nucleus")
    repeated: float = Field(1.0, ge=0, le=20, description="Artifact at a place where other visits have one, too")
    point_like: float = Field(
        1.0, ge=0, le=20, description="For an artifact, and against a real: shape of a new point source"
    )
    artifact_like: float = Field(
        1.0, ge=0, le=20, description="For a real, and against an artifact: flagged pixels, two lobes or a wrong width"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Physics:
    """Reasons against the labels of n rows.

    Parameters
    ----------
    weight : ndarray, shape (n,)
        Sum of the weights of the reasons; above 0 they speak against the label, below 0 for it.
    reasons : ndarray of str, shape (n,)
        Names of `PHYSICS_WORDS` that speak against the label, with commas; empty for none.
    known : ndarray of bool, shape (n,)
        A catalogue says so.
    """

    weight: NDArray[np.float64]
    reasons: NDArray[np.str_]
    known: NDArray[np.bool_]


def physics_evidence(
    labels: NDArray[np.integer[Any]],
    columns: Mapping[str, NDArray[Any]],
    suspicion: NDArray[np.str_] | None = None,
    weights: PhysicsWeights | None = None,
) -> Physics:
    """Weigh what speaks against each label.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        1 real, 0 artifact.
    columns : mapping of str to ndarray, shape (n,) each
        Any of `PHYSICS_COLUMNS`; what is missing says nothing.
    suspicion : ndarray of str, shape (n,), optional
        As data sets have it, see `gueststar.realbogus.suspicion.REASONS`. Those of a place count for artifacts alone.
    weights : PhysicsWeights, optional
    """
    weights, labels = weights or PhysicsWeights(), np.asarray(labels)
    n, artifact = labels.size, np.asarray(labels) == 0
    point, broken = _shapes(n, columns)
    marks: dict[str, NDArray[np.bool_]] = {}
    for name in (*KNOWN, "repeated"):
        marks[name] = np.zeros(n, bool)
        if suspicion is not None:
            texts, which = np.unique(suspicion, return_inverse=True)
            marks[name] = np.array([has_reason(str(text), (name,)) for text in texts], bool)[which] & artifact
    marks["point_like"], marks["artifact_like"] = point & artifact, broken & ~artifact
    total = np.zeros(n)
    for name, mark in marks.items():
        total += getattr(weights, name) * mark
    total -= weights.point_like * (point & ~artifact) + weights.artifact_like * (broken & artifact)
    reasons = np.full(n, "", f"U{sum(map(len, marks)) + len(marks)}")
    for name, mark in marks.items():
        reasons[mark] = np.char.add(np.char.add(reasons[mark], np.where(reasons[mark] == "", "", ",")), name)
    return Physics(total, reasons, np.any([marks[name] for name in KNOWN], axis=0))


def _shapes(n: int, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows with the shape of a new point source, and rows with that of an artifact."""
    number = {name: np.asarray(columns[name], np.float64) for name in columns}
    causes = likely_causes(n, {name: columns[name] for name in CAUSE_COLUMNS if name in columns})
    broken = np.isin(causes, _ARTIFACTS)
    if not {"snr", "fwhm", "psf_fwhm"} <= set(number):
        return np.zeros(n, bool), broken
    known = (number["fwhm"] > 0) & (number["psf_fwhm"] > 0)
    width = np.divide(number["fwhm"], number["psf_fwhm"], out=np.zeros(n), where=known)
    point = known & ~broken & (number["snr"] > 0) & (width > 0.8) & (width < 1.25)
    point &= number.get("elongation", np.ones(n)) < 1.3
    point &= number.get("psf_chi2", np.ones(n)) < 2.0
    point &= number.get("snr_beyond_shift", number["snr"]) >= 0.5 * number["snr"]
    return point, broken
