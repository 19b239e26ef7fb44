"""The efficiency of small runs: what is counted, the page about it, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.table import Table
from typer.testing import CliRunner

import night_frames
from gueststar.cli.main import app
from gueststar.config import load_config
from gueststar.efficiency.noise import flux_errors
from gueststar.errors import InputError, SubtractionError
from gueststar.night import pair, run_night
from gueststar.night.injection import image_rng, unsearched_reals, with_flagged_places
from gueststar.report.efficiency_page import write_efficiency
from gueststar.report.known_sources import noise_of
from gueststar.simulate.inject import draw_artificial_reals, inject
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Image, Mask
from test_report import Page

SETTINGS = ["night.inject=15", "night.inject_snr=[4, 40]", "night.pictures=false"]
# Where the new source of the last frame is, which is shifted.
NEW_X, NEW_Y = 110.3 + 0.9, 90.6 - 0.9


def truth_rows(rows: Sequence[tuple[str, str, float, float, float]]) -> pa.Table:
    """Truth of image, kind, x, y and change; its S/N is a hundredth of that."""
    image, kind, x, y, change = zip(*rows, strict=True)
    size = np.abs(np.array(change))
    return pa.table(
        {
            "image": image, "kind": kind, "x": x, "y": y, "change_e": change, "flux_e": size, "snr": size / 100.0,
            "mag": 25.0 - 2.5 * np.log10(size), "host_offset_px": np.full(len(rows), 1.5),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a night, of which one frame is blank and one file is broken, its run, and its truth."""
    folder = tmp_path_factory.mktemp("efficiency")
    night_frames.write_night(folder / "night", 4)
    night_frames.write(folder / "night" / "blank.fits", np.full(night_frames.SHAPE, 500.0, np.float32), minute=9)
    (folder / "night" / "broken.fits").write_bytes(b"SIMPLE  =")
    night_frames.write(
        folder / "night" / "sub" / "hole.fits", np.where(np.indices(night_frames.SHAPE)[1] < 60, np.nan,
                                                        night_frames.counts(77)).astype(np.float32), minute=8,
    )  # fmt: skip
    run_night(folder / "night", folder / "out", load_config(None, SETTINGS), mapper=map)
    rows = [
        ("light3", "supernova", NEW_X, NEW_Y, 14_000.0),
        ("light3", "hostless", 20.0, 170.0, 2000.0),
        ("light3", "flare", 120.0, 20.0, 150.0),
        ("light3", "star", 50.0, 50.0, 10_000.0),
        ("light3", "variable", 60.0, 60.0, -3000.0),
        ("blank", "supernova", NEW_X, NEW_Y, 14_000.0),
        ("hole", "asteroid", 20.0, 60.0, 14_000.0),
        ("light0", "supernova", NEW_X, NEW_Y, 14_000.0),
    ]
    pq.write_table(truth_rows(rows), folder / "night" / "truth.parquet")
    return folder


@pytest.fixture(scope="module")
def report(made: Path):
    return write_efficiency(made / "out", made / "page", truth=made / "night")


def test_artificial_reals_of_all_frames_are_counted(made: Path, report) -> None:
    table = report.sources[report.sources["origin"] == "artificial"]
    counts = {name: int((table["image"] == name).sum()) for name in set(table["image"])}
    stored = {
        path.parent.name: pq.read_table(path).num_rows for path in (made / "out" / "images").glob("*/injected.parquet")
    }
    assert counts == {**stored, "blank": 15, "broken": 15}
    assert set(table["lost_at"][np.isin(table["image"], ["blank", "broken"])]) == {"gate"}
    assert (table["snr"] >= 4.0).all()
    assert (table["snr"] <= 40.0).all()
    # 60 of 224 columns are empty: as many sources again fall there as their share.
    hole = table[table["image"] == "sub__hole"]
    masked = hole["lost_at"] == "mask"
    assert 3 <= masked.sum() <= 8
    assert (hole["x"][masked & (hole["status"] == "masked")] < 62).all()
    assert (hole["lost_at"] == "").sum() > 5


