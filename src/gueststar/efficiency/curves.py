"""Shares of the sources that are found, by brightness, place and kind, and the limits that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.efficiency.completeness import Completeness, Scale, ShareBin, binomial_interval, completeness, share_bins
from gueststar.efficiency.losses import STEPS

__all__ = [
    "AXES",
    "BRIGHT_SNR",
    "Axis",
    "Curve",
    "GroupShare",
    "curve_of",
    "group_shares",
    "limit_table",
    "loss_table",
    "used",
    "with_class",
]

#: S/N from which on a source on empty sky is found for sure; what is still lost, is lost for where it lies.
BRIGHT_SNR = 10.0
_FEWEST = 10
_SNR_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100, 200, 1000)
_SERIES = (("detected", "found"), ("real", "real"))


@dataclass(frozen=True, slots=True)
class Axis:
    """A property by which sources are binned.

    Parameters
    ----------
    name : str
        Column.
    label, short : str
        For the axis of a chart, and for a table.
    edges : tuple of float
    scale : {'snr', 'mag'} or None
        A curve is fitted when not None; otherwise only sources of `BRIGHT_SNR` and above are counted.
    """

    name: str
    label: str
    short: str
    edges: tuple[float, ...]
    scale: Scale | None = None


AXES = {
    axis.name: axis
    for axis in (
        Axis("snr", "S/N in the science image", "S/N, science", _SNR_EDGES, "snr"),
        Axis("snr_difference", "S/N in the difference", "S/N, difference", _SNR_EDGES, "snr"),
        Axis("mag", "magnitude of the change (AB)", "magnitude", tuple(np.arange(8.0, 26.1, 0.5)), "mag"),
        Axis("host_offset_r25", "offset from the host, R25", "offset, R25", (0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5)),
        Axis("host_offset_px", "offset from the host, px", "offset, px", (0, 1, 2, 3, 5, 8, 12, 20, 40, 80)),
        Axis("surface_mag_arcsec2", "surface brightness below, mag/arcsec²", "mag/arcsec²",
             tuple(np.arange(14.0, 28.1, 1.0))),
        Axis("surface_e_px", "light below, e-/px", "e-/px", (0, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares along one axis: detected, and detected and scored as real.

    Parameters
    ----------
    axis : Axis
    n : int
        Sources that have a value.
    value_range : (float, float)
        Of those values, cut to the first and last edge.
    bins : tuple of (ShareBin, ShareBin)
        Detected, and real.
    fits : tuple of Completeness
        Detected, and real, without intervals; empty where the axis has no fit or there are fewer than 10 sources.
    """

    axis: Axis
    n: int
    value_range: tuple[float, float]
    bins: tuple[tuple[ShareBin, ShareBin], ...]
    fits: tuple[Completeness, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupShare:
    """Share found of the bright sources of one group, such as a chip.

    Parameters
    ----------
    name : str
    n_all : int
        Sources of any brightness.
    n, found, real : int
        Bright ones.
    found_interval, real_interval : (float, float)
        95 %.
    fits : tuple of Completeness
        By S/N in the science image, without intervals: detected, and real; empty with fewer than 10 sources.
    """

    name: str
    n_all: int
    n: int
    found: int
    real: int
    found_interval: tuple[float, float]
    real_interval: tuple[float, float]
    fits: tuple[Completeness, ...]


def used(sources: Table) -> Table:
    """Sources that prove something: not those put where a candidate was already."""
    return sources[~np.asarray(sources["occupied"], bool)]


def with_class(sources: Table) -> Table:
    """Sources with the column `class`: the placement of artificial reals, the kind of the others."""
    result = sources.copy()
    artificial = np.asarray(sources["origin"]) == "artificial"
    result["class"] = np.where(artificial, np.asarray(sources["placement"]), np.asarray(sources["kind"])).astype("U12")
    return result


def curve_of(sources: Table, axis: Axis) -> Curve:
    """Shares of sources along an axis; empty bins, and sources without a value, are left out."""
    value = np.asarray(sources[axis.name], np.float64)
    keep = np.isfinite(value) & ((value > 0) | (axis.scale != "snr"))
    if axis.scale is None:
        keep &= _bright(sources)
    rows, value = sources[keep], value[keep]
    if axis.name == "surface_e_px":
        value = np.maximum(value, 0.0)  # noise of empty sky
    value = np.clip(value, axis.edges[0], axis.edges[-1])
    bins = [share_bins(value, np.asarray(rows[column]), edges=axis.edges) for _, column in _SERIES]
    fits = _fits(rows, axis.name, axis.scale, n_bootstrap=0) if axis.scale is not None else ()
    span = (float(value.min()), float(value.max())) if value.size else (np.nan, np.nan)
    return Curve(axis, len(rows), span, tuple(zip(*bins, strict=True)), fits)


def group_shares(sources: Table, column: str) -> list[GroupShare]:
    """Shares of each value of a column, in its order."""
    names, bright = np.asarray(sources[column]).astype(str), _bright(sources)
    found, real = (np.asarray(sources[name], bool) for _, name in _SERIES)
    groups = []
    for name in sorted(set(names.tolist())):
        mine = names == name
        n, k, r = (int((mine & bright & part).sum()) for part in (np.ones(len(names), bool), found, real))
        known = mine & np.isfinite(np.asarray(sources["snr"], np.float64))
        fits = _fits(sources[known], "snr", "snr", n_bootstrap=0)
        groups.append(
            GroupShare(name, int(mine.sum()), n, k, r, binomial_interval(k, n), binomial_interval(r, n), fits)
        )
    return groups


def limit_table(sources: Table, *, levels: Sequence[float] = (0.5, 0.9)) -> Table:
    """Brightness at which shares are found, of all sources of each origin and of each class.

    Returns
    -------
    Table
        origin, class ('all', or a placement or kind), axis, series ('detected' or 'real'), n, n_found, plateau, level,
        value, low, high (95 %), range_low, range_high (of the values that there were). Infinite values: never reached.
    """
    rows = []
    labelled = with_class(sources)
    for origin in sorted(set(np.asarray(sources["origin"]).tolist())):
        members = labelled[np.asarray(labelled["origin"]) == origin]
        classes = sorted(set(np.asarray(members["class"]).tolist()))
        for name in ("all", *(name for name in classes if name and len(classes) > 1)):
            part = members if name == "all" else members[np.asarray(members["class"]) == name]
            for axis in (axis for axis in AXES.values() if axis.scale is not None):
                known = part[np.isfinite(np.asarray(part[axis.name], np.float64))]
                for (series, _), fit in zip(_SERIES, _fits(known, axis.name, axis.scale), strict=False):
                    counted = (fit.n, fit.n_found, fit.plateau)
                    rows += [
                        (origin, name, axis.name, series, *counted, *row, *fit.value_range)
                        for row in fit.levels
                        if row[0] in levels
                    ]
    names = ("origin", "class", "axis", "series", "n", "n_found", "plateau", "level", "value", "low", "high",
             "range_low", "range_high")  # fmt: skip
    kinds = ("U12", "U12", "U20", "U8", "i8", "i8", *("f8",) * 7)
    return Table(rows=rows or None, names=names, dtype=kinds)


def loss_table(sources: Table) -> Table:
    """Numbers of sources found, and lost at each step, of each class.

    Returns
    -------
    Table
        origin, class, n, real (found and scored as real), and one column for each of `STEPS`.
    """
    labelled = with_class(sources)
    keys = sorted(set(zip(labelled["origin"].tolist(), labelled["class"].tolist(), strict=True)))
    rows = []
    for origin, name in keys:
        mine = (np.asarray(labelled["origin"]) == origin) & (np.asarray(labelled["class"]) == name)
        steps = np.asarray(labelled["lost_at"])[mine]
        rows.append((origin, name, int(mine.sum()), *(int((steps == step).sum()) for step in ("", *STEPS))))
    names = ("origin", "class", "n", "real", *STEPS)
    return Table(rows=rows or None, names=names, dtype=("U12", "U12", *("i8",) * (len(names) - 2)))


def _bright(sources: Table) -> NDArray[np.bool_]:
    return np.asarray(sources["snr"], np.float64) >= BRIGHT_SNR


def _fits(rows: Table, column: str, scale: Scale | None, *, n_bootstrap: int = 300) -> tuple[Completeness, ...]:
    value = np.asarray(rows[column], np.float64)
    if scale == "snr":
        rows, value = rows[value > 0], value[value > 0]
    if scale is None or len(rows) < _FEWEST:
        return ()
    groups = np.asarray(rows["image"])
    return tuple(
        completeness(value, np.asarray(rows[name]), scale=scale, groups=groups, n_bootstrap=n_bootstrap)
        for _, name in _SERIES
    )
