"""What studies conclude from runs whose truth is known, and that each of them trains what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.export import onnx_bytes
from gueststar.realbogus.network import RealBogusNet
from gueststar.realbogus.preprocess import Preprocess
from gueststar.realbogus.scalars import DEFAULT_SCALARS
from gueststar.realbogus.train import Train
from gueststar.study.baselines import BaselineStudy
from gueststar.study.channels import ChannelStudy
from gueststar.study.chips import ChipStudy
from gueststar.study.contamination import ContaminationStudy
from gueststar.study.material import open_material
from gueststar.study.results import Results, Run
from gueststar.study.size import SizeStudy, repeated
from study_sets import write_set

TINY = {"epochs": 1, "batch_size": 64, "stamp_size": 15}


def results_of(shifts, *, n=4000, seeds=(0, 1, 2), n_train=None, chips=1, facts=None, other=None, labels=None):
    """Runs whose reals score by `shifts` of each arm above the artifacts."""
    rng = np.random.default_rng(1)
    labels = (rng.random(n) < 0.5).astype(np.int8) if labels is None else labels
    base = rng.normal(size=n)
    runs = []
    for arm, shift in shifts.items():
        for seed in seeds:
            noise = np.random.default_rng(seed).normal(0, 0.1, n)
            scores = (base + noise + shift * (labels == 1)).astype(np.float32)
            runs.append(Run(arm, seed, (n_train or {}).get(arm, 100), 10, 60.0, scores, (facts or {}).get(arm, {})))
    chip = np.array([f"{11 + i}" for i in range(chips)])[np.arange(n) % chips]
    image = np.arange(n) % (50 * chips)
    return Results(tuple(shifts), dict.fromkeys(shifts, "words"), runs, labels, base, image, chip, 40, other)


def test_more_data_that_help_are_said_to_help():
    results = results_of({"0.5": 2.0, "1": 3.0}, n_train={"0.5": 500, "1": 1000})
    found = SizeStudy().conclude(results)
    assert "With 1,000 rows: AUC" in found.sentences[0]
    assert "clear of zero" in found.sentences[1]
    assert found.sentences[-1].endswith("more data would still help.")
    auc = next(item for item in found.comparisons if item.metric == "auc")
    assert auc.interval.high < 0
    assert SizeStudy().draw(results, found).axes[0].get_xlabel() == "training rows"


def test_more_data_that_do_not_help_are_said_not_to():
    found = SizeStudy().conclude(results_of({"0.5": 2.0, "1": 2.0}))
    assert "zero is inside the interval" in found.sentences[1]
    assert found.sentences[-1].endswith("that more data help is not shown by it.")


def test_rows_are_repeated_alike(rng):
    rows = np.arange(10, 17)
    found = repeated(rows, 40, rng)
    counts = np.bincount(found)[10:]
    assert found.size == 40
    assert set(counts) == {5, 6}


def test_a_cleaner_test_set_alone_follows_the_formula():
    n, c = 40000, 0.1
    rng = np.random.default_rng(2)
    labels = (rng.random(n) < 0.5).astype(np.int8)
    artifacts = int((labels == 0).sum())
    wrong = rng.choice(np.flatnonzero(labels == 1), round(c / (1 - c) * artifacts), replace=False)
    other = labels.copy()
    other[wrong] = 0
    results = results_of({"old labels": 2.0, "new labels": 2.0}, n=n, other=other, labels=labels)
    found = ContaminationStudy(old_labels="old_label").conclude(results)
    assert found.facts["contamination_of_old_test_labels"] == pytest.approx(c, abs=1e-3)
    auc = found.facts["auc"]
    expected = (1 - c) * auc["old labels, tested on new"]["value"] + c / 2
    assert auc["old labels, tested on old"]["value"] == pytest.approx(expected, abs=3e-3)
    training, cleaner, both = (item.interval for item in found.comparisons[:3])
    assert training.value == training.low == training.high == 0
    assert cleaner.low > 0.02
    assert both.value == pytest.approx(training.value + cleaner.value)
    assert "no better model to be told" in found.sentences[1]


def test_a_method_half_way_to_the_oracle_closes_part_of_the_gap():
    results = results_of({"naive": 2.0, "coteach": 2.6, "oracle": 3.2}, n=8000)
    found = ContaminationStudy().conclude(results_with_planted(results))
    gap = next(i for i in found.comparisons if i.kind == "gap closed" and i.metric == "fnr_at_fpr_0.01")
    assert 0.2 < gap.interval.low < gap.interval.value < gap.interval.high < 0.8
    assert found.tables[0].rows[0][0] == "coteach"
    assert "better model" in found.sentences[-1]
    assert len(ContaminationStudy().draw(results, found).axes) == 2


def results_with_planted(results):
    other = results.labels.copy()
    other[np.flatnonzero(other == 1)[::7]] = 0
    return replace(results, other_labels=other, _kept={})


def test_ours_against_others_is_told_by_the_ratio_of_false_positives():
    found = BaselineStudy().conclude(results_of({"gueststar": 3.4, "seed": 2.0, "braai": 2.4}))
    assert found.sentences[0].endswith("is reached.")
    ratios = {(i.base, i.metric): i.interval for i in found.comparisons if i.kind == "ratio"}
    assert ratios["seed", "fpr_at_tpr_0.9"].high < ratios["braai", "fpr_at_tpr_0.9"].low
    worse = BaselineStudy().conclude(results_of({"gueststar": 2.0, "seed": 2.0}))
    assert worse.sentences[0].endswith("is not reached.")
    assert "nothing to compare with" in BaselineStudy().conclude(results_of({"seed": 2.0})).sentences[0]


def test_channels_are_compared_with_the_triplet():
    found = ChannelStudy().conclude(results_of({"difference only": 2.0, "triplet": 3.0, "21 px": 3.0}))
    assert found.sentences[1].endswith("more.")
    assert found.sentences[2].endswith("not to be told apart.")
    assert "too small for 15, 41, 63 px" in found.notes[0]
    assert "nothing to compare" in ChannelStudy().conclude(results_of({"21 px": 1.0})).sentences[0]


def test_the_winner_of_the_chips_is_named_only_where_it_wins():
    facts = {"all, unseen chips": {"unseen_chips": ["11"]}}
    results = results_of({"each": 2.0, "all": 3.0, "all, unseen chips": 2.0}, chips=4, facts=facts)
    found = ChipStudy().conclude(results)
    assert found.sentences[0].startswith("Winner: all, ")
    assert found.sentences[0].endswith("every other arm has more, with the whole interval.")
    assert found.facts["chips"] == ["11", "12", "13", "14"]
    assert found.facts["worst"]["all"]["auc"]["value"] <= found.facts["macro"]["all"]["auc"]["value"]
    assert found.sentences[-1].endswith("worse.")
    assert [row["seen"] for row in results.chip_rows("chips") if row["chip"] == "11"].count(False) == 3
    assert len(ChipStudy().draw(results, found).axes) == 2
    tie = ChipStudy().conclude(results_of({"each": 2.0, "all": 2.0}, chips=3))
    assert "; not told apart from" in tie.sentences[0]


# What the arms train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "set", n=240, size=21, pairs=24)


@pytest.fixture(scope="module")
def material(folder):
    return open_material(folder)


def test_a_smaller_part_makes_as_many_steps_or_as_many_passes(material):
    steps = {}
    for equal in ("steps", "epochs"):
        study = SizeStudy(equal=equal, fractions=(0.25, 1.0), train={**TINY, "batch_size": 16})
        small, whole = (study.run(arm, 0, material) for arm in ("0.25", "1"))
        assert small.n_train < 0.5 * whole.n_train == 0.5 * material.split.train.size
        steps[equal] = small.steps / whole.steps
    assert steps["steps"] == 1.0
    assert steps["epochs"] == pytest.approx(0.25, abs=0.13)


def test_planted_labels_and_old_ones_are_trained_on(material, folder):
    study = ContaminationStudy(train=TINY, methods=("naive", "unknown"))
    assert [arm.name for arm in study.arms(material)] == ["naive", "oracle"]
    naive, oracle = (study.run(arm, 0, material) for arm in ("naive", "oracle"))
    planted = naive.facts["planted_rows"]
    assert naive.facts["planted_share"]["train"] == pytest.approx(0.15, abs=0.02)
    train = sum(naive.facts["planted_share"].values()) / 2
    assert 0 < naive.n_train - oracle.n_train < planted
    assert train == pytest.approx(0.15, abs=0.03)
    old = ContaminationStudy(train=TINY, old_labels="old_label")
    first, second = (old.run(arm, 0, old.open(folder)) for arm in ("old labels", "new labels"))
    assert not np.array_equal(first.scores, second.scores)
    with pytest.raises(InputError, match=r"column 'snr' holds .*: old labels are 1 real, 0 artifact, -1 neither"):
        ContaminationStudy(old_labels="snr").open(folder)
    with pytest.raises(InputError, match="the material has no older labels; open it with the study itself"):
        old.run("old labels", 0, material)


def test_an_arm_of_the_channels_does_not_see_what_it_should_not(material, monkeypatch):
    study = ChannelStudy(train=TINY)
    assert [arm.name for arm in study.arms(material)][-1] == "21 px"
    seen = []

    def trained(_material, options, noise, **given):
        seen.append((options.planes, options.numbers, options.stamp_size, options.scalar_dropout, options.seed))

    monkeypatch.setattr("gueststar.study.channels.train_and_score", trained)
    for arm in ("difference only", "triplet", "numbers only", "21 px"):
        study.run(arm, 3, material)
    whole = ("science", "reference", "difference")
    assert seen == [
        (("difference",), False, 15, 0.25, 3),
        (whole, True, 15, 0.25, 3),
        ((), True, 15, 0.0, 3),
        (whole, True, 21, 0.25, 3),
    ]


def test_models_for_chips_score_the_rows_of_their_chips(material):
    study = ChipStudy(train={**TINY, "epochs": 2}, fewest=3, left_out=1)
    assert [arm.name for arm in study.arms(material)] == ["each", "mix", "all", "film", "head"]
    with pytest.raises(InputError, match=r"0 chips have 1000 reals and artifacts .*at least two are needed"):
        study.model_copy(update={"fewest": 1000}).arms(material)
    chips = material.column("chip")
    found = {arm: study.run(arm, 0, material) for arm in ("each", "mix", "film, unseen chips", "head")}
    for arm, scored in found.items():
        unseen = scored.facts["unseen_chips"]
        np.testing.assert_array_equal(np.isfinite(scored.scores), np.isin(chips, unseen or ("11", "12")), err_msg=arm)
    assert len(found["film, unseen chips"].facts["unseen_chips"]) == 1
    assert found["mix"].n_train == pytest.approx(material.split.train.size / 2, abs=4)
    assert found["each"].n_train == found["head"].n_train == material.split.train.size
    with pytest.raises(ConfigError, match="the arms themselves say who is told the chip"):
        ChipStudy.parse({"train": {"chips": "film"}})


def test_networks_that_need_wider_stamps_are_left_out(material):
    study = BaselineStudy(train=TINY)
    assert [arm.name for arm in study.arms(material)] == ["gueststar"]
    small = BaselineStudy(networks=("takahashi-simple", "seed"), train=TINY)
    assert "too small for takahashi-simple, seed" in small.conclude(results_of({"gueststar": 1.0})).notes[0]


@pytest.mark.parametrize(
    ("study", "values", "words"),
    [
        (SizeStudy, {"fractions": (0.5, 1.5)}, "fractions must be above 0 and at most 1, each once"),
        (ChannelStudy, {"sizes": (20,)}, "stamp widths must be odd, 15 to 255"),
        (ContaminationStudy, {"share": 0.5}, "less than 0.5"),
        (BaselineStudy, {"networks": ("nets",)}, "Input should be"),
        (ContaminationStudy, {"old_labels": "a", "new_version": "b"}, r"a column .* or versions .*, not both"),
        (ContaminationStudy, {"test_new_version": "b"}, "versions of the test labels need old_version or new_version"),
        (ContaminationStudy, {"new_version": "b", "old_version": "b"}, "are the same labels: two are needed"),
        (ContaminationStudy, {"old_version": ""}, "are the same labels: two are needed"),
    ],
)
def test_senseless_options_are_refused(study, values, words):
    with pytest.raises(ConfigError, match=words):
        study.parse(values)


# Planes and numbers that are hidden inside the network


def inputs(rng, n=5):
    cube = rng.normal(size=(n, 3, 21, 21)).astype(np.float32)
    scalars = rng.normal(size=(n, len(DEFAULT_SCALARS))).astype(np.float32)
    return torch.from_numpy(cube), torch.ones(n, 3), torch.from_numpy(np.abs(scalars))


@pytest.mark.parametrize(
    ("planes", "numbers"), [(("difference",), False), (("science", "difference"), True), ((), True)]
)
def test_hidden_inputs_change_nothing_and_shown_ones_do(rng, planes, numbers):
    torch.manual_seed(0)
    network = RealBogusNet(size=15, planes=planes, numbers=numbers).eval()
    cube, sigma, scalars = inputs(rng)
    first = network(cube, sigma, scalars)
    for i, plane in enumerate(("science", "reference", "difference")):
        other = cube.clone()
        other[:, i] = 7.0
        other[0, i] = torch.nan  # the missing share is hidden, too
        assert torch.equal(network(other, sigma, scalars), first) == (plane not in planes)
    assert torch.equal(network(cube, sigma, scalars * 3.0), first) == (not numbers)


def test_an_exported_network_hides_the_same(rng):
    import onnxruntime

    network = RealBogusNet(size=15, planes=("difference",), numbers=False).eval()
    session = onnxruntime.InferenceSession(onnx_bytes(network), providers=["CPUExecutionProvider"])
    cube, sigma, scalars = inputs(rng)
    names = ("cube", "sigma", "scalars")
    run = session.run(None, dict(zip(names, (v.numpy() for v in (cube, sigma, scalars)), strict=True)))[0]
    np.testing.assert_allclose(run, network(cube, sigma, scalars).detach().numpy(), atol=1e-5)
    other = cube.clone()
    other[:, :2] = -50.0
    again = session.run(None, {"cube": other.numpy(), "sigma": sigma.numpy(), "scalars": 2 * scalars.numpy()})[0]
    np.testing.assert_array_equal(run, again)


def test_a_network_that_sees_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"a network that sees no plane needs numbers=true"):
        Train.parse({"planes": (), "numbers": False})
    with pytest.raises(ConfigError, match="can be hidden from 'gueststar' alone, not from 'seed'"):
        Train.parse({"network": "seed", "planes": ("difference",)})
    with pytest.raises(ValueError, match="any of science, reference, difference, or numbers"):
        Preprocess(planes=("sky",))
