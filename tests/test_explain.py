"""Explanations of scores: what they must do on a network that has learnt something, and what must destroy them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.datasets.explain_examples import read_sample
from gueststar.datasets.explaining import explain_rows
from gueststar.datasets.products import FILES
from gueststar.errors import InputError, ModelError, OutputError
from gueststar.night.products import write_outcome
from gueststar.realbogus.card import weights_hash, write_model
from gueststar.realbogus.chips.weights_file import pack_network
from gueststar.realbogus.explain.attribution import integrated_gradients
from gueststar.realbogus.explain.candidate import Candidate, model_logits
from gueststar.realbogus.explain.explanation import explain, open_explained
from gueststar.realbogus.explain.neighbours import FeatureRows, feature_function, nearest
from gueststar.realbogus.explain.occlusion import ablate, occlude, rank_agreement
from gueststar.realbogus.explain.sanity import (
    deletion_curve,
    map_correlation,
    random_deletion_curve,
    randomise_weights,
)
from gueststar.realbogus.explain.standard import read_standard
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.package import describe_model
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, train_network
from gueststar.types import Outcome
from realbogus_stamps import dataset, draw, gaussian

SIZE = 21
SIGMA = np.float32([10.0, 10.0, 14.142])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` with weights.npz, `scores_only` without, `set`, a data set, and `stamps.npz`."""
    root = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(3)
    train = dataset(500, rng, size=SIZE)
    split = split_groups(train.columns, rng=rng)
    options = Train(epochs=4, batch_size=32, stamp_size=SIZE, patience=4)
    trained = train_network(train, split, options)
    card, weights = describe_model(trained, train, split, options=options, name="tiny", version="1")
    arrays = pack_network(trained.network)
    write_model(root / "scores_only", card, weights)
    card = card.model_copy(update={"trainable_hash": weights_hash(arrays)})
    write_model(root / "model", card, weights, trainable=arrays)
    n = len(train)
    columns = {name: np.asarray(values) for name, values in train.columns.items()}
    columns |= {name: np.ones(n, np.float32) for name in SIGMA_COLUMNS}
    columns |= {"suspicion": np.full(n, ""), "true_kind": np.full(n, ""), "split": np.full(n, "train")}
    columns["candidate_id"] = np.array([f"c{i:06d}" for i in range(n)])
    with ShardWriter(root / "set", rows_per_shard=300) as writer:
        writer.add(train.cube, columns)
    planes = dict(zip(("science", "reference", "difference"), np.moveaxis(train.cube[:6], 1, 0), strict=True))
    np.savez(root / "stamps.npz", **planes, sigma=np.ones((6, 3), np.float32), snr=columns["snr"][:6])
    return root


def candidate(cube: Any, model: Any, snr: float = 30.0) -> Candidate:
    names = tuple(item.name for item in model.card.scalars)
    numbers = np.zeros(len(names), np.float32)
    numbers[0] = snr
    return Candidate(np.asarray(cube, np.float32), SIGMA, numbers, names)


def points(model: Any, n: int = 8) -> list[Candidate]:
    rng = np.random.default_rng(11)
    return [candidate(draw("point", 30.0, SIZE, rng), model) for _ in range(n)]


def dipoles(model: Any, n: int = 8) -> list[Candidate]:
    rng = np.random.default_rng(12)
    return [candidate(draw("dipole", 30.0, SIZE, rng), model) for _ in range(n)]


def test_attributions_add_up_to_the_logit(root: Path) -> None:
    model = open_explained(root / "model")
    for item in (*points(model, 4), *dipoles(model, 4)):
        found = integrated_gradients(model.network, item)
        assert abs(found.completeness_error) <= 0.02 * abs(found.logit - found.baseline)
        assert found.total == pytest.approx(found.planes.sum() + found.numbers.sum() + found.missing.sum())
        own = model_logits(model.scoring)(item.cube[None], item.sigma[None], item.scalars[None])[0]
        assert found.logit == pytest.approx(own, abs=1e-3)


def test_few_steps_do_not_suffice(root: Path) -> None:
    """The error that is reported is that of the integral: with two points it shows."""
    model = open_explained(root / "model")
    few = [abs(integrated_gradients(model.network, item, steps=2, most_steps=2).completeness_error)
           for item in dipoles(model)]  # fmt: skip
    many = [abs(integrated_gradients(model.network, item).completeness_error) for item in dipoles(model)]
    assert np.mean(few) > 10 * np.mean(many)


