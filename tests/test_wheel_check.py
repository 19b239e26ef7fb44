"""The check of a wheel: the files of the shipped model are those that its card describes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from gueststar.realbogus.card import find_model

ROOT = Path(__file__).resolve().parents[1]
MODEL = "gueststar/realbogus/shipped"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / ".ci" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel_of(path, **changed):
    """A wheel of the source tree, some files of its model replaced; None leaves a file out."""
    source = ROOT / "src"
    with ZipFile(path, "w") as wheel:
        for file in sorted(source.rglob("*")):
            name = file.relative_to(source).as_posix()
            if not file.is_file() or "__pycache__" in file.parts:
                continue
            own = name.removeprefix(f"{MODEL}/")
            data = changed.get(own, file.read_bytes()) if name != own else file.read_bytes()
            if data is not None:
                wheel.writestr(name, data)
    return str(path)


def test_a_sound_wheel_passes(check, tmp_path, capsys):
    check.main(wheel_of(tmp_path / "sound.whl"))
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.onnx", "weights.npz"])
def test_one_changed_byte_fails(check, tmp_path, name):
    data = bytearray((find_model("shipped") / name).read_bytes())
    data[len(data) // 2] ^= 1
    wheel = wheel_of(tmp_path / "changed.whl", **{name: bytes(data)})
    with pytest.raises(SystemExit, match=rf"changed: {MODEL}/{name} has SHA-256 .* its card says"):
        check.main(wheel)


@pytest.mark.parametrize("name", ["model.onnx", "weights.npz", "card.json"])
def test_a_missing_file_fails(check, tmp_path, name):
    wheel = wheel_of(tmp_path / "short.whl", **{name: None})
    with pytest.raises(SystemExit, match=f"missing: {MODEL}/{name}"):
        check.main(wheel)


def test_a_card_without_a_hash_fails(check, tmp_path):
    card = json.loads((find_model("shipped") / "card.json").read_text(encoding="utf-8"))
    wheel = wheel_of(tmp_path / "bare.whl", **{"card.json": json.dumps({**card, "trainable_hash": ""})})
    with pytest.raises(SystemExit, match=f"has no trainable_hash: nothing vouches for {MODEL}/weights.npz"):
        check.main(wheel)
