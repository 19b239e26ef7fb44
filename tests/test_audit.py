"""Audits: residuals of known kinds, repeats and motion, causes by their clues, and whole runs and data sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import night_frames
import realbogus_stamps
from gueststar.cli.main import app
from gueststar.config import load_config
from gueststar.datasets.audit import AuditOptions, audit, audit_rows, read_audit_rows
from gueststar.datasets.audit_files import further_sections, write_audit
from gueststar.datasets.audit_stars import read_stars
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.night.run import run_night
from gueststar.realbogus.audit.alignments import alignments_of
from gueststar.realbogus.audit.clues import Clue, Usual, clue_z, usual_of, weight_of
from gueststar.realbogus.audit.counts import count_by, cumulative_share, share_by_chance
from gueststar.realbogus.audit.decision import CAUSE_WORDS, CAUSES, FAMILIES, cause_of_group, decide, proofs_of
from gueststar.realbogus.audit.halos import StarList, halo_light, star_beside
from gueststar.realbogus.audit.repeats import Detections, repeats_of, tracks_of
from gueststar.realbogus.audit.residuals import RESIDUAL_COLUMNS, residual_measures
from gueststar.realbogus.audit.result import Section
from gueststar.realbogus.audit.surroundings import SURROUNDING_COLUMNS, surroundings
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter

K, SIGMA, FWHM = 63, 10.0, 3.0
QUIET = ("--quiet",)
INVOKE = CliRunner()


def star(x: float = 0.0, y: float = 0.0, *, flux: float = 2e4, fwhm: float = FWHM, stretch: float = 1.0) -> np.ndarray:
    """A Gaussian star off the centre of a stamp by (x, y), longer along x by `stretch`."""
    grid = np.arange(K) - K // 2
    s = fwhm / 2.3548
    profile = np.exp(-0.5 * (((grid[None] - x) / (s * stretch)) ** 2 + ((grid[:, None] - y) / s) ** 2))
    return flux * profile / (2 * np.pi * s**2 * stretch)


def triplet(rng, science, reference, extra=0.0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stamps (1, 3, k, k) of noiseless light, `extra` in science alone, and their noise."""
    noise = rng.normal(0.0, SIGMA, (2, K, K))
    cube = np.stack(
        [science + extra + noise[0], reference + noise[1], science + extra - reference + noise[0] - noise[1]]
    )
    return cube[None].astype(np.float32), np.array([[SIGMA, SIGMA, SIGMA * np.sqrt(2)]], np.float32)


def measured(rng, science, reference, extra=0.0) -> dict[str, float]:
    cube, sigma = triplet(rng, science, reference, extra)
    before = cube.copy()
    found = residual_measures(cube, sigma, np.array([FWHM]))
    np.testing.assert_array_equal(cube, before)
    assert tuple(found) == RESIDUAL_COLUMNS
    return {name: float(values[0]) for name, values in found.items()}


def test_a_shift_is_told_by_size_and_direction(rng):
    found = measured(rng, star(0.5, -0.25), star())
    assert found["shift_share"] > 0.8
    assert found["shift_x"] == pytest.approx(0.5, abs=0.08)
    assert found["shift_y"] == pytest.approx(-0.25, abs=0.08)
    assert found["shift_err"] < 0.05


