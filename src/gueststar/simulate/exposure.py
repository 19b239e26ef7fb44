"""One exposure of one chip: the sky through the optics onto the detector and into a file's numbers and header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gueststar.simulate import detector
from gueststar.simulate.bright import Halo, paint_bright
from gueststar.simulate.camera import (
    make_wcs,
    sexagesimal,
    utc_date_time,
    vignetting_plane,
    wcs_cards,
    world_to_pixel,
)
from gueststar.simulate.conditions import Conditions, make_psf_field, registration_error
from gueststar.simulate.galaxies import paint_galaxies
from gueststar.simulate.painter import PsfField, paint_points
from gueststar.simulate.sky import sky_at
from gueststar.simulate.survey import Survey

if TYPE_CHECKING:
    from gueststar.ingest.prepare import Ingest
    from gueststar.types import Image

__all__ = ["TRUTH_COLUMNS", "Place", "RawFrame", "expose", "flux_e"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

TRUTH_COLUMNS = (
    "image", "source_id", "kind", "x", "y", "ra", "dec", "mag", "flux_e", "change_e", "snr",
    "host_id", "host_mag", "host_offset_r25", "length_px",
)  # fmt: skip
_CUT_SIGMA = 0.05  # light below this part of the sky's noise in a pixel is not drawn


@dataclass(frozen=True, slots=True)
class Place:
    """Field and chip of an exposure.

    Parameters
    ----------
    field, chip : str
        Names.
    shape : (int, int)
        (ny, nx) of the chip.
    ra_deg, dec_deg : float
        Nominal centre of the chip.
    latitude_deg : float
        Galactic latitude.
    offset_deg : (float, float)
        Chip's centre minus field's centre along x and y.
    """

    field: str
    chip: str
    shape: tuple[int, int]
    ra_deg: float
    dec_deg: float
    latitude_deg: float
    offset_deg: tuple[float, float] = (0.0, 0.0)

    def cards(self, survey: Survey, conditions: Conditions | None = None) -> dict[str, Any]:
        """World coordinates as in a header: of an exposure, or nominal ones."""
        return wcs_cards(
            self.shape,
            ra_deg=self.ra_deg,
            dec_deg=self.dec_deg,
            scale_arcsec=survey.pixel_scale_arcsec,
            rotation_deg=0.0 if conditions is None else conditions.rotation_deg,
            shift_px=(0.0, 0.0) if conditions is None else conditions.pointing_px,
            distortion_px=survey.distortion_px,
        )

    def wcs(self, survey: Survey) -> WCS:
        """Nominal world coordinates."""
        return make_wcs(self.cards(survey))


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """One simulated frame, as it would come from the telescope.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
        Counts (ADU), sky included; dark and flat done.
    header : mapping
        Keywords as the instrument writes them, world coordinates included.
    gain_e_adu : float
    read_noise_e : float
        Of the whole stack.
    saturation_adu : float
        Of the whole stack.
    mjd_mid, exposure_s : float
        Middle (UTC) and length of the exposure.
    place : Place
        Field and chip.
    conditions : Conditions
        What the exposure was like.
    name : str
        File name without suffix.
    facts : mapping
        sky_e and sky_noise_e, per pixel at the chip's centre.
    """

    data: F4
    header: Mapping[str, Any]
    gain_e_adu: float
    read_noise_e: float
    saturation_adu: float
    mjd_mid: float
    exposure_s: float
    place: Place
    conditions: Conditions
    name: str
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def wcs(self) -> WCS:
        """World coordinates by the header."""
        return make_wcs(self.header)

    def image(self, *, ingest: Ingest | None = None, device: str = "cpu") -> Image:
        """The calibrated, sky-subtracted and measured image; see `gueststar.prepare_image`."""
        from gueststar.ingest.prepare import prepare_image

        return prepare_image(
            self.data,
            gain_e_adu=self.gain_e_adu,
            read_noise_e=self.read_noise_e,
            saturation_adu=self.saturation_adu,
            wcs=self.wcs,
            options=ingest,
            device=device,
            band=str(self.header["FILTER"]),
            mjd_mid=self.mjd_mid,
            exposure_s=self.exposure_s,
            field=self.place.field,
            chip=self.place.chip,
            instrument="tomoe",
            header=dict(self.header),
        )


def flux_e(survey: Survey, mag: ArrayLike, *, extinction_mag: float, exposures: int = 1) -> F8:
    """Electrons from a source in an exposure, before vignetting (the flat puts that back)."""
    m = np.asarray(mag, np.float64) + extinction_mag - survey.zeropoint_mag
    electrons: F8 = survey.exposure_s * exposures * 10.0 ** (-0.4 * m)
    return electrons


def expose(
    survey: Survey,
    sky: Table,
    place: Place,
    conditions: Conditions,
    *,
    rng: np.random.Generator,
    chip_seed: np.random.SeedSequence,
    name: str,
    exposure_id: int = 0,
    exposures: int = 1,
) -> tuple[RawFrame, Table]:
    """Make one frame and the truth about it.

    Parameters
    ----------
    survey : Survey
        Camera and faults.
    sky : Table
        From `make_sky`.
    place : Place
        Field and chip.
    conditions : Conditions
        Seeing, sky brightness and pointing.
    rng : Generator
        Of this exposure.
    chip_seed : SeedSequence
        Of this chip: its hot pixels and flat residual are the same in all exposures.
    name : str
        File name without suffix.
    exposure_id : int
        Number of the exposure.
    exposures : int
        Exposures summed in the frame.

    Returns
    -------
    RawFrame, Table
        The truth has one row per source and cosmic ray on the frame, with the columns `TRUTH_COLUMNS`.
    """
    seconds = survey.exposure_s * exposures
    sky_e = float(seconds * 10 ** (0.4 * (survey.zeropoint_mag - conditions.sky_mag)) * survey.pixel_scale_arcsec**2)
    noise_e = _noise(survey, place, sky_e, exposures)
    psf = make_psf_field(conditions, place.shape)
    cards = place.cards(survey, conditions)
    seen = _seen(survey, sky, place, conditions, wcs=make_wcs(cards), exposures=exposures)
    light = _light(survey, seen, place, conditions, psf=psf, cut=_CUT_SIGMA * noise_e)
    electrons, rays = _detect(
        survey, light, place, conditions, sky_e=sky_e, exposures=exposures, rng=rng, chip_seed=chip_seed
    )
    frame = RawFrame(
        data=(electrons / np.float32(survey.gain_e_adu)).astype(np.float32),
        header={**_header(survey, place, conditions.mjd, exposure_id, exposures=exposures), **cards},
        gain_e_adu=survey.gain_e_adu,
        read_noise_e=survey.read_noise_e * float(np.sqrt(survey.frames * exposures)),
        saturation_adu=survey.saturation_adu * survey.frames * exposures,
        mjd_mid=conditions.mjd + 0.5 * seconds / 86400.0,
        exposure_s=seconds,
        place=place,
        conditions=conditions,
        name=name,
        facts={"sky_e": sky_e, "sky_noise_e": noise_e},
    )
    return frame, _truth(seen, rays, frame, psf, noise_e)


def _optics(survey: Survey, place: Place, shape: tuple[int, int]) -> F4:
    """Share of the light that the optics pass, for each pixel; (1, 1) gives that of the chip's centre."""
    if not survey.vignetting:
        return np.ones((1, 1), np.float32)
    return vignetting_plane(shape, place.offset_deg, survey.pixel_scale_arcsec / 3600.0)


