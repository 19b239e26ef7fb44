"""Why a candidate of a simulated frame is there, told from the truth: what lies under it, in either image."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

__all__ = ["CAUSES", "REAL_KINDS", "causes_of", "flux_noise"]

F8 = NDArray[np.float64]

#: Kinds of sources whose change is real; the first four are new or moving, the others vary.
REAL_KINDS = ("supernova", "hostless", "asteroid", "near_earth", "flare", "variable", "nucleus")
#: Causes in the order in which they are tried; the first that fits is named.
CAUSES = (
    *REAL_KINDS, "satellite", "cosmic_ray", "hot_pixel", "bad_column", "hole", "saturated", "bright_star", "ghost",
    "star", "galaxy", "edge", "noise",
)  # fmt: skip
_REAL_SNR = 3.0  # a change below this part of the noise explains no candidate
_CORE = 1.5  # FWHM within which a source explains a candidate
_BRIGHT_SNR = 1000.0
_BRIGHT_PX = 40.0
_EDGE_PX = 8.0
# Of the S/N of a candidate; a fault that leaves less is there by chance. Noise helps one over the threshold.
_ACCOUNTS = 1.0 / 3.0


def causes_of(
    x: ArrayLike,
    y: ArrayLike,
    truth: Table,
    reference: Table,
    *,
    shape: tuple[int, int],
    fwhm_px: float,
    snr: ArrayLike | None = None,
    reference_frames: int = 1,
) -> NDArray[np.str_]:
    """Name the cause of each candidate.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Positions on the science frame, px.
    truth : Table
        Of the science frame.
    reference : Table
        Of the frames of the reference, with x and y on the science frame (by the true world coordinates).
    shape : (int, int)
        (ny, nx) of the frame.
    fwhm_px : float
        Of the wider of both images.
    snr : array_like, shape (n,), optional
        S/N of the candidates. A fault of the detector is then the cause only where its charge accounts for a third of
        it: a chip has so many faint hot pixels that one lies beside each fiftieth star. None: each that is near is one.
    reference_frames : int
        Of which the reference is the mean: it has that part of the charge of a fault in one of them.

    Returns
    -------
    ndarray of str, shape (n,)
        Members of `CAUSES`; the first that fits. A star that neither changes nor saturates nor is bright stands for
        an imperfect subtraction; 'noise' is where nothing is.
    """
    xy = np.column_stack([np.atleast_1d(np.asarray(v, np.float64)) for v in (x, y)])
    near = _core_radius(fwhm_px)
    fits: dict[str, NDArray[np.bool_]] = {cause: np.zeros(len(xy), bool) for cause in CAUSES}
    for table in (truth, reference):
        kind = np.asarray(table["kind"])
        own_snr = np.nan_to_num(np.asarray(table["snr"], np.float64))
        flux = np.maximum(np.asarray(table["flux_e"], np.float64), 1e-30)
        change = np.abs(np.nan_to_num(np.asarray(table["change_e"], np.float64))) / flux * own_snr
        for name in REAL_KINDS:
            changes = kind == name if name in ("asteroid", "near_earth") else (kind == name) & (change > _REAL_SNR)
            fits[name] |= _beside(xy, table[changes], near)
        fits["satellite"] |= _beside(xy, table[kind == "satellite"], 2.0 * near)
        holes = table[kind == "hole"]
        fits["hole"] |= _beside(xy, holes, 0.8 * np.nan_to_num(np.asarray(holes["length_px"], np.float64)))
        points = ~np.isin(kind, ("galaxy", "cosmic_ray", "satellite", "ghost", "hole", "bad_column"))
        saturated = points & np.asarray(table["saturated"], bool)
        # The rim of a saturated core grows with the root of its flux, the core of the profile with its logarithm.
        reach = near + 2.0 * np.log10(np.maximum(own_snr[saturated], 1.0))
        fits["saturated"] |= _beside(xy, table[saturated], reach)
        bright = points & (own_snr > _BRIGHT_SNR)
        fits["bright_star"] |= _beside(xy, table[bright], np.minimum(_BRIGHT_PX, 0.01 * own_snr[bright] + near))
        ghosts = table[kind == "ghost"]
        fits["ghost"] |= _beside(xy, ghosts, 0.6 * np.nan_to_num(np.asarray(ghosts["length_px"], np.float64)))
        fits["star"] |= _beside(xy, table[points & (own_snr > 5.0)], near)
        fits["galaxy"] |= _beside(xy, table[(kind == "galaxy") & (own_snr > 5.0)], 2.0 * near)
    own, other = _faults(xy, truth, near, fwhm_px), _faults(xy, reference, near, fwhm_px)
    needed = np.zeros(len(xy)) if snr is None else _ACCOUNTS * np.abs(np.atleast_1d(np.asarray(snr, np.float64)))
    for name, (there, flux_e) in own.items():
        # A pixel that is always hot is in both images, and may have either sign in each. A column is mended in each
        # frame, and what is wrong in one mars a star in the mean by more than the part of its charge.
        left = np.abs(flux_e - other[name][1] / reference_frames)
        if name == "bad_column":
            left = np.maximum(flux_e, other[name][1])
        fits[name] = (there | other[name][0]) & (left >= needed * flux_noise(truth))
    ny, nx = shape
    fits["edge"] = np.minimum.reduce([xy[:, 0], xy[:, 1], nx - 1 - xy[:, 0], ny - 1 - xy[:, 1]]) < _EDGE_PX
    fits["noise"] = np.ones(len(xy), bool)
    named = np.full(len(xy), "", "U12")
    for cause in reversed(CAUSES):
        named[fits[cause]] = cause
    return named


def flux_noise(truth: Table) -> float:
    """Noise of the flux of a faint point source, e-; 0 where none tells."""
    snr, flux = (np.asarray(truth[name], np.float64) for name in ("snr", "flux_e"))
    for low, high in ((3.0, 10.0), (0.1, np.inf)):
        use = np.asarray(truth["kind"]) == "star"
        use &= (snr > low) & (snr < high) & (flux > 0)
        if use.any():
            return float(np.median(flux[use] / snr[use]))
    return 0.0


def _faults(xy: F8, table: Table, near: float, fwhm_px: float) -> dict[str, tuple[NDArray[np.bool_], F8]]:
    """Whether a fault of each kind lies at each position, and the flux that those there stand for, e-.

    With its sign, but for columns, of which the strongest counts.

    A matched filter of a Gaussian of width s weighs one pixel with exp(-r^2 / 2 s^2) twice as much as the light of a
    star of the same flux, for its charge lies in the peak; of a column with the offset a per pixel it sees
    2 sqrt(2 pi) s a.
    """
    kind, s = np.asarray(table["kind"]), fwhm_px / 2.3548
    charge = 2.0 * np.nan_to_num(np.asarray(table["flux_e"], np.float64))
    x, y = (np.asarray(table[name], np.float64) for name in ("x", "y"))
    found = {name: (np.zeros(len(xy), bool), np.zeros(len(xy))) for name in ("cosmic_ray", "hot_pixel", "bad_column")}
    for i in np.flatnonzero(kind == "cosmic_ray"):
        mine = _beside(xy, table[i : i + 1], max(3.0, near))
        found["cosmic_ray"][0][mine] = True
        length = np.nan_to_num(float(table["length_px"][i]))
        found["cosmic_ray"][1][mine] += charge[i] / max(1.0, length / fwhm_px)
    pixels = np.flatnonzero(np.isin(kind, ("hot_pixel", "telegraph")))
    if pixels.size and len(xy):
        places = np.column_stack([x, y])[pixels]
        hits = cKDTree(xy).query_ball_point(places, max(2.5, 0.7 * near))
        for k, place, own in zip(pixels.tolist(), places, hits, strict=True):
            found["hot_pixel"][0][own] = True
            found["hot_pixel"][1][own] += charge[k] * np.exp(-0.5 * ((xy[own] - place) ** 2).sum(axis=1) / s**2)
    for i in np.flatnonzero(kind == "bad_column"):
        mine = np.abs(xy[:, 0] - x[i]) < 3.0
        found["bad_column"][0][mine] = True
        level = np.sqrt(2.0 * np.pi) * s * abs(charge[i])
        found["bad_column"][1][mine] = np.maximum(found["bad_column"][1][mine], level)
    return found


def _core_radius(fwhm_px: float) -> float:
    return max(3.0, _CORE * fwhm_px)


def _beside(xy: F8, rows: Table, radius: ArrayLike) -> NDArray[np.bool_]:
    """Whether a position lies within `radius` (px; one, or one per row) of a row, or of the trail that it is."""
    if len(rows) == 0 or len(xy) == 0:
        return np.zeros(len(xy), bool)
    centre = np.column_stack([np.asarray(rows["x"], np.float64), np.asarray(rows["y"], np.float64)])
    reach = np.broadcast_to(np.asarray(radius, np.float64), len(rows))
    length = np.nan_to_num(np.asarray(rows["length_px"], np.float64))
    angle = np.radians(np.nan_to_num(np.asarray(rows["angle_deg"], np.float64)))
    trail = np.isfinite(np.asarray(rows["angle_deg"], np.float64)) & (length > 0)
    near = np.zeros(len(xy), bool)
    tree = cKDTree(xy)
    for i in range(len(rows)):
        half = 0.5 * length[i] if trail[i] else 0.0
        found = np.asarray(tree.query_ball_point(centre[i], reach[i] + half), np.intp)
        if half and found.size:
            direction = np.array([np.cos(angle[i]), np.sin(angle[i])])
            along = np.clip((xy[found] - centre[i]) @ direction, -half, half)
            found = found[np.hypot(*(xy[found] - centre[i] - along[:, None] * direction).T) <= reach[i]]
        near[found] = True
    return near
