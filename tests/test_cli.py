"""The commands: what they print, write and return."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gueststar
import night_frames
from gueststar.cli.main import app
from gueststar.cli.toml import to_toml
from gueststar.config import Config, load_config


def call(*words: object) -> Any:
    """Run a command as the shell does."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160", "NO_COLOR": "1"})


def test_help_does_not_wait_for_heavy_packages() -> None:
    code = (
        "import sys\nfrom gueststar.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'astropy', 'matplotlib', 'scipy', 'onnxruntime', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("pair", "run", "simulate", "inject", "efficiency", "train", "doctor", "config"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["pair"], ["run"], ["simulate", "night"], ["simulate", "pair"], ["inject"], ["efficiency"], ["train"],
        ["doctor"], ["config", "show"],
    ],
)  # fmt: skip
def test_each_command_has_help_with_an_example(words: list[str]) -> None:
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert f"gueststar {' '.join(words)}" in result.stdout.split("Options")[0].split("Usage")[1].partition("\n")[2]


def test_version() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"gueststar {gueststar.__version__}"


def test_exit_codes_and_one_line_errors(tmp_path: Path) -> None:
    frame = night_frames.write(tmp_path / "a.fits", night_frames.counts(1))
    assert call("pair").exit_code == 2
    assert call("pair", frame, frame, "--out", tmp_path / "o", "--nonsense").exit_code == 2
    usage = call("pair", frame, frame, "--out", tmp_path / "o", "--set", "detect.treshold=6")
    assert usage.exit_code == 2
    assert "unknown key; valid keys here" in usage.stderr
    missing = call("pair", frame, tmp_path / "absent.fits", "--out", tmp_path / "o")
    assert missing.exit_code == 1
    assert missing.stderr.strip().startswith("FrameError")
    assert "absent.fits: no such file" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1
    debug = call("--debug", "pair", frame, tmp_path / "absent.fits", "--out", tmp_path / "o")
    assert type(debug.exception).__name__ == "FrameError"
    assert call("pair", frame, frame, "--out", tmp_path / "o", "--engine", "magic").exit_code == 2
    assert call("pair", frame, frame, "--out", tmp_path / "o", "--instrument", "magic").exit_code == 2
    assert not (tmp_path / "o").exists()


