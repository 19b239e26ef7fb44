"""Pairs and whole nights, from files to products."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import night_frames
from gueststar.config import Config, load_config
from gueststar.errors import FrameError, InputError, KeywordError, MissingPartError, OutputError
from gueststar.ingest.frame import FrameFacts
from gueststar.night import run_night, run_pair
from gueststar.night.frames import FoundFrame, find_frames, group_lights
from gueststar.night.guard import Guarded, StageClock, lost
from gueststar.night.pool import ProcessMap
from gueststar.night.products import read_candidates, read_outcome
from gueststar.report import write_report
from gueststar.types import Outcome

PLAIN = load_config(None, ["night.pictures=false"])
NEW = night_frames.NEW


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of one field; the new source is in the last."""
    folder = tmp_path_factory.mktemp("night")
    night_frames.write_night(folder)
    return folder


@pytest.fixture(scope="module")
def done(night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of that night."""
    out = tmp_path_factory.mktemp("run") / "out"
    run_night(night, out, PLAIN, mapper=map)
    return out


def is_found(folder: Path) -> bool:
    table = read_candidates(folder / "candidates.parquet").table
    return bool(((np.hypot(table["x"] - NEW.x, table["y"] - NEW.y) < 2.5) & (table["snr"] > 10)).any())


def test_pair_writes_everything(night: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    clock = StageClock()

    def observe(stage: str, /) -> Any:
        stages.append(stage)
        return clock(stage)

    out = tmp_path / "deep" / "pair"
    outcome = run_pair(night / "light3.fits", night / "light0.fits", out, Config(), observe=observe)
    assert sorted(item.name for item in out.iterdir()) == sorted(set(outcome.products.values()))
    assert len(outcome.products) == 5
    assert outcome.status == "ok"
    assert outcome.image == "light3"
    assert is_found(out)
    assert outcome.counts["candidates"] == len(np.load(out / "stamps.npy"))
    assert outcome.counts["positive"] + outcome.counts["negative"] == outcome.counts["candidates"]
    assert outcome.facts["score_std"] == pytest.approx(1.0, abs=0.1)
    assert outcome.facts["seeing_px"] == pytest.approx(2.8, abs=0.3)
    assert set(stages) == set(outcome.seconds)
    assert {"load", "align", "subtract", "detect", "stamps", "classify", "write", "picture"} <= set(stages)
    with fits.open(out / "difference.fits") as hdus:
        assert hdus[0].header["SCIFILE"] == "light3.fits"
        assert hdus[0].header["REFFILE"] == "light0.fits"
        assert hdus["SCORE"].data.shape == night_frames.SHAPE
        assert {"CONFHASH", "GUESTVER", "SCIID", "REFID", "RBMODEL"} <= set(hdus[0].header)
    assert (out / "pair.png").read_bytes().startswith(b"\x89PNG")


def test_pair_that_exists_is_kept_unless_told(night: Path, tmp_path: Path) -> None:
    files = night / "light3.fits", night / "light0.fits"
    run_pair(*files, tmp_path / "pair", PLAIN)
    before = (tmp_path / "pair" / "outcome.json").stat().st_mtime_ns
    with pytest.raises(OutputError, match="exists already"):
        run_pair(*files, tmp_path / "pair", PLAIN)
    assert (tmp_path / "pair" / "outcome.json").stat().st_mtime_ns == before
    run_pair(*files, tmp_path / "pair", PLAIN, overwrite=True)
    assert (tmp_path / "pair" / "outcome.json").stat().st_mtime_ns > before


def bad_files(folder: Path) -> dict[str, Path]:
    """One file of each kind that cannot be used."""
    whole = night_frames.write(folder / "whole.fits", night_frames.counts(7))
    truncated = folder / "truncated.fits"
    truncated.write_bytes(whole.read_bytes()[:40_000])
    text = folder / "text.fits"
    text.write_text("SIMPLE = no")
    flat = np.full(night_frames.SHAPE, 500.0, np.float32)
    return {
        "truncated": truncated,
        "text": text,
        "empty": night_frames.write(folder / "empty.fits", None),
        "nan": night_frames.write(folder / "nan.fits", np.full_like(flat, np.nan)),
        "constant": night_frames.write(folder / "constant.fits", flat),
        "no_gain": night_frames.write(folder / "no_gain.fits", night_frames.counts(7), GAIN=None),
        "no_exposure": night_frames.write(folder / "no_exposure.fits", night_frames.counts(7), EXPTIME=None),
    }


def test_bad_files_are_clear_errors_and_leave_nothing(night: Path, tmp_path: Path) -> None:
    for name, path in bad_files(tmp_path / "bad").items():
        with pytest.raises(InputError) as caught:
            run_pair(path, night / "light0.fits", tmp_path / "out", PLAIN)
        assert path.name in caught.value.message, name
        assert not (tmp_path / "out").exists()
        assert [item.name for item in tmp_path.iterdir()] == ["bad"], name


def test_pair_errors_name_the_cause(night: Path, tmp_path: Path) -> None:
    science = night / "light3.fits"
    with pytest.raises(FrameError, match=r"absent\.fits: no such file"):
        run_pair(science, tmp_path / "absent.fits", tmp_path / "out", PLAIN)
    with pytest.raises(InputError, match="hold the same pixels"):
        run_pair(science, science, tmp_path / "out", PLAIN)
    bare = night_frames.write(tmp_path / "bare.fits", night_frames.counts(5), GAIN=None)
    with pytest.raises(KeywordError, match="GAIN"):
        run_pair(bare, science, tmp_path / "out", PLAIN)
    outcome = run_pair(bare, science, tmp_path / "out", load_config(None, ["gain_e_adu=1.6", "night.pictures=false"]))
    assert outcome.facts["gain_e_adu"] == 1.6
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(MissingPartError, match="finds no GPU; use cpu"):
            run_pair(bare, science, tmp_path / "gpu", load_config(None, ["device=cuda"]))


def test_full_disk_leaves_nothing_behind(night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gueststar.night.folders.os.fsync", full)
    with pytest.raises(OutputError, match="no space is left"):
        run_pair(night / "light3.fits", night / "light0.fits", tmp_path / "a" / "out", PLAIN)
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_darks_and_flats_given_by_name_are_applied(tmp_path: Path) -> None:
    shape = night_frames.SHAPE
    vignetting = 1.0 - 0.3 * np.hypot(*(np.mgrid[: shape[0], : shape[1]] / shape[0] - 0.5))
    pedestal = 300.0 + 40.0 * (np.arange(shape[1]) % 7)
    rng = np.random.default_rng(8)
    lights = [
        night_frames.write(tmp_path / f"l{i}.fits", night_frames.counts(20 + i, new=i == 0) * vignetting + pedestal)
        for i in range(2)
    ]
    dark = night_frames.write(tmp_path / "d.fits", pedestal + rng.normal(0, 2, shape), IMAGETYP="Dark Frame")
    flat = night_frames.write(
        tmp_path / "f.fits", 20_000 * vignetting + pedestal + rng.normal(0, 100, shape), IMAGETYP="Flat"
    )
    outcome = run_pair(*lights, tmp_path / "out", PLAIN, darks=[dark], flats=[flat])
    assert outcome.facts["dark"] == "dark of 1, 30 s"
    assert outcome.facts["flat"] == "flat of 1"
    assert outcome.facts["score_std"] == pytest.approx(1.0, abs=0.1)
    assert is_found(tmp_path / "out")


def test_night_makes_a_reference_and_processes_the_rest(done: Path) -> None:
    record = json.loads((done / "run.json").read_text())
    assert record["finished"]
    assert record["totals"] == {"ok": 2, "rejected": 0, "failed": 0, "crashed": 0}
    assert record["inputs"] == {"light": 4}
    assert record["references"] == {"M-31_V": {"file": "M-31_V.fits", "frames": ["light0", "light1"]}}
    assert sorted(item.name for item in (done / "images").iterdir()) == ["light2", "light3"]
    assert is_found(done / "images" / "light3")
    assert not is_found(done / "images" / "light2")
    stored = read_outcome(done / "images" / "light3" / "outcome.json")
    assert stored is not None
    assert (stored[0].field, stored[0].status) == ("M 31", "ok")
    assert all((done / product).is_file() for product in stored[0].products.values())


def test_same_run_again_keeps_what_is_there(night: Path, done: Path) -> None:
    tasks: list[str] = []

    def spying_map(function: Callable[[Any], Any], items: Iterable[Any], /) -> list[Any]:
        items = list(items)
        tasks.extend(type(item).__name__ for item in items)
        return [function(item) for item in items]

    result = run_night(night, done, load_config(None, ["night.pictures=false", "night.workers=7"]), mapper=spying_map)
    assert result.kept == 2
    assert "ImageTask" not in tasks
    assert len(result.outcomes) == 2


def test_killed_image_is_made_again(night: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_night(night, out, PLAIN, mapper=map)
    (out / "images" / "light2" / "outcome.json").unlink()
    half = out / "images" / ".light3.part-999999999-00"
    half.mkdir()
    result = run_night(night, out, PLAIN, mapper=map)
    assert result.kept == 1
    assert (out / "images" / "light2" / "outcome.json").is_file()
    assert not half.exists()


def test_another_configuration_does_not_mix(night: Path, done: Path, tmp_path: Path) -> None:
    other = load_config(None, ["detect.threshold_sigma=6", "night.pictures=false"])
    with pytest.raises(OutputError, match="holds a run of another configuration"):
        run_night(night, done, other, mapper=map)
    night_frames.write_night(tmp_path / "second", 2)
    with pytest.raises(OutputError, match="holds a run of another night"):
        run_night(tmp_path / "second", done, PLAIN, mapper=map)
    out = tmp_path / "out"
    run_night(tmp_path / "second", out, PLAIN, mapper=map)
    result = run_night(tmp_path / "second", out, other, mapper=map, overwrite=True)
    assert (result.kept, result.totals["ok"]) == (0, 1)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"it holds 'notes.txt'"):
        run_night(tmp_path / "second", out, other, mapper=map, overwrite=True)
    with pytest.raises(OutputError, match="is not the folder of a run"):
        run_night(night, tmp_path / "second", PLAIN, mapper=map)


def test_bad_images_do_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gueststar.night.pair as pair

    folder = tmp_path / "night"
    night_frames.write_night(folder, 5)
    bad = bad_files(folder)
    (folder / "whole.fits").unlink()
    process = pair.process_pair

    def sometimes(science: Any, *args: Any, **options: Any) -> Any:
        if round(science.mjd_mid % 1 * 1440 - 180.25) == 3:
            raise ZeroDivisionError("a bug")
        return process(science, *args, **options)

    monkeypatch.setattr(pair, "process_pair", sometimes)
    result = run_night(folder, tmp_path / "out", PLAIN, mapper=map)
    outcomes = {outcome.image: outcome for outcome in result.outcomes}
    assert {name for name, outcome in outcomes.items() if outcome.status == "failed"} == set(bad)
    assert all(outcomes[name].reason for name in bad)
    assert outcomes["light3"].status == "crashed"
    assert outcomes["light3"].reason == "ZeroDivisionError: a bug"
    assert "sometimes" in outcomes["light3"].traceback
    assert outcomes["light4"].status == "ok"
    assert result.totals == {"ok": len(outcomes) - len(bad) - 1, "rejected": 0, "failed": len(bad), "crashed": 1}
    for name in (*bad, "light3"):
        assert [item.name for item in (tmp_path / "out" / "images" / name).iterdir()] == ["outcome.json"]
    monkeypatch.setattr(pair, "process_pair", process)
    again = run_night(folder, tmp_path / "out", PLAIN, mapper=map)
    assert again.totals["crashed"] == 0
    assert again.kept == result.totals["ok"]


def test_rejected_image_keeps_its_products_and_says_why(night: Path, tmp_path: Path) -> None:
    strict = load_config(None, ["night.pictures=false", "quality.width_ratio=0.2", "quality.misfit=1e-9"])
    result = run_night(night, tmp_path / "out", strict, mapper=map)
    assert result.totals == {"ok": 0, "rejected": len(result.outcomes), "failed": 0, "crashed": 0}
    assert result.outcomes
    for outcome in result.outcomes:
        assert outcome.stage == "quality"
        assert "wide PSF: " in outcome.reason
        assert "limit 0.2 (quality.width_ratio)" in outcome.reason
        folder = tmp_path / "out" / "images" / outcome.image
        assert read_outcome(folder / "outcome.json")[0] == outcome
        reasons = set(read_candidates(folder / "candidates.parquet").table["reject_reason"])
        assert all("wide PSF" in reason for reason in reasons)
    assert any(is_found(tmp_path / "out" / "images" / outcome.image) for outcome in result.outcomes)
    page = write_report(tmp_path / "out").read_text()
    assert "Not processed, or rejected" in page
    assert "quality.width_ratio" in page


def test_unreadable_first_frame_is_replaced_in_the_reference(tmp_path: Path) -> None:
    folder = tmp_path / "night"
    paths = night_frames.write_night(folder, 4)
    data = paths[0].read_bytes()
    with fits.open(paths[0]) as hdus:
        hdus[0].data[:] = np.nan
        hdus.writeto(paths[0], overwrite=True)
    assert paths[0].read_bytes() != data
    result = run_night(folder, tmp_path / "out", PLAIN, mapper=map)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["references"]["M-31_V"]["frames"] == ["light1", "light2"]
    assert {outcome.image: outcome.status for outcome in result.outcomes} == {"light0": "failed", "light3": "ok"}


def test_fields_and_filters_are_kept_apart_and_a_single_frame_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "night"
    night_frames.write_night(folder / "a", 2)
    night_frames.write(folder / "b" / "light0.fits", night_frames.counts(9), FILTER="R")
    result = run_night(folder, tmp_path / "out", PLAIN, mapper=map)
    outcomes = {outcome.image: outcome for outcome in result.outcomes}
    assert sorted(outcomes) == ["a__light1", "b__light0"]
    assert outcomes["a__light1"].status == "ok"
    assert "is the only frame of field 'M 31', chip '', filter 'R'" in outcomes["b__light0"].reason
    references = tmp_path / "out" / "references"
    later = run_night(folder / "a", tmp_path / "later", PLAIN, reference_dir=references, mapper=map)
    assert [outcome.status for outcome in later.outcomes] == ["failed", "ok"]
    assert "hold the same pixels" in later.outcomes[0].reason
    elsewhere = tmp_path / "elsewhere"
    night_frames.write(elsewhere / "x.fits", night_frames.counts(9), OBJECT="M 33")
    missing = run_night(folder / "a", tmp_path / "missing", PLAIN, reference_dir=elsewhere, mapper=map)
    assert missing.totals["failed"] == 2
    assert "has nothing for field 'M 31'" in missing.outcomes[0].reason


def test_night_calibrates_with_its_darks_and_flats(tmp_path: Path) -> None:
    folder = tmp_path / "night"
    shape = night_frames.SHAPE
    pedestal = 300.0 + 40.0 * (np.arange(shape[1]) % 7)
    rng = np.random.default_rng(8)
    for i in range(2):
        night_frames.write(folder / f"l{i}.fits", night_frames.counts(20 + i) + pedestal, minute=i)
        night_frames.write(folder / f"dark{i}.fits", pedestal + rng.normal(0, 2, shape), IMAGETYP="Dark Frame")
        night_frames.write(folder / f"flat{i}.fits", 2e4 + pedestal + rng.normal(0, 99, shape), IMAGETYP="Flat Field")
    small = rng.normal(300, 2, (64, 64))
    night_frames.write(folder / "other_binning.fits", small, IMAGETYP="Dark Frame")
    broken = folder / "broken_dark.fits"
    broken.write_bytes((folder / "dark0.fits").read_bytes()[:30_000])
    result = run_night(folder, tmp_path / "out", PLAIN, mapper=map)
    outcomes = {outcome.image: outcome for outcome in result.outcomes}
    assert outcomes["l1"].facts["dark"] == "dark of 2, 30 s"
    assert outcomes["l1"].facts["flat"] == "flat of 2"
    assert outcomes["broken_dark"].status == "failed"
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {item["name"] for item in record["calibration"]} == {
        "dark_30s_224x192", "dark_30s_64x64", "flat_V_224x192"
    }  # fmt: skip


def test_artificial_reals_are_put_in_and_found(night: Path, done: Path, tmp_path: Path) -> None:
    settings = ["night.pictures=false", "night.inject=12", "night.inject_snr=[15, 60]", "night.seed=4"]
    result = run_night(night, tmp_path / "out", load_config(None, settings), mapper=map)
    import pyarrow.parquet as pq

    for outcome in result.outcomes:
        folder = tmp_path / "out" / "images" / outcome.image
        table = pq.read_table(folder / "injected.parquet").to_pandas()
        assert len(table) == outcome.counts["injected"] > 4
        clear = table[~table.occupied & (table.mask_flags == 0)]
        assert clear.found.mean() > 0.7
        found = clear[clear.found]
        assert (found.offset_px <= 2.0).all()
        pull = (found.candidate_flux - found.flux_e) / found.candidate_flux_err
        assert abs(np.median(pull)) < 1.0
        assert (table.real <= table.found).all()
        plain = read_candidates(done / "images" / outcome.image / "candidates.parquet")
        # The ordinary products do not know of them.
        assert len(read_candidates(folder / "candidates.parquet")) == len(plain)


def test_empty_and_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        run_night(tmp_path / "absent", tmp_path / "out", PLAIN, mapper=map)
    with pytest.raises(InputError, match="holds no FITS file"):
        run_night(tmp_path, tmp_path / "out", PLAIN, mapper=map)
    path = night_frames.write(tmp_path / "a.fits", night_frames.counts(1), IMAGETYP="Dark Frame")
    with pytest.raises(InputError, match="use `gueststar pair`"):
        run_night(path, tmp_path / "out", PLAIN, mapper=map)
    with pytest.raises(InputError, match="no light frame, only 1 dark"):
        run_night(tmp_path, tmp_path / "out", PLAIN, mapper=map)


def test_stopped_run_says_so_and_goes_on(night: Path, tmp_path: Path) -> None:
    def stopping(function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterable[Any]:
        for number, item in enumerate(items):
            if type(item).__name__ == "ImageTask" and number == 1:
                raise KeyboardInterrupt
            yield function(item)

    result = run_night(night, tmp_path / "out", PLAIN, mapper=stopping)
    assert result.interrupted
    assert not json.loads((tmp_path / "out" / "run.json").read_text())["finished"]
    again = run_night(night, tmp_path / "out", PLAIN, mapper=map)
    assert (again.kept, again.totals["ok"], again.interrupted) == (1, 2, False)


def test_names_of_groups_and_frames_are_unique(tmp_path: Path) -> None:
    nan = float("nan")
    facts = [
        FrameFacts("a", "light", field, "", "V", 30.0, mjd)
        for field, mjd in (("M 31", nan), ("M-31", 2.0), ("M 31", 1.0))
    ]
    groups = group_lights([FoundFrame(f"f{i}", tmp_path, fact, str(i)) for i, fact in enumerate(facts)])
    assert len({group.name for group in groups}) == 2
    assert [[frame.name for frame in group.frames] for group in groups] == [["f2", "f0"], ["f1"]]
    assert (
        group_lights([FoundFrame("f", tmp_path, FrameFacts("a", "light", "", "", "", 1.0, nan), "")])[0].name == "all"
    )
    for name in ("a/x.fits", "b/x.fits", "b/x.fits.gz", "b/x.txt", ".hidden/y.fits", "out/z.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_frames(tmp_path, instrument="generic", leave_out=[tmp_path / "out"])
    assert sorted(task.name for task in found) == ["a__x", "b__x.fits", "b__x.fits.gz"]


def test_clock_knows_the_stage_that_failed() -> None:
    class Work:
        name = "a"

    def fails(_task: Work, clock: StageClock) -> None:
        with clock("one"):
            pass
        with clock("two"):
            raise FrameError("bad", path="p")

    outcome = Guarded(fails)(Work()).outcome
    assert (outcome.status, outcome.stage, outcome.reason) == ("failed", "two", "bad")
    assert outcome.facts == {"path": "p"}
    assert set(outcome.seconds) == {"one", "two"}


class Number:
    """A task of the pool test."""

    def __init__(self, value: int) -> None:
        self.value = value

    @property
    def name(self) -> str:
        return f"n{self.value}"


def square(task: Number, _clock: StageClock) -> int:
    if task.value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if task.value == 3:
        raise ValueError("three")
    return task.value**2


def test_killed_worker_is_survived() -> None:
    with ProcessMap(2, lost=lost) as pool:
        done = {item.task.value: item for item in pool(Guarded(square), [Number(i) for i in range(1, 4)])}
    assert {value: item.value for value, item in done.items() if item.value is not None} == {1: 1}
    assert done[2].outcome.status == "crashed"
    assert "killed" in done[2].outcome.reason
    assert done[3].outcome == Outcome("n3", "crashed", reason="ValueError: three", traceback=done[3].outcome.traceback)
