"""Sources that overlap are fitted together.

Peaks whose light overlaps, up to 3.5 FWHM apart, form groups; fluxes and positions of all members come from one
least-squares fit, with the full covariance, so that the errors of a close pair are those of a close pair. Peaks that
hold two sources are split (:mod:`gueststar.detect.pairs`).
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gueststar.detect.joint import joint_fits, put_rows
from gueststar.detect.measure import PsfFit, Values
from gueststar.detect.pairs import split_peaks
from gueststar.types import Difference

__all__ = ["fit_blends", "groups_of"]

_LINK = 3.5  # FWHM; peaks of one sign closer than this are fitted together
_LINK_OPPOSITE = 1.5  # FWHM; lobes of opposite sign closer than this are those of one shifted star
_MOST = 6  # sources in one fit
_MATTERS = 0.1  # sigma
_CLEAR = 4.5  # FWHM; a peak is searched for a second source where no other of its sign is closer
_LOOK_SNR = 7.0  # a fainter peak cannot hold two sources above a threshold of 5


def fit_blends(
    difference: Difference, fit: PsfFit, sign: Values, loose: NDArray[np.bool_], scale: Values, *, threshold: float
) -> tuple[PsfFit, NDArray[np.int64]]:
    """Fit overlapping sources together, and split peaks of two.

    Parameters
    ----------
    difference : Difference
    fit : PsfFit
        Of each peak alone, shape (n,).
    sign, scale : ndarray, shape (n,)
        Of the peaks, and the factor on their errors for correlated noise.
    loose : ndarray of bool, shape (n,)
        Peaks that may belong together; others, as those of trails, stay as they are.
    threshold : float
        Sigma that a second source needs.

    Returns
    -------
    PsfFit, ndarray of int64
        Of the n peaks, then of further sources; and the peak that each of the latter was split from.
    """
    group = groups_of(fit, sign, loose, difference.psf.fwhm)
    members = np.flatnonzero(group >= 0)
    if members.size:
        joint = joint_fits(difference, fit.x[members], fit.y[members], group[members], scale[members])
        fit = put_rows(fit, members, joint)
    alone = np.flatnonzero((group < 0) & loose & (np.abs(fit.flux) > _LOOK_SNR * fit.flux_err))
    alone = alone[_distances(fit.x, fit.y, sign)[alone] > _CLEAR * difference.psf.fwhm]
    parent, first, second = split_peaks(difference, fit, alone, scale, threshold=threshold)
    fit = put_rows(fit, parent, first)
    return PsfFit(*(np.append(getattr(fit, f.name), getattr(second, f.name)) for f in fields(PsfFit))), parent


def _distances(x: Values, y: Values, sign: Values) -> Values:
    """To the nearest other source of the same sign, px."""
    nearest = np.full(len(x), np.inf)
    for side in (1.0, -1.0):
        rows = np.flatnonzero(sign == side)
        if rows.size > 1:
            points = np.column_stack((x[rows], y[rows]))
            nearest[rows] = cKDTree(points).query(points, k=2)[0][:, 1]
    return nearest


def groups_of(fit: PsfFit, sign: Values, loose: NDArray[np.bool_], fwhm: float) -> NDArray[np.int64]:
    """Number of the group of sources that overlap, -1 for those alone; at most six in one, around the strongest."""
    x, y = fit.x, fit.y
    group = np.full(len(x), -1, np.int64)
    index = np.flatnonzero(loose)
    if index.size < 2:
        return group
    points = np.column_stack((x[index], y[index]))
    pairs = cKDTree(points).query_pairs(_LINK * fwhm, output_type="ndarray")
    if len(pairs) == 0:
        return group
    apart = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T)
    alike = sign[index[pairs[:, 0]]] == sign[index[pairs[:, 1]]]
    linked = alike | (apart > _LINK_OPPOSITE * fwhm)
    # Only where the brighter one moves the flux of the other by more than a part of its error.
    snr = np.abs(fit.flux / fit.flux_err)[index]
    overlap = (1.0 + 0.6 * (apart / fwhm) ** 2) ** -3.0
    linked &= np.maximum(*snr[pairs.T]) * overlap > _MATTERS
    near: dict[int, list[tuple[float, int]]] = {}
    for (a, b), distance in zip(index[pairs[linked]].tolist(), apart[linked].tolist(), strict=True):
        near.setdefault(a, []).append((distance, b))
        near.setdefault(b, []).append((distance, a))
    for number, first in enumerate(sorted(near)):
        if group[first] >= 0:
            continue
        # Strongest first: it takes its neighbours, and theirs, as far as there is room.
        members, waiting = [first], sorted(near[first])
        while waiting and len(members) < _MOST:
            _, other = waiting.pop(0)
            if group[other] < 0 and other not in members:
                members.append(other)
                waiting += sorted(near[other])
        if len(members) > 1:
            group[members] = number
    return group