def test_pair_prints_the_best_candidates(tmp_path: Path) -> None:
    science = night_frames.write(tmp_path / "science.fits", night_frames.counts(2, new=True), GAIN=None)
    reference = night_frames.write(tmp_path / "reference.fits", night_frames.counts(1))
    out = tmp_path / "pair"
    result = call("pair", science, reference, "--out", out, "--gain", 1.6, "--set", "night.pictures=false")
    assert result.exit_code == 0, result.output
    assert "candidates:" in result.stdout
    assert "110." in result.stdout
    assert f"Products in {out}" in result.stdout.replace("\n", "")
    assert sorted(item.name for item in out.iterdir()) == [
        "candidates.parquet", "difference.fits", "outcome.json", "stamps.npy"
    ]  # fmt: skip
    again = call("pair", science, reference, "--out", out, "--gain", 1.6)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    quiet = call(
        "pair",
        science,
        reference,
        "--out",
        out,
        "--gain",
        1.6,
        "--overwrite",
        "--quiet",
        "--set",
        "night.pictures=false",
    )
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_run_writes_a_report_and_counts_in_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gueststar.night.pair as pair
    import gueststar.night.run as run

    monkeypatch.setattr(run, "ProcessMap", InThisProcess)
    night_frames.write_night(tmp_path / "night", 4)
    options = ["--inject", 8, "--inject-snr", 10, 30, "--seed", 3, "--set", "night.pictures=false", "--n-reference", 1]
    result = call("run", tmp_path / "night", "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "3 images: 3 ok" in result.stdout
    assert "artificial reals: found 50 % at S/N" in result.stdout
    assert (tmp_path / "out" / "report.html").is_file()
    again = call("run", tmp_path / "night", "--out", tmp_path / "out", *options, "--workers", 2)
    assert again.exit_code == 0
    assert "3 kept from an earlier run" in again.stdout

    strict = ["--set", "night.pictures=false", "--set", "quality.width_ratio=0.2"]
    rejected = call("run", tmp_path / "night", "--out", tmp_path / "out4", *strict)
    assert rejected.exit_code == 0
    assert "rejected" in rejected.stdout
    assert "wide PSF" in rejected.stderr.replace("\n", " ")

    def fails(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pair, "process_pair", fails)
    crashed = call("run", tmp_path / "night", "--out", tmp_path / "out2")
    assert crashed.exit_code == 3
    assert "2 images: 2 crashed" in crashed.stdout
    assert "ZeroDivisionError: a bug" in crashed.stderr
    assert "ZeroDivisionError" in (tmp_path / "out2" / "report.html").read_text(encoding="utf-8")
    night_frames.write(tmp_path / "one" / "a.fits", night_frames.counts(1))
    alone = call("run", tmp_path / "one", "--out", tmp_path / "out3")
    assert alone.exit_code == 1
    assert "the only frame" in (tmp_path / "out3" / "report.html").read_text(encoding="utf-8")


class InThisProcess:
    """Stands in for the pool of processes."""

    def __init__(self, _workers: int, *, lost: object) -> None:
        self.lost = lost

    def __enter__(self) -> Any:
        return map

    def __exit__(self, *_error: object) -> None:
        return


def test_config_commands(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    assert call("config", "init", file).exit_code == 0
    assert load_config(file) == Config()
    assert "# Score at the peak" in file.read_text()
    assert call("config", "init", file).exit_code == 1
    assert call("config", "init", file, "--overwrite").exit_code == 0
    checked = call("config", "check", file)
    assert checked.exit_code == 0
    assert "is sound" in checked.stdout
    file.write_text("[detect]\nthreshold_sigma = 1\n")
    wrong = call("config", "check", file)
    assert wrong.exit_code == 2
    assert "detect.threshold_sigma = 1" in wrong.stderr
    shown = call("config", "show", "--set", "subtract.engine=hotpants", "--set", "night.inject_snr=[6, 60]")
    values = tomllib.loads(shown.stdout)
    assert values["subtract"]["engine"] == "hotpants"
    assert values["night"]["inject_snr"] == [6.0, 60.0]


def test_toml_of_any_configuration_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for overrides in (
        [],
        ["subtract.engine=hotpants", "gain_e_adu=2.5", "night.rb_threshold=0.25"],
        ['instrument="a\\"b"'],
    ):
        config = load_config(None, overrides)
        for comments in (False, True):
            path.write_text(to_toml(config, comments=comments))
            assert load_config(path) == config


def test_doctor_looks_at_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = call("doctor")
    assert result.exit_code == 0, result.output
    for words in ("Python", "torch", "hotpants", "cores", "real/bogus model", "verified", "All that is required works"):
        assert words in result.stdout
    broken = call("doctor", "--set", f"classify.model={tmp_path}", "--quiet")
    assert broken.exit_code == 1
    assert "1 broken: real/bogus model" in broken.stdout
    assert "hotpants" not in broken.stdout
    assert call("doctor", "--set", "no.such=1").exit_code == 2
    monkeypatch.setattr("gueststar.cli.doctor._REQUIRED", ("numpy", "no-such-package"))
    absent = call("doctor", "--quiet")
    assert absent.exit_code == 1
    assert "pip install no-such-package" in absent.stdout


def test_simulated_pair_can_be_processed(tmp_path: Path) -> None:
    options = ["--shape", 256, 288, "--seed", 5, "--set", "star_density=3"]
    result = call("simulate", "pair", tmp_path / "sim", *options)
    assert result.exit_code == 0, result.output
    assert sorted(item.name for item in (tmp_path / "sim").iterdir()) == [
        "picture.png", "reference.fits", "science.fits", "truth.parquet"
    ]  # fmt: skip
    assert call("simulate", "pair", tmp_path / "sim", *options).exit_code == 1
    call("simulate", "pair", tmp_path / "same", *options)
    for name in ("science.fits", "truth.parquet"):
        assert (tmp_path / "same" / name).read_bytes() == (tmp_path / "sim" / name).read_bytes()
    files = [tmp_path / "sim" / f"{name}.fits" for name in ("science", "reference")]
    done = call(
        "pair", *files, "--instrument", "tomoe", "--out", tmp_path / "out", "--quiet", "--set", "night.pictures=false"
    )
    assert done.exit_code == 0, done.output
    assert len(np.load(tmp_path / "out" / "stamps.npy").shape) == 4


def test_simulated_night(tmp_path: Path) -> None:
    words = ["simulate", "night", tmp_path / "n", "--visits", 4, "--shape", 64, 64, "--quiet"]
    result = call(*words, "--chips", "2")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "n").glob("*.fits"))) == 8
    assert (tmp_path / "n" / "picture.png").stat().st_size > 10_000
    everything = call("simulate", "night", tmp_path / "a", "--chips", "all", "--visits", 2, "--shape", 48, 48,
                      "--set", "earlier_visits=1", "--set", "bright_stars=drawn", "--quiet")  # fmt: skip
    assert everything.exit_code == 0, everything.output
    assert len({path.name[4] + path.stem[-2:] for path in (tmp_path / "a").glob("*.fits")}) == 84
    assert call("simulate", "night", tmp_path / "m", "--chips", "Q9-99").exit_code == 2
    assert call("simulate", "night", tmp_path / "m", "--chips", "900").exit_code == 2
    assert call("simulate", "night", tmp_path / "m", "--set", "star_density=-1").exit_code == 2
    assert call("simulate", "night", tmp_path / "m", "--survey", tmp_path / "absent.toml").exit_code == 2


