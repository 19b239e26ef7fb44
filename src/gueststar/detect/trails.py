"""Trails of satellites and fast movers: peaks that stand on one straight line of light are one thing, not dozens.

Lines are proposed by pairs of neighbouring peaks of one sign and kept when far more peaks stand on them than chance
puts there, or when one connected patch above the threshold is long and thin. The score along a line then tells where it
begins and ends; the line is fitted again to the pixels beside it, and everything that stands on it becomes one
candidate, the strongest, with the end points of the trail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label, uniform_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

__all__ = ["Trail", "find_trails", "trail_of"]

_PAIR_PX = 120.0  # of neighbouring peaks on one trail
_MOST_PAIRS = 4000
_FEWEST_PEAKS = 6
_SIGMA_OVER_CHANCE = 6.0
_THIN = 0.75  # rms width of a patch, FWHM
_LONG = 5.0  # length of a patch, FWHM
_SHORT = 12.0  # FWHM; a trail shorter than this must be evenly lit
_UNEVEN = 0.25  # of its brightest pixel
_GAP_PX = 40
_BOX_PX = 9
_FAINTEST = 1.5  # mean score along a trail
_MOST_TRAILS = 20
_MOST_PIXELS = 200_000  # above the threshold; a plane with more is no difference

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trail:
    """A straight trail from (x0, y0) to (x1, y1), px; `sign` +1 or -1, `snr` the mean score along it."""

    x0: float
    y0: float
    x1: float
    y1: float
    sign: int
    snr: float

    @property
    def length(self) -> float:
        """Distance of the end points, px."""
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    @property
    def angle(self) -> float:
        """Direction from x to y, degrees in [0, 180)."""
        return float(np.degrees(np.arctan2(self.y1 - self.y0, self.x1 - self.x0)) % 180.0)

    def distances(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Distance of points from the line, and how far they are along it from the first end; px."""
        ux, uy = (self.x1 - self.x0) / max(self.length, 1e-9), (self.y1 - self.y0) / max(self.length, 1e-9)
        return np.abs(-(x - self.x0) * uy + (y - self.y0) * ux), (x - self.x0) * ux + (y - self.y0) * uy