def _noise(survey: Survey, place: Place, sky_e: float, exposures: int) -> float:
    """Noise of the sky at the chip's centre after the flat, e- per pixel."""
    share = float(_optics(survey, place, (1, 1))[0, 0])
    detector_e2 = exposures * (survey.dark_e_s * survey.exposure_s + survey.frames * survey.read_noise_e**2)
    return float(np.sqrt(sky_e / share + detector_e2 / share**2))


def _seen(survey: Survey, sky: Table, place: Place, conditions: Conditions, *, wcs: WCS, exposures: int) -> Table:
    """The sky at the moment of the exposure, with true pixel positions and fluxes."""
    seen = sky_at(sky, conditions.mjd)
    x, y = world_to_pixel(wcs, seen["ra"], seen["dec"])
    dx, dy = registration_error(conditions, x, y, place.shape)
    seen["x"], seen["y"] = x + dx, y + dy
    seen["flux"] = flux_e(survey, seen["mag"], extinction_mag=conditions.extinction_mag, exposures=exposures)
    seen["re_px"] = seen["re_arcsec"] / survey.pixel_scale_arcsec
    return seen


def _light(survey: Survey, seen: Table, place: Place, conditions: Conditions, *, psf: PsfField, cut: float) -> F4:
    """Light of all sources on the chip, e-, without noise and before vignetting."""
    extended = np.asarray(seen["kind"]) == "galaxy"
    points = ~extended & (np.asarray(seen["flux"]) > 0)
    x, y, flux = (np.asarray(seen[column])[points] for column in ("x", "y", "flux"))
    halo = Halo(
        share=conditions.aureole,
        slope=conditions.aureole_slope,
        spikes=survey.spikes,
        angle_rad=conditions.spike_angle_rad,
        ghosts=survey.ghosts,
        toward_centre=(-place.offset_deg[0], -place.offset_deg[1]),
    )
    light = paint_points(place.shape, x, y, flux, psf, cut=cut)
    light += paint_galaxies(place.shape, seen[extended], psf, cut=cut)
    light += paint_bright(place.shape, x, y, flux, psf, halo=halo, cut=cut)
    return light


