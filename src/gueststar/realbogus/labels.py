"""Which candidates are real: detections matched with what is known to have changed.

- A candidate near a change of its own sign, with a flux that fits, is real (1): artificial reals, transients, moving
  objects and variable stars alike, because a network that is taught that variables are artifacts loses them.
- Further candidates around a change, of either sign, are neither (-1): wings, deblended pieces, and the change itself
  where a failed subtraction or a cosmic ray has taken over its flux.
- A candidate on a variable star or nucleus whose change is too small to be seen is neither (-1), and so is one on any
  other change that lifted the noise there by a standard deviation or more.
- Everything else is an artifact (0); cosmic rays are named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.types import Candidates

__all__ = ["Labels", "changes_table", "label_candidates"]

_SAME_PX, _SAME_FWHM = 1.5, 0.5  # a match lies within the larger of the two
_AROUND_FWHM = 2.5  # within this a visible change spoils other candidates
_VISIBLE_SNR = 3.0  # changes below this are not seen
_HELPING_SNR = 1.0  # a change of this much may be why something is seen at its place
_FLUX_FACTOR = 3.0  # a match has its flux right to this factor
_RAY_PX = 3.0
_VARYING = ("variable", "nucleus", "second_variable")


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Label (1, 0, -1; int8), kind and signal to noise that was put in (NaN without) of each candidate, shape (n,)."""

    label: NDArray[np.int8]
    kind: NDArray[np.str_]
    true_snr: NDArray[np.float32]


def changes_table(*tables: Table) -> Table:
    """One table of changes: x, y (px on the science frame), change_e (signed, e-) and kind; no rows without tables."""
    names = ("x", "y", "change_e", "kind")
    kept = [Table({name: np.asarray(table[name]) for name in names}) for table in tables if len(table)]
    if kept:
        return vstack(kept, metadata_conflicts="silent")
    return Table({"x": np.empty(0), "y": np.empty(0), "change_e": np.empty(0), "kind": np.empty(0, "U12")})


def label_candidates(candidates: Candidates, changes: Table, *, fwhm: float) -> Labels:
    """Match candidates with what changed.

    Parameters
    ----------
    candidates : Candidates
        n rows.
    changes : Table
        From `changes_table`: everything known to have changed, and all cosmic rays (kind 'cosmic_ray').
    fwhm : float
        Of the difference image, px.

    Returns
    -------
    Labels
    """
    n = len(candidates)
    out = Labels(np.zeros(n, np.int8), np.full(n, "artifact", "U16"), np.full(n, np.nan, np.float32))
    if n == 0 or len(changes) == 0:
        return out
    is_ray = np.asarray(changes["kind"]) == "cosmic_ray"
    places = np.stack([candidates["x"], candidates["y"]], axis=1).astype(np.float64)
    hit = np.zeros(n, bool)
    if is_ray.any():
        rays = np.stack([changes["x"][is_ray], changes["y"][is_ray]], axis=1)
        hit = cKDTree(rays).query(places)[0] < _RAY_PX
        out.kind[hit] = "cosmic_ray"
    if not is_ray.all():
        _match(out, candidates, places, changes[~is_ray], fwhm)
    out.label[hit & (out.label == 1)] = -1
    return out


def _match(out: Labels, candidates: Candidates, places: NDArray[np.float64], changes: Table, fwhm: float) -> None:
    positions = np.stack([changes["x"], changes["y"]], axis=1).astype(np.float64)
    change, kind = np.asarray(changes["change_e"], np.float64), np.asarray(changes["kind"]).astype(str)
    flux = np.asarray(candidates["flux"], np.float64)
    error = _errors_alone(candidates)
    same, around = max(_SAME_PX, _SAME_FWHM * fwhm), _AROUND_FWHM * fwhm
    best: dict[int, tuple[float, int]] = {}
    for i, near in enumerate(cKDTree(positions).query_ball_point(places, around)):
        for j in near:
            distance = float(np.hypot(*(places[i] - positions[j])))
            visible = abs(change[j]) >= _VISIBLE_SNR * error[i]
            helps = kind[j] in _VARYING or abs(change[j]) >= _HELPING_SNR * error[i]
            if visible or (distance < same and helps):
                out.label[i], out.kind[i] = -1, "near_real" if visible else kind[j]
            fits = 1.0 / _FLUX_FACTOR < flux[i] / (change[j] or np.inf) < _FLUX_FACTOR
            if visible and fits and distance < same and distance < best.get(j, (np.inf, -1))[0]:
                best[j] = (distance, i)
    for j, (_, i) in best.items():
        out.label[i], out.kind[i], out.true_snr[i] = 1, kind[j], abs(change[j]) / error[i]


def _errors_alone(candidates: Candidates) -> NDArray[np.float64]:
    """Errors of the fluxes as if each candidate were fitted alone, e-; shape (n,).

    Pieces of one source are fitted together, and their errors are far larger than that of the source: a bright
    transient in two pieces would count as too faint to be seen. The signal to noise of each is that of its place.
    """
    flux, snr = (np.abs(np.asarray(candidates[name], np.float64)) for name in ("flux", "snr"))
    error = np.asarray(candidates["flux_err"], np.float64)
    usable = error[np.isfinite(error) & (error > 0)]
    usual = float(np.median(usable)) if usable.size else 1e-12
    alone = np.divide(flux, snr, out=np.full(len(error), np.inf), where=snr > 0)
    errors: NDArray[np.float64] = np.fmax(np.fmin(error, np.fmax(alone, usual)), 1e-12)
    return errors
