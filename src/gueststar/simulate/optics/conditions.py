"""Seeing, sky, clouds, pointing and registration error of one exposure, drawn from the ranges of the survey.

Every number is drawn whether it is used or not, so that switching one failure off leaves all others as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gueststar.simulate.camera import smooth_modes, smooth_values
from gueststar.simulate.optics.blur import Blur
from gueststar.simulate.optics.clouds import cloud_waves, transmission
from gueststar.simulate.optics.painter import PsfField
from gueststar.simulate.survey import Survey

__all__ = [
    "FAILURES",
    "Conditions",
    "draw_conditions",
    "fail_wcs",
    "make_psf_field",
    "registration_error",
    "share_optics",
    "transmission",
]

F8 = NDArray[np.float64]

#: Names of what can spoil a whole frame.
FAILURES = ("trailed", "defocused", "bad_seeing", "clouds", "misregistered")


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
    bad_seeing : bool
        Whether `fwhm_px` was drawn from the range of bad seeing.
    trail_px, trail_angle_rad : float
        Length and direction (from +x towards +y) of the trail that each star makes; 0: guided well.
    defocus_px : float
        Outer diameter of the ring that each star makes; 0: in focus.
    cloud_mag : float
        Light lost in the thickest patches of clouds, beside `extinction_mag`; 0: none.
    cloud_modes : ndarray, shape (waves, 4), or None
        Patches as a sum of plane waves: wave numbers along x and y (rad/px), amplitude, phase; see
        `gueststar.simulate.optics.clouds`.
    colour_term : float
        Magnitude in this exposure changes by this per magnitude of colour.
    wcs_failed_px : (float, float)
        Gross error of the header's WCS on this chip, beside the usual one: shift (x, y).
    wcs_failed_rotation_px : float
        The same: rotation about the chip's centre, px at the corner.
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
    bad_seeing: bool = False
    trail_px: float = 0.0
    trail_angle_rad: float = 0.0
    defocus_px: float = 0.0
    cloud_mag: float = 0.0
    cloud_modes: F8 | None = None
    colour_term: float = 0.0
    wcs_failed_px: tuple[float, float] = (0.0, 0.0)
    wcs_failed_rotation_px: float = 0.0

    @property
    def failures(self) -> tuple[str, ...]:
        """Which of `FAILURES` spoil the frame."""
        gross = self.wcs_failed_px != (0.0, 0.0) or self.wcs_failed_rotation_px != 0.0
        happened = (self.trail_px > 0, self.defocus_px > 0, self.bad_seeing, self.cloud_mag > 0, gross)
        return tuple(name for name, yes in zip(FAILURES, happened, strict=True) if yes)

    @property
    def blur(self) -> Blur | None:
        """Trailing and defocus; None for a good exposure."""
        if not self.trail_px and not self.defocus_px:
            return None
        return Blur(self.trail_px, self.trail_angle_rad, self.defocus_px)

    def as_row(self) -> dict[str, float | str]:
        """The plain numbers, for a table; `failure` names what spoils the frame, separated by commas."""
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
            "trail_px": self.trail_px,
            "trail_angle_deg": float(np.degrees(self.trail_angle_rad)),
            "defocus_px": self.defocus_px,
            "cloud_mag": self.cloud_mag,
            "colour_term": self.colour_term,
            "wcs_failed_x_px": self.wcs_failed_px[0],
            "wcs_failed_y_px": self.wcs_failed_px[1],
            "wcs_failed_rotation_px": self.wcs_failed_rotation_px,
            "failure": ",".join(self.failures),
        }


def draw_conditions(survey: Survey, rng: np.random.Generator, *, mjd: float, earlier: bool = False) -> Conditions:
    """Draw the conditions of one exposure: as on any good one, then what spoils some.

    Parameters
    ----------
    survey : Survey
    rng : Generator
        Of this exposure; all its chips share the conditions.
    mjd : float
        Start of the exposure, UTC.
    earlier : bool
        Of a night before tonight: through the filter of the references, `reference_colour_term`.
    """
    return _draw_failures(survey, _draw_usual(survey, rng, mjd=mjd), rng, earlier=earlier)


def _draw_usual(survey: Survey, rng: np.random.Generator, *, mjd: float) -> Conditions:
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


def _draw_failures(survey: Survey, usual: Conditions, rng: np.random.Generator, *, earlier: bool) -> Conditions:
    """Bad seeing, trailing, defocus and clouds at their rates, and the colour term."""
    trailed, defocused, bad, cloudy = rng.random(4) < (
        survey.trailing_rate, survey.defocus_rate, survey.bad_seeing_rate, survey.cloud_patch_rate
    )  # fmt: skip
    trail, ring, bad_fwhm = (
        float(rng.uniform(*limits)) for limits in (survey.trailing_px, survey.defocus_px, survey.bad_seeing_px)
    )
    thickest, angle, term = rng.uniform(*survey.cloud_patch_mag), rng.uniform(0.0, np.pi), rng.normal()
    waves = cloud_waves(rng)
    return replace(
        usual,
        fwhm_px=bad_fwhm if bad else usual.fwhm_px,
        bad_seeing=bool(bad),
        trail_px=trail if trailed else 0.0,
        trail_angle_rad=float(angle) if trailed else 0.0,
        defocus_px=ring if defocused else 0.0,
        cloud_mag=float(thickest) if cloudy else 0.0,
        cloud_modes=waves if cloudy else None,
        colour_term=float(term * survey.colour_term) + (survey.reference_colour_term if earlier else 0.0),
    )


def share_optics(survey: Survey, conditions: Conditions, chip_rng: np.random.Generator) -> Conditions:
    """Conditions with the chip's own pattern of the PSF and its aureole, of which each exposure changes a part.

    On real frames the map of the FWHM over a chip stays from exposure to exposure (correlation 0.6 to 0.8 on two
    cameras); independent maps would leave residuals that no pair of a real survey has.

    Parameters
    ----------
    survey : Survey
    conditions : Conditions
        Of the exposure.
    chip_rng : Generator
        Of this chip; the same for all exposures.
    """
    part = survey.optics_change
    tilt = chip_rng.uniform(-survey.psf_variation, survey.psf_variation, 3) / np.array([3.0, 3.0, 1.0])
    bend = chip_rng.normal(0.0, 0.25 * (np.mean(survey.ellipticity) + 0.01), 4)
    aureole, slope = chip_rng.uniform(*survey.aureole), chip_rng.uniform(*survey.aureole_slope)

    def mixed(own: tuple[float, ...], chip: F8) -> list[float]:
        return [float((1.0 - part) * steady + part * now) for now, steady in zip(own, chip, strict=True)]

    x, y, corner = mixed(conditions.fwhm_tilt, tilt)
    ax, ay, bx, by = mixed(conditions.shape_tilt, bend)
    halo = mixed((conditions.aureole, conditions.aureole_slope), np.array([aureole, slope]))
    return replace(
        conditions, fwhm_tilt=(x, y, corner), shape_tilt=(ax, ay, bx, by), aureole=halo[0], aureole_slope=halo[1]
    )


def fail_wcs(survey: Survey, conditions: Conditions, rng: np.random.Generator) -> Conditions:
    """Conditions of one chip, of which the header's WCS is grossly wrong at the survey's rate.

    Two thirds of those frames are shifted, one third is rotated about its centre.

    Parameters
    ----------
    survey : Survey
    conditions : Conditions
        Of the exposure.
    rng : Generator
        Of this chip in this exposure.
    """
    failed, turned = rng.random() < survey.wcs_failure_rate, rng.random() < 1.0 / 3.0
    size, angle = rng.uniform(*survey.wcs_failure_px), rng.uniform(0.0, 2.0 * np.pi)
    if not failed:
        return conditions
    if turned:
        return replace(conditions, wcs_failed_rotation_px=float(np.copysign(size, angle - np.pi)))
    return replace(conditions, wcs_failed_px=(float(size * np.cos(angle)), float(size * np.sin(angle))))


def make_psf_field(conditions: Conditions, shape: tuple[int, int]) -> PsfField:
    """Point-spread function of an exposure over the chip, from its values at 3 x 3 places."""
    v, u = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij")
    tx, ty, corner = conditions.fwhm_tilt
    fwhm = conditions.fwhm_px * (1.0 + tx * u + ty * v + corner * (u * u + v * v) / 2.0)
    ax, ay, bx, by = conditions.shape_tilt
    e1, e2 = conditions.e1 + ax * u + ay * v, conditions.e2 + bx * u + by * v
    return PsfField.moffat(shape, fwhm=np.maximum(fwhm, 1.2), beta=conditions.beta, e1=e1, e2=e2, blur=conditions.blur)


def registration_error(conditions: Conditions, x: F8, y: F8, shape: tuple[int, int]) -> tuple[F8, F8]:
    """True position minus the position by the header's WCS, px; a gross failure is included."""
    ny, nx = shape
    u, v = 2.0 * x / max(nx - 1, 1) - 1.0, 2.0 * y / max(ny - 1, 1) - 1.0
    turn = (conditions.error_rotation_px + conditions.wcs_failed_rotation_px) / float(np.hypot(nx / 2, ny / 2))
    terms = np.stack([u, v, u * u, u * v, v * v])
    gradient = conditions.error_gradient_px @ terms
    shift = np.add(conditions.error_shift_px, conditions.wcs_failed_px)
    dx = shift[0] - turn * (y - (ny - 1) / 2) + gradient[0]
    dy = shift[1] + turn * (x - (nx - 1) / 2) + gradient[1]
    dx = dx + smooth_values(conditions.wobble_px[0], x, y, shape)
    dy = dy + smooth_values(conditions.wobble_px[1], x, y, shape)
    return dx, dy
