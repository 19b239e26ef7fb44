"""Simulated pairs and nights: the same for the same seed, true to their truth, readable as the instrument's files."""

from __future__ import annotations

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from gueststar.errors import ConfigError, OutputError
from gueststar.ingest.fits import load_image, read_frame
from gueststar.instruments import load_instrument
from gueststar.simulate.camera import world_to_pixel
from gueststar.simulate.night import Survey, Visit, simulate_frame, simulate_pair, write_night
from gueststar.simulate.truth import TRUTH_COLUMNS

SHAPE = (300, 360)
QUIET = Survey.quiet().model_copy(
    update={
        "cosmic_rays_per_chip": 0.0, "hot_pixels": 0.0, "pattern_e": 0.0, "flat_error": 0.0, "star_mag": (13.0, 20.0),
        "ghosts": 0.0, "wobble_px": 0.0, "column_pairs_e": 0.0, "dark_pattern_e": 0.0, "dust_rings_per_chip": 0.0,
    }
)  # fmt: skip


def aperture(data, x, y, radius=9.0):
    """Sum within a radius, minus the median of the ring outside."""
    yy, xx = np.mgrid[: data.shape[0], : data.shape[1]]
    r = np.hypot(xx - x, yy - y)
    return float((data[r < radius] - np.median(data[(r > 14) & (r < 20)])).sum())


def test_same_seed_same_bytes_and_another_seed_another_sky():
    first, again, other = (simulate_pair(seed=s, shape=SHAPE) for s in (11, 11, 12))
    for name in ("science", "reference"):
        assert getattr(first, name).data.tobytes() == getattr(again, name).data.tobytes()
        assert getattr(first, name).header == getattr(again, name).header
        assert getattr(first, name).data.tobytes() != getattr(other, name).data.tobytes()
    assert all(np.array_equal(first.truth[c], again.truth[c]) for c in ("x", "y", "flux_e", "source_id", "kind"))
    assert first.science.header["OBJECT"] != other.science.header["OBJECT"]


def test_frames_are_float32_counts_of_a_sum_stack():
    pair = simulate_pair(seed=3, shape=SHAPE)
    frame = pair.science
    assert frame.data.dtype == np.float32
    assert frame.data.shape == SHAPE
    assert np.isfinite(frame.data).all()
    assert frame.read_noise_e == pytest.approx(2.0 * np.sqrt(12))
    assert frame.exposure_s == 6.0
    assert pair.reference.mjd_mid < frame.mjd_mid - 2
    assert pair.truth.colnames == list(TRUTH_COLUMNS)


def test_a_deep_reference_is_a_longer_stack():
    survey = Survey(reference_exposures=4)
    pair = simulate_pair(survey, seed=3, shape=SHAPE)
    assert pair.reference.exposure_s == 24.0
    assert pair.reference.saturation_adu == 4 * pair.science.saturation_adu
    assert pair.reference.header["EXPTIME"] / pair.reference.header["TFRAME"] == 48


def test_stars_are_where_and_as_bright_as_the_truth_says():
    survey = QUIET.model_copy(update={"star_mag": (13.0, 17.0), "galaxy_density": 0.0, "moffat_beta": (3.5, 4.0)})
    pair = simulate_pair(survey, seed=21, shape=(700, 800))
    electrons = pair.science.data.astype(float) * 0.23
    truth = pair.truth
    margin = (truth["x"] > 25) & (truth["x"] < 775) & (truth["y"] > 25) & (truth["y"] < 675)
    bright = truth[margin & (truth["mag"] < 16.0)]
    ratios = []
    for row in bright:
        apart = np.hypot(truth["x"] - row["x"], truth["y"] - row["y"])
        if ((apart > 0.1) & (apart < 22) & (truth["flux_e"] > 0.01 * row["flux_e"])).any():
            continue
        ratios.append(aperture(electrons, row["x"], row["y"]) / row["flux_e"])
    assert len(ratios) >= 8
    # The aperture misses a few per cent of the wings and holds some of the aureole.
    assert np.median(ratios) == pytest.approx(0.99, abs=0.03)


