"""Simulated fields of known truth: pairs, the truth of both frames, and the noiseless scene for the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from simulated_night import on_frame

from gueststar.simulate import exposure, visits
from gueststar.simulate.camera import make_wcs, world_to_pixel
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.types import Image

__all__ = ["FIELDS", "FieldPair", "make_pair"]

SHAPE = (1152, 2048)
TRANSIENTS = ("supernova", "hostless")
# The header's WCS is wrong by about 0.4 px rms: shift, rotation and gradient.
_COMMON: dict[str, Any] = {
    "wcs_shift_px": 0.2, "wcs_rotation_px": 0.2, "wcs_gradient_px": 0.2, "hostless_per_chip": 60.0,
    "supernovae_per_chip": 0.0, "transient_mag": (14.5, 18.3), "fwhm_px": (2.3, 3.4), "sky_mag": (19.0, 20.5),
    "extinction_mag": (0.0, 0.3), "bright_stars": "drawn",
}  # fmt: skip

#: What each kind of field changes in the quiet survey.
FIELDS: dict[str, dict[str, Any]] = {
    "sparse": {"galactic_latitude_deg": (60.0, 90.0)},
    "normal": {"galactic_latitude_deg": (20.0, 30.0), "star_density": 2.0},
    "crowded": {"galactic_latitude_deg": (3.0, 5.0), "star_density": 1.5},
    "galaxy": {
        "galactic_latitude_deg": (45.0, 90.0), "supernovae_per_chip": 12.0, "host_mag": (10.5, 13.0),
        "galaxy_density": 2.0,
    },
    "undersampled": {"galactic_latitude_deg": (30.0, 60.0), "fwhm_px": (2.05, 2.15)},
    "trailing": {"galactic_latitude_deg": (30.0, 60.0), "trailing_rate": 1.0, "trailing_px": (2.0, 4.0)},
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FieldPair:
    """A calibrated pair and what is true about it.

    `truth` of the science frame and `reference_truth` (x and y on the science frame); `scene` (ny, nx) is the light of
    the science frame without transients and noise, e-. `wcs_error` is how far the headers put the reference's stars
    from where they are on the science frame: see `wcs_errors`.
    """

    science: Image
    reference: Image
    truth: Table
    reference_truth: Table
    scene: NDArray[np.float32]
    wcs_error: dict[str, float]


@contextmanager
def _recorded() -> Iterator[tuple[list[Any], list[Any]]]:
    """Keep what the simulator knows and does not hand out: truth of both frames, and scenes without transients."""
    frames: list[Any] = []
    scenes: list[Any] = []
    expose, paint = visits.expose, exposure.paint_scene

    def keep_frame(*args: Any, **options: Any) -> Any:
        frames.append(expose(*args, **options))
        return frames[-1]

    def keep_scene(survey: Survey, seen: Table, *args: Any, **options: Any) -> Any:
        steady = seen[~np.isin(seen["kind"], TRANSIENTS)]
        scenes.append(paint(survey, steady, *args, **options).total)
        return paint(survey, seen, *args, **options)

    with mock.patch.object(visits, "expose", keep_frame), mock.patch.object(exposure, "paint_scene", keep_scene):
        yield frames, scenes


def make_pair(field: str, seed: int, shape: tuple[int, int] = SHAPE, *, perfect_wcs: bool = False) -> FieldPair:
    """Simulate and ingest a pair of a kind of field; with `perfect_wcs` of headers that are right to the last pixel."""
    quiet = Survey.quiet().model_dump()
    exact = dict.fromkeys(("wcs_shift_px", "wcs_rotation_px", "wcs_gradient_px", "wobble_px"), 0.0)
    survey = Survey(**{**quiet, **_COMMON, **FIELDS[field], **(exact if perfect_wcs else {})})
    with _recorded() as (frames, scenes):
        pair = simulate_pair(survey, seed=seed, shape=shape)
    reference_truth = on_frame(frames[1][1], pair.truth, pair.science.header)
    error = wcs_errors(pair.truth, frames[1][1], pair.science.header, pair.reference.header)
    return FieldPair(pair.science.image(), pair.reference.image(), pair.truth, reference_truth, scenes[0], error)


def wcs_errors(truth: Table, reference_truth: Table, header: Any, reference_header: Any) -> dict[str, float]:
    """Error of the headers' map from reference to science, rms over the stars, px: whole, and its parts.

    `shift` is the mean, `linear` what rotation and scale add over the chip, `curved` the rest.
    """
    mine, theirs = (table[np.isin(table["kind"], ("star",)) & (table["snr"] > 5)] for table in (truth, reference_truth))
    _, i, j = np.intersect1d(mine["source_id"], theirs["source_id"], return_indices=True)
    sky = make_wcs(dict(reference_header)).pixel_to_world_values(theirs["x"][j], theirs["y"][j])
    x, y = world_to_pixel(make_wcs(dict(header)), *sky)
    here = np.column_stack((mine["x"][i], mine["y"][i]))
    off = np.column_stack((x, y)) - here
    scaled = 2.0 * here / np.array([header["NAXIS1"], header["NAXIS2"]]) - 1.0
    terms = np.column_stack((np.ones(len(here)), scaled))
    linear = terms @ np.linalg.lstsq(terms, off, rcond=None)[0]
    parts = {"rms": off, "shift": np.broadcast_to(off.mean(0), off.shape), "linear": linear - off.mean(0)}
    parts["curved"] = off - linear
    return {f"{name}_px": round(float(np.sqrt((part**2).sum(1).mean())), 4) for name, part in parts.items()}


def oracle_data(pair: FieldPair) -> torch.Tensor:
    """Science minus the true scene, e-: what a perfect subtraction of a noiseless reference leaves."""
    return pair.science.data - torch.from_numpy(pair.scene)
