"""Missed reals: reasons by construction, remedies, shares, and the command on small runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy.wcs import WCS
from typer.testing import CliRunner

import night_frames
from gueststar.cli.main import app
from gueststar.config import load_config
from gueststar.datasets.missed import read_missed, write_missed
from gueststar.datasets.missed_lists import read_transients
from gueststar.datasets.missed_section import audit_section
from gueststar.efficiency.evidence import SearchRules
from gueststar.efficiency.losses import judge_sources
from gueststar.errors import InputError
from gueststar.night import run_night
from gueststar.night.products import read_candidates, write_table
from gueststar.realbogus.audit.missed_remedies import count_remedies, remedy_of
from gueststar.realbogus.audit.missed_shares import compare_shares, on_failed, share_of
from gueststar.realbogus.audit.missed_steps import REASONS, STEPS, Seen, reason_of, step_of
from gueststar.report.missed_section import missed_section
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Mask
from test_report import Page

NAN = float("nan")
SETTINGS = ["night.inject=15", "night.inject_snr=[4, 40]", "night.pictures=false", "night.workers=1"]
# In the last frame, which is shifted.
NEW_X, NEW_Y = 110.3 + 0.9, 90.6 - 0.9
SKY = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 112.0, "CRPIX2": 96.0, "CRVAL1": 150.0, "CRVAL2": 20.0,
    "CDELT1": -3.3e-4, "CDELT2": 3.3e-4, "CUNIT1": "deg", "CUNIT2": "deg",
}  # fmt: skip


def seen(**changes: object) -> Seen:
    values = {"inside": True, "rim": False, "flagged": False, "peak_snr": 9.0, "own": True, "peak_flagged": False,
              "expected_snr": NAN, "holder": "none"}  # fmt: skip
    return Seen(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inside": False}, "outside"),
        ({"flagged": True, "own": False}, "flagged"),
        ({"flagged": True, "holder": "trail"}, "trail"),
        ({"peak_flagged": True}, "flagged"),
        ({"rim": True}, "rim"),
        ({"peak_snr": NAN}, "unknown"),
        ({"peak_snr": 4.9}, "faint"),
        ({"peak_snr": 4.9, "expected_snr": 6.0}, "faint"),
        ({"peak_snr": 4.9, "expected_snr": 8.0}, "drowned"),
        ({"own": False}, "blended"),
        ({"own": False, "expected_snr": 2.0}, "faint"),
        ({"holder": "other"}, "blended"),
        ({"holder": "merged"}, "blended"),
        ({"holder": "n_most"}, "n_most"),
        ({"holder": "moved", "own": False, "peak_snr": 1.0}, "position"),
        ({}, "dropped"),
    ],
)
def test_each_reason_follows_from_what_is_seen(changes: dict[str, object], reason: str) -> None:
    assert reason_of(seen(**changes), threshold_sigma=5.0) == reason
    assert step_of(reason) in STEPS
    assert step_of("") == ""
    assert {step for step, _ in REASONS.values()} == set(STEPS)


def plane(*peaks: tuple[float, float, float]) -> np.ndarray:
    """Score of Gaussian peaks (x, y, S/N) of 4 px FWHM."""
    yy, xx = np.mgrid[:100, :120].astype(float)
    return sum(s * np.exp(-4 * np.log(2) * ((xx - x) ** 2 + (yy - y) ** 2) / 16.0) for x, y, s in peaks).astype("f4")


def candidates(*rows: tuple[float, float, float], **columns: object) -> Candidates:
    made = {column.name: np.zeros(len(rows), column.dtype) for column in CANDIDATE_COLUMNS}
    x, y, snr = np.array(rows, float).reshape(-1, 3).T
    made |= {"x": x, "y": y, "snr": snr, "candidate_id": np.array([f"c{i}" for i in range(len(rows))], "U24")}
    return Candidates.from_columns(made | columns).with_columns(rb_score=np.full(len(rows), 0.9))


def reasons(places: list[tuple[float, float]], score: np.ndarray, found: Candidates, **options: object) -> list[str]:
    sources = Table({"x": [p[0] for p in places], "y": [p[1] for p in places], "change_e": [500.0] * len(places)})
    mask = options.pop("mask", np.zeros(score.shape, np.int16))
    judged = judge_sources(
        sources,
        found,
        mask=mask,
        radius_px=2.0,
        threshold=0.5,
        score=score,
        rules=options.pop("rules", None),
        **options,
    )
    assert all(step == step_of(why) for step, why in zip(judged["lost_at"], judged["lost_why"], strict=True))
    return judged["lost_why"].tolist()


def test_the_light_tells_whose_it_is() -> None:
    score = plane((20, 20, 9), (60, 20, 4), (60, 60, 30), (90, 80, 12))
    found = candidates((20, 20, 9), (60, 60, 30), (93.4, 80, 12))
    places = [(20, 20), (60, 20), (62.8, 60), (90, 80), (100, 30)]
    assert reasons(places, score, found, expected_snr=[9, 4, 8, 12, 20]) == [
        "",
        "faint",
        "blended",
        "position",
        "drowned",
    ]
    # Two sources, one candidate: it is the nearer one's.
    assert reasons([(20, 20), (21, 20)], score, found, expected_snr=[9, 9]) == ["", "blended"]
    mask = np.zeros(score.shape, np.int16)
    mask[18:23, 18:23] = int(Mask.SATURATED)
    assert reasons([(20, 20)], score, candidates(), mask=mask) == ["flagged"]
    # The middle is good, the peak beside it is not.
    mask[:, 21:] = 0
    assert reasons([(22, 20)], score, candidates(), mask=mask) == ["flagged"]


def test_peaks_that_became_no_candidate() -> None:
    score = plane((30, 50, 20), (60, 52, 12), (80, 50, 6))
    trail = {"trail_length": np.array([70.0], "f4"), "trail_peaks": np.array([9])}
    trail |= {f"trail_{name}": np.array([value], "f4") for name, value in
              (("x0", 10), ("y0", 50), ("x1", 80), ("y1", 52))}  # fmt: skip
    assert reasons([(60, 52)], score, candidates((30, 50, 20), **trail)) == ["trail"]
    kept = candidates((30, 50, 20), (60, 52, 12))
    assert reasons([(80, 50)], score, kept, rules=SearchRules(n_most=2)) == ["n_most"]
    assert reasons([(80, 50)], score, kept) == ["dropped"]
    close = plane((50, 50, 20)) * 0
    close[50, 50], close[50, 52] = 20.0, 12.0
    assert reasons([(50, 50), (52, 50)], close, candidates((50, 50, 20))) == ["", "blended"]


def test_without_a_score_the_reason_is_unknown() -> None:
    sources = Table({"x": [20.0, 60.0], "y": [20.0, 60.0], "change_e": [9.0, 9.0]})
    judged = judge_sources(sources, candidates((23, 20, 9)), mask=None, radius_px=2.0, threshold=0.5)
    assert judged["lost_why"].tolist() == ["unknown", "unknown"]
    assert judged["lost_at"].tolist() == ["match", "detection"]


def lost(why: str, **changes: object) -> dict[str, object]:
    nothing = {"otherwise": "", "peak_snr": NAN, "beside_px": NAN, "rb_score": NAN}
    return nothing | {"lost_why": why} | changes


@pytest.mark.parametrize(
    ("source", "name", "setting"),
    [
        (lost("faint", peak_snr=4.329), "detect.threshold_sigma", "detect.threshold_sigma <= 4.32"),
        (lost("faint", peak_snr=2.0), "deeper images", ""),
        (lost("drowned", peak_snr=-3.0), "subtraction", ""),
        (lost("score", rb_score=0.31419), "night.rb_threshold", "night.rb_threshold <= 0.3141"),
        (lost("score"), "unknown", ""),
        (lost("flagged", peak_snr=9.0), "detect.masked_peaks", "detect.masked_peaks = true"),
        (lost("flagged", peak_snr=1.0), "nothing", ""),
        (lost("rim", peak_snr=9.0), "detect.edge_px", "detect.edge_px <= 1"),
        (lost("blended", beside_px=1.5), "detect.merge_fwhm", "detect.merge_fwhm < 0.50"),
        (lost("blended"), "subtraction", ""),
        (lost("position", beside_px=2.345), "night.match_radius_px", "night.match_radius_px >= 2.35"),
        (lost("rejected", otherwise="found"), "quality", "quality.masked >= 0.7"),
        (lost("rejected", otherwise="score"), "the frame", ""),
        (lost("rejected", otherwise="unknown"), "unknown", ""),
        (lost("trail"), "detect.trails", "detect.trails = false"),
        (lost("known_object"), "catalogue", ""),
        (lost("outside"), "nothing", ""),
        (lost("dropped"), "unknown", ""),
    ],
)
def test_the_smallest_change(source: dict[str, object], name: str, setting: str) -> None:
    remedy = remedy_of(source, threshold_sigma=5.0, gate_limits={"masked": 0.7}, edge_distance_px=1.6, fwhm_px=3.0)
    assert (remedy.name, remedy.setting) == (name, setting)


def test_remedies_are_counted() -> None:
    counts = count_remedies(["rule", "the frame", "rule"])
    assert [(count.name, count.n) for count in counts] == [("rule", 2), ("the frame", 1)]


def test_shares_and_their_difference() -> None:
    missed = np.r_[np.ones(40, bool), np.zeros(60, bool)]
    there = np.r_[np.ones(30, bool), np.zeros(10, bool), np.ones(10, bool), np.zeros(50, bool)]
    few = compare_shares("hosts", there, missed, np.arange(100) % 4, rng=np.random.default_rng(1))
    assert (few.missed.fraction, few.found.fraction) == (0.75, pytest.approx(1 / 6))
    assert not few.by_frames
    assert 0.35 < few.interval[0] < few.difference < few.interval[1] < 0.75
    assert few.clear
    many = compare_shares("hosts", there, missed, np.arange(100) % 20, rng=np.random.default_rng(1))
    assert many.by_frames
    assert many.interval[0] < many.difference < many.interval[1]
    none = compare_shares("hosts", there[:40], missed[:40], np.arange(40), rng=np.random.default_rng(1))
    assert np.isnan(none.difference)
    assert not none.clear
    assert share_of(0, 0).n == 0
    failed, known = on_failed([1.0, 1.5, NAN, NAN], [1.0, NAN, 6.0, NAN])
    assert failed.tolist() == [False, True, True, False]
    assert known.tolist() == [True, True, True, False]


def test_lists_of_transients_are_read(tmp_path: Path) -> None:
    (tmp_path / "tns.csv").write_text(
        '"ID","Name","RA","DEC","Host Name","Discovery Mag/Flux","Discovery Date (UT)"\n'
        '1,"SN 2026a","10:00:00.0","+20:00:00","NGC 1",18.5,"2026-01-01 12:00:00"\n'
        '2,"AT 2026b","10:00:01.0","-01:30:00","","",""\n'
    )
    table = read_transients(tmp_path / "tns.csv")
    assert table["name"].tolist() == ["SN 2026a", "AT 2026b"]
    np.testing.assert_allclose(table["ra"], [150.0, 150.0 + 15 / 3600])
    np.testing.assert_allclose(table["dec"], [20.0, -1.5])
    assert table["mjd"][0] == pytest.approx(61041.5)
    assert np.isnan(table["mag"][1])
    Table({"objname": ["a"], "ra": [400.0], "declination": [5.0]}).write(tmp_path / "deg.csv")
    assert read_transients(tmp_path / "deg.csv")["ra"][0] == 40.0
    with pytest.raises(InputError, match="no such file"):
        read_transients(tmp_path / "none.csv")
    (tmp_path / "half.csv").write_text("name,ra\na,1\n")
    with pytest.raises(InputError, match="lacks a column for dec; it has name, ra"):
        read_transients(tmp_path / "half.csv")
    (tmp_path / "far.csv").write_text("name,ra,dec\na,1,100\n")
    with pytest.raises(InputError, match="dec = 100 in row 1; expected ICRS degrees"):
        read_transients(tmp_path / "far.csv")
    (tmp_path / "text.csv").write_text("name,ra,dec\na,north:pole,1\n")
    with pytest.raises(InputError, match="column ra holds no positions"):
        read_transients(tmp_path / "text.csv")
    (tmp_path / "broken.fits").write_text("no")
    with pytest.raises(InputError, match=r"broken\.fits cannot be read"):
        read_transients(tmp_path / "broken.fits")
    (tmp_path / "list.txt").write_text("no")
    with pytest.raises(InputError, match="unknown suffix; expected .csv"):
        read_transients(tmp_path / "list.txt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a night that has a sky and one blank frame, and its run."""
    folder = tmp_path_factory.mktemp("missed")
    for i in range(4):
        data = night_frames.counts(100 + i, new=i == 3, shift=0.3 * i)
        night_frames.write(folder / "night" / f"light{i}.fits", data, minute=i, **SKY)
    night_frames.write(folder / "night" / "blank.fits", np.full(night_frames.SHAPE, 500.0, np.float32), minute=9, **SKY)
    run_night(folder / "night", folder / "out", load_config(None, SETTINGS), mapper=map)
    return folder