def test_residuals_of_each_kind_go_to_their_template(rng):
    trailed = measured(rng, star(stretch=1.3), star())
    assert trailed["shape_share"] > 0.7 > trailed["shift_share"] + 0.5
    brighter = measured(rng, star(flux=2.6e4), star())
    assert brighter["scale_share"] > 0.8
    assert abs(brighter["shift_x"]) < 0.05
    new = measured(rng, star(flux=0.0), star(flux=0.0), star(flux=2e3))
    assert new["point_share"] > 0.9 > new["pixel_share"] + 0.1
    hit = np.zeros((K, K))
    hit[K // 2, K // 2] = 600.0
    cosmic = measured(rng, star(flux=0.0), star(flux=0.0), hit)
    assert cosmic["pixel_share"] > cosmic["point_share"] + 0.15
    column = np.zeros((K, K))
    column[:, K // 2] = 60.0
    assert measured(rng, star(flux=0.0), star(flux=0.0), column)["line_share"] > 0.9


def test_noise_alone_has_no_residual_and_missing_pixels_no_number(rng):
    quiet = measured(rng, star(flux=0.0), star(flux=0.0))
    assert quiet["residual_chi2"] == pytest.approx(1.0, abs=0.3)
    assert quiet["shift_share"] == 0.0
    cube = np.full((2, 3, K, K), np.nan, np.float32)
    for found in (
        residual_measures(cube, np.full((2, 3), np.nan), np.full(2, FWHM)),
        surroundings(cube, np.full((2, 3), np.nan), np.full(2, FWHM)),
    ):
        assert not any(np.isfinite(values).any() for name, values in found.items() if name != "star_peak_snr")


def test_surroundings_tell_stars_shape_and_level(rng):
    light = star(12, 8, flux=8e4, stretch=1.4) + star(-15, 3) + star(5, -18)
    cube, sigma = triplet(rng, light, light, extra=40.0)
    found = {name: float(values[0]) for name, values in surroundings(cube, sigma, np.array([FWHM])).items()}
    assert tuple(found) == SURROUNDING_COLUMNS
    assert found["sources_near"] == pytest.approx(3000.0 / K**2, rel=0.4)
    assert (found["brightest_dx"], found["brightest_dy"]) == (pytest.approx(12, abs=1), pytest.approx(8, abs=1))
    assert found["star_elongation"] == pytest.approx(1.4, abs=0.08)
    assert found["star_fwhm"] == pytest.approx(FWHM * np.sqrt(1.4), rel=0.06)
    assert found["ring_level"] == pytest.approx(40.0 / (SIGMA * np.sqrt(2)), rel=0.1)


def test_the_end_of_a_frame_and_the_noise_of_the_reference_are_measured(rng):
    cube, sigma = triplet(rng, star(9, 4), star(9, 4))
    cube[0, 1, :, : K // 2 - 6] = np.nan  # columns that the reference lacks
    thin = cube.copy()
    thin[0, 1] += rng.normal(0.0, 2.0 * SIGMA, (K, K))
    whole = triplet(rng, star(), star())[0]
    found = surroundings(np.concatenate([cube, thin, whole]), np.repeat(sigma, 3, axis=0), np.full(3, FWHM))
    np.testing.assert_array_equal(found["border_px"], [7, 7, K // 2 + 1])
    assert found["reference_roughness"][0] == pytest.approx(1.0, abs=0.2)
    assert found["reference_roughness"][1] == pytest.approx(np.sqrt(5.0), rel=0.2)


def detections(x, y, ra, dec, mjd, image, place=None):
    n = len(x)
    as8 = [np.asarray(v, np.float64) for v in (x, y, ra, dec, mjd)]
    return Detections(*as8, np.asarray(image, np.int32), np.zeros(n, np.int32),
                      np.zeros(n, np.int32) if place is None else np.asarray(place, np.int32))  # fmt: skip


def test_sky_and_pixel_repeats_are_told_apart(rng):
    """Three dithered images: a variable keeps its place of the sky, a hot pixel its pixel, the rest neither."""
    px = 1.2 / 3600.0
    rows = []
    for image, dither in enumerate((0.0, 12.0, -15.0)):
        rows.append((100 + dither, 100.0, 10 + 100 * px, 0.0, image))
        rows.append((300.0, 200.0, 10 + (300 - dither) * px, 100 * px, image))
        for x, y in rng.uniform(400, 900, (6, 2)):
            rows.append((x, y, 10 + (x - dither) * px, (y - 100) * px, image))
    x, y, ra, dec, image = np.array(rows).T
    found = repeats_of(detections(x, y, ra, dec, 6e4 + image / 48, image), np.arange(len(x)), np.array([3]))
    assert found["visits_sky"][0] == 2
    assert found["visits_pixel"][0] == 0
    assert found["visits_pixel"][1] == 2
    assert found["visits_sky"][1] == 0
    assert found["sky_surprise"][0] > 4.0 < found["pixel_surprise"][1]
    assert found["visits_sky"][2:8].max() == 0
    alone = repeats_of(detections([1], [1], [np.nan], [np.nan], [6e4], [0]), np.arange(1), np.array([1]))
    assert np.isnan(alone["visits_sky"]).all()
    assert np.isnan(alone["visits_pixel"]).all()


def test_even_motion_through_three_images_is_a_track():
    ra = [10.0, 10.0 + 20 / 3600, 10.0 + 40 / 3600, 10.01, 10.02, 10.005]
    image, mjd = [0, 1, 2, 0, 1, 2], 6e4 + np.array([0, 1, 2, 0, 1, 2]) / 48
    rows = detections(np.zeros(6), np.zeros(6), ra, [0, 0, 0, 0.01, 0.03, 0.017], mjd, image)
    found = tracks_of(rows, np.arange(6))
    np.testing.assert_array_equal(found["track_points"], [3, 3, 3, 0, 0, 0])
    assert found["track_rate"][0] == pytest.approx(40.0, rel=0.01)
    two = tracks_of(detections([0, 0], [0, 0], [10, 10.01], [0, 0], [6e4, 6e4 + 0.02], [0, 1]), np.arange(2))
    assert np.isnan(two["track_points"]).all()


def test_columns_and_paths_are_told_from_chance(rng):
    scattered = rng.uniform(0, 600, (20, 2))
    column = np.column_stack([np.full(5, 300.0), np.linspace(20, 580, 5)])
    along = np.linspace(30, 560, 7)
    path = np.column_stack([along, 0.7 * along + 40])
    x, y = np.concatenate([scattered, column, path]).T
    n = len(x)
    rows = detections(x, y, np.full(n, np.nan), np.full(n, np.nan), np.full(n, 6e4), np.zeros(n))
    found = alignments_of(rows, np.arange(n))
    assert found["column_surprise"][20:25].min() > 2.0
    assert found["path_surprise"][25:].min() > 2.5
    assert np.median(found["path_surprise"][:20]) < 1.0 > np.median(found["column_surprise"][:20])


def test_the_star_that_disturbs_most_is_named():
    stars = StarList(("faint and near", "bright"), np.array([10.002, 10.03]), np.zeros(2), np.array([12.0, 4.0]))
    halo, star_number, distance = halo_light(
        np.array([10.0, np.nan]), np.zeros(2), np.full(2, 25.0), np.full(2, 10.0), stars, arcsec_px=1.2
    )
    assert stars.name[star_number[0]] == "bright"
    assert distance[0] == pytest.approx(90.0)
    assert halo[0] > 1.0
    assert star_number[1] == -1
    assert np.isnan(halo[1])


def test_a_star_reaches_as_far_as_it_is_bright():
    flux, distance = np.array([4e6, 4e6, 1e4, -5.0, 4e6]), np.array([10.0, 60.0, 10.0, 0.0, np.nan])
    beside = star_beside(flux, distance, np.full(5, 30.0), fwhm_px=np.full(5, FWHM))
    assert beside[0] == pytest.approx(2000.0, rel=0.01)  # of photons
    np.testing.assert_array_equal(beside[1:4], 0.0)
    assert np.isnan(beside[4])


def test_a_clue_weighs_by_how_unusual_it_is():
    clue = Clue("a", "a number", 2.0, 6.0, gain=3.0, against=1.0, floor=0.1, most_usual=1.0)
    usual = {"a": usual_of(np.array([0.4, 0.5, 0.6, 0.5, np.nan]))}
    z = clue_z(clue, np.array([0.5, 0.9, 2.0, np.nan]), usual)
    np.testing.assert_allclose(z, [0.0, 4.0, 15.0, np.nan], rtol=1e-3)
    np.testing.assert_allclose(weight_of(clue, z), [-1.0, 1.5, 3.0, 0.0], rtol=1e-3)
    # A night that is bad as a whole does not make bad usual.
    assert clue_z(clue, np.array([5.0]), {"a": Usual(5.0, 2.0, 50)})[0] > 6.0


@pytest.mark.parametrize("under", [0.0, 3e4])
def test_a_pixel_and_a_column_are_sharper_than_a_source_beside_a_star_or_none(rng, under):
    light, grid = star(2.5, 1.0, flux=under), np.arange(K) - K // 2
    pixel = 400.0 * ((grid[None] == 0) & (grid[:, None] == 1))
    column = np.broadcast_to(60.0 * (grid[None] == 0), (K, K))
    found = {name: measured(rng, light, light, extra)
             for name, extra in (("pixel", pixel), ("column", column), ("source", star(flux=2500.0)))}  # fmt: skip
    assert found["pixel"]["pixel_gain"] > 40.0 > 10.0 > found["pixel"]["line_gain"]
    assert found["column"]["line_gain"] > 40.0
    assert max(found["source"]["pixel_gain"], found["source"]["line_gain"]) < -20.0
    shifted = measured(rng, star(0.3, 0.1), star())
    assert max(shifted["pixel_gain"], shifted["line_gain"]) < 6.0


def test_five_free_pixels_explain_a_slanted_track_but_neither_a_source_nor_a_shifted_star(rng):
    light, grid = star(2.5, 1.0, flux=0.0), np.arange(K) - K // 2
    track = 300.0 * ((grid[None] == grid[:, None]) & (np.abs(grid[None]) <= 2))
    assert measured(rng, light, light, track)["spot_gain"] > 60.0
    assert measured(rng, light, light, star(flux=2500.0))["spot_gain"] < 0.0
    assert measured(rng, star(0.3, 0.1), star())["spot_gain"] < 20.0


def numbers_of(n=1, **given):
    """All numbers as on a good image, but for some."""
    fine = {
        "shift_share": 0.0, "dipole_strength": 0.0, "within_shift": 0.0, "image_shift_px": 0.05,
        "image_align_rms_px": 0.05, "image_unmatched": 0.0, "shape_share": 0.0, "image_ellipticity": 0.03,
        "image_fwhm_ratio": 1.0, "image_width_ratio": 1.0, "image_misfit": 0.02, "star_elongation": 1.05,
        "sources_near": 1.5, "covered_share": 0.05, "local_scatter": 1.0, "image_crowding": 0.1, "image_sources": 1.0,
        "halo_log": -2.0, "saturated_flag": 0.0, "halo_flag": 0.0,
        "star_beside": 0.0, "ring_level": 0.03, "ring_structure": 1.0, "image_background": 0.03,
        "image_noise": 1.0, "image_transparency": 0.0, "known_match": 0.0, "track_points": 0.0, "sky_surprise": 0.0,
        "point_like": 0.2, "strength": 5.5, "trail_length": 0.0, "pixel_excess": -0.1,
        "line_excess": -0.1, "lone_sharpness": 1.0, "fault_flag": 0.0,
        "pixel_gain": -5.0, "line_gain": -5.0, "spot_gain": 5.0, "pixel_surprise": 0.0,
        "column_surprise": 0.0, "path_surprise": 0.0, "faintness": 1.5, "calm": 0.9,
        "reference_thin": 1.0, "border_near": -16.0,
    }  # fmt: skip
    return {name: np.full(n, value) for name, value in (fine | given).items()}


NIGHT = {name: Usual(float(values[0]), 0.0, 100) for name, values in numbers_of().items()}
CASES = {
    "misalignment": {"shift_share": 0.9, "dipole_strength": 0.9, "image_shift_px": 0.6, "image_align_rms_px": 0.3},
    "psf_shape": {"shape_share": 0.7, "image_ellipticity": 0.4, "image_fwhm_ratio": 2.0, "image_width_ratio": 2.5},
    "crowded_field": {"image_crowding": 0.7, "image_sources": 4.0, "sources_near": 9.0, "covered_share": 0.4},
    "bright_star": {"halo_log": 1.0, "star_beside": 2500.0, "saturated_flag": 1.0, "halo_flag": 1.0},
    "background": {"image_background": 0.7, "image_noise": 4.0, "ring_level": 2.0, "ring_structure": 5.0},
    "frame_edge": {"reference_thin": 2.2, "border_near": 12.0, "column_surprise": 0.0},
    "real_object": {"known_match": 1.0, "point_like": 0.95, "strength": 20.0, "faintness": -13.0},
    "detector_fault": {"pixel_excess": 0.4, "lone_sharpness": 2.5, "pixel_gain": 40.0, "pixel_surprise": 8.0},
    "network_error": {},
}


@pytest.mark.parametrize("cause", CASES)
def test_each_cause_is_named_from_its_clues(cause):
    numbers = numbers_of(**CASES[cause])
    decided = decide(numbers, NIGHT)
    assert decided.cause[0] == cause
    assert decided.confidence[0] > 0.4
    proofs = proofs_of(decided, np.arange(1), cause, numbers, NIGHT)
    assert proofs
    assert {proof.column for proof in proofs} <= {c.column for f in FAMILIES if f.name == cause for c in f.clues}


def test_too_little_measured_is_unknown_and_no_guess():
    decided = decide({"strength": np.full(3, 5.5), "faintness": np.full(3, 1.5)}, {})
    assert set(decided.cause) == {"unknown"}
    assert not decided.confidence.any()
    assert cause_of_group(decided, np.arange(3)) == ("unknown", 0.0)
    assert proofs_of(decided, np.arange(3), "unknown", {}, {}) == []
    # One number can prove a cause though others are missing.
    assert decide({"known_match": np.ones(1)}, {}).cause[0] == "real_object"
    assert len(decide({}, {})) == 0
    assert set(CAUSES) == set(CAUSE_WORDS)


def test_a_file_has_the_cause_of_most_of_its_false_positives():
    shifted, hot = numbers_of(3, **CASES["misalignment"]), numbers_of(1, **CASES["detector_fault"])
    decided = decide({name: np.concatenate([shifted[name], hot[name]]) for name in shifted}, NIGHT)
    cause, sure = cause_of_group(decided, np.arange(4))
    assert cause == "misalignment"
    assert 0.6 < sure < 0.8


def test_counts_and_shares(rng):
    group = np.repeat([0, 1, 2], [10, 20, 5])
    false = np.zeros(35, bool)
    false[:2], false[12:18] = True, True
    counts = count_by(group, ["a", "b", "c"], np.ones(35, bool), false)
    assert [(c.name, c.candidates, c.false_positives, c.share) for c in counts] == [
        ("b", 20, 6, 0.75), ("a", 10, 2, 0.25), ("c", 5, 0, 0.0)
    ]  # fmt: skip
    np.testing.assert_allclose(cumulative_share(counts), [0.75, 1.0, 1.0])
    assert 0.5 < share_by_chance(counts, 1, rng) < 0.8
    assert np.isnan(share_by_chance(counts[2:], 1, rng))


@pytest.fixture(scope="module")
def night_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    night_frames.write_night(folder / "night", 5)
    config = load_config(None, ["night.pictures=false", "night.workers=1", "detect.threshold_sigma=3.5"])
    run_night(folder / "night", folder / "run", config, mapper=map)
    return folder / "run"


def test_a_run_is_audited_and_written(night_run, tmp_path):
    stars = tmp_path / "stars.csv"
    stars.write_text("ra,dec,mag,name\n10.0,20.0,5.1,beta Dra\n")
    done = write_audit([night_run], tmp_path / "out", AuditOptions(threshold=0.0), catalog=stars, stamps=5,
                       sections=[Section("more", "What was missed", "<p>nothing</p>")])  # fmt: skip
    found = done.audited
    assert found.n_false == found.n > 0
    assert sum(file.counted.false_positives for file in found.files) == found.n_false
    page = done.page.read_text()
    assert "What was missed" in page
    assert "<p>nothing</p>" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert facts["false_positives"] == found.n_false
    assert sum(facts["causes"].values()) == found.n_false
    table = pq.read_table(tmp_path / "out" / "tables" / "false_positives.parquet")
    assert len(table) == found.n_false
    assert set(table["cause"].to_pylist()) <= set(CAUSES)
    np.testing.assert_allclose(
        sum(table[f"p_{cause}"].to_numpy() for cause in CAUSES if cause != "unknown"), 1.0, rtol=1e-6
    )
    with pytest.raises(OutputError, match="holds an audit already"):
        write_audit([night_run], tmp_path / "out")


def test_a_far_star_is_not_named_before_a_brighter_one_in_the_stamp(night_run, tmp_path):
    stars = tmp_path / "stars.csv"
    rows = read_audit_rows([night_run], AuditOptions(threshold=0.0))
    rows = replace(rows, ra=10.0 + rows.x / 3600.0, dec=rows.y / 3600.0)  # the frames have no WCS
    stars.write_text("ra,dec,mag,name\n10.0,10.0,12.9,far\n")
    found = audit_rows(rows, AuditOptions(threshold=0.0), catalog=stars).found
    beside = found.numbers["halo_log"] > -2.9
    assert beside.any()
    assert not any("far" in text for text in found.star[beside])
    stars = tmp_path / "bright.csv"
    stars.write_text("ra,dec,mag,name\n10.0,0.1,-12,Moon\n")
    found = audit_rows(rows, AuditOptions(threshold=0.0), catalog=stars).found
    known = np.isfinite(found.numbers["zeropoint"])
    assert known.any()
    assert all("Moon" in text for text in found.star[known])


def test_a_run_without_false_positives_and_with_another_model(night_run, tmp_path):
    result = INVOKE.invoke(
        app, ["audit", str(night_run), "--out", str(tmp_path / "none"), "--threshold", "1.0", *QUIET]
    )
    assert result.exit_code == 0, result.output
    assert "No false positives" in (tmp_path / "none" / "audit.html").read_text()
    record = json.loads(next(night_run.glob("images/*/outcome.json")).read_text())
    assert record["facts"]["rb_model_hash"]
    found, rows = audit([night_run], AuditOptions(threshold=0.0), model="shipped")
    assert not any("another model" in text for text in found.warnings)
    assert np.isfinite(rows.score).all()


def write_set(folder, *, chips=True, labels=None, sky=True):
    """Stamps of six images as a data set, artifacts but for some."""
    n = 60
    candidates, stamps, drawn, _ = realbogus_stamps.sample(n, np.random.default_rng(2), size=33)
    names = np.array([f"image{i}" for i in np.arange(n) // 10])
    columns = {name: np.asarray(candidates[name]) for name in candidates.table.colnames}
    columns |= {
        "label": np.asarray(drawn if labels is None else np.full(n, labels), np.int8), "kind": "artifact",
        "true_snr": np.nan, "tile": names, "night": names, "reference": names, "chain": "default", "source": "drawn",
        "suspicion": np.where(np.arange(n) == 5, "known_variable", ""), "image": names, "split": "test",
        "chip": "Q1-11" if chips else "", "true_kind": "", **dict(zip(SIGMA_COLUMNS, stamps.sigma.T, strict=True)),
    }  # fmt: skip
    if not sky:
        columns |= {"ra": np.full(n, np.nan), "dec": np.full(n, np.nan)}
    with ShardWriter(folder, rows_per_shard=40) as writer:
        writer.add(stamps.cube / stamps.sigma[:, :, None, None], columns)
    pq.write_table(pa.table({"row": np.arange(n), "rb_score": np.linspace(0, 1, n)}), folder / "scores.parquet")
    return folder


def test_a_data_set_is_audited_with_unknown_chips_and_without_places(tmp_path):
    folder = write_set(tmp_path / "set", chips=False, labels=0, sky=False)
    found, rows = audit([folder], AuditOptions(threshold=0.5), scores=folder / "scores.parquet")
    assert (found.n, found.n_real, found.n_false) == (60, 0, 30)
    assert [item.name for item in found.chips] == ["unknown"]
    assert found.files[0].counted.candidates == 10
    assert np.isnan(found.found.numbers["visits_sky"]).all()
    assert any("bright stars" in text for text in found.warnings)
    assert len(rows) == 60


def test_reals_alone_give_no_false_positive_and_known_objects_are_named(tmp_path):
    reals = write_set(tmp_path / "reals", labels=1)
    found, _ = audit([reals], AuditOptions(threshold=0.5), scores=reals / "scores.parquet")
    assert (found.n_false, found.n_called, found.n_real) == (0, 30, 60)
    artifacts = write_set(tmp_path / "artifacts", labels=0)
    found, _ = audit([artifacts], AuditOptions(threshold=0.0), scores=artifacts / "scores.parquet")
    variable = np.flatnonzero(found.found.known == "variable")
    assert found.found.decided.cause[variable].tolist() == ["real_object"]


def test_most_limits_what_is_measured_and_says_so(tmp_path):
    folder = write_set(tmp_path / "set", labels=0)
    found, _ = audit([folder], AuditOptions(threshold=0.0, most=7), scores=folder / "scores.parquet")
    assert (found.n_false, len(found.found)) == (60, 7)
    assert any("7 of 60" in text for text in found.warnings)


def test_bad_sources_are_refused(night_run, tmp_path):
    folder = write_set(tmp_path / "set")
    with pytest.raises(ConfigError, match="nothing to audit"):
        audit([])
    with pytest.raises(InputError, match="neither the folder of a run"):
        audit([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="data sets one at a time"):
        audit([folder, folder])
    with pytest.raises(ConfigError, match="--scores is for data sets"):
        audit([night_run], scores=folder / "scores.parquet")
    with pytest.raises(ConfigError, match="tells no threshold"):
        audit([folder], scores=folder / "scores.parquet")
    with pytest.raises(InputError, match="no such file"):
        read_stars(tmp_path / "stars.csv")


def test_damaged_images_are_left_out_and_told(night_run, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(night_run, copy)
    images = sorted(copy.glob("images/*/candidates.parquet"))
    images[0].write_bytes(b"no table")
    found, _ = audit([copy], AuditOptions(threshold=0.0))
    assert any(text.startswith("left out") for text in found.warnings)
    for path in images:
        path.write_bytes(b"no table")
    with pytest.raises(InputError, match="no processed image|no image can be audited"):
        audit([copy])


def test_further_sections_come_from_modules_that_are_there(monkeypatch):
    import sys
    from types import ModuleType

    import gueststar.datasets.audit_files as files

    module = ModuleType("made_section")
    module.audit_section = lambda sources, *, truth, known: Section("made", "Made", f"<p>{len(sources)}</p>")
    module.__spec__ = type(sys.__spec__)("made_section", None) if sys.__spec__ else None
    monkeypatch.setitem(sys.modules, "made_section", module)
    monkeypatch.setattr(files, "SECTION_MODULES", ("made_section", "gueststar_lacks_this"))
    assert [section.html for section in further_sections(["a", "b"])] == ["<p>2</p>"]
