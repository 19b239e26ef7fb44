"""Sources are lost where they were planted to be, and the curves have the limits that were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import norm

from gueststar.efficiency.completeness import completeness, share_bins
from gueststar.efficiency.curves import AXES, curve_of, group_shares, limit_table, loss_table, used, with_class
from gueststar.efficiency.losses import STEPS, judge_sources, lost_frame, match_sources
from gueststar.efficiency.noise import flux_errors
from gueststar.efficiency.sources import SOURCE_COLUMNS, source_table, sources_of_artificial, sources_of_truth
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Mask

SHAPE = (100, 120)


def candidates(*rows: tuple[float, float, float, float]) -> Candidates:
    """Candidates with x, y, S/N and score."""
    columns = {column.name: np.zeros(len(rows), column.dtype) for column in CANDIDATE_COLUMNS}
    x, y, snr, score = np.array(rows, float).reshape(-1, 4).T
    columns |= {"x": x, "y": y, "snr": snr, "candidate_id": np.array([f"c{i}" for i in range(len(rows))], "U24")}
    return Candidates.from_columns(columns).with_columns(rb_score=score)


def planted(*rows: tuple[float, float], change: float = 500.0) -> Table:
    x, y = np.array(rows, float).reshape(-1, 2).T
    return Table({"x": x, "y": y, "change_e": np.full(len(rows), change)})


def judge(sources: Table, found: Candidates, mask: np.ndarray | None = None, **options: float) -> Table:
    mask = np.zeros(SHAPE, np.int16) if mask is None else mask
    return judge_sources(sources, found, mask=mask, radius_px=2.0, threshold=0.5, **options)


def test_each_source_is_lost_where_it_was_planted_to_be() -> None:
    mask = np.zeros(SHAPE, np.int16)
    mask[60, 60] = int(Mask.SATURATED)
    mask[70, 70] = int(Mask.BAD)
    cases = {
        (20.0, 20.0): "",  # its candidate 0.5 px away, good score
        (40.0, 20.0): "score",
        (60.0, 60.2): "mask",  # flagged, nothing there
        (70.0, 70.0): "",  # flagged, and found all the same
        (1.0, 50.0): "mask",  # on the rim
        (200.0, 50.0): "outside",  # not on the frame
        (80.0, 20.0): "detection",
        (90.0, 40.0): "match",  # a candidate at 3 px
        (30.0, 60.0): "",
        (31.0, 60.0): "match",  # the candidate is the other's
        (50.0, 80.0): "detection",  # a candidate of the other sign
    }
    found = candidates(
        (20.5, 20.0, 9, 0.9), (40.0, 20.2, 9, 0.1), (70.0, 70.0, 9, 0.9), (93.0, 40.0, 9, 0.9), (30.1, 60.0, 9, 0.9),
        (50.0, 80.0, -9, 0.9),
    )  # fmt: skip
    sources = planted(*cases)
    before = sources.copy()
    judged = judge(sources, found, mask, edge_px=3)
    assert judged["lost_at"].tolist() == list(cases.values())
    np.testing.assert_array_equal(sources.as_array(), before.as_array())
    np.testing.assert_array_equal(judged["real"], judged["lost_at"] == "")
    np.testing.assert_array_equal(judged["found"], np.isin(judged["lost_at"], ["", "score"]))
    assert judged["candidate_id"][1] == "c1"
    assert judged["rb_score"][1] == pytest.approx(0.1)
    assert judged["offset_px"][0] == pytest.approx(0.5)
    assert judged["mask_flags"][2] == int(Mask.SATURATED)


def test_sources_of_a_frame_that_was_not_searched_are_lost_at_the_gate() -> None:
    lost = lost_frame(planted((20, 20), (np.nan, np.nan)))
    assert lost["lost_at"].tolist() == ["gate", "gate"]
    assert not lost["found"].any()
    assert set(judge(planted((20, 20)), candidates()).colnames) == set(lost.colnames)


def test_what_was_not_put_in_cannot_be_found() -> None:
    sources = planted((20, 20), (50, 50))
    sources["status"] = ["masked", "injected"]
    judged = judge(sources, candidates((20, 20, 9, 0.9), (50, 50, 9, 0.9)))
    assert judged["lost_at"].tolist() == ["mask", ""]
    assert judged["candidate_id"][0] == ""


def test_fading_sources_need_a_negative_candidate() -> None:
    both = candidates((20, 20, 9, 0.9), (20.4, 20, -9, 0.9))
    assert judge(planted((20, 20), change=-300.0), both)["candidate_id"][0] == "c1"
    assert judge(planted((20, 20), change=300.0), both)["candidate_id"][0] == "c0"


def test_a_trail_is_met_anywhere_along_its_length() -> None:
    sources = planted((50, 50), (50, 80))
    sources["length_px"], sources["angle_deg"] = [30.0, np.nan], [90.0, np.nan]
    found = candidates((51.0, 63.0, 9, 0.9), (50.0, 93.0, 9, 0.9))
    matches = match_sources(sources, found, radius_px=2.0)
    assert matches.row.tolist() == [0, -1]
    assert matches.offset_px[0] == pytest.approx(1.0)
    beyond = match_sources(sources, candidates((50.0, 69.0, 9, 0.9)), radius_px=2.0)
    assert beyond.row[0] == -1
    assert beyond.near[0]


def test_without_flags_or_candidates() -> None:
    judged = judge_sources(planted((500, 500)), candidates(), mask=None, radius_px=2.0, threshold=0.5)
    assert judged["lost_at"].tolist() == ["detection"]
    empty = judge(planted(), candidates((5, 5, 9, 0.9)))
    assert len(empty) == 0
    assert "lost_at" in empty.colnames


def test_limits_of_a_matched_filter_are_those_of_its_noise() -> None:
    # A source is found when its S/N plus unit noise passes 5: half of those at 5, 90 % of those at 6.28.
    rng = np.random.default_rng(2)
    snr = np.exp(rng.uniform(np.log(2.0), np.log(40.0), 6000))
    curve = completeness(snr, snr + rng.normal(size=snr.size) > 5.0)
    for (_, at, low, high), true in zip(curve.levels, (5.0, 5.0 + norm.ppf(0.9)), strict=True):
        assert at == pytest.approx(true, rel=0.03)
        assert low < at < high < 1.1 * low
    assert (curve.n, curve.scale) == (6000, "snr")


@pytest.mark.parametrize("zero", [0.0, 19.0])
def test_limits_in_magnitudes(zero: float) -> None:
    rng = np.random.default_rng(3)
    mag = rng.uniform(-3.0, 3.0, 5000)
    share = 0.95 / (1.0 + np.exp((mag - 0.5) / 0.3))
    curve = completeness(mag + zero, rng.random(mag.size) < share, scale="mag", n_bootstrap=100)
    for level, at, low, high in curve.levels:
        true = zero + 0.5 + 0.3 * np.log(0.95 / level - 1.0)
        assert low <= at <= high
        assert at == pytest.approx(true, abs=0.1)
        assert low <= true <= high
    np.testing.assert_allclose(curve([zero - 2.0, zero + 0.5, zero + 3.0]), [0.95, 0.475, 0.0], atol=0.03)


def test_a_share_above_the_plateau_is_never_reached() -> None:
    rng = np.random.default_rng(4)
    snr = np.exp(rng.uniform(np.log(3.0), np.log(60.0), 3000))
    for scale, values, never in (("snr", snr, np.inf), ("mag", -2.5 * np.log10(snr), -np.inf)):
        curve = completeness(values, (snr > 6.0) & (rng.random(snr.size) < 0.7), scale=scale, n_bootstrap=50)
        assert curve.levels[1][1] == never
        assert curve.plateau == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize(("middle", "width", "plateau"), [(14.5, 0.1, 0.6), (19.5, 0.2, 0.95), (17.0, 0.3, 0.8)])
def test_the_fit_does_not_depend_on_the_resampling(middle: float, width: float, plateau: float) -> None:
    rng = np.random.default_rng(1)
    mag = rng.uniform(14.0, 20.0, 300)
    hit = rng.random(300) < plateau / (1.0 + np.exp((mag - middle) / width))
    plain, resampled = (completeness(mag, hit, scale="mag", n_bootstrap=n) for n in (0, 20))
    assert plain.levels[0][1] == pytest.approx(resampled.levels[0][1], abs=1e-3)
    assert plain.levels[0][1] == pytest.approx(middle + width * np.log(plateau / 0.5 - 1.0), abs=0.3)


def test_intervals_know_that_frames_are_lost_as_a_whole() -> None:
    rng = np.random.default_rng(6)
    snr = np.exp(rng.uniform(np.log(3.0), np.log(60.0), 1200))
    frame = np.arange(1200) // 30
    hit = (snr > 6.0) & (frame % 3 > 0)
    single, whole = (completeness(snr, hit, groups=groups).levels[0] for groups in (None, frame))
    assert whole[3] - whole[2] > 1.5 * (single[3] - single[2])
    assert completeness(snr, hit, groups=frame // 10).levels == completeness(snr, hit).levels


def known(n: int, **columns: object) -> Table:
    return source_table(n, origin="artificial", kind="artificial", image="a", **columns)


def test_shares_are_counted_by_place_among_bright_sources() -> None:
    snr, offset = np.array([20.0, 20, 20, 20, 5, 5]), np.array([0.05, 0.05, 1.2, 1.2, 0.05, 1.2])
    found = np.array([True, False, True, True, False, True])
    sources = known(6, snr=snr, host_offset_r25=offset, found=found, chip=["q", "q", "p", "p", "q", "p"])
    curve = curve_of(sources, AXES["host_offset_r25"])
    assert [(b.low, b.n, b.found) for b, _ in curve.bins] == [(0, 2, 1), (1, 2, 2)]
    assert [real.found for _, real in curve.bins] == [0, 0]
    assert curve.fits == ()
    groups = group_shares(sources, "chip")
    assert [(g.name, g.n_all, g.n, g.found, g.real) for g in groups] == [("p", 3, 2, 2, 0), ("q", 3, 2, 1, 0)]
    low, high = groups[1].found_interval
    assert low < 0.5 < high


def test_every_source_is_in_the_table_of_losses_once() -> None:
    steps = ["", "", *STEPS, "score"]
    sources = known(11, lost_at=steps, placement=["random"] * 9 + ["galaxy"] * 2)
    table = loss_table(sources)
    assert table["class"].tolist() == ["galaxy", "random"]
    assert int(table["n"].sum()) == 11
    assert sum(int(np.sum(table[name])) for name in ("real", *STEPS)) == 11
    assert table["score"].tolist() == [1, 1]
    other = source_table(1, origin="simulated", kind="flare")
    assert with_class(other)["class"].tolist() == ["flare"]


def test_no_sources_are_a_result() -> None:
    none = source_table(0)
    assert list(none.colnames) == list(SOURCE_COLUMNS)
    assert len(loss_table(none)) == len(limit_table(none)) == len(used(none)) == 0
    assert "lost_at" in none.colnames
    assert "plateau" in limit_table(none).colnames
    assert group_shares(none, "chip") == []
    for axis in AXES.values():
        curve = curve_of(none, axis)
        assert (curve.n, curve.bins, curve.fits) == (0, (), ())
    assert share_bins([], [], edges=(0.0, 1.0)) == []


def test_sources_where_a_candidate_was_prove_nothing() -> None:
    assert len(used(known(3, occupied=[True, False, False]))) == 2


def test_limits_are_told_of_all_and_of_each_class() -> None:
    rng = np.random.default_rng(8)
    snr = np.exp(rng.uniform(np.log(3.0), np.log(40.0), 400))
    hit = snr + rng.normal(size=400) > 5.0
    placement = np.where(np.arange(400) % 2, "random", "galaxy")
    table = limit_table(known(400, snr=snr, found=hit, real=hit & (snr > 10.0), placement=placement))
    assert set(table["class"]) == {"all", "galaxy", "random"}
    assert set(table["axis"]) == {"snr"}, "no values, no limit"
    half = {str(row["series"]): row for row in table if row["class"] == "all" and row["level"] == 0.5}
    assert half["detected"]["low"] < 5.0 < half["detected"]["high"]
    assert half["real"]["value"] == pytest.approx(10.0, rel=0.05)


def test_truth_becomes_sources_of_what_changed() -> None:
    truth = Table(
        {
            "image": ["f"] * 4, "kind": ["supernova", "star", "flare", "supernova"], "x": [1.0, 2, 3, 4],
            "y": [1.0, 2, 3, 4], "mag": [18.0, 15, 16, 17], "flux_e": [1000.0, 9e9, 2000, 100],
            "change_e": [1000.0, 5, -500, 0], "snr": [20.0, 1e4, 40, 5],
        }
    )  # fmt: skip
    made = sources_of_truth(truth, image="run__f", field="a", chip="c", kinds=("supernova", "flare"))
    assert made["kind"].tolist() == ["supernova", "flare"], "what does not change is no transient"
    np.testing.assert_allclose(made["snr"], [20.0, 10.0])
    np.testing.assert_allclose(made["mag"], [18.0, 16.0 + 2.5 * np.log10(4.0)])
    assert made["image"].tolist() == ["run__f"] * 2
    assert np.isnan(made["host_mag"]).all()


def test_runs_of_older_versions_have_their_losses_told_from_what_they_stored() -> None:
    rows = Table(
        {
            "x": [1.0] * 4, "y": [1.0] * 4, "flux_e": [10.0] * 4, "snr": [9.0] * 4, "placement": ["random"] * 4,
            "found": [True, True, False, False], "real": [True, False, False, False], "mask_flags": [0, 0, 2, 0],
            "occupied": [False] * 4, "snr_difference": [8.0, 8.0, 0.0, 8.0],
        }
    )  # fmt: skip
    made = sources_of_artificial(rows, image="a", field="", chip="")
    assert made["lost_at"].tolist() == ["", "score", "mask", "detection"]
    assert np.isnan(made["snr_difference"][2])
    assert made["status"].tolist() == ["injected"] * 4


def test_flux_errors_are_those_of_a_matched_filter() -> None:
    fwhm, beta = 4.0, 3.0
    alpha = 0.5 * fwhm / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    area = np.pi * alpha**2 * (2.0 * beta - 1.0) / (beta - 1.0) ** 2
    variance = np.full((60, 80), 9.0, np.float32)
    before = variance.copy()
    errors = flux_errors(variance, [40.0, 30.3, -3.0, 0.0], [30.0, 20.4, 10.0, 0.0], fwhm_px=fwhm, scatter=1.2)
    np.testing.assert_allclose(errors[:2], 1.2 * 3.0 * np.sqrt(area), rtol=0.03)
    assert np.isnan(errors[2])
    assert np.isnan(errors[3]) or errors[3] > errors[0]
    np.testing.assert_array_equal(variance, before)
    variance[:, 41:] = np.nan
    assert flux_errors(variance, [40.0], [30.0], fwhm_px=fwhm)[0] > errors[0] / 1.2