def test_simulated_transients_are_matched(made: Path, report) -> None:
    table = report.sources[report.sources["origin"] == "simulated"]
    lost = {(str(row["image"]), str(row["kind"])): str(row["lost_at"]) for row in table}
    assert lost == {
        ("light3", "supernova"): "",
        ("light3", "hostless"): "detection",
        ("blank", "supernova"): "gate",
        ("sub__hole", "asteroid"): "mask",
    }
    found = table[(table["image"] == "light3") & (table["kind"] == "supernova")][0]
    assert found["found"]
    assert found["offset_px"] < 0.3
    # The S/N that its error in the difference gives is the one at which it was detected.
    assert found["snr_difference"] == pytest.approx(found["candidate_snr"], rel=0.15)
    assert np.isnan(table[table["kind"] == "asteroid"][0]["snr_difference"]), "no data, no significance"
    gate = table[table["image"] == "blank"][0]
    assert gate["gate_stage"] == "load"
    assert "no sky noise" in gate["gate_reason"]
    notes = " ".join(report.notes)
    assert "1 simulated changes below S/N 3" in notes
    assert "1 frames of the truth were not searched" in notes


def test_page_tells_it_and_needs_nothing_beside_it(made: Path, report) -> None:
    assert report.page == made / "page" / "efficiency.html"
    page = Page()
    page.feed(report.page.read_text(encoding="utf-8"))
    assert page.open == []
    text = " ".join(" ".join(page.text).split())
    for words in (
        "Where they were lost",
        "Frames that were not searched",
        "Limits",
        "Curves",
        "Lost at mask",
        "hostless",
    ):
        assert words in text
    assert [address for address in page.addresses if not address.startswith("data:image/")] == []
    assert any(address.startswith("data:image/png") for address in page.addresses)
    figures = {path.name for path in (made / "page").glob("*.png")}
    assert {"artificial_snr.png", "artificial_snr_difference.png", "simulated_snr.png", "simulated_mag.png"} <= figures
    for name in figures:
        assert (made / "page" / name).read_bytes().startswith(b"\x89PNG")


def test_tables_hold_every_source_and_every_limit(made: Path, report) -> None:
    stored = pq.read_table(made / "page" / "efficiency.parquet")
    assert stored.num_rows == len(report.sources)
    assert {"lost_at", "snr_difference", "gate_reason"} <= set(stored.column_names)
    values = json.loads((made / "page" / "efficiency.json").read_text())
    assert values["frames_searched"] == 2
    assert {frame["image"] for frame in values["frames_lost"]} == {"blank", "broken"}
    assert len(values["limits"]) == len(report.limits) > 0
    total = sum(row["n"] for row in values["losses"])
    assert total == int((~report.sources["occupied"]).sum())


def test_without_truth_figures_of_an_earlier_page_go_away(made: Path, tmp_path: Path) -> None:
    write_efficiency(made / "out", tmp_path, truth=made / "night" / "truth.parquet")
    assert (tmp_path / "simulated_mag.png").is_file()
    report = write_efficiency(made / "out", tmp_path)
    assert not (tmp_path / "simulated_mag.png").exists()
    assert set(report.sources["origin"]) == {"artificial"}


def test_damaged_and_missing_products_are_told(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made / "out", copy)
    (copy / "images" / "sub__hole" / "injected.parquet").write_bytes(b"no")
    (copy / "images" / "light3" / "difference.fits").unlink()
    (copy / "images" / "light3" / "stamps.npy").write_bytes(b"no")
    (copy / "images" / "light3" / "injected_stamps.npy").unlink(missing_ok=True)
    report = write_efficiency(copy, truth=made / "night")
    assert report.page == copy / "efficiency" / "efficiency.html"
    notes = " ".join(report.notes)
    assert "sub__hole is left out" in notes
    assert "1 frames kept no difference.fits" in notes
    assert "sub__hole" not in set(report.sources["image"])
    mine = report.sources[(report.sources["origin"] == "simulated") & (report.sources["image"] == "light3")]
    assert np.isnan(mine["snr_difference"]).all()