def sky_at(x: float, y: float) -> tuple[float, float]:
    ra, dec = WCS(SKY).all_pix2world(x, y, 0)
    return float(ra), float(dec)


@pytest.fixture
def tns(tmp_path: Path) -> Path:
    """The new source, a place without one, and one elsewhere."""
    path = tmp_path / "tns.csv"
    rows = [("SN new", *sky_at(NEW_X, NEW_Y)), ("SN gone", *sky_at(30.0, 150.0)), ("SN far", 10.0, -20.0)]
    Table(rows=rows, names=("name", "ra", "dec")).write(path)
    return path


def test_artificial_reals_of_a_run(made: Path, tmp_path: Path) -> None:
    page, found = write_missed(made / "out", tmp_path)
    assert set(found.sources["origin"]) == {"artificial"}
    gate = found.sources[found.sources["image"] == "blank"]
    assert set(gate["lost_why"]) == {"failed"}
    assert set(gate["remedy"]) == {"the frame"}
    mine = found.missed[found.missed["image"] == "light3"]
    assert all(step_of(str(why)) == step for why, step in zip(mine["lost_why"], mine["lost_at"], strict=True))
    assert found.facts["missed"] == len(found.missed) == sum(count.share.k for count in found.steps)
    parser = Page()
    text = page.read_text(encoding="utf-8")
    parser.feed(text)
    assert parser.open == []
    assert [address for address in parser.addresses if not address.startswith("data:image/")] == []
    for words in ("The step that lost them", "What would have saved them", "Every missed real", "Pictures"):
        assert words in text
    stored = pq.read_table(tmp_path / "missed.parquet")
    assert {"lost_why", "remedy", "setting", "peak_snr"} <= set(stored.column_names)
    values = json.loads((tmp_path / "missed.json").read_text())
    assert values["facts"]["missed"] == len(found.missed)
    assert sum(row["saves"] for row in values["remedies"]) == len(found.missed)
    fragment = missed_section(made / "out", found)
    assert fragment.startswith("<style>")
    assert "<html" not in fragment


