"""The report holds what was stored, its statistics are right, and it needs nothing beside it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import night_frames
from gueststar.config import load_config
from gueststar.errors import InputError
from gueststar.night import run_night
from gueststar.plots import best_rows, triplet_pixels
from gueststar.report import write_report
from gueststar.report.charts import Chart, histogram
from gueststar.report.collect import Injected, collect
from gueststar.report.page import recovery_of
from gueststar.report.recovery import binomial_interval, completeness, recovery_bins
from gueststar.types import CANDIDATE_COLUMNS, Candidates


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with artificial reals, an unreadable file and one in a field of its own."""
    folder = tmp_path_factory.mktemp("report")
    night_frames.write_night(folder / "night", 4)
    (folder / "night" / "<broken>.fits").write_bytes(b"SIMPLE  =")
    night_frames.write(folder / "night" / "alone.fits", night_frames.counts(9), OBJECT="M 33")
    config = load_config(None, ["night.inject=15", "night.inject_snr=[4, 40]"])
    run_night(folder / "night", folder / "out", config, mapper=map)
    return folder / "out"


class Page(HTMLParser):
    """Text, addresses and the balance of the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [str(values[name]) for name in ("src", "href") if name in values]
        self.ids += [str(values["id"])] if "id" in values else []
        if tag not in ("meta", "img", "link", "br", "line", "rect", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect", "circle", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_report_says_what_became_of_the_night(out: Path) -> None:
    path = write_report(out)
    assert path == out / "report.html"
    page = Page()
    source = path.read_text(encoding="utf-8")
    page.feed(source)
    assert page.open == []
    text = " ".join(" ".join(page.text).split())
    for words in ("Best candidates", "Artificial reals", "Images", "Pictures", "Time", "Made from", "Not processed"):
        assert words in text
    assert "2 ok" in text
    assert "2 failed" in text
    assert "is the only frame of field 'M 33'" in text
    assert "not a whole FITS file" in text
    assert "<broken>" in text
    assert "S/N at which 90 % are found" in text
    for name in ("light2", "light3", "alone"):
        assert name in page.ids


def test_report_needs_nothing_beside_it(out: Path) -> None:
    path = write_report(out)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 15e6
    local = [address for address in page.addresses if not address.startswith(("data:image/", "#"))]
    assert all((out / address).is_file() for address in local)
    assert sum(address.startswith("data:image/jpeg") for address in page.addresses) == 2
    assert not re.search(r"(src|href)=\"(https?:)?//", path.read_text(encoding="utf-8"))


def test_report_of_a_run_with_damaged_products(out: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / "images" / "light2" / "candidates.parquet").write_bytes(b"no")
    (copy / "images" / "light3" / "stamps.npy").write_bytes(b"no")
    (copy / "images" / "light3" / "pair.png").write_bytes(b"no")
    (copy / "images" / "alone" / "outcome.json").unlink()
    text = write_report(copy).read_text(encoding="utf-8")
    assert "outcome.json is missing or damaged" in text
    assert "no stamp" in text
    assert collect(copy, top=5).damaged[0].startswith("light2")


def test_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the folder of a run"):
        write_report(tmp_path)


def test_collected_candidates_are_the_best_ones(out: Path) -> None:
    night = collect(out, top=3)
    assert len(night.best) == min(3, night.snr.size)
    kept = [row.score for row in night.best]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] == pytest.approx(np.round(night.score, 3).max(), abs=1e-3)
    assert len(night.injected) == sum(outcome.counts.get("injected", 0) for outcome in night.outcomes)


def test_recovery_finds_the_curve_that_was_drawn() -> None:
    rng = np.random.default_rng(5)
    snr = np.exp(rng.uniform(np.log(3.0), np.log(50.0), 4000))
    truth = 0.97 / (1.0 + np.exp(-(np.log(snr) - np.log(6.0)) / 0.12))
    found = rng.random(snr.size) < truth
    curve = completeness(snr, found, n_bootstrap=100)
    assert curve.plateau == pytest.approx(0.97, abs=0.015)
    for level, at, low, high in curve.levels:
        true = 6.0 * np.exp(-0.12 * np.log(0.97 / level - 1.0))
        assert low <= at <= high
        assert at == pytest.approx(true, rel=0.04)
        assert high - low < 0.12 * true
    np.testing.assert_allclose(curve([6.0]), [0.97 / 2], atol=0.04)
    assert completeness(snr, found, n_bootstrap=20).levels == completeness(snr, found, n_bootstrap=20).levels


def test_recovery_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(20):
        snr = np.exp(rng.uniform(np.log(3.0), np.log(50.0), 300))
        found = rng.random(snr.size) < 1.0 / (1.0 + np.exp(-(np.log(snr) - np.log(7.0)) / 0.15))
        _, _, low, high = completeness(snr, found, levels=(0.5,), n_bootstrap=40).levels[0]
        inside += low <= 7.0 <= high
    assert inside >= 16


def test_recovery_of_all_or_nothing() -> None:
    snr = np.geomspace(5.0, 50.0, 60)
    for found in (False, True):
        curve = completeness(snr, np.full(60, found), n_bootstrap=10)
        at = curve.levels[1][1]
        assert at < 5.0 if found else at > 50.0
    with pytest.raises(ValueError, match="at least one artificial real"):
        completeness([], [])


def test_binomial_interval_is_clopper_and_pearson() -> None:
    # One-sided by hand: with nothing found of n, (1 - p)^n = 0.025.
    low, high = binomial_interval(0, 10)
    assert low == 0.0
    assert (1.0 - high) ** 10 == pytest.approx(0.025)
    low, high = binomial_interval(10, 10)
    assert low**10 == pytest.approx(0.025)
    assert high == 1.0
    low, high = binomial_interval(5, 10)
    assert low == pytest.approx(1.0 - high)


def test_bins_hold_every_source_once() -> None:
    snr = np.array([5.0, 5.9, 6.0, 49.9, 50.0, 100.0, 1000.0])
    bins = recovery_bins(snr, snr < 50.0)
    assert sum(item.n for item in bins) == 6
    first = bins[0]
    assert (first.low, first.high, first.n, first.found, first.fraction) == (5.0, 6.0, 2, 2, 1.0)
    assert first.fraction_low < 1.0 == first.fraction_high
    assert bins[-1].fraction == 0.0


def test_sources_on_old_candidates_do_not_count() -> None:
    n = 20
    occupied = np.arange(n) < 5
    injected = Injected(np.full(n, 12.0), np.ones(n, bool), np.zeros(n, bool), occupied, np.zeros(n))
    recovery = recovery_of(injected)
    assert recovery is not None
    assert (recovery.n, recovery.occupied) == (15, 5)
    assert recovery.bins[0][0].found == 15
    assert recovery.bins[0][1].found == 0
    none = Injected(*(np.empty(0), *(np.empty(0, bool) for _ in range(3)), np.empty(0)))
    assert recovery_of(none) is None


def test_chart_places_values() -> None:
    chart = Chart((1.0, 100.0), (0.0, 4.0), "x", "y", log_x=True, root_y=True, width=600, height=300)
    np.testing.assert_allclose(np.diff(chart.x([1.0, 10.0, 100.0]), 2), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.diff(chart.y([0.0, 1.0, 4.0]), 2), 0.0, atol=1e-9)
    assert chart.y(0.0) > chart.y(4.0)
    svg = histogram(
        [("a", "up", np.array([1.5, 1.6, 2.5])), ("b <", "down", np.array([2.5]))],
        np.array([1.0, 2.0, 3.0]), title="t", x_label="v", x_ticks=(1, 2, 3),
    )  # fmt: skip
    assert svg.count("<rect") == 3
    assert "1 to 2: 2" in svg
    assert "b &lt; (1)" in svg


def test_triplets_show_missing_data_and_one_stretch() -> None:
    rng = np.random.default_rng(0)
    cube = rng.normal(0, 1, (3, 63, 63)).astype(np.float32)
    cube[0, 31, 31] += 80.0
    cube[1, 31, 31] += 80.0
    cube[2, 31, 31] -= 40.0
    cube[:, :, :14] = np.nan
    before = cube.copy()
    shown = triplet_pixels(cube)
    np.testing.assert_array_equal(cube, before)
    assert shown.shape == (41, 3 * 41 + 4, 3)
    assert shown.dtype == np.uint8
    assert abs(int(shown[20, 20, 0]) - int(shown[20, 43 + 20, 0])) < 12
    assert shown[20, 86 + 20, 0] < 20
    assert len(set(shown[5, 1])) == 3, "pixels without data are tinted, not grey"
    assert triplet_pixels(np.full((3, 21, 21), np.nan, np.float32)).shape == (21, 67, 3)


def test_best_come_by_score_then_snr() -> None:
    columns = {column.name: np.zeros(4, column.dtype) for column in CANDIDATE_COLUMNS}
    columns["snr"] = np.array([5.0, -50.0, 9.0, 7.0])
    plain = Candidates.from_columns(columns)
    assert list(best_rows(plain, 2)) == [1, 2]
    scored = plain.with_columns(rb_score=np.array([0.9, 0.1, 0.9, np.nan]))
    assert list(best_rows(scored, 4)) == [2, 0, 1, 3]