def test_what_cannot_be_used_is_an_error_that_says_what_to_do(made: Path, tmp_path: Path) -> None:
    out = made / "out"
    with pytest.raises(InputError, match="is not the folder of a run"):
        write_efficiency(tmp_path)
    with pytest.raises(InputError, match=r"nothing\.parquet: no such file.*simulate night"):
        write_efficiency(out, truth=tmp_path / "nothing.parquet")
    with pytest.raises(InputError, match="no such file"):
        write_efficiency(out, truth=tmp_path)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        write_efficiency(out, truth=tmp_path / "text.parquet")
    pq.write_table(pa.table({"image": ["a"], "x": [1.0]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="lacks the columns kind, y, mag"):
        write_efficiency(out, truth=tmp_path / "other.parquet")
    pq.write_table(truth_rows([("elsewhere", "supernova", 1.0, 1.0, 900.0)]), tmp_path / "night.parquet")
    with pytest.raises(InputError, match="has elsewhere and others.*give the truth of the night that was run"):
        write_efficiency(out, truth=tmp_path / "night.parquet")


def test_noise_of_a_frame_is_told_by_its_candidates() -> None:
    x, y = np.arange(10.0, 60.0, 4.0), np.full(13, 30.0)
    variance = np.full((60, 80), 16.0, np.float32)
    columns = {column.name: np.zeros(len(x), column.dtype) for column in CANDIDATE_COLUMNS}
    columns |= {"x": x, "y": y, "psf_fwhm": np.full(len(x), 3.0)}
    columns["flux_err"] = 1.7 * flux_errors(variance, x, y, fwhm_px=3.0)
    facts = {"seeing_px": 2.6, "reference_seeing_px": 3.3, "score_scatter": 1.2}
    every = Candidates.from_columns(columns)
    fwhm, scatter = noise_of(every, variance, facts)
    assert (fwhm, scatter) == (3.0, pytest.approx(1.7, rel=1e-5))
    assert noise_of(Candidates(every.table[:4]), variance, facts) == (3.0, 1.2)
    assert noise_of(Candidates.empty(), variance, facts) == (3.3, 1.2)


def without_injections(out: Path, target: Path) -> Path:
    shutil.copytree(out, target)
    record = json.loads((target / "run.json").read_text())
    record["config"]["night"]["inject"] = 0
    (target / "run.json").write_text(json.dumps(record))
    for path in (target / "images").glob("*/injected*"):
        path.unlink()
    return target


def test_a_run_that_goes_on_is_waited_for(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    (tmp_path / "out" / "run.json").write_text(json.dumps(record | {"images": {}}))
    with pytest.raises(InputError, match="the run has not finished"):
        write_efficiency(tmp_path / "out")


def test_runs_without_known_sources(made: Path, tmp_path: Path) -> None:
    plain = without_injections(made / "out", tmp_path / "plain")
    with pytest.raises(InputError, match=r"holds no artificial reals.*--inject 200.*--truth NIGHT"):
        write_efficiency(plain)
    report = write_efficiency(plain, truth=made / "night")
    assert set(report.sources["origin"]) == {"simulated"}
    nothing = write_efficiency(plain, truth=made / "night", kinds=("near_earth",))
    assert len(nothing.sources) == len(nothing.losses) == len(nothing.limits) == 0
    text = nothing.page.read_text(encoding="utf-8")
    assert "No known source counts" in text
    assert pq.read_table(plain / "efficiency" / "efficiency.parquet").num_rows == 0


def test_a_run_of_nothing_but_failures(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    for name in ("a", "b"):
        (tmp_path / "night" / f"{name}.fits").write_bytes(b"SIMPLE  =")
    run_night(tmp_path / "night", tmp_path / "out", load_config(None, SETTINGS), mapper=map)
    report = write_efficiency(tmp_path / "out")
    assert set(report.sources["lost_at"]) == {"gate"}
    assert len(report.sources) == 30
    assert "not reached" in report.page.read_text(encoding="utf-8") or "&gt; " in report.page.read_text(
        encoding="utf-8"
    )


def test_a_second_processing_that_fails_loses_all_at_the_gate(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = pair._process, []

    def process(*arguments):
        calls.append(1)
        if len(calls) % 2 == 0:
            raise SubtractionError("no kernel fits")
        return whole(*arguments)

    monkeypatch.setattr(pair, "_process", process)
    night = made / "night"
    outcome = pair.run_pair(
        night / "light3.fits", night / "light0.fits", tmp_path / "pair", load_config(None, SETTINGS)
    )
    assert outcome.status == "ok"
    assert outcome.facts["inject_error"] == "no kernel fits"
    rows = pq.read_table(tmp_path / "pair" / "injected.parquet")
    assert set(rows["lost_at"].to_pylist()) == {"gate"}
    assert outcome.counts["injected"] == rows.num_rows >= 15
    assert outcome.counts["found"] == 0


def test_sources_that_cannot_be_drawn_spoil_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*arguments, **options):
        raise InputError("no place at all")

    monkeypatch.setattr("gueststar.simulate.inject.draw_artificial_reals", draw)
    frames = [made / "night" / f"light{i}.fits" for i in (3, 0)]
    outcome = pair.run_pair(*frames, tmp_path / "pair", load_config(None, SETTINGS))
    assert (outcome.status, outcome.facts["inject_error"]) == ("ok", "no place at all")
    rows = pq.read_table(tmp_path / "pair" / "injected.parquet")
    assert rows["lost_at"].to_pylist() == ["gate"] * 15


def flagged_image(columns: int) -> Image:
    """An image of 320 columns of which the left ones are flagged."""
    from gueststar.simulate.night import simulate_pair
    from gueststar.simulate.survey import Survey

    image = simulate_pair(Survey.quiet(), seed=3, shape=(240, 320)).science.image()
    mask = image.numpy("mask")
    mask[:, :columns] |= int(Mask.BAD)
    return replace(image, mask=torch.from_numpy(mask))


def test_flagged_pixels_get_their_share_of_sources() -> None:
    from gueststar.ingest.prepare import measure_image

    image = measure_image(flagged_image(0))
    half = replace(image, mask=flagged_image(160).mask)
    rng = np.random.default_rng(1)
    placed = draw_artificial_reals(half, 30, rng=rng, snr=(5.0, 30.0), placement="random", minimum_separation_px=6.0)
    before = placed.copy()
    every = with_flagged_places(half, placed, snr=(5.0, 30.0), rng=rng)
    np.testing.assert_array_equal(placed["x"], before["x"])
    added = every[len(placed) :]
    assert abs(len(added) - len(placed)) <= 3
    assert (added["x"] < 162).all()
    assert (added["snr"] >= 5.0).all()
    assert (added["snr"] <= 30.0).all()
    put = inject(half, every, rng=rng)
    assert (put.sources["status"][len(placed) :] == "masked").mean() > 0.9
    assert len(with_flagged_places(image, placed, snr=(5.0, 30.0), rng=rng)) - len(placed) <= 2


def test_frames_that_failed_get_sources_of_the_same_law() -> None:
    rows = unsearched_reals(2000, snr=(5.0, 50.0), rng=image_rng(1, "a"))
    assert isinstance(rows, Table)
    assert set(rows["lost_at"]) == {"gate"}
    assert np.median(rows["snr"]) == pytest.approx(np.sqrt(250.0), rel=0.1)
    np.testing.assert_array_equal(rows["snr"], unsearched_reals(2000, snr=(5.0, 50.0), rng=image_rng(1, "a"))["snr"])


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_command_prints_losses_and_limits(made: Path, tmp_path: Path) -> None:
    done = call("efficiency", made / "out", "--truth", made / "night", "--out", tmp_path / "o", "--kinds", "supernova")
    assert done.exit_code == 0, done.output
    for words in ("detection", "supernova", "artificial, random", "found and scored real at S/N", "efficiency.html"):
        assert words in done.output
    assert "hostless" not in done.output
    assert (tmp_path / "o" / "efficiency.html").is_file()
    assert call("efficiency", made / "out", "--out", tmp_path / "o", "--quiet").output == ""


def test_command_refuses_what_it_cannot_do(made: Path, tmp_path: Path) -> None:
    wrong = call("efficiency", made / "out", "--kinds", "comet")
    assert wrong.exit_code == 2
    assert "supernova, hostless" in " ".join(wrong.output.split())
    plain = without_injections(made / "out", tmp_path / "plain")
    bare = call("efficiency", plain)
    assert bare.exit_code == 1
    assert "--inject 200" in bare.output
    (tmp_path / "file").write_text("")
    blocked = call("efficiency", made / "out", "--out", tmp_path / "file")
    assert blocked.exit_code == 1
    assert "cannot write" in blocked.output


def test_a_run_is_replaced_together_with_its_efficiency(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(made / "out", copy)
    write_efficiency(copy)
    run_night(made / "night", copy, load_config(None, SETTINGS[:0]), mapper=map, overwrite=True)
    assert not (copy / "efficiency").exists()