def _detect(
    survey: Survey,
    light: F4,
    place: Place,
    conditions: Conditions,
    *,
    sky_e: float,
    exposures: int,
    rng: np.random.Generator,
    chip_seed: np.random.SeedSequence,
) -> tuple[F4, Table]:
    """Electrons as they are after dark and flat, and the cosmic rays among them."""
    shape, seconds = place.shape, survey.exposure_s * exposures
    frames = survey.frames * exposures
    # Spawning from a copy leaves the caller's sequence as it was.
    hot_seed, flat_seed = np.random.SeedSequence(chip_seed.entropy, spawn_key=chip_seed.spawn_key).spawn(2)
    optics = _optics(survey, place, shape)
    falling = (light + detector.sky_plane(shape, sky_e, conditions.sky_gradient)) * optics
    falling *= detector.flat_residual(shape, survey.flat_error, np.random.default_rng(flat_seed))
    rate = survey.cosmic_rays_per_chip * (shape[0] * shape[1] / detector.CHIP_PIXELS) * seconds / 6.0
    charge, rays = detector.cosmic_rays(shape, rate, rng)
    dark_e = np.float32(survey.dark_e_s * seconds)
    counts = detector.poisson_noise(falling + dark_e, rng) + charge
    counts += detector.hot_pixels(shape, survey.hot_pixels, seconds, np.random.default_rng(hot_seed), rng)
    counts = np.minimum(counts, np.float32(survey.full_well_e * frames))
    if survey.read_noise_e:
        counts += detector.read_noise(shape, survey.read_noise_e * float(np.sqrt(frames)), rng)
    if survey.pattern_e:
        counts += detector.pattern_noise(shape, survey.pattern_e, rng)
    counts -= dark_e
    counts /= optics
    return counts, rays


def _truth(seen: Table, rays: Table, frame: RawFrame, psf: PsfField, noise_e: float) -> Table:
    """Sources and cosmic rays on the frame."""
    ny, nx = frame.place.shape
    x, y, flux = (np.asarray(seen[name]) for name in ("x", "y", "flux"))
    inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5) & (flux > 0)
    rows = seen[inside]
    stamp = psf.stamps([(nx - 1) / 2], [(ny - 1) / 2])[0]
    area = 1.0 / float((stamp.astype(np.float64) ** 2).sum())
    truth = Table({name: rows[name] for name in ("source_id", "kind", "x", "y", "ra", "dec", "mag")})
    truth["flux_e"] = rows["flux"]
    truth["change_e"] = 0.0
    # Matched filter on a sky-limited background, plus the photon noise of the source itself.
    truth["snr"] = rows["flux"] / np.sqrt(area * noise_e**2 + rows["flux"])
    for name in ("host_id", "host_mag", "host_offset_r25"):
        truth[name] = rows[name]
    truth["length_px"] = np.nan
    hits = Table({"kind": np.full(len(rays), "cosmic_ray"), "x": rays["x"], "y": rays["y"], "flux_e": rays["flux_e"]})
    hits["length_px"], hits["source_id"], hits["host_id"] = rays["length_px"], -1, -1
    hits["change_e"] = hits["flux_e"]
    hits["ra"], hits["dec"] = frame.wcs.all_pix2world(rays["x"], rays["y"], 0) if len(rays) else (np.empty(0),) * 2
    for name in ("mag", "snr", "host_mag", "host_offset_r25"):
        hits[name] = np.full(len(rays), np.nan)
    truth["kind"] = np.asarray(truth["kind"]).astype("U12")
    both = vstack([truth, hits], metadata_conflicts="silent") if len(rays) else truth
    both["image"] = np.full(len(both), frame.name)
    both.meta.clear()
    return both[list(TRUTH_COLUMNS)]


def _header(
    survey: Survey, place: Place, mjd: float, exposure_id: int, *, exposures: int
) -> dict[str, str | int | float | bool]:
    """Keywords in the manner of Tomo-e Gozen's stacks."""
    date, clock = utc_date_time(mjd)
    seconds = survey.exposure_s * exposures
    return {
        "OBJECT": f"{place.field}_dith1",
        "EXPTIME": seconds,
        "TELAPSE": seconds,
        "EXPTIME1": survey.frame_s,
        "TFRAME": survey.frame_s,
        "DATA-FPS": 1.0 / survey.frame_s,
        "DATA-TYP": "OBJECT",
        "OBS-MOD": "Imaging",
        "FILTER": "BLANK",
        "PROJECT": "gueststar simulation",
        "OBSERVER": "gueststar",
        "PIPELINE": "simulate",
        "DATE-OBS": date,
        "TIME-OBS": clock,
        "UTC": clock,
        "RA": sexagesimal(place.ra_deg / 15.0),
        "DEC": sexagesimal(place.dec_deg, sign=True),
        "EXP_ID": exposure_id,
        "DET_ID": place.chip,
        "GAIN": survey.gain_e_adu,
    }