def test_train_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gueststar.training

    given: dict[str, Any] = {}

    class Card:
        name, version, parameters, threshold, threshold_meaning = "m", "1", 10, 0.5, "half"
        point = MappingProxyType({"name": "TPR 0.98", "fpr": {"value": 0.021, "low": 0.01, "high": 0.03}})
        part = MappingProxyType({"name": "tests", "n_real": 70, "n_bogus": 80, "auc": 0.99, "auc_err": 0.002})
        metrics = MappingProxyType({"simulated": {**part, "points": [point]}})
        training = MappingProxyType({"history": [{}, {}], "best_epoch": 0, "stopped": "patience"})

    def fake(options: Any, out: Path, **more: Any) -> Card:
        given.update(more, options=options, out=out)
        more["progress"]("pairs", 1, 2)
        return Card()

    monkeypatch.setattr(gueststar.training, "make_and_train", fake)
    frames = tmp_path / "frames"
    night_frames.write_night(frames, 2)
    (frames / "instrument.toml").write_text('name = "mine"\ngain_e_adu = 3.0\n')
    words = ["--pairs", 7, "--epochs", 2, "--seed", 9, "--real", frames, "--set", "data.injected=3", "--workers", 1]
    words += ["--labels", "coteach", "--set", "label_noise.forget_rate=0.1", "--network", "seed"]
    result = call("train", "--out", tmp_path / "model", *words)
    assert result.exit_code == 0, result.output
    options = given["options"]
    assert (options.data.n_pairs, options.data.seed, options.data.injected, options.data.workers) == (7, 9, 3, 1)
    assert (options.train.epochs, options.train.seed, options.train.network) == (2, 9, "seed")
    assert (options.label_noise.method, options.label_noise.forget_rate) == ("coteach", 0.1)
    assert given["held_out_images"] is None
    assert {name: len(images) for name, images in given["real_images"].items()} == {"frames M 31 V": 2}
    assert given["real_images"]["frames M 31 V"][0].instrument == "mine"
    for words_shown in ("tests", "0.9900 (0.9861 to 0.9939)", "2.10 % (1.00 to 3.00)", "rows counted as independent"):
        assert words_shown in result.stdout
    assert call("train", "--set", "data.nonsense=1").exit_code == 2
    unknown = call("train", "--labels", "nnpu")
    assert unknown.exit_code == 2
    assert "drop-flagged" in unknown.output
    assert "takahashi-simple" in call("train", "--network", "resnet50").output