def test_known_transients_and_junk(made: Path, tns: Path, tmp_path: Path) -> None:
    page, found = write_missed(made / "out", tmp_path / "page", known=tns)
    rows = {str(row["name"]): row for row in found.transients}
    assert rows["SN new"]["lost_at"] in ("", "score")
    assert rows["SN gone"]["lost_at"] == "detection"
    assert rows["SN far"]["lost_at"] == "outside"
    assert rows["SN far"]["frames"] == 0
    listed = found.sources[found.sources["origin"] == "listed"]
    assert set(listed["lost_at"][listed["image"] == "blank"]) == {"gate"}
    assert found.facts["transients_covered"] == 2
    assert pq.read_table(tmp_path / "page" / "transients.parquet").num_rows == 3
    assert "Known transients" in page.read_text(encoding="utf-8")
    # Seen years before: no frame counts.
    Table(
        {"name": ["old"], "ra": [sky_at(NEW_X, NEW_Y)[0]], "dec": [sky_at(NEW_X, NEW_Y)[1]], "date": [50000.0]}
    ).write(tmp_path / "old.csv")
    later = read_missed(made / "out", known=tmp_path / "old.csv")
    assert "after the discovery, and are left out" in " ".join(later.notes)
    assert later.facts["transients_covered"] == 0


