"""Seeing, sky, pointing and registration error of one exposure, drawn from the ranges of the survey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.simulate.camera import smooth_modes, smooth_values
from gueststar.simulate.painter import PsfField
from gueststar.simulate.survey import Survey

__all__ = ["Conditions", "draw_conditions", "make_psf_field", "registration_error"]

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """What one exposure was like.

    Parameters
    ----------
    mjd : float
        Start of the exposure, UTC.
    fwhm_px, beta, e1, e2 : float
        Moffat PSF at the chip centre.
    fwhm_tilt : (float, float, float)
        Change of the FWHM over the chip: along x, along y, and from centre to corner, fractions.
    shape_tilt : (float, float, float, float)
        Change of e1 and e2 along x and y from centre to edge.
    sky_mag, extinction_mag : float
        Sky brightness (mag/arcsec^2) and light lost to clouds (mag).
    sky_gradient : (float, float)
        Change of the sky from edge to edge along x and y, fractions.
    aureole, aureole_slope, spike_angle_rad : float
        Light around bright stars.
    pointing_px : (float, float)
        Shift of the field on the chip against its nominal place.
    rotation_deg : float
        The same for rotation.
    error_shift_px, error_rotation_px, error_gradient_px
        Error of the header's WCS: shift (x, y), rotation at the corner, and coefficients (2, 5) of
        u, v, u^2, uv, v^2 with u, v in -1..1.
    wobble_px : ndarray, shape (2, modes, modes)
        Smooth random shifts, coefficients of cosines.
    """

    mjd: float
    fwhm_px: float
    beta: float
    e1: float
    e2: float
    fwhm_tilt: tuple[float, float, float]
    shape_tilt: tuple[float, float, float, float]
    sky_mag: float
    extinction_mag: float
    sky_gradient: tuple[float, float]
    aureole: float
    aureole_slope: float
    spike_angle_rad: float
    pointing_px: tuple[float, float]
    rotation_deg: float
    error_shift_px: tuple[float, float]
    error_rotation_px: float
    error_gradient_px: F8
    wobble_px: F8

    def as_row(self) -> dict[str, float]:
        """The plain numbers, for a table."""
        ellipticity = float(np.hypot(self.e1, self.e2))
        return {
            "mjd": self.mjd,
            "fwhm_px": self.fwhm_px,
            "moffat_beta": self.beta,
            "ellipticity": ellipticity,
            "psf_angle_deg": float(np.degrees(0.5 * np.arctan2(self.e2, self.e1))),
            "fwhm_corner_change": self.fwhm_tilt[2],
            "sky_mag": self.sky_mag,
            "sky_gradient": float(np.hypot(*self.sky_gradient)),
            "extinction_mag": self.extinction_mag,
            "aureole": self.aureole,
            "pointing_x_px": self.pointing_px[0],
            "pointing_y_px": self.pointing_px[1],
            "rotation_deg": self.rotation_deg,
            "wcs_shift_x_px": self.error_shift_px[0],
            "wcs_shift_y_px": self.error_shift_px[1],
            "wcs_rotation_px": self.error_rotation_px,
            "wcs_gradient_px": float(np.sqrt((self.error_gradient_px**2).mean())),
        }


def draw_conditions(survey: Survey, rng: np.random.Generator, *, mjd: float) -> Conditions:
    """Draw the conditions of one exposure."""
    ellipticity, angle = rng.uniform(*survey.ellipticity), rng.uniform(0.0, np.pi)
    slope, direction = rng.uniform(*survey.sky_gradient), rng.uniform(0.0, 2.0 * np.pi)
    tilt = rng.uniform(-survey.psf_variation, survey.psf_variation, 3)
    bend = rng.normal(0.0, 0.25 * (ellipticity + 0.01), 4)
    return Conditions(
        mjd=mjd,
        fwhm_px=float(rng.uniform(*survey.fwhm_px)),
        beta=float(rng.uniform(*survey.moffat_beta)),
        e1=float(ellipticity * np.cos(2.0 * angle)),
        e2=float(ellipticity * np.sin(2.0 * angle)),
        fwhm_tilt=(float(tilt[0]) / 3, float(tilt[1]) / 3, float(tilt[2])),
        shape_tilt=(float(bend[0]), float(bend[1]), float(bend[2]), float(bend[3])),
        sky_mag=float(rng.uniform(*survey.sky_mag)),
        extinction_mag=float(rng.uniform(*survey.extinction_mag)),
        sky_gradient=(float(slope * np.cos(direction)), float(slope * np.sin(direction))),
        aureole=float(rng.uniform(*survey.aureole)),
        aureole_slope=float(rng.uniform(*survey.aureole_slope)),
        spike_angle_rad=float(np.pi / 4 + rng.normal(0.0, 0.002)),
        pointing_px=(float(rng.normal(0.0, 1.0) * survey.dither_px), float(rng.normal(0.0, 1.0) * survey.dither_px)),
        rotation_deg=float(rng.normal(0.0, 1.0) * survey.rotation_deg),
        error_shift_px=(
            float(rng.normal(0.0, 1.0) * survey.wcs_shift_px),
            float(rng.normal(0.0, 1.0) * survey.wcs_shift_px),
        ),
        error_rotation_px=float(rng.normal(0.0, 1.0) * survey.wcs_rotation_px),
        error_gradient_px=rng.normal(0.0, 0.5, (2, 5)) * survey.wcs_gradient_px,
        wobble_px=np.stack([smooth_modes(rng), smooth_modes(rng)]) * survey.wobble_px,
    )


def make_psf_field(conditions: Conditions, shape: tuple[int, int]) -> PsfField:
    """Point-spread function of an exposure over the chip, from its values at 3 x 3 places."""
    v, u = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij")
    tx, ty, corner = conditions.fwhm_tilt
    fwhm = conditions.fwhm_px * (1.0 + tx * u + ty * v + corner * (u * u + v * v) / 2.0)
    ax, ay, bx, by = conditions.shape_tilt
    e1, e2 = conditions.e1 + ax * u + ay * v, conditions.e2 + bx * u + by * v
    return PsfField.moffat(shape, fwhm=np.maximum(fwhm, 1.2), beta=conditions.beta, e1=e1, e2=e2)


def registration_error(conditions: Conditions, x: F8, y: F8, shape: tuple[int, int]) -> tuple[F8, F8]:
    """True position minus the position by the header's WCS, px."""
    ny, nx = shape
    u, v = 2.0 * x / max(nx - 1, 1) - 1.0, 2.0 * y / max(ny - 1, 1) - 1.0
    turn = conditions.error_rotation_px / float(np.hypot(nx / 2, ny / 2))
    terms = np.stack([u, v, u * u, u * v, v * v])
    gradient = conditions.error_gradient_px @ terms
    dx = conditions.error_shift_px[0] - turn * (y - (ny - 1) / 2) + gradient[0]
    dy = conditions.error_shift_px[1] + turn * (x - (nx - 1) / 2) + gradient[1]
    dx = dx + smooth_values(conditions.wobble_px[0], x, y, shape)
    dy = dy + smooth_values(conditions.wobble_px[1], x, y, shape)
    return dx, dy
