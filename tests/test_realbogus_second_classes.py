"""The second injector as a test of a classifier: labelled rows of every class, and what is lost on them."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.errors import InputError, PixelError
from gueststar.realbogus.labels import changes_table
from gueststar.realbogus.second_classes import class_losses
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.training import TrainingSet, second_injector_pass, second_pass
from gueststar.training.chains import Chain
from gueststar.training.passes import Origin
from gueststar.training.second_pass import SECOND_CLASSES

OPTIONS = TrainingSet(injected=40, injected_snr=(12.0, 60.0), faded_share=0.25)
ORIGIN = Origin(tile="t", night="n", reference="r", source="simulated")


@pytest.fixture(scope="module")
def frames():
    survey = Survey(galactic_latitude_deg=(14.0, 20.0), fwhm_px=(2.4, 2.6))
    pair = simulate_pair(survey, seed=5, shape=(400, 420))
    return pair.science.image(), pair.reference.image()


def passed(frames, **options):
    return second_injector_pass(
        OPTIONS, *frames, changes_table(), chain=Chain(), origin=ORIGIN, rng=np.random.default_rng(2), **options
    )


@pytest.fixture(scope="module")
def rows(frames):
    return passed(frames)


def test_every_class_comes_back_labelled_and_nothing_is_changed(frames, rows):
    kinds = rows["kind"][rows.labels == 1]
    found = {str(kind) for kind in kinds}
    expected = {f"second_{name}" for name in SECOND_CLASSES if name not in rows.facts["second_left_out"]}
    assert {"second_ellipse", "second_trail", "second_variable"} <= expected
    assert found == expected
    assert 15 <= kinds.size <= OPTIONS.injected
    assert not (rows.labels == 0).any()
    real = rows.labels == 1
    assert np.median(np.abs(rows["snr"] / rows["true_snr"])[real]) == pytest.approx(1.0, abs=0.25)
    # New sources in the reference look like faded ones.
    trails = rows["flux"][rows["kind"] == "second_trail"]
    ellipses = rows["flux"][rows["kind"] == "second_ellipse"]
    assert (np.concatenate([trails, ellipses]) < 0).any()
    assert (np.concatenate([trails, ellipses]) > 0).any()
    again = passed(frames)  # the frames are as they were
    assert again.content_hash() == rows.content_hash()


def test_artifacts_come_on_demand(frames, rows):
    assert (passed(frames, artifacts=True).labels == 0).any()


def test_a_class_that_cannot_be_made_is_told_and_other_errors_are_raised(frames, monkeypatch):
    light = second_pass.second_light

    def few(image, n, *, kind, **options):
        if kind == "empirical":
            raise InputError("too few bright stars", stars=1)
        return light(image, n, kind=kind, **options)

    monkeypatch.setattr(second_pass, "second_light", few)
    made = passed(frames)
    assert "empirical" in made.facts["second_left_out"]
    assert "second_empirical" not in made["kind"]

    def broken(*_, **__):
        raise PixelError("no PSF at all")

    monkeypatch.setattr(second_pass, "second_light", broken)
    with pytest.raises(InputError, match="no PSF at all"):
        passed(frames)


def drawn(rng, *, n_images=60, penalty=0.0):
    """Completeness depends on S/N alone but for `penalty`; the second injector's sources are fainter."""
    per = 30
    image = np.repeat(np.arange(n_images), 2 * per)
    second = np.tile(np.repeat([False, True], per), n_images)
    snr = np.where(second, rng.uniform(5, 15, image.size), rng.uniform(5, 50, image.size))
    chance = np.clip(snr / 15.0, 0, 1) - penalty * second
    scores = (rng.random(image.size) < chance).astype(float)
    kinds = np.where(second, "second_trail", rng.choice(["injected", "faded"], image.size))
    return np.ones(image.size), kinds, scores, snr * rng.choice([-1, 1], image.size), image


def test_faintness_is_no_loss_and_a_loss_is_measured(rng):
    for penalty in (0.0, 0.1):
        sample = drawn(rng, penalty=penalty)
        made = class_losses(*sample, threshold=0.5, rng=rng, n_boot=400)
        assert [one.name for one in made] == ["second_trail", "all"]
        one = made[0]
        assert one.tpr.value == pytest.approx(0.667 - penalty, abs=0.04)
        # Without the weights of S/N the first injector would be ahead by 20 points.
        assert one.low < penalty < one.high
        assert one.high - one.low < 0.13
        assert one.compared == 1.0
        assert one.images == 60
        assert one.as_dict()["tpr"]["trials"] == 1800


def test_intervals_cover_as_often_as_promised():
    inside = 0
    for seed in range(60):
        sample = drawn(np.random.default_rng(seed), n_images=40)
        one = class_losses(*sample, threshold=0.5, rng=np.random.default_rng(seed), n_boot=200)[0]
        inside += one.low <= 0.0 <= one.high
    assert inside >= 50


def test_nothing_to_compare_is_told(rng):
    labels, kinds, scores, snr, image = drawn(rng, n_images=2)
    far = np.where(kinds == "second_trail", 500.0, snr)
    one = class_losses(labels, kinds, scores, far, image, threshold=0.5, rng=rng)[0]
    assert one.compared == 0.0
    assert np.isnan([one.first, one.loss, one.low, one.high]).all()
    assert one.tpr.trials == 60
    with pytest.raises(InputError, match="both are needed"):
        class_losses(labels, np.full(labels.size, "injected"), scores, snr, image, threshold=0.5, rng=rng)
