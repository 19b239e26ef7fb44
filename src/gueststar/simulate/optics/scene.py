"""The light of all sources on a chip: points, galaxies, bright stars, trails and satellites, seen through clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from gueststar.simulate.frame import Place, flux_e
from gueststar.simulate.optics.bright import Halo, ghost_places, paint_bright
from gueststar.simulate.optics.conditions import Conditions, transmission
from gueststar.simulate.optics.galaxies import paint_galaxies
from gueststar.simulate.optics.nebulae import paint_nebula
from gueststar.simulate.optics.painter import PsfField, paint_points
from gueststar.simulate.optics.trails import paint_trails
from gueststar.simulate.survey import Survey
from gueststar.simulate.truth import thing_rows

__all__ = ["Scene", "paint_scene"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Light on a chip, without noise and before vignetting.

    Parameters
    ----------
    total : ndarray, shape (ny, nx), float32
        Of all sources, e-.
    galaxies : ndarray, shape (ny, nx), float32
        Of the galaxies alone, e-.
    nebula : ndarray, shape (ny, nx), float32
        Of the nebula alone, e-.
    things : list of Table
        Truth rows of satellites and ghosts.
    clear : ndarray, shape (ny, nx), float32, or None
        Share of the light that patchy clouds pass; None: all.
    """

    total: F4
    galaxies: F4
    nebula: F4
    things: list[Table]
    clear: F4 | None


def paint_scene(
    survey: Survey,
    seen: Table,
    satellites: Table,
    place: Place,
    conditions: Conditions,
    *,
    wcs: WCS,
    psf: PsfField,
    cut: float,
    exposures: int,
) -> Scene:
    """Draw all sources.

    Parameters
    ----------
    survey : Survey
    seen : Table
        The sky at the moment, with x, y (px), flux (e-), re_px, trail_px and trail_rad; `nebula_seed` in its `meta`.
    satellites : Table
        From `draw_satellites`.
    place : Place
    conditions : Conditions
    wcs : WCS
        By the frame's header.
    psf : PsfField
    cut : float
        Light below this per pixel is not followed, e-.
    exposures : int
        Exposures summed in the frame.
    """
    extended = np.asarray(seen["kind"]) == "galaxy"
    bright = np.asarray(seen["flux"]) > 0
    trailing = np.asarray(seen["trail_px"]) > 0
    points = ~extended & bright & ~trailing
    x, y, flux = (np.asarray(seen[column])[points] for column in ("x", "y", "flux"))
    halo = Halo(
        share=conditions.aureole,
        slope=conditions.aureole_slope,
        spikes=survey.spikes,
        angle_rad=conditions.spike_angle_rad,
        ghosts=survey.ghosts,
        toward_centre=(-place.offset_deg[0], -place.offset_deg[1]),
    )
    galaxies = paint_galaxies(place.shape, seen[extended], psf, cut=cut)
    light = paint_points(place.shape, x, y, flux, psf, cut=cut) + galaxies
    light += paint_bright(place.shape, x, y, flux, psf, halo=halo, cut=cut)
    nebula = paint_nebula(survey, seen.meta["nebula_seed"], place, conditions, wcs=wcs, psf=psf, exposures=exposures)
    light += nebula
    light += _moving_light(survey, seen[trailing & bright], place, psf=psf, cut=cut, exposures=exposures)
    ghosts = ghost_places(place.shape, x, y, flux, halo=halo, cut=cut)
    things = [
        thing_rows(
            len(ghosts), kind="ghost", x=ghosts["x"], y=ghosts["y"], flux_e=ghosts["flux_e"],
            length_px=2.0 * ghosts["radius_px"], source_id=np.asarray(seen["source_id"])[points][ghosts["row"]],
        )
    ]  # fmt: skip
    if len(satellites):
        trails, rows = _satellites(survey, satellites, place, conditions, psf=psf, cut=cut, exposures=exposures)
        light += trails
        things.append(rows)
    scale = survey.pixel_scale_arcsec / 3600.0
    offset = place.offset_deg[0] / scale, place.offset_deg[1] / scale
    clear = transmission(conditions, place.shape, offset_px=offset)
    if clear is not None:
        light, galaxies, nebula = light * clear, galaxies * clear, nebula * clear
    return Scene(light, galaxies, nebula, things, clear)


def _moving_light(survey: Survey, rows: Table, place: Place, *, psf: PsfField, cut: float, exposures: int) -> F4:
    """Light of what moves fast enough to trail during the exposure."""
    half = 0.5 * np.asarray(rows["trail_px"])
    dx, dy = half * np.cos(rows["trail_rad"]), half * np.sin(rows["trail_rad"])
    return paint_trails(
        place.shape, rows["x"] - dx, rows["y"] - dy, rows["x"] + dx, rows["y"] + dy, rows["flux"], psf, cut=cut,
        exposure_s=survey.exposure_s * exposures, rolling_shutter_s=0.0,
    )  # fmt: skip


def _satellites(
    survey: Survey,
    satellites: Table,
    place: Place,
    conditions: Conditions,
    *,
    psf: PsfField,
    cut: float,
    exposures: int,
) -> tuple[F4, Table]:
    """Trails of satellites, and their truth."""
    x0, y0, x1, y1 = (np.asarray(satellites[name], np.float64) for name in ("x0", "y0", "x1", "y1"))
    t0, t1 = (np.asarray(satellites[name], np.float64) for name in ("t0_s", "t1_s"))
    one_second = flux_e(survey, satellites["mag_s"], extinction_mag=conditions.extinction_mag) / survey.exposure_s
    flux = one_second * (t1 - t0)
    trails = paint_trails(
        place.shape, x0, y0, x1, y1, flux, psf, cut=cut, t0_s=t0, t1_s=t1, exposure_s=survey.exposure_s * exposures,
        rolling_shutter_s=survey.rolling_shutter_s,
    )  # fmt: skip
    start, end = _on_frame(x0, y0, x1, y1, place.shape)
    xs, ys = (np.stack([low + start * (high - low), low + end * (high - low)]) for low, high in ((x0, x1), (y0, y1)))
    rows = thing_rows(
        len(satellites), kind="satellite", variable_type=satellites["satellite_type"], x=xs.mean(axis=0),
        y=ys.mean(axis=0), mag=satellites["mag_s"], flux_e=flux * (end - start), change_e=flux * (end - start),
        length_px=np.hypot(xs[1] - xs[0], ys[1] - ys[0]), angle_deg=np.degrees(np.arctan2(y1 - y0, x1 - x0)),
    )  # fmt: skip
    rows = rows[end > start]
    return trails, rows


def _on_frame(x0: F8, y0: F8, x1: F8, y1: F8, shape: tuple[int, int]) -> tuple[F8, F8]:
    """Part of each path, from 0 to 1, that lies on the frame (Liang & Barsky 1984, ACM Trans. Graph. 3, 1)."""
    start, end = np.zeros(x0.size), np.ones(x0.size)
    for low, high, size in ((x0, x1, shape[1]), (y0, y1, shape[0])):
        step = np.where(high == low, 1e-9, high - low)
        first, last = (-0.5 - low) / step, (size - 0.5 - low) / step
        start = np.maximum(start, np.minimum(first, last))
        end = np.minimum(end, np.maximum(first, last))
    return start, end