def find_trails(
    score: NDArray[np.float32],
    mask: NDArray[np.integer],
    x: F8,
    y: F8,
    *,
    fwhm: float,
    threshold: float = 5.0,
    bright: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> list[Trail]:
    """Find the trails among the peaks of a score plane.

    Parameters
    ----------
    score : ndarray, shape (ny, nx)
    mask : ndarray of int, shape (ny, nx)
        Zero is a good pixel; flagged ones tell nothing, for or against.
    x, y : ndarray, shape (n,)
        Peaks above the threshold, px.
    fwhm : float
        Of the point-spread function, px.
    threshold : float
        Of the peaks.
    bright : tuple of ndarray of int64, optional
        x and y of the pixels above the threshold, of either sign; looked for when left out.

    Returns
    -------
    list of Trail
        Longest first.
    """
    if len(x) == 0:
        return []
    if bright is None:
        above = np.nonzero(np.abs(score) > threshold)
        bright = above[1], above[0]
    signs = np.sign(score[np.round(y).astype(int), np.round(x).astype(int)])
    lit = np.sign(score[bright[1], bright[0]])
    found: list[Trail] = []
    for sign in (1, -1):
        points = np.column_stack((x, y))[signs == sign]
        pixels = np.column_stack(bright)[lit == sign].astype(np.float64)
        for seed in (*_patches(pixels, fwhm), *_lines(points, score.shape, fwhm)):
            if len(found) >= _MOST_TRAILS or any(_same(seed, known, fwhm) for known in found):
                continue
            trail = _traced(score, mask, replace(seed, sign=sign), fwhm)
            if trail is not None and not any(_same(trail, known, fwhm) for known in found):
                found.append(trail)
    return sorted(found, key=lambda trail: -trail.length)


def trail_of(trails: list[Trail], x: F8, y: F8, sign: F8, fwhm: float) -> NDArray[np.int64]:
    """Number of the trail that each candidate stands on, -1 for none; within 1.5 FWHM, of the same sign."""
    number = np.full(len(x), -1, np.int64)
    for i, trail in enumerate(trails):
        beside, along = trail.distances(x, y)
        on = (beside < 1.5 * fwhm) & (along > -fwhm) & (along < trail.length + fwhm) & (sign == trail.sign)
        number[on & (number < 0)] = i
    return number


def _patches(place: F8, fwhm: float) -> list[Trail]:
    """Connected patches of pixels (n, 2) above the threshold that are long and thin."""
    if not 0 < len(place) <= _MOST_PIXELS:
        return []
    number = _connected(np.round(place).astype(np.int64))
    order = np.argsort(number, kind="stable")
    sorted_place = place[order]
    first = np.concatenate(([0], np.flatnonzero(np.diff(number[order])) + 1))
    size = np.diff(np.append(first, len(place)))
    span = np.hypot(*(np.maximum.reduceat(sorted_place, first) - np.minimum.reduceat(sorted_place, first)).T)
    seeds = []
    # Few patches are large enough to be looked at one by one.
    for i in np.flatnonzero((size >= _LONG * fwhm) & (span > _LONG * fwhm)):
        middle, (long, thin), ends = _axes(sorted_place[first[i] : first[i] + size[i]])
        if thin < _THIN * fwhm and np.ptp(ends) > _LONG * fwhm:
            a, b = middle + ends.min() * long, middle + ends.max() * long
            seeds.append(Trail(a[0], a[1], b[0], b[1], 1, 0.0))
    return seeds


def _connected(pixels: NDArray[np.int64]) -> NDArray[np.int32]:
    """Number of the patch of each pixel (n, 2); pixels that touch, also at a corner, are of one patch."""
    x, y = (pixels - pixels.min(0)).T
    width = int(x.max()) + 2  # a row ends with a gap, so that its last pixel does not touch the first of the next
    key = y * width + x
    order = np.argsort(key)
    key = key[order]
    links = []
    for step in (1, width - 1, width, width + 1):
        there = np.minimum(np.searchsorted(key, key + step), len(key) - 1)
        here = np.flatnonzero(key[there] == key + step)
        links.append((order[here], order[there[here]]))
    here, there = (np.concatenate(ends) for ends in zip(*links, strict=True))
    graph = coo_matrix((np.ones(len(here), np.int8), (here, there)), shape=(len(key),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _axes(points: F8) -> tuple[F8, tuple[F8, float], F8]:
    """Middle, direction and rms width of points, and where each lies along the direction."""
    middle = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov((points - middle).T)) if len(points) > 2 else (np.zeros(2), np.eye(2))
    long = vectors[:, 1]
    return middle, (long, float(np.sqrt(max(values[0], 0.0)))), (points - middle) @ long


def _lines(points: F8, shape: tuple[int, ...], fwhm: float) -> list[Trail]:
    """Lines through pairs of peaks with more peaks on them than chance, the fullest first; each peak serves once."""
    seeds: list[Trail] = []
    free = np.ones(len(points), bool)
    for _ in range(_MOST_TRAILS):
        left = points[free]
        if len(left) < _FEWEST_PEAKS:
            break
        pairs = cKDTree(left).query_pairs(_PAIR_PX, output_type="ndarray")
        if len(pairs) == 0:
            break
        pairs = pairs[:: -(-len(pairs) // _MOST_PAIRS)]
        start, step = left[pairs[:, 0]], left[pairs[:, 1]] - left[pairs[:, 0]]
        apart = np.hypot(*step.T)
        start, step = start[apart > 2.0 * fwhm], (step / apart[:, None])[apart > 2.0 * fwhm]
        if len(step) == 0:
            break
        normal = np.column_stack((-step[:, 1], step[:, 0]))
        offset = (start * normal).sum(1)
        near = np.abs(normal @ left.T - offset[:, None]) < 0.7 * fwhm
        counts = near.sum(1)
        expected = len(left) * 1.4 * fwhm * float(np.hypot(shape[0], shape[1])) / (shape[0] * shape[1])
        best = int(counts.argmax())
        if counts[best] < max(_FEWEST_PEAKS, expected + _SIGMA_OVER_CHANCE * np.sqrt(expected + 1.0)):
            break
        on = left[near[best]]
        along = on @ step[best]
        # The densest stretch: neighbours no further apart than a pair.
        order = np.argsort(along)
        pieces = np.split(order, np.flatnonzero(np.diff(along[order]) > _PAIR_PX) + 1)
        piece = max(pieces, key=len)
        used = np.flatnonzero(free)[np.flatnonzero(near[best])[piece]]
        free[used] = False
        if len(piece) >= _FEWEST_PEAKS:
            middle, (long, _), ends = _axes(on[piece])
            a, b = middle + ends.min() * long, middle + ends.max() * long
            seeds.append(Trail(a[0], a[1], b[0], b[1], 1, 0.0))
    return seeds


def _same(one: Trail, other: Trail, fwhm: float) -> bool:
    """Whether both ends of the shorter one lie on the longer one."""
    short, long = sorted((one, other), key=lambda trail: trail.length)
    beside, along = long.distances(np.array([short.x0, short.x1]), np.array([short.y0, short.y1]))
    return bool((beside < 2.0 * fwhm).all() and (along > -_GAP_PX).all() and (along < long.length + _GAP_PX).all())


def _traced(score: NDArray[np.float32], mask: NDArray[np.integer], seed: Trail, fwhm: float) -> Trail | None:
    """The trail along its light: fitted again to the pixels beside it, and followed to both ends; None if dark."""
    trail = seed
    for _ in range(3):
        trail = _fitted(score, mask, trail, fwhm)
        found = _followed(score, mask, trail)
        if found is None:
            return None
        trail = found
    return trail if trail.length > _LONG * fwhm and _even(score, mask, trail, fwhm) else None


def _even(score: NDArray[np.float32], mask: NDArray[np.integer], trail: Trail, fwhm: float) -> bool:
    """Whether a short trail is lit all along: two sources side by side are dark in between, or uneven."""
    if trail.length > _SHORT * fwhm:
        return True
    along = np.arange(1.5 * fwhm, trail.length - 1.5 * fwhm + 1.0) / trail.length
    x, y = trail.x0 + along * (trail.x1 - trail.x0), trail.y0 + along * (trail.y1 - trail.y0)
    values = trail.sign * _sampled(score, mask, x, y)
    values = values[np.isfinite(values)]
    return values.size < 3 or bool(np.quantile(values, 0.2) > _UNEVEN * values.max())


def _sampled(plane: NDArray[np.float32], mask: NDArray[np.integer], x: F8, y: F8) -> F8:
    """Values at the nearest pixels; NaN outside and on flagged ones."""
    ix, iy = np.round(x).astype(int), np.round(y).astype(int)
    inside = (ix >= 0) & (iy >= 0) & (ix < plane.shape[1]) & (iy < plane.shape[0])
    values = np.full(x.shape, np.nan)
    values[inside] = plane[iy[inside], ix[inside]]
    values[inside] = np.where(mask[iy[inside], ix[inside]] == 0, values[inside], np.nan)
    return values


def _fitted(score: NDArray[np.float32], mask: NDArray[np.integer], trail: Trail, fwhm: float) -> Trail:
    """A straight line through the light within 1.5 FWHM of the trail."""
    ux, uy = (trail.x1 - trail.x0) / trail.length, (trail.y1 - trail.y0) / trail.length
    along = np.arange(0.0, trail.length + 0.5)
    across = np.arange(-np.ceil(1.5 * fwhm), np.ceil(1.5 * fwhm) + 1.0)
    x = trail.x0 + along[:, None] * ux - across[None, :] * uy
    y = trail.y0 + along[:, None] * uy + across[None, :] * ux
    weight = np.clip(np.nan_to_num(trail.sign * _sampled(score, mask, x, y)) - 1.0, 0.0, 20.0) ** 2
    total = weight.sum()
    if total <= 0 or np.ptp(along) < 2.0 * fwhm:
        return trail
    w, a = weight.sum(1), (weight * across).sum(1)
    mean = (w * along).sum() / total
    spread = (w * (along - mean) ** 2).sum()
    slope = ((along - mean) * a).sum() / spread if spread > 0 else 0.0
    shift = a.sum() / total
    ends = [shift + slope * (end - mean) for end in (0.0, trail.length)]
    return replace(
        trail, x0=trail.x0 - ends[0] * uy, y0=trail.y0 + ends[0] * ux, x1=trail.x1 - ends[1] * uy,
        y1=trail.y1 + ends[1] * ux,
    )  # fmt: skip


def _followed(score: NDArray[np.float32], mask: NDArray[np.integer], trail: Trail) -> Trail | None:
    """Where the light of a line begins and ends; None when most of it is dark."""
    ux, uy = (trail.x1 - trail.x0) / trail.length, (trail.y1 - trail.y0) / trail.length
    reach = float(np.hypot(*score.shape))
    along = np.arange(-reach, trail.length + reach)
    values = trail.sign * _sampled(score, mask, trail.x0 + along * ux, trail.y0 + along * uy)
    known = np.isfinite(values)
    # A star on the way must not carry the mean.
    clipped = np.clip(np.where(known, values, 0.0), -10.0, 10.0)
    share = uniform_filter1d(known.astype(float), _BOX_PX, mode="constant")
    mean = uniform_filter1d(clipped, _BOX_PX, mode="constant") / np.maximum(share, 1e-9)
    within = (along >= 0) & (along <= trail.length) & known
    if not within.any():
        return None
    level = float(np.median(values[within]))
    lit = (mean > max(_FAINTEST, 0.4 * min(level, 10.0))) & (share > 0.3)
    blind = share <= 0.3
    bridged = binary_dilation(lit, iterations=_GAP_PX // 2) | (blind & binary_dilation(lit, iterations=2 * _GAP_PX))
    runs, _ = label(bridged)
    middle = runs[(along >= 0) & (along <= trail.length)]
    middle = middle[middle > 0]
    if middle.size == 0:
        return None
    run = (runs == np.bincount(middle).argmax()) & lit
    first, last = along[run].min(), along[run].max()
    span = (along >= first) & (along <= last) & known
    if level < _FAINTEST or lit[span].mean() < 0.5:
        return None
    # A box of nine lights up four pixels early, and ends as late, when the light is bright.
    return replace(
        trail, x0=trail.x0 + first * ux, y0=trail.y0 + first * uy, x1=trail.x0 + last * ux, y1=trail.y0 + last * uy,
        snr=float(np.mean(values[span])),
    )  # fmt: skip
