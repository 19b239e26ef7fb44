"""The whole chain: arrays in, scored candidates out; every stage observed, nothing changed, the same twice."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

import gueststar
import skies
from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.errors import AlignmentError
from gueststar.pipeline import process_pair
from gueststar.stamps import CutStamps
from gueststar.subtract.kernel import Kernel
from gueststar.types import CANDIDATE_COLUMNS, Image, Mask

SHAPE = (300, 320)
STAGES = ["measure", "align", "subtract", "detect", "stamps", "classify", "quality"]


def stub(candidates, stamps):
    """A classifier that needs no model."""
    return candidates.with_columns(rb_score=np.full(len(candidates), 0.5, np.float32))


@pytest.fixture(scope="module")
def counts():
    """Raw counts of a science and a reference exposure, and the new sources in the first."""
    rng = np.random.default_rng(3)
    stars = skies.scatter(rng, 110, SHAPE, flux=(800.0, 60_000.0), apart=8, margin=-12)
    new = skies.scatter(rng, 12, SHAPE, flux=(4000.0, 20_000.0), apart=20, margin=25, avoid=stars[stars.flux > 3000])
    camera = skies.Affine(shift=(3.4, -2.3), rotation_deg=1.0, centre=(160.0, 150.0))
    science = skies.expose(skies.paint(SHAPE, stars + new, skies.Shape(3.0)), rng)
    reference = skies.expose(skies.paint(SHAPE, stars.seen_by(camera), skies.Shape(2.6)), rng)
    return science, reference, new


@pytest.fixture(scope="module")
def images(counts):
    return tuple(gueststar.prepare_image(raw) for raw in counts[:2])


@pytest.fixture(scope="module")
def result(images):
    return process_pair(*images, classify=stub)


def test_new_sources_are_found_and_hardly_anything_else(result, counts):
    new, candidates = counts[2], result.candidates
    found, index = skies.matched(new, candidates["x"], candidates["y"])
    assert len(found) == len(new)
    assert len(candidates) <= len(new) + 2
    pull = (candidates["flux"][index] - new.flux[found]) / candidates["flux_err"][index]
    assert np.median(np.abs(pull)) < 1.5
    assert (candidates["rb_score"] == 0.5).all()


def test_five_lines_with_arrays():
    rng = np.random.default_rng(4)
    stars = skies.scatter(rng, 110, SHAPE, apart=8)
    raw = [skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng) for _ in range(2)]
    science, reference = (
        gueststar.Image.from_arrays(data - skies.SKY_E, np.maximum(data, 1) + 9.0, psf=skies.Shape(2.8).stamp(21))
        for data in raw
    )
    result = gueststar.process_pair(science, reference, classify=stub)
    assert isinstance(result, gueststar.PairResult)
    assert isinstance(result.difference.numpy(), np.ndarray)
    assert result.candidates.table.colnames == [column.name for column in CANDIDATE_COLUMNS] + [
        "chip",
        "rb_score",
        "reject_reason",
    ]


def test_everything_belongs_together(result, images):
    assert result.science is images[0]
    assert result.reference.shape == result.difference.shape == SHAPE
    assert result.difference.science_id == images[0].image_id
    assert result.difference.reference_id == images[1].image_id
    assert len(result.stamps) == len(result.candidates)
    np.testing.assert_array_equal(result.stamps.candidate_id, result.candidates["candidate_id"])
    facts = result.facts
    assert facts["n_candidates"] == len(result.candidates)
    for name in ("fwhm_px", "reference_fwhm_px", "align_method", "kernel_sum", "score_std", "sky_e", "reference_sky_e"):
        assert name in facts
    assert facts["fwhm_px"] == pytest.approx(3.0, rel=0.05)
    assert facts["reference_fwhm_px"] == pytest.approx(2.6, rel=0.05)


def test_stages_are_observed_in_order(images):
    seen = []

    @contextmanager
    def watch(stage):
        seen.append(f"{stage} begins")
        yield
        seen.append(f"{stage} ends")

    process_pair(*images, classify=stub, observe=watch)
    assert seen == [f"{stage} {what}" for stage in STAGES for what in ("begins", "ends")]


def test_a_stage_that_fails_is_left_through_its_observer(images):
    left = []

    @contextmanager
    def watch(stage):
        try:
            yield
        finally:
            left.append(stage)

    with pytest.raises(AlignmentError, match="same image"):
        process_pair(images[0], images[0], classify=stub, observe=watch)
    assert left == ["measure", "align"]


def test_every_stage_can_be_replaced(images):
    called = []

    def recording(name, stage):
        def call(*arguments):
            called.append((name, [type(argument).__name__ for argument in arguments]))
            return stage(*arguments)

        return call

    process_pair(
        *images,
        align=recording("align", Align()),
        subtract=recording("subtract", Kernel(order=0)),
        detect=recording("detect", Detect(threshold_sigma=8.0)),
        cut=recording("cut", CutStamps(size=31)),
        classify=recording("classify", stub),
    )
    assert called == [
        ("align", ["Image", "Image"]),
        ("subtract", ["Image", "Image"]),
        ("detect", ["Difference", "Image", "Image"]),
        ("cut", ["Candidates", "Image", "Image", "Difference"]),
        ("classify", ["Candidates", "Stamps"]),
    ]


def test_options_objects_are_stages(images):
    result = process_pair(*images, detect=Detect(threshold_sigma=9.0), cut=CutStamps(size=31), classify=stub)
    assert (np.abs(result.candidates["snr"]) >= 9.0).all()
    assert result.stamps.cube.shape[2:] == (31, 31)


def test_what_is_missing_is_measured(images, result):
    bare = [replace(image, stars=None, psf=None) for image in images]
    again = process_pair(*bare, classify=stub)
    assert again.science.psf is not None
    assert bare[0].psf is None
    shared = set(again.candidates["candidate_id"]) & set(result.candidates["candidate_id"])
    assert len(shared) >= len(result.candidates) - 2


def test_the_same_twice_and_inputs_left_alone(counts):
    raw = [plane.copy() for plane in counts[:2]]
    first, second = (process_pair(*(gueststar.prepare_image(plane) for plane in raw), classify=stub) for _ in range(2))
    for plane, before in zip(raw, counts[:2], strict=True):
        np.testing.assert_array_equal(plane, before)
    for plane in ("data", "variance", "score", "flux", "mask"):
        np.testing.assert_array_equal(first.difference.numpy(plane), second.difference.numpy(plane))
    for name in first.candidates.table.colnames:
        np.testing.assert_array_equal(first.candidates[name], second.candidates[name])
    np.testing.assert_array_equal(first.stamps.cube, second.stamps.cube)
    assert first.facts == second.facts


def test_images_are_left_alone(images):
    planes = ("data", "variance", "mask")
    before = [getattr(image, plane).clone() for image in images for plane in planes]
    stars = [image.stars.x.copy() for image in images]
    process_pair(*images, classify=stub)
    torch.testing.assert_close([getattr(image, plane) for image in images for plane in planes], before, rtol=0, atol=0)
    for image, x in zip(images, stars, strict=True):
        np.testing.assert_array_equal(image.stars.x, x)


def test_nothing_new_is_a_result():
    rng = np.random.default_rng(5)
    stars = skies.scatter(rng, 110, SHAPE, apart=8)
    pair = [skies.photograph(SHAPE, stars, skies.Shape(2.8), rng) for _ in range(2)]
    result = process_pair(*pair, detect=Detect(threshold_sigma=20.0), classify=stub)
    assert len(result.candidates) == 0
    assert result.stamps.cube.shape == (0, 3, 63, 63)
    assert result.facts["n_candidates"] == 0


def test_nan_blocks_come_out_as_no_data(counts):
    science = counts[0].copy()
    science[100:140, 60:120] = np.nan
    result = process_pair(gueststar.prepare_image(science), gueststar.prepare_image(counts[1]), classify=stub)
    assert (result.difference.numpy("mask")[100:140, 60:120] & Mask.NO_DATA != 0).all()
    assert np.isfinite(result.difference.numpy()).all()
    inside = (np.abs(result.candidates["x"] - 90) < 36) & (np.abs(result.candidates["y"] - 120) < 26)
    new = counts[2]
    real = (np.abs(new.x - 90) < 40) & (np.abs(new.y - 120) < 30)
    assert inside.sum() <= real.sum()


def test_the_shipped_model_scores_by_default(images, counts):
    result = process_pair(*images)
    score = result.candidates["rb_score"]
    assert ((score >= 0) & (score <= 1)).all()
    assert result.candidates.table.meta["rb_model"]
    _, index = skies.matched(counts[2], result.candidates["x"], result.candidates["y"])
    assert np.median(score[index]) > 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_gpu(counts, result):
    on_gpu = process_pair(*(gueststar.prepare_image(raw, device="cuda") for raw in counts[:2]), classify=stub)
    assert on_gpu.difference.data.device.type == "cuda"
    assert set(on_gpu.candidates["candidate_id"]) == set(result.candidates["candidate_id"])
    np.testing.assert_allclose(on_gpu.difference.numpy(), result.difference.numpy(), atol=0.1)


def test_blank_images_are_no_pair():
    blank = [Image.from_arrays(np.full((90, 100), level), 1.0, psf=skies.Shape(2.8).stamp(21)) for level in (0.0, 0.1)]
    with pytest.raises(AlignmentError, match="no common star pattern in 0 science and 0 reference stars"):
        process_pair(*blank, classify=stub)
