"""Patchy clouds: a smooth random field over the whole mosaic, of which each chip sees its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gueststar.simulate.optics.conditions import Conditions

__all__ = ["cloud_waves", "transmission"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

_WAVES = 24
_WAVELENGTH_PX = (250.0, 6000.0)
_CONTRAST = 2.0


def cloud_waves(rng: np.random.Generator) -> F8:
    """Plane waves of random direction, of which the longer are the stronger.

    The amplitude grows with the wavelength to the power 5/6, as in the cascade of turbulence (Kolmogorov 1941).

    Returns
    -------
    ndarray, shape (24, 4)
        Wave numbers along x and y (rad/px), amplitude, phase (rad). The sum has unit variance.
    """
    low, high = np.log(_WAVELENGTH_PX)
    length = np.exp(rng.uniform(low, high, _WAVES))
    direction, phase = rng.uniform(0.0, 2.0 * np.pi, (2, _WAVES))
    amplitude = length ** (5.0 / 6.0)
    amplitude *= np.sqrt(2.0 / (amplitude**2).sum())
    number = 2.0 * np.pi / length
    return np.column_stack([number * np.cos(direction), number * np.sin(direction), amplitude, phase])


def transmission(
    conditions: Conditions, shape: tuple[int, int], *, offset_px: tuple[float, float] = (0.0, 0.0)
) -> F4 | None:
    """Share of the light that passes the patches of clouds.

    Parameters
    ----------
    conditions : Conditions
        `cloud_modes` and `cloud_mag` of the exposure.
    shape : (int, int)
        (ny, nx) of the chip.
    offset_px : (float, float)
        Chip's centre minus the field's centre along x and y: neighbouring chips see the same clouds.

    Returns
    -------
    ndarray, shape (ny, nx), float32, or None
        Between 10^(-0.4 cloud_mag) and 1; None without patches.
    """
    if conditions.cloud_modes is None or not conditions.cloud_mag:
        return None
    ny, nx = shape
    kx, ky, amplitude, phase = conditions.cloud_modes.T
    along = np.multiply.outer(np.arange(nx) - (nx - 1) / 2 + offset_px[0], kx)
    across = np.multiply.outer(np.arange(ny) - (ny - 1) / 2 + offset_px[1], ky) + phase
    # cos(a + b) = cos a cos b - sin a sin b, so that the sum of all waves is one matrix product.
    rows = np.hstack([amplitude * np.cos(across), -amplitude * np.sin(across)]).astype(np.float32)
    columns = np.hstack([np.cos(along), np.sin(along)]).astype(np.float32)
    # The logistic function makes clear gaps and patches of an even greatest thickness.
    thickness = 1.0 / (1.0 + np.exp(np.float32(-_CONTRAST) * (rows @ columns.T)))
    share: F4 = np.exp(np.float32(-0.4 * np.log(10.0) * conditions.cloud_mag) * thickness)
    return share