def test_wcs_of_the_header_is_off_by_the_drawn_error_only():
    survey = Survey(wcs_shift_px=0.2, dither_px=20.0)
    pair = simulate_pair(survey, seed=5, shape=SHAPE)
    known = pair.truth[pair.truth["kind"] == "star"]
    x, y = world_to_pixel(pair.science.wcs, known["ra"], known["dec"])
    shift = pair.science.conditions.error_shift_px
    assert np.median(known["x"] - x) == pytest.approx(shift[0], abs=0.15)
    assert np.median(known["y"] - y) == pytest.approx(shift[1], abs=0.15)
    assert np.hypot(known["x"] - x, known["y"] - y).max() < 1.5


def test_transients_are_new_and_steady_stars_do_not_change():
    survey = QUIET.model_copy(update={"supernovae_per_chip": 40.0, "hostless_per_chip": 40.0, "variable_fraction": 0.2})
    truth = simulate_pair(survey, seed=8, shape=SHAPE).truth
    kind = np.asarray(truth["kind"])
    new = np.isin(kind, ["supernova", "hostless"])
    assert new.sum() > 2
    np.testing.assert_allclose(truth["change_e"][new], truth["flux_e"][new])
    assert (truth["change_e"][kind == "star"] == 0).all()
    assert (truth["change_e"][kind == "variable"] != 0).all()
    assert (truth["host_id"][kind == "supernova"] >= 0).all()
    assert (truth["host_id"][kind == "hostless"] == -1).all()


def test_signal_to_noise_of_the_truth_is_that_of_a_matched_filter():
    pair = simulate_pair(QUIET, seed=9, shape=SHAPE)
    faint = pair.truth[pair.truth["flux_e"] < 5000]
    fwhm = pair.science.conditions.fwhm_px
    # A Gaussian of this width has a noise-equivalent area of 2.266 FWHM^2; a Moffat somewhat more.
    noise = faint["flux_e"] / faint["snr"] / pair.science.facts["sky_noise_e"]
    assert 1.4 * fwhm < np.median(noise) < 2.2 * fwhm


def test_raw_frame_makes_an_image():
    pair = simulate_pair(Survey(star_density=4.0), seed=4, shape=SHAPE)
    before = pair.science.data.copy()
    image = pair.science.image()
    np.testing.assert_array_equal(pair.science.data, before)
    assert image.shape == SHAPE
    assert image.psf is not None
    assert image.psf.fwhm == pytest.approx(pair.science.conditions.fwhm_px, rel=0.12)
    assert image.facts["sky_e"] == pytest.approx(pair.science.facts["sky_e"], rel=0.1)
    assert image.mjd_mid == pair.science.mjd_mid
    assert image.chip == "Q1-11"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    out = tmp_path_factory.mktemp("night")
    survey = Survey(earlier_visits=2, supernovae_per_chip=300.0)
    done = []
    paths = write_night(
        out, survey, fields=2, chips=("Q1-11", "Q3-25"), visits=3, seed=6, shape=SHAPE,
        progress=lambda i, n: done.append((i, n)),
    )  # fmt: skip
    assert done == [(i, 12) for i in range(1, 13)]
    return out, survey, paths


def test_file_names_match_the_instrument(night):
    _, _, paths = night
    assert len({p.name for p in paths}) == 12
    names = load_instrument("tomoe").filename
    groups = [names.read(p.name) for p in paths]
    assert {g["chip"] for g in groups} == {"Q1-11", "Q3-25"}
    assert {g["prefix"] for g in groups} == {"s"}
    # The chips of one exposure share its number; visits and fields do not.
    assert len({g["exposure"] for g in groups}) == 6
    # Two earlier nights of each field, whose references are of different age, and tonight.
    assert len({g["date"] for g in groups}) == 5


