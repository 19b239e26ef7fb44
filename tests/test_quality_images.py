"""Gates end to end: frames drawn with one fault, ingested, subtracted and judged; the fault is named.

The reference and all else are those of a sound field, which passes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gueststar import Image, process_pair
from gueststar.pipeline import PairResult
from gueststar.quality import Quality, level_scatter, light_share
from gueststar.simulate.frame import RawFrame
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import Visit, simulate_frame
from gueststar.types import Mask

SHAPE = (440, 520)
SEED = 610


def frame(visit: int, **changes) -> RawFrame:
    quiet = Survey.quiet().model_dump() | {"galactic_latitude_deg": (20.0, 30.0), "star_density": 3.0}
    quiet |= {"sky_mag": (20.5, 20.5), "fwhm_px": (2.6, 2.9)}
    return simulate_frame(Survey(**{**quiet, **changes}), Visit(0, "Q1-11", visit), seed=SEED, shape=SHAPE)[0]


@pytest.fixture(scope="module")
def reference() -> Image:
    return frame(0).image()


def with_star(plain: RawFrame, *, radius: float) -> RawFrame:
    """A star so bright that it saturates a disc of this radius, with a wide aureole."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(x - 260.0, y - 220.0)
    light = plain.saturation_adu * (np.maximum(distance, 1.0) / radius) ** -3.0
    return replace(plain, data=np.minimum(plain.data + light, plain.saturation_adu).astype(np.float32))


def holed(image: Image, share: float) -> Image:
    """An image without data in its left part."""
    mask = image.mask.clone()
    mask[:, : int(share * SHAPE[1])] |= int(Mask.NO_DATA)
    data = torch.where(mask != 0, torch.zeros_like(image.data), image.data)
    stars = image.stars[image.stars.x > share * SHAPE[1]]
    return replace(image, data=data, mask=mask, stars=stars)


def drifted(image: Image) -> Image:
    """An image whose stars have moved by 6 px in its upper two thirds: no smooth map holds for all of it."""
    data = image.data.clone()
    data[150:, 6:] = image.data[150:, :-6]
    return replace(image, data=data, psf=None, stars=None)


def judged(science: Image, reference: Image) -> PairResult:
    return process_pair(science, reference)


def test_a_sound_image_passes(reference: Image) -> None:
    report = judged(frame(3).image(), reference).quality
    assert report.causes == ()
    assert report.numbers["quality_unmatched"] < 0.05
    assert report.numbers["quality_background"] < 0.1


def test_a_bright_sky_is_named(reference: Image) -> None:
    plain = judged(frame(3).image(), reference).quality.numbers["quality_noise_ratio"]
    report = judged(frame(3, sky_mag=(16.0, 16.0)).image(), reference).quality
    assert report.causes == ("high background",)
    # 4.5 mag brighter: the noise of the sky is 7.9 times as high, a little less with what is not of the sky.
    assert report.numbers["quality_noise_ratio"] / plain == pytest.approx(7.9, rel=0.1)


def test_a_structured_sky_passes_while_its_level_is_followed(reference: Image) -> None:
    result = judged(frame(3, sky_structure=0.1).image(), reference)
    assert result.quality.passed, result.quality.reason
    assert 0.1 < result.quality.numbers["quality_background"] < 0.5
    assert len(result.candidates) <= 4


def test_a_structured_sky_is_named(reference: Image) -> None:
    result = judged(frame(3, sky_structure=0.3).image(), reference)
    assert "structured background" in result.quality.causes
    assert set(result.candidates["reject_reason"]) <= {", ".join(result.quality.causes)}


def test_the_level_of_the_sky_scatters_as_drawn(reference: Image) -> None:
    plain = judged(frame(3).image(), reference)
    rng = np.random.default_rng(3)
    waves = sum(
        np.sin(np.hypot(*k) * (np.mgrid[: SHAPE[0], : SHAPE[1]] * np.reshape(k, (2, 1, 1))).sum(0) / np.hypot(*k) + p)
        for k, p in zip(rng.normal(0.0, 0.012, (12, 2)), rng.uniform(0.0, 6.3, 12), strict=True)
    )
    sigma = float(plain.science.variance[::16, ::16].median().sqrt())
    data = plain.difference.data + torch.from_numpy((sigma * waves / waves.std()).astype(np.float32))
    assert level_scatter(plain.difference) < 0.1 * sigma
    assert level_scatter(replace(plain.difference, data=data)) == pytest.approx(sigma, rel=0.3)


def test_a_bright_star_is_named(reference: Image) -> None:
    report = judged(with_star(frame(3), radius=75.0).image(), reference).quality
    # Its aureole lies over all of so small a frame, and the reference has no such star: both are named, too.
    assert "bright star" in report.causes
    effects = {"structured background", "poor subtraction", "too many candidates"}
    assert set(report.causes) <= {"bright star", "high background", "crowded"} | effects
    assert report.numbers["quality_saturated"] == pytest.approx(np.pi * 75.0**2 / np.prod(SHAPE), rel=0.25)


@pytest.mark.parametrize("density", [0.5, 3.0, 12.0])
def test_a_crowd_passes_and_is_named_by_a_lower_limit(density: float) -> None:
    dense = {"galactic_latitude_deg": (1.0, 2.0), "star_density": density}
    result = judged(frame(3, **dense).image(), frame(0, **dense).image())
    report = result.quality
    assert report.passed, report.reason
    assert len(result.candidates) < 15
    assert report.numbers["quality_astrometric_rms_px"] < 0.05
    assert ("crowded" in Quality(crowding=0.88).judged(report.numbers).causes) == (density > 10)


@pytest.mark.parametrize(("fwhm", "share"), [(0.0, 0.0), (3.0, 1.0)])
def test_light_is_told_from_noise(fwhm: float, share: float) -> None:
    """White noise is all noise; noise smoothed by a PSF is all light, of which neighbours differ a little."""
    plane = np.random.default_rng(8).normal(0.0, 10.0, (256, 512))
    expected = 0.0
    if fwhm:
        sigma = fwhm / 2.3548
        plane = gaussian_filter(plane, sigma)
        expected = float(np.exp(-1.0 / (4.0 * sigma**2)))
    found = light_share(Image.from_arrays(plane.astype(np.float32), 100.0))
    assert found == pytest.approx(expected, abs=0.05)
    assert found <= max(share, 0.05)


def test_holes_of_the_reference_are_named(reference: Image) -> None:
    report = judged(frame(3).image(), holed(reference, 0.7)).quality
    assert report.causes[0] == "reference holes"
    assert report.numbers["quality_masked"] == pytest.approx(0.74, abs=0.05)


def test_a_registration_that_holds_in_part_is_named(reference: Image) -> None:
    report = judged(drifted(frame(3).image()), reference).quality
    assert report.causes[0] == "misaligned in part"