def test_linear_network_gets_its_weights_back(root: Path) -> None:
    """Of a linear function the attribution is weight times input (Sundararajan et al. 2017, proposition 1)."""
    model = open_explained(root / "model")
    network = model.network
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.normal(size=(3, SIZE, SIZE)).astype(np.float32))

    class Linear(type(network)):  # type: ignore[misc]
        def after(self, pixels: Any, numbers: Any, chip: Any = None) -> Any:
            return (pixels * weight).sum(dim=(1, 2, 3)) + 2.0 * numbers.sum(dim=1)

    item = points(model, 1)[0]
    linear = Linear(network.preprocess.scalars, size=SIZE).eval()
    found = integrated_gradients(linear, item, steps=4)
    seen, _ = linear.preprocess(*(torch.from_numpy(part[None]) for part in (item.cube, item.sigma, item.scalars)))
    np.testing.assert_allclose(found.pixels, (seen[0] * weight).numpy(), rtol=1e-4, atol=1e-5)


def test_map_of_an_injected_source_peaks_on_it(root: Path) -> None:
    model = open_explained(root / "model")
    rng = np.random.default_rng(5)
    x, y = 2.0, -1.5
    source = 3000.0 * gaussian(SIZE, x, y, 1.3)
    planes = rng.normal(0, 10.0, (2, SIZE, SIZE))
    planes[0] += source
    item = candidate(np.stack([*planes, planes[0] - planes[1]]), model)
    found = explain(model, item, rng=rng)
    for pixels in (found.gradients.pixels, found.occlusion.pixels):
        strength = np.abs(pixels).sum(axis=0)
        at_y, at_x = np.unravel_index(strength.argmax(), strength.shape)
        assert np.hypot(at_x - (SIZE // 2 + x), at_y - (SIZE // 2 + y)) < 3.0


def test_random_weights_destroy_the_map(root: Path) -> None:
    """The check of Adebayo et al. (2018): the map tells of what was learnt, not of the picture."""
    model = open_explained(root / "model")
    other = randomise_weights(model.network, rng=np.random.default_rng(1))
    near = (slice(None), slice(5, -5), slice(5, -5))
    changed, same = [], []
    for item in (*points(model, 4), *dipoles(model, 4)):
        first = integrated_gradients(model.network, item).pixels[near]
        changed.append(map_correlation(first, integrated_gradients(other, item).pixels[near]))
        same.append(map_correlation(first, integrated_gradients(model.network, item, steps=32).pixels[near]))
    assert np.mean(same) > 0.9
    assert abs(np.mean(changed)) < 0.3


def test_shuffling_changes_a_copy_only(root: Path) -> None:
    network = open_explained(root / "model").network
    before = [value.clone() for value in network.state_dict().values()]
    other = randomise_weights(network, rng=np.random.default_rng(1))
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert not torch.equal(other.head[0].weight, network.head[0].weight)
    assert torch.equal(other.preprocess.mean, network.preprocess.mean)


def test_most_attributed_pixels_matter_most(root: Path) -> None:
    model = open_explained(root / "model")
    logits = model_logits(model.scoring)
    rng = np.random.default_rng(2)
    mine, at_random, worst = [], [], []
    for item in points(model):
        pixels = integrated_gradients(model.network, item).pixels
        mine.append(deletion_curve(logits, item, pixels).mean)
        worst.append(deletion_curve(logits, item, -np.abs(pixels)).mean)
        at_random.append(random_deletion_curve(logits, item, rng=rng).mean)
    assert np.mean(mine) < np.mean(at_random) - 1.0
    assert np.mean(worst) > np.mean(mine) + 1.0  # a map upside down fails the same check


def test_deletion_begins_with_the_candidate_and_leaves_it_alone(root: Path) -> None:
    model = open_explained(root / "model")
    logits, item = model_logits(model.scoring), points(model, 1)[0]
    before = item.cube.copy()
    curve = deletion_curve(logits, item, np.zeros_like(before), steps=3, largest=1.0)
    np.testing.assert_array_equal(item.cube, before)
    assert curve.share.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.logit[0] == pytest.approx(item.logits(logits, before[None])[0])
    assert curve.logit[-1] == pytest.approx(item.logits(logits, np.zeros_like(before)[None])[0])
    assert curve.fall(1.0) == pytest.approx(curve.logit[0] - curve.logit[-1])


def test_occlusion_of_a_known_function() -> None:
    """Of a weighted sum the fall under a patch is the sum within it, and both maps agree."""
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(3, 15, 15))

    def logits(cube: Any, _sigma: Any, scalars: Any) -> Any:
        return (np.nan_to_num(cube) * weight).sum(axis=(1, 2, 3)) + np.nan_to_num(scalars, nan=1.0).sum(axis=1)

    cube = rng.normal(size=(3, 15, 15)).astype(np.float32)
    cube[1, 3, 3] = np.nan
    item = Candidate(cube, np.ones(3, np.float32), np.float32([6.0, 3.0]), ("snr", "fwhm"))
    found = occlude(logits, item, patch=5, stride=5)
    part = np.nan_to_num(cube) * weight
    np.testing.assert_allclose(found.patches[1, 0, 0], part[1, :5, :5].sum(), rtol=1e-5)
    np.testing.assert_allclose(found.pixels[2, 7, 7], part[2, 5:10, 5:10].mean(), rtol=1e-4)
    assert rank_agreement(part, found) == pytest.approx(1.0)
    assert rank_agreement(-part, found) == pytest.approx(-1.0)
    assert np.isnan(rank_agreement(np.zeros_like(part), found))
    parts = ablate(logits, item)
    np.testing.assert_allclose(parts.planes, part.sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(parts.numbers, [5.0, 2.0])
    assert parts.all_numbers == pytest.approx(7.0)


def test_gradients_agree_with_occlusion(root: Path) -> None:
    model = open_explained(root / "model")
    agreement = [explain(model, item, rng=np.random.default_rng(0)).agreement
                 for item in (*points(model, 3), *dipoles(model, 3))]  # fmt: skip
    assert np.mean(agreement) > 0.4


def test_faded_candidate_is_explained_like_its_mirror(root: Path) -> None:
    """Turned over, it gets the same map with the epochs exchanged."""
    model = open_explained(root / "model")
    item = points(model, 1)[0]
    numbers = item.scalars.copy()
    i, j = item.names.index("science_snr"), item.names.index("reference_snr")
    numbers[[i, j]] = 40.0, 2.0
    item = replace(item, scalars=numbers)
    turned = numbers.copy()
    turned[[0, i, j]] = -numbers[0], 2.0, 40.0
    mirror = replace(item, cube=item.cube[[1, 0, 2]] * np.float32([1, 1, -1])[:, None, None],
                     sigma=item.sigma[[1, 0, 2]], scalars=turned)  # fmt: skip
    assert mirror.faded
    first, second = (explain(model, one, rng=np.random.default_rng(0)) for one in (item, mirror))
    assert second.logit == pytest.approx(first.logit, abs=1e-3)
    np.testing.assert_allclose(second.gradients.pixels[[1, 0, 2]], first.gradients.pixels, atol=1e-3)
    np.testing.assert_allclose(second.gradients.numbers[[i, j]], first.gradients.numbers[[j, i]], atol=1e-4)
    np.testing.assert_allclose(second.ablation.planes[[1, 0, 2]], first.ablation.planes, atol=1e-3)
    np.testing.assert_allclose(second.ablation.numbers[[i, j]], first.ablation.numbers[[j, i]], atol=1e-3)


def test_standard_of_training_is_the_networks_own(root: Path) -> None:
    model = open_explained(root / "model")
    np.testing.assert_allclose(model.standard.mean, model.network.preprocess.mean.numpy(), rtol=1e-6)
    np.testing.assert_allclose(model.standard.deviations(model.standard.typical(1.0))[0], 1.0, rtol=1e-5)
    assert np.isnan(model.standard.typical(1.0)[1:]).all()  # the drawn stamps have one measured number only


def test_model_without_arrays_has_no_gradients_and_says_so(root: Path) -> None:
    model = open_explained(root / "scores_only")
    found = explain(model, points(model, 1)[0], rng=np.random.default_rng(0))
    assert found.gradients is None
    assert np.isnan(found.agreement)
    assert np.abs(found.occlusion.pixels).max() > 0
    result = CliRunner().invoke(app, ["explain", str(root / "set"), "--row", "1", "--model", str(root / "scores_only")])
    assert result.exit_code == 0, result.output
    assert "no integrated gradients" in " ".join(result.output.split())


def test_networks_that_do_not_belong_together_are_refused(root: Path) -> None:
    model = open_explained(root / "model")
    wrong = replace(model, network=randomise_weights(model.network, rng=np.random.default_rng(1)))
    with pytest.raises(ModelError, match="do not belong together"):
        explain(wrong, points(model, 1)[0], rng=np.random.default_rng(0))


def test_nearest_are_those_at_hand() -> None:
    features = np.array([[0.0, 0, 7], [1, 0, 7], [5, 5, 7], [0.1, 0, 7]], np.float32)
    found = nearest(np.array([0.0, 0, 7]), [FeatureRows(np.array([4, 9]), features[:2]),
                                            FeatureRows(np.array([11, 12]), features[2:])], n=3)  # fmt: skip
    assert found.rows.tolist() == [4, 12, 9]
    assert found.looked_at == 4
    assert nearest(np.zeros(2), []).rows.size == 0


def test_features_are_those_before_the_last_layer(root: Path) -> None:
    model = open_explained(root / "model")
    item = points(model, 1)[0]
    features = feature_function(model.card, model.weights)
    found = features(item.cube[None], item.sigma[None], item.scalars[None], np.array([""]))
    last = model.network.head[-1]
    logit = found @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    own = model_logits(model.scoring)(item.cube[None], item.sigma[None], item.scalars[None])
    np.testing.assert_allclose(logit[:, 0], own, rtol=1e-4)


def test_command_draws_and_tells(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "why"
    words = ["explain", str(root / "set"), "--row", "3", "--candidate", "c000004", "--model", str(root / "model")]
    result = CliRunner().invoke(app, [*words, "--data", str(root / "set"), "--out", str(out), "--sample", "200"])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["explain_c000003.png", "explain_c000004.png"]
    text = " ".join(result.output.split())
    for part in ("integrated gradients", "science", "reference", "difference", "all numbers", "rank correlation"):
        assert part in text
    assert re.search(r"nearest of (199|200) training examples", text)  # itself is left out where it was drawn


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Path:
    """A run of two images with two candidates each; the second one has an artificial real, too."""
    train = dataset(5, np.random.default_rng(8), size=SIZE + 2)
    run = tmp_path / "products"
    for image, parts in (("a", ((0, [0, 1]),)), ("b", ((0, [2, 3]), (1, [4])))):
        folder = run / "images" / image
        folder.mkdir(parents=True)
        for label, rows in parts:
            columns = {name: np.asarray(values)[rows] for name, values in train.columns.items() if name != "chip"}
            columns |= {name: np.full(len(rows), 10.0, np.float32) for name in SIGMA_COLUMNS}
            columns |= {"candidate_id": np.array([f"id{row}" for row in rows]), "chip": np.full(len(rows), image)}
            pq.write_table(
                pa.table({name: pa.array(values) for name, values in columns.items()}), folder / FILES[label][0]
            )
            np.save(folder / FILES[label][1], 10.0 * train.cube[rows])
        write_outcome(folder / "outcome.json", Outcome(image, "ok"), key="", config_hash="")
    (run / "run.json").write_text(json.dumps({"images": {"a": "a.fits", "b": "b.fits"}}))
    return run


def test_candidates_of_a_run_are_found_in_its_images(root: Path, run: Path) -> None:
    made = explain_rows(run, ids=["id1", "id3", "id4"], model=root / "model")
    assert [(item.row.name, item.row.row, item.row.chip, item.row.kind) for item in made] == [
        ("id1", 1, "a", ""), ("id3", 1, "b", ""), ("id4", 0, "b", "artificial real"),
    ]  # fmt: skip
    by_row = explain_rows(run / "images" / "b", rows=[1], model=root / "model")[0]
    assert by_row.row.name == "id3"
    assert by_row.explanation.score == made[1].explanation.score
    cube = dataset(5, np.random.default_rng(8), size=SIZE + 2).cube[3][:, 1:-1, 1:-1]
    np.testing.assert_allclose(by_row.row.candidate.cube, 10.0 * cube, rtol=1e-6)


def test_runs_tell_what_is_missing(root: Path, run: Path) -> None:
    with pytest.raises(InputError, match="rows have no common numbers"):
        explain_rows(run, rows=[0], model=root / "model")
    with pytest.raises(InputError, match="no candidate 'id9'; there are id0, id1, id2, id3, id4, 5 in all"):
        explain_rows(run, ids=["id9"], model=root / "model")
    image = run / "images" / "a"
    np.save(image / FILES[0][1], np.zeros((2, 3, 9, 9), np.float32))
    with pytest.raises(InputError, match="stamps of 9 px; the model sees 21"):
        explain_rows(image, rows=[0], model=root / "model")
    (image / FILES[0][1]).unlink()
    with pytest.raises(InputError, match="has no stamp of candidate id0"):
        explain_rows(image, rows=[0], model=root / "model")
    pq.write_table(pq.read_table(image / FILES[0][0]).drop_columns([SIGMA_COLUMNS[0]]), image / FILES[0][0])
    np.save(image / FILES[0][1], np.zeros((2, 3, SIZE, SIZE), np.float32))
    with pytest.raises(InputError, match="has no column sky_sigma_science"):
        explain_rows(image, rows=[0], model=root / "model")
    (image / FILES[0][0]).write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a readable table of candidates"):
        explain_rows(image, rows=[0], model=root / "model")


def test_examples_are_read_once_for_all_candidates(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"model": root / "model", "data": root / "set", "sample": 100}
    alone = [explain_rows(root / "set", rows=[row], **given)[0] for row in (0, 320)]
    drawn = []

    def counted(*data: Any, **options: Any) -> Any:
        drawn.append(options["sample"])
        return read_sample(*data, **options)

    monkeypatch.setattr("gueststar.datasets.explaining.read_sample", counted)
    together = explain_rows(root / "set", rows=[0, 320], **given)
    assert drawn == [100]
    assert [item.lines for item in together] == [item.lines for item in alone]


def test_nearest_examples_need_training_rows(root: Path, tmp_path: Path) -> None:
    other = dataset(20, np.random.default_rng(1), size=SIZE)
    columns = {name: np.asarray(values) for name, values in other.columns.items()}
    columns |= {name: np.ones(20, np.float32) for name in SIGMA_COLUMNS}
    columns |= {"suspicion": np.full(20, ""), "true_kind": np.full(20, ""), "split": np.full(20, "test")}
    with ShardWriter(tmp_path / "set", rows_per_shard=300) as writer:
        writer.add(other.cube, columns)
    with pytest.raises(InputError, match="no rows in its part train"):
        explain_rows(tmp_path / "set", rows=[0], model=root / "model", data=tmp_path / "set")


def test_last_layer_that_cannot_be_found_is_told(root: Path) -> None:
    import onnx

    model = open_explained(root / "model")
    network = onnx.load_from_string(model.weights)
    for node in network.graph.node:
        node.op_type = "MatMul" if node.op_type == "Gemm" else node.op_type
    with pytest.raises(ModelError, match="its last layer cannot be found"):
        feature_function(model.card, network.SerializeToString())
    assert read_standard(model.card, onnx.ModelProto().SerializeToString()) is None


def test_figure_of_stamps_shows_what_is_said(root: Path, tmp_path: Path) -> None:
    from gueststar.report.explain_figure import explain_figure
    from gueststar.report.explain_numbers import number_rows

    found = explain_rows(root / "stamps.npz", tmp_path / "a.png", rows=[2], model=root / "model")[0]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    model = open_explained(root / "model")
    rows = number_rows(found.explanation, model.standard, {"psf_chi2": 1.2, "fwhm": 3.0, "psf_fwhm": 2.0})
    assert [row.value for row in rows if not row.seen] == [1.5, 1.2]
    figure = explain_figure(found.explanation, rows, title="Candidate 2", model="tiny 1")
    shown = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    for part in ("Candidate 2", f"score {found.explanation.score:.4f}", "integrated gradients", "occlusion", "science"):
        assert part in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no candidate is named"),
        ({"rows": [9999]}, "no row 9999"),
        ({"rows": [-1]}, "no row -1"),
        ({"ids": ["nothing"]}, "no candidate 'nothing'"),
        ({"ids": ["c0000"]}, r"100 candidates begin with 'c0000'"),
        ({"rows": [1, 2], "out": "a.png"}, "give a folder"),
        ({"rows": [1], "out": "a.jpg"}, r"written as \.png, not as \.jpg"),
    ],
)
def test_what_cannot_be_explained_is_told(root: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    out = change.pop("out", None) if "out" in change else None
    change = {key: value for key, value in change.items() if key != "out"}
    with pytest.raises(InputError, match=message):
        explain_rows(root / "set", None if out is None else tmp_path / out, model=root / "model", **change)


def test_files_of_stamps_tell_what_is_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no row 6: it holds 6"):
        explain_rows(root / "stamps.npz", rows=[6], model=root / "model")
    with pytest.raises(InputError, match="has no candidate 'x'"):
        explain_rows(root / "stamps.npz", ids=["x"], model=root / "model")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(OutputError, match="is there already"):
        explain_rows(root / "stamps.npz", tmp_path / "a.png", rows=[0], model=root / "model")


def test_bad_candidates_are_told(root: Path) -> None:
    model = open_explained(root / "model")
    item = points(model, 1)[0]
    with pytest.raises(InputError, match=r"expected \(3, k, k\)"):
        replace(item, sigma=np.ones(2, np.float32))
    with pytest.raises(InputError, match="no usable pixel"):
        explain(model, replace(item, cube=np.full_like(item.cube, np.nan)), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="cut out the centre"):
        explain(model, replace(item, cube=item.cube[:, 1:-1, 1:-1]), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="expected the same"):
        deletion_curve(model_logits(model.scoring), item, np.zeros((3, 5, 5)))
    with pytest.raises(InputError, match="a patch of 99 px"):
        occlude(model_logits(model.scoring), item, patch=99)
