"""The figures of a card: intervals that draw whole images, cards that have none, samples with too few images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.errors import InputError
from gueststar.realbogus.card import CARD_FILE, Card, find_model, read_model, write_model
from gueststar.realbogus.card_figures import (
    few_images,
    figures_of,
    how_drawn,
    images_text,
    interval_text,
    measured_parts,
)
from gueststar.realbogus.evaluate import clopper_pearson, evaluate
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.evaluation.drawn_images import AT_THRESHOLD, draw_images, draw_threshold
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.package import judge
from gueststar.realbogus.stored import open_dataset
from realbogus_models import model_and_set

runner = CliRunner()


def clustered(rng, n_images=40, of_each=50):
    """Rows of images whose artifacts look like reals in some images, and hardly ever in others."""
    image = np.repeat(np.arange(n_images), of_each)
    real = rng.random(image.size) < 0.5
    shift = rng.normal(0, 1.0, n_images)[image]
    return real, np.where(real, 1.5, -1.5) + shift + rng.normal(size=image.size), image


def part_of(real, scores, image, rng, *, by="image", threshold=0.0):
    """What `judge` puts on a card, of arrays."""
    drawn = draw_images(real, scores, scores >= threshold, image, by=by, rng=rng, draws=200)
    made = evaluate(real.astype(int), scores, np.full(real.size, 10.0), name="drawn rows").as_dict()
    return json.loads(json.dumps({**made, "threshold": threshold, "images": drawn.as_dict()}))


def test_intervals_of_images_are_those_of_the_measures_and_hold_the_values(rng):
    real, scores, image = clustered(rng)
    found = draw_images(real, scores, scores >= 0, image, by="image", rng=rng, draws=200)
    assert (found.by, found.n, found.with_real, found.with_bogus, found.draws) == ("image", 40, 40, 40, 200)
    assert set(found.measures) == {*METRICS, *AT_THRESHOLD}
    for item in found.measures.values():
        assert item.low <= item.value <= item.high
    assert found.measures["tpr_at_threshold"].value == pytest.approx((scores[real] >= 0).mean())
    assert found.measures["fpr_at_threshold"].value == pytest.approx((scores[~real] >= 0).mean())


def test_the_interval_at_a_threshold_holds_the_truth_as_often_as_it_says(rng):
    # Each image calls its own share of reals real; rows counted as independent miss the mean share far too often.
    hit = {"images": 0, "rows": 0}
    for _ in range(200):
        share = rng.beta(8, 2, 40)  # mean 0.8
        image = np.repeat(np.arange(40), 50)
        called = rng.random(image.size) < share[image]
        found = draw_threshold(np.ones(image.size, bool), called, image, rng=rng, draws=200)["tpr_at_threshold"]
        hit["images"] += found.low <= 0.8 <= found.high
        low, high = clopper_pearson(int(called.sum()), called.size)
        hit["rows"] += low <= 0.8 <= high
    assert 0.88 <= hit["images"] / 200 <= 0.99
    assert hit["rows"] / 200 < 0.75


def test_inputs_are_left_alone_and_what_does_not_fit_is_refused(rng):
    real, scores, image = clustered(rng)
    before = real.copy(), scores.copy(), image.copy()
    draw_images(real, scores, scores >= 0, image, by="image", rng=rng, draws=5)
    for now, then in zip((real, scores, image), before, strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(InputError, match=r"scores \(3,\), .* must be \(n,\) alike"):
        draw_images(real, scores[:3], scores >= 0, image, by="image", rng=rng)


def test_one_image_and_one_class_draw_what_they_can(rng):
    real, scores, image = clustered(rng)
    alone = draw_images(real, scores, scores >= 0, np.zeros(real.size, int), by="", rng=rng)
    assert (alone.n, alone.draws, alone.measures) == (1, 0, {})
    part = part_of(real, scores, np.zeros(real.size, int), rng, by="")
    assert "all are of one image and none can be drawn" in how_drawn(part)
    assert few_images(part).startswith("too few images: reals are of 1 and artifacts are of 1")
    assert not any(figure.by_images for figure in figures_of(part))
    reals = draw_images(real[real], scores[real], scores[real] >= 0, image[real], by="image", rng=rng, draws=20)
    assert set(reals.measures) == {"tpr_at_threshold"}
    assert (reals.with_real, reals.with_bogus) == (40, 0)


def test_a_sample_without_errors_keeps_the_exact_interval(rng):
    real = np.arange(400) % 2 == 0
    part = part_of(real, np.where(real, 1.0, -1.0), np.arange(400) // 10, rng)
    figures = {figure.name: figure for figure in figures_of(part)}
    none = figures["FPR at TPR 0.98"]
    assert (none.value, none.by_images) == (0.0, False)
    assert none.high == pytest.approx(clopper_pearson(0, 200)[1])
    assert interval_text(figures["AUC"]) == "1.0000 (interval unknown)"
    assert interval_text(figures["completeness at the threshold"]) == "100.00 % (interval unknown)"


@pytest.mark.parametrize(("n_images", "warned"), [(9, True), (10, False)])
def test_few_images_are_warned_of(rng, n_images, warned):
    part = part_of(*clustered(rng, n_images=n_images), rng)
    assert bool(few_images(part)) == warned
    assert images_text(part) == f"{n_images} images"
    real, scores, image = clustered(rng)
    real |= image >= n_images  # artifacts are of the first images only
    part = part_of(real, scores, image, rng, by="night")
    assert images_text(part) == "40 nights"
    words = f"too few nights: artifacts are of {n_images}; below 10 the intervals are not to be trusted"
    assert few_images(part) == (words if warned else "")


def test_figures_are_wider_than_with_rows_as_independent(rng):
    part = part_of(*clustered(rng), rng)
    drawn = {figure.name: figure for figure in figures_of(part)}
    rows = {figure.name: figure for figure in figures_of({**part, "images": None})}
    assert set(drawn) - set(rows) == set(AT_THRESHOLD.values())
    for name in ("AUC", "FPR at TPR 0.98"):
        assert drawn[name].value == pytest.approx(rows[name].value)
        assert drawn[name].by_images
        assert not rows[name].by_images
        assert drawn[name].high - drawn[name].low > 1.5 * (rows[name].high - rows[name].low)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model and a set of 16 tiles."""
    root = tmp_path_factory.mktemp("figures")
    model_and_set(root)
    return root


