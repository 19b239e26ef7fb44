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
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.types import Image

__all__ = ["FIELDS", "FieldPair", "make_pair"]

SHAPE = (1152, 2048)
TRANSIENTS = ("supernova", "hostless")
# The header's WCS is wrong by about 0.3 px rms: shift, rotation and gradient.
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
    the science frame without transients and noise, e-.
    """

    science: Image
    reference: Image
    truth: Table
    reference_truth: Table
    scene: NDArray[np.float32]


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


def make_pair(field: str, seed: int, shape: tuple[int, int] = SHAPE) -> FieldPair:
    """Simulate and ingest a pair of a kind of field."""
    quiet = Survey.quiet().model_dump()
    survey = Survey(**{**quiet, **_COMMON, **FIELDS[field]})
    with _recorded() as (frames, scenes):
        pair = simulate_pair(survey, seed=seed, shape=shape)
    reference_truth = on_frame(frames[1][1], pair.truth, pair.science.header)
    return FieldPair(pair.science.image(), pair.reference.image(), pair.truth, reference_truth, scenes[0])


def oracle_data(pair: FieldPair) -> torch.Tensor:
    """Science minus the true scene, e-: what a perfect subtraction of a noiseless reference leaves."""
    return pair.science.data - torch.from_numpy(pair.scene)