def copy_of(made: Path, target: Path, **night: object) -> Path:
    shutil.copytree(made / "out", target)
    record = json.loads((target / "run.json").read_text())
    record["config"]["night"] |= night
    (target / "run.json").write_text(json.dumps(record))
    return target


def test_what_later_steps_lose(made: Path, tns: Path, tmp_path: Path) -> None:
    out = copy_of(made, tmp_path / "out", inject=0)
    folder = out / "images" / "light3"
    table = read_candidates(folder / "candidates.parquet").table
    table["rb_score"] = np.full(len(table), 0.99, np.float32)
    write_table(folder / "candidates.parquet", table, provenance={})
    (tmp_path / "objects.csv").write_text("ra,dec,kind\n{},{},variable\n".format(*sky_at(NEW_X, NEW_Y)))

    def verdict(**options: object) -> str:
        rows = read_missed(out, known=tns, **options).sources
        return str(rows["lost_why"][(rows["name"] == "SN new") & (rows["image"] == "light3")][0])

    assert verdict() == ""
    assert verdict(objects=[tmp_path / "objects.csv"]) == "known_object"
    table["reject_reason"] = np.full(len(table), "too near to a star")
    write_table(folder / "candidates.parquet", table, provenance={})
    assert verdict() == "rule"
    table["mover_name"] = np.full(len(table), "(1) Ceres")
    write_table(folder / "candidates.parquet", table, provenance={})
    assert verdict() == "known_object"