def test_a_judged_model_has_intervals_over_images(folder):
    data = open_dataset(folder / "set")
    result, plain = judge(load_model(folder / "model"), data)
    assert plain["images"]["n"] == np.unique(data[plain["images"]["by"]]).size > 9
    figures = {figure.name: figure for figure in figures_of(json.loads(json.dumps(plain)))}
    assert figures["AUC"].value == pytest.approx(result.auc)
    assert figures["completeness at the threshold"].threshold == plain["threshold"]
    kinds = dict(zip(data["kind"].tolist(), data.labels.tolist(), strict=True))
    called, reals = (
        sum(counts[i] for kind, counts in plain["called_real_of_kind"].items() if kinds[kind] == 1) for i in (0, 1)
    )
    assert figures["completeness at the threshold"].value == pytest.approx(called / reals)
    snr = np.abs(data["snr"])
    bounds = {"S/N 5-7": (5, 7), "S/N 10-20": (10, 20), "S/N 20-40": (20, 40)}
    parts = {part["name"]: part for part in plain["strata"]}
    for name, (low, high) in bounds.items():
        own = np.unique(data[plain["images"]["by"]][(snr >= low) & (snr < high)])
        assert parts[name]["images"]["n"] == own.size
    assert next(iter(figures_of(parts["S/N 20-40"]))).value == parts["S/N 20-40"]["auc"]
    assert len({part["images"]["measures"]["fpr_at_threshold"]["value"] for part in parts.values()}) > 1


def shown(folder):
    done = runner.invoke(app, ["model", "show", str(folder)])
    assert done.exit_code == 0, done.output
    return done.output


def test_old_cards_load_and_say_that_rows_count_as_independent(folder, tmp_path):
    card, weights = read_model(folder / "model")
    part = judge(load_model(folder / "model"), open_dataset(folder / "set"))[1]
    old = {key: value for key, value in part.items() if key != "images"}
    few = {**part, "images": {**part["images"], "with_bogus": 3}}
    for name, metrics in (("old", {"test": old}), ("new", {"test": part}), ("few", {"test": few})):
        write_model(tmp_path / name, card.model_copy(update={"metrics": metrics}), weights)
        assert Card.parse(json.loads((tmp_path / name / CARD_FILE).read_text()), source="card").metrics
    text = shown(tmp_path / "old")
    assert "images not counted" in text
    assert "rows counted as independent; those of one image are not" in text
    text = shown(tmp_path / "new")
    assert "500 draws of whole" in text
    assert "of an earlier version" not in text
    assert "completeness at the threshold" in text
    assert "warning: too few" in shown(tmp_path / "few")
    moved = card.model_copy(update={"metrics": {"test": part}, "threshold": 0.123})
    write_model(tmp_path / "moved", moved, weights)
    assert f"at {card.threshold:.4f} of an earlier version" in shown(tmp_path / "moved")
    listed = runner.invoke(app, ["model", "list", "--store", str(tmp_path)], env={"COLUMNS": "200"})
    assert "†" in listed.output
    assert "† rows counted as independent" in listed.output


def test_the_shipped_card_draws_images():
    card = Card.parse(json.loads((find_model("shipped") / CARD_FILE).read_text(encoding="utf-8")), source="card")
    parts = measured_parts(card.metrics)
    assert "simulated" in card.metrics
    for part in parts:
        assert "draws of whole" in how_drawn(part)
        assert next(figures_of(part)).by_images
    assert not few_images(card.metrics["simulated"])
