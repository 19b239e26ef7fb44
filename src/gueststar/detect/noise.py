"""What correlated noise does to the errors of fluxes and positions.

The variance of a difference is that of single pixels; resampling and convolution correlate the noise of neighbours. The
error of a flux is therefore that of white noise times a factor, which the score knows: it was measured on empty sky,
and raised at stars. The error of a position depends on how steep the noise is, not only on how high: where the filtered
noise n of unit variance has a correlation C(1) to the next pixel, and a filtered star has C_P(1), the scatter of the
slopes of n is smaller than white noise makes it by

    sqrt((1 - C(1)) / (1 - C_P(1))).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gueststar.detect.false_alarms import correlation_of
from gueststar.detect.measure import Positions, Values, cut_psf, weighted_stamps
from gueststar.planes import quartiles
from gueststar.types import Difference

__all__ = ["error_scale", "steepness"]

_EVERY = 24  # rows
_QUIET = 3.0  # sigma; beyond, a pixel holds more than noise
_FEWEST = 2000  # pixels


def error_scale(difference: Difference, x: Positions, y: Positions) -> Values:
    """How much larger the error of a flux is than white noise of the variance says; shape (n,)."""
    stamps = cut_psf(difference.psf, x, y, 1.5)
    size = stamps.shape[-1]
    _, weight = weighted_stamps(difference, x, y, size)
    # The score takes the squares over 1.1 FWHM, scaled up; the same here, so that only what was measured remains.
    squares = stamps**2
    keep = int(np.clip(np.ceil(1.1 * difference.psf.fwhm), 1, size // 2))
    inner = slice(size // 2 - keep, size // 2 + keep + 1)
    share = squares.sum((1, 2)) / squares[:, inner, inner].sum((1, 2))
    white = (share * (squares * weight)[:, inner, inner].sum((1, 2))).clamp(min=1e-30).rsqrt()
    error = difference.flux_err[y, x].double().cpu().numpy()
    scale = error / white.cpu().numpy()
    return np.where(np.isfinite(scale), np.clip(scale, 0.2, 5.0), 1.0)


def steepness(difference: Difference) -> tuple[float, float]:
    """Slopes of the noise of the score in x and y over those of filtered white noise; 1 where too few pixels tell."""
    ny = difference.shape[0]
    rows = slice(0, ny - 1, _EVERY)
    score, next_row = (difference.score[at].cpu().numpy() for at in (rows, slice(1, ny, _EVERY)))
    next_row = next_row[: len(score)]
    quiet = (np.abs(score) < _QUIET) & (score != 0) & (difference.mask[rows].cpu().numpy() == 0)
    steps_x = (score[:, 1:] - score[:, :-1])[quiet[:, 1:] & quiet[:, :-1]]
    steps_y = (next_row - score)[quiet & (np.abs(next_row) < _QUIET) & (next_row != 0)]
    correlation = correlation_of(difference.psf)
    middle = correlation.shape[0] // 2
    white_x, white_y = correlation[middle, middle + 1], correlation[middle + 1, middle]
    return _ratio(steps_x, white_x), _ratio(steps_y, white_y)


def _ratio(steps: NDArray[np.floating], white: float) -> float:
    if steps.size < _FEWEST:
        return 1.0
    # Quartiles, because some pixels lie on the flanks of sources.
    low, _, high = quartiles(steps, most=20_000)
    return float(np.clip((high - low) / 1.349 / np.sqrt(2.0 * max(1.0 - white, 1e-3)), 0.7, 1.3))