def test_headers_read_as_the_instrument(night):
    _, survey, paths = night
    frames = [read_frame(path, instrument="tomoe") for path in paths]
    for frame in frames:
        assert frame.data.dtype == np.float32
        assert frame.gain_e_adu == 0.23
        assert frame.n_frames == 12
        assert frame.saturation_adu == 12 * 26000
        assert frame.exposure_s == 6.0
        assert frame.band == "BLANK"
        assert frame.kind == "light"
        assert frame.field.startswith("J")
        assert frame.header["OBSERVER"]
        assert frame.wcs is not None
        assert frame.wcs.sip is not None
    assert len({(f.field, f.chip) for f in frames}) == 4
    expected = simulate_frame(survey, Visit(0, "Q1-11", 2), seed=6, shape=SHAPE)[0]
    assert frames[2].mjd_mid == pytest.approx(expected.mjd_mid, abs=1e-6)


def test_one_image_alone_is_the_same_as_in_the_night(night):
    out, survey, paths = night
    frame, truth = simulate_frame(survey, Visit(1, "Q3-25", 2), seed=6, shape=SHAPE)
    assert paths[-1] == out / f"{frame.name}.fits"
    np.testing.assert_array_equal(read_frame(paths[-1], instrument="tomoe").data, frame.data)
    table = pq.read_table(out / "truth.parquet").to_pydict()
    rows = np.array(table["image"]) == frame.name
    np.testing.assert_allclose(np.array(table["x"])[rows], truth["x"])


def test_truth_of_a_night(night):
    out, _, paths = night
    truth = pq.read_table(out / "truth.parquet").to_pydict()
    assert list(truth) == list(TRUTH_COLUMNS)
    assert set(truth["image"]) == {p.stem for p in paths}
    images, kinds = np.array(truth["image"]), np.array(truth["kind"])
    earlier = {p.stem for i, p in enumerate(paths) if i % 3 < 2}
    tonight = {p.stem for i, p in enumerate(paths) if i % 3 == 2}
    assert not earlier & set(images[kinds == "supernova"])
    assert set(images[kinds == "supernova"]) == tonight
    conditions = pq.read_table(out / "conditions.parquet").to_pydict()
    assert conditions["image"] == [p.stem for p in paths]
    assert all(2.4 <= f <= 3.4 for f in conditions["fwhm_px"])
    assert not list(out.glob("*.part"))


def test_packed_files_are_read_too(tmp_path):
    survey = Survey(earlier_visits=1, star_density=4.0)
    paths = write_night(tmp_path, survey, visits=2, seed=2, shape=SHAPE, fpack=True)
    assert [p.name[-8:] for p in paths] == [".fits.fz"] * 2
    plain = simulate_frame(survey, Visit(0, "Q1-11", 1), seed=2, shape=SHAPE)[0]
    packed = read_frame(paths[1], instrument="tomoe")
    noise = plain.facts["sky_noise_e"] / 0.23
    assert (packed.data - plain.data).std() < 0.2 * noise
    assert load_image(paths[1], instrument="tomoe").psf is not None


def test_a_night_is_not_written_over_another(night):
    out, survey, _ = night
    with pytest.raises(OutputError, match="holds a simulated night already"):
        write_night(out, survey, visits=3, seed=1, shape=SHAPE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_night(tmp_path / "night", visits=4, shape=SHAPE)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "night").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_night(tmp_path / "night", visits=4, shape=SHAPE)


@pytest.mark.parametrize(
    ("options", "key"),
    [({"visits": 3}, "visits"), ({"fields": 0}, "fields"), ({"workers": 0}, "workers"), ({"chips": ("11",)}, "chips")],
)
def test_senseless_nights_name_the_key(tmp_path, options, key):
    with pytest.raises(ConfigError, match=key) as error:
        write_night(tmp_path / "night", **options)
    assert error.value.facts["key"] == key
    assert not (tmp_path / "night").exists()


def test_senseless_pairs_name_the_key():
    with pytest.raises(ConfigError, match="seed = -1"):
        simulate_pair(seed=-1, shape=SHAPE)
    with pytest.raises(ConfigError, match="shape = "):
        simulate_pair(seed=1, shape=(20, 300))