def test_runs_with_nothing_to_look_for(made: Path, tns: Path, tmp_path: Path) -> None:
    plain = copy_of(made, tmp_path / "plain", inject=0)
    with pytest.raises(InputError, match=r"holds no artificial reals.*--inject 200.*--known LIST"):
        read_missed(plain)
    with pytest.raises(InputError, match="is not the folder of a run"):
        read_missed(tmp_path)
    (tmp_path / "far.csv").write_text("name,ra,dec\nfar,10,-20\n")
    page, found = write_missed(plain, known=tmp_path / "far.csv")
    assert page == plain / "missed" / "missed.html"
    assert len(found.sources) == 0
    assert "nothing to look for" in page.read_text(encoding="utf-8")


def test_nothing_missed(made: Path, tmp_path: Path) -> None:
    out = copy_of(made, tmp_path / "out")
    shutil.rmtree(out / "images" / "blank")
    record = json.loads((out / "run.json").read_text())
    record["images"] = {name: status for name, status in record["images"].items() if name == "light3"}
    (out / "run.json").write_text(json.dumps(record))
    path = out / "images" / "light3" / "injected.parquet"
    stored = pq.read_table(path)
    keep = np.array(stored["lost_at"].to_pylist()) == ""
    assert keep.any()
    pq.write_table(stored.filter(keep), path)
    page, found = write_missed(out)
    assert found.facts["missed"] == 0
    assert "Nothing was missed." in page.read_text(encoding="utf-8")


def test_without_stamps_or_planes(made: Path, tns: Path, tmp_path: Path) -> None:
    out = copy_of(made, tmp_path / "out")
    for path in (out / "images").glob("*/*"):
        if path.name in ("injected_stamps.npy", "injected_score.npy", "stamps.npy", "difference.fits"):
            path.unlink()
    page, found = write_missed(out, known=tns)
    assert "no picture was kept" in page.read_text(encoding="utf-8")
    assert "kept no difference.fits with a sky" in " ".join(found.notes)


def test_another_model_is_told(made: Path, tmp_path: Path) -> None:
    out = copy_of(made, tmp_path / "out")
    path = next(path for path in sorted((out / "images").glob("light*/outcome.json")))
    values = json.loads(path.read_text())
    values["facts"]["rb_model_hash"] = "0123456789abcdef"
    path.write_text(json.dumps(values))
    notes = " ".join(read_missed(out).notes)
    assert "different models" in notes or "another model (0123456789abcdef)" in notes


def test_the_section_of_an_audit(made: Path, tmp_path: Path) -> None:
    section = audit_section([made / "out"])
    assert section is not None
    assert section.name == "missed-reals"
    assert "The step that lost them" in section.html
    assert audit_section([copy_of(made, tmp_path / "plain", inject=0)]) is None
    assert audit_section([tmp_path]) is None
    assert audit_section([made / "out"], truth=[tmp_path, tmp_path]) is None


def test_the_command(made: Path, tns: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(
        app, ["missed", str(made / "out"), "--known", str(tns), "--out", str(tmp_path / "o"), "--top", "2"]
    )
    assert done.exit_code == 0, done.output
    for words in (
        "known sources missed",
        "listed transients on the frames found",
        "What would have saved them",
        "missed.html",
    ):
        assert words in done.output
    quiet = runner.invoke(app, ["missed", str(made / "out"), "--out", str(tmp_path / "q"), "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert (tmp_path / "q" / "missed.html").is_file()
