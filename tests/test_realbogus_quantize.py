"""Eight bits and other runtimes: the same scores within what is allowed, or a refusal with the numbers."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gueststar.cli.main import app
from gueststar.errors import MissingPartError, ModelError
from gueststar.realbogus import loaded
from gueststar.realbogus.card import read_model, write_model
from gueststar.realbogus.checks import check_scores
from gueststar.realbogus.loaded import open_model
from gueststar.realbogus.package import score_dataset
from gueststar.realbogus.parity import compare, quantize_model
from gueststar.realbogus.quantize import quantized
from gueststar.realbogus.recalibrate import Judged
from gueststar.realbogus.runtime import open_session
from gueststar.realbogus.score import load_model
from gueststar.realbogus.store import verify_model
from gueststar.realbogus.stored import open_dataset
from realbogus_models import model_and_set

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_and_set(tmp_path_factory.mktemp("quantize"))


@pytest.fixture(scope="module")
def made(folder):
    model = load_model(folder / "model")
    return quantize_model(model, read_model(folder / "model")[1], open_dataset(folder / "set"), stamps=128)


def test_eight_bits_score_as_single_precision_does(folder, made, tmp_path):
    import onnx

    data = open_dataset(folder / "set")
    old, new = load_model(folder / "model"), open_model(made.card, made.weights)
    rows = np.arange(len(data))
    first, second = (score_dataset(model, data, rows).astype(np.float64) for model in (old, new))
    assert np.abs(first - second).max() > 0
    assert np.corrcoef(first, second)[0, 1] > 0.99
    kinds = [node.op_type for node in onnx.load_from_string(made.weights).graph.node]
    convolutions = kinds.count("Conv")
    assert kinds.count("DequantizeLinear") > convolutions
    assert len(made.weights) < 0.6 * len(read_model(folder / "model")[1])
    assert made.card.version == "1-int8.1"
    facts = made.card.metrics["quantisation"]
    assert abs(facts["auc_change"]) < 5e-4
    assert facts["parts"] == "validation part, judged on the test part"
    assert facts["rows"] == made.parity.rows == (data["split"] == "test").sum()
    kept = [
        (scores[data.labels == 1] >= np.float32(card.threshold)).mean()
        for scores, card in ((first, old.card), (second, made.card))
    ]
    assert kept[0] == pytest.approx(kept[1], abs=0.03)
    write_model(tmp_path / "int8", made.card, made.weights)
    assert "agree" in verify_model(tmp_path / "int8")[1]


def test_a_worse_model_is_refused_with_the_numbers(folder):
    weights = read_model(folder / "model")[1]

    def spoilt(given, batches, *, name):
        import onnx

        model = onnx.load_from_string(quantized(given, batches, name=name))
        scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        for tensor in model.graph.initializer:
            if tensor.name in scales:
                values = onnx.numpy_helper.to_array(tensor) * np.float32(60.0)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model.SerializeToString()

    with pytest.raises(ModelError, match="not as good: .*it is not written") as caught:
        quantize_model(load_model(folder / "model"), weights, open_dataset(folder / "set"), stamps=64, make=spoilt)
    assert abs(caught.value.facts["auc_change"]) > 5e-4 or caught.value.facts["p99_change"] > 0.1


def test_the_gate_sees_each_fault(rng):
    n = 4000
    real = np.arange(n) % 2 == 0
    z = rng.normal(np.where(real, 3.0, -3.0), 2.0)
    scores = 1 / (1 + np.exp(-z))
    judged = Judged(real, z.astype(np.float32), np.full(n, 10.0), rng.integers(0, 40, n))
    same = compare(judged, scores, scores, n_boot=50)
    assert same.faults() == []
    assert (same.auc_change, same.largest_change, same.fpr_change) == (0.0, 0.0, 0.0)
    noisy = 1 / (1 + np.exp(-(z + rng.normal(0, 2.0, n))))
    faults = compare(judged, scores, noisy, n_boot=100).faults()
    assert len(faults) == 3
    assert "AUC" in faults[0]
    assert "one score of a hundred" in faults[1]
    assert "false positives" in faults[2]
    assert replace(same, p99_change=float("nan")).faults()


def test_what_cannot_be_quantised_is_told(folder, made):
    with pytest.raises(ModelError, match="in eight bits already"):
        quantized(made.weights, iter(()), name="tiny")


def test_the_command(folder, tmp_path):
    command = ["model", "quantize", str(folder / "model"), "--data", str(folder / "set"), "--stamps", "64"]
    done = runner.invoke(app, [*command, "--out", str(tmp_path / "new"), "--version", "2"])
    assert done.exit_code == 0, done.output
    assert "compared on" in done.output
    assert read_model(tmp_path / "new")[0].version == "2"


def test_openvino_gives_the_same_scores(folder):
    pytest.importorskip("openvino", reason="the extra 'fast' is not installed")
    card, weights = read_model(folder / "model")
    first, second = (check_scores(open_model(card, weights, runtime=name)) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(first, second, atol=1e-4)
    with pytest.raises(ModelError, match="not a network that OpenVINO can run"):
        open_session(b"nothing", name="x", runtime="openvino")


def test_a_runtime_that_is_not_installed_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    card, weights = read_model(folder / "model")
    with pytest.raises(MissingPartError, match=r"pip install 'gueststar\[fast\]'"):
        open_model(card, weights, runtime="openvino")


def test_a_runtime_with_other_scores_is_refused(folder, monkeypatch):
    class Off:
        def __init__(self, *args, **options):
            self.session = open_session(*args, **{**options, "runtime": "onnxruntime"})
            self.inputs = self.session.inputs

        def __call__(self, feeds):
            return self.session(feeds) + 0.5

    monkeypatch.setattr(loaded, "open_session", Off)
    with pytest.raises(ModelError, match="openvino gives scores that differ by"):
        load_model(folder / "model", runtime="openvino")
