"""The arithmetic of the chain in single precision, as it runs on any device, against the same in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import skies
from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.subtract.kernel import Kernel
from gueststar.subtract.sfft import Sfft
from gueststar.subtract.zogy import Zogy
from gueststar.types import Difference, Image

SHAPE = (300, 360)
CAMERAS = {
    "shift": skies.Affine(shift=(1.3, -2.6), rotation_deg=0.03, centre=(180.0, 150.0)),
    "rotation": skies.Affine(shift=(1.3, -2.6), rotation_deg=2.0, centre=(180.0, 150.0)),
}


def doubled(image: Image) -> Image:
    assert image.psf is not None
    psf = replace(image.psf, planes=image.psf.planes.double())
    return replace(image, data=image.data.double(), variance=image.variance.double(), psf=psf)


def pair(camera: str) -> tuple[Image, Image]:
    rng = np.random.default_rng(11)
    stars = skies.scatter(rng, 130, SHAPE, flux=(800.0, 80_000.0), apart=7)
    new = skies.scatter(rng, 15, SHAPE, flux=(1500.0, 9000.0), margin=20, apart=9, avoid=stars)
    science = skies.photograph(SHAPE, stars + new, skies.Shape(3.0), rng)
    return science, skies.photograph(SHAPE, stars.seen_by(CAMERAS[camera]), skies.Shape(2.6), rng)


@pytest.mark.parametrize("camera", list(CAMERAS))
@pytest.mark.parametrize("engine", [Kernel(), Sfft(), Zogy()], ids=["kernel", "sfft", "zogy"])
def test_single_precision_is_enough(engine, camera) -> None:
    science, reference = pair(camera)
    results: list[tuple[Image, Difference]] = []
    for first, second in ((science, reference), (doubled(science), doubled(reference))):
        aligned = Align()(first, second)
        results.append((aligned, engine(first, aligned)))
    (near, single), (exact, double) = results
    assert double.data.dtype == exact.data.dtype == torch.float64
    assert single.data.dtype == near.data.dtype == torch.float32
    noise = double.variance.sqrt()
    assert ((near.data - exact.data).abs() / exact.variance.sqrt()).max() < 0.01
    assert torch.equal(single.mask, double.mask)
    good = double.mask == 0
    assert ((single.data - double.data).abs() / noise)[good].max() < 0.03
    assert (single.score - double.score).abs()[good].max() < 0.05
    found = [Detect()(difference, science, aligned) for aligned, difference in results]
    sure = [set(table["candidate_id"][np.abs(table["snr"]) > 5.1]) for table in found]
    every = [set(table["candidate_id"]) for table in found]
    assert len(sure[0]) > 8
    assert sure[0] <= every[1]
    assert sure[1] <= every[0]
