"""From light on the chip to electrons as they are after dark and flat, with the faults of the detector among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gueststar.simulate import detector
from gueststar.simulate.camera import vignetting_plane
from gueststar.simulate.frame import Place
from gueststar.simulate.optics.conditions import Conditions
from gueststar.simulate.survey import Survey
from gueststar.simulate.truth import thing_rows

__all__ = ["ChipFaults", "pixel_noise_e", "read_out"]

F4 = NDArray[np.float32]

_TRACK_PX = 2.0


@dataclass(frozen=True, slots=True)
class ChipFaults:
    """Random numbers of what stays with a chip from exposure to exposure.

    Parameters
    ----------
    seed : SeedSequence
        Of the chip: its hot pixels, columns, glow and flat residual.
    holes : SeedSequence or None
        Of the holes in the earlier frames of this field and chip; None: no holes in this frame.
    """

    seed: np.random.SeedSequence
    holes: np.random.SeedSequence | None = None

    def generators(self, count: int) -> list[np.random.Generator]:
        """Always the same generators, one for each kind of fault."""
        # Spawning from a copy leaves the caller's sequence as it was.
        copy = np.random.SeedSequence(self.seed.entropy, spawn_key=self.seed.spawn_key)
        return [np.random.default_rng(seed) for seed in copy.spawn(count)]


def read_out(
    survey: Survey,
    light: F4,
    place: Place,
    conditions: Conditions,
    *,
    sky_e: float,
    exposures: int,
    rng: np.random.Generator,
    chip: ChipFaults,
) -> tuple[F4, list[Table]]:
    """Detect the light.

    Parameters
    ----------
    survey : Survey
    light : ndarray, shape (ny, nx), float32
        Of all sources, e-, before vignetting.
    place : Place
    conditions : Conditions
    sky_e : float
        Level of the sky, e-/px.
    exposures : int
        Exposures summed in the frame.
    rng : Generator
        Of this exposure.
    chip : ChipFaults
        What stays with the chip.

    Returns
    -------
    counts : ndarray, shape (ny, nx), float32
        Electrons after dark and flat; NaN in holes.
    things : list of Table
        Truth rows of particles and faults.
    """
    shape, seconds = place.shape, survey.exposure_s * exposures
    frames = survey.frames * exposures
    hot_rng, flat_rng, column_rng, glow_rng, dark_rng, dust_rng = chip.generators(6)
    optics = _optics(survey, place, shape)
    sky = detector.sky_plane(shape, sky_e, conditions.sky_gradient)
    if survey.sky_structure:
        sky *= detector.sky_structure(shape, survey.sky_structure, rng)
    falling = (light + sky) * optics
    falling *= detector.flat_residual(shape, survey.flat_error, flat_rng)
    chips = shape[0] * shape[1] / detector.CHIP_PIXELS
    dust = detector.dust_rings(shape, survey.dust_rings_per_chip * chips, dust_rng)
    if dust is not None:
        falling *= dust
    if survey.edge_glow_e[1] > 0:
        falling += exposures * detector.edge_glow(shape, glow_rng.uniform(*survey.edge_glow_e), glow_rng)
    rate = survey.cosmic_rays_per_chip * chips * seconds / 6.0
    charge, rays = detector.cosmic_rays(shape, rate, rng)
    dark_e = np.float32(survey.dark_e_s * seconds)
    counts = detector.poisson_noise(falling + dark_e, rng) + charge
    hot_plane, hot = detector.hot_pixels(
        shape,
        survey.hot_pixels,
        seconds,
        hot_rng,
        rng,
        telegraph_share=survey.telegraph_share,
        left=survey.hot_left,
    )
    bad_plane, columns = detector.bad_columns(shape, survey.bad_columns_per_chip * chips, column_rng, rng)
    counts += hot_plane + bad_plane
    full_e = survey.full_well_e * frames
    counts = detector.bleed(counts, full_e) if survey.bleeding else np.minimum(counts, np.float32(full_e))
    if survey.read_noise_e:
        counts += detector.read_noise(shape, survey.read_noise_e * float(np.sqrt(frames)), rng)
    if survey.pattern_e:
        counts += detector.pattern_noise(shape, survey.pattern_e, rng)
    if survey.column_pairs_e:
        counts += detector.column_pairs(shape, survey.column_pairs_e, rng)
    if survey.dark_pattern_e:
        counts += exposures * detector.dark_pattern(shape, survey.dark_pattern_e, dark_rng)
    counts -= dark_e
    counts /= optics
    things = [_rows("cosmic_ray", rays), _rows(None, hot), _rows("bad_column", columns)]
    if chip.holes is not None:
        holes = detector.holes(
            shape, survey.reference_holes_per_chip * chips, survey.reference_hole_px, np.random.default_rng(chip.holes)
        )
        for hole in holes:
            counts[hole["y0"] : hole["y1"], hole["x0"] : hole["x1"]] = np.nan
        things.append(_hole_rows(holes))
    return counts, things


def pixel_noise_e(survey: Survey, place: Place, sky_e: float, exposures: int) -> float:
    """Noise of the sky at the chip's centre after the flat, e- per pixel."""
    share = float(_optics(survey, place, (1, 1))[0, 0])
    detector_e2 = exposures * (survey.dark_e_s * survey.exposure_s + survey.frames * survey.read_noise_e**2)
    return float(np.sqrt(sky_e / share + detector_e2 / share**2))


def _optics(survey: Survey, place: Place, shape: tuple[int, int]) -> F4:
    """Share of the light that the optics pass, for each pixel; (1, 1) gives that of the chip's centre."""
    if not survey.vignetting:
        return np.ones((1, 1), np.float32)
    return vignetting_plane(shape, place.offset_deg, survey.pixel_scale_arcsec / 3600.0)


def _rows(kind: str | None, found: Table) -> Table:
    """Truth rows of hits or faults; with the columns of `found` that a truth table knows."""
    columns = {name: found[name] for name in ("x", "y", "flux_e", "length_px", "kind") if name in found.colnames}
    if "angle_rad" in found.colnames:
        # A ray that crosses one pixel or two has no direction.
        tracks = np.asarray(found["length_px"]) > _TRACK_PX
        columns["angle_deg"] = np.where(tracks, np.degrees(found["angle_rad"]), np.nan)
    if kind is not None:
        columns["kind"] = np.full(len(found), kind)
    if "flux_e" in columns:
        columns["change_e"] = columns["flux_e"]
    return thing_rows(len(found), **columns)


def _hole_rows(holes: Table) -> Table:
    x0, x1, y0, y1 = (np.asarray(holes[name], np.float64) for name in ("x0", "x1", "y0", "y1"))
    return thing_rows(
        len(holes), kind="hole", x=0.5 * (x0 + x1 - 1), y=0.5 * (y0 + y1 - 1), length_px=np.maximum(x1 - x0, y1 - y0)
    )
