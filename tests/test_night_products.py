"""What is written can be read back, and says what it is."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

import night_frames
from gueststar.errors import FrameError, InputError
from gueststar.ingest.frame import Frame
from gueststar.ingest.prepare import prepare_image
from gueststar.instruments import load_instrument
from gueststar.night.catalogs import read_catalog
from gueststar.night.products import (
    arrow_table,
    difference_bytes,
    read_candidates,
    read_outcome,
    write_outcome,
    write_stamps,
    write_table,
)
from gueststar.night.stored import read_image, read_image_facts, read_master, write_image, write_master
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Difference, Image, Mask, Outcome, Stamps


def sky_wcs() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [30.0, 40.0], [112.0, 96.0], [-3e-4, 3e-4]
    from astropy.wcs import Sip

    a = np.zeros((3, 3))
    a[2, 0] = 2e-6
    wcs.sip = Sip(a, a.T.copy(), None, None, [112.0, 96.0])
    return wcs


@pytest.fixture(scope="module")
def image() -> Image:
    return prepare_image(
        night_frames.counts(1), gain_e_adu=night_frames.GAIN, wcs=sky_wcs(), zeropoint=24.5, zeropoint_source="catalog",
        band="V", mjd_mid=61000.5, exposure_s=30.0, field="M 31", chip="Q1-11", saturation_adu=50_000.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def difference(image: Image) -> Difference:
    rng = np.random.default_rng(4)
    noise = torch.from_numpy(rng.normal(0, 20, image.shape).astype(np.float32))
    score = noise / 20.0
    score[:10] = 0.0
    mask = torch.zeros(image.shape, dtype=torch.int16)
    mask[:10] = int(Mask.NO_DATA | Mask.REFERENCE)
    variance = torch.full(image.shape, 400.0) + image.variance
    return Difference(
        data=noise, variance=variance, score=score, flux=noise, flux_err=torch.ones_like(noise), mask=mask,
        psf=image.psf, science_id="s", reference_id="r", engine="kernel", wcs=image.wcs, zeropoint=24.5,
    )  # fmt: skip


def test_difference_file_keeps_the_planes_within_the_stated_steps(image: Image, difference: Difference) -> None:
    data = difference_bytes(difference, image, image, provenance={"GUESTVER": ("1.2", "version")})
    assert len(data) < 0.4 * sum(difference.numpy(name).nbytes for name in ("data", "variance", "score", "mask"))
    with fits.open(io.BytesIO(data)) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "DIFFERENCE", "VARIANCE", "SCORE", "MASK"]
        usable = difference.numpy("mask") == 0
        middle = float(np.median(difference.numpy("variance")[usable]))
        for name, plane, step in (
            ("DIFFERENCE", "data", np.sqrt(middle) / 32),
            ("VARIANCE", "variance", middle / 256),
            ("SCORE", "score", 0.01),
        ):  # fmt: skip
            assert hdus[name].data.dtype.kind == "f"
            assert np.abs(hdus[name].data - difference.numpy(plane)).max() <= 0.51 * step
        assert (hdus["SCORE"].data[:10] == 0).all()
        np.testing.assert_array_equal(hdus["MASK"].data, difference.numpy("mask"))
        header = hdus[0].header
        assert header["ENGINE"] == "kernel"
        assert header["MAGZP"] == 24.5
        assert header["MAGZPSRC"] == "catalog"
        assert header["SEEING"] == pytest.approx(image.psf.fwhm, abs=1e-3)
        assert header["MJD-MID"] == 61000.5
        assert header["GUESTVER"] == "1.2"
        read = WCS(hdus["SCORE"].header)
        np.testing.assert_allclose(read.all_pix2world(5, 7, 0), difference.wcs.all_pix2world(5, 7, 0), atol=1e-9)
        assert hdus["MASK"].header["MSKN01"] == "SATURATED"


def test_difference_without_a_wcs_or_a_time(image: Image, difference: Difference) -> None:
    bare = replace(image, mjd_mid=float("nan"))
    data = difference_bytes(replace(difference, wcs=None), bare, bare, provenance={})
    with fits.open(io.BytesIO(data)) as hdus:
        assert "CTYPE1" not in hdus["SCORE"].header
        assert "MJD-MID" not in hdus[0].header


def candidates(n: int) -> Candidates:
    columns = {column.name: np.zeros(n, column.dtype) for column in CANDIDATE_COLUMNS}
    columns |= {
        "candidate_id": np.array([f"c{i}" for i in range(n)]),
        "x": np.arange(n) * 1.5,
        "ra": np.full(n, np.nan),
    }
    made = Candidates.from_columns(columns).with_columns(rb_score=np.linspace(0, 1, n).astype(np.float32))
    made.table.meta["rb_model"] = "m"
    return made


@pytest.mark.parametrize("n", [0, 3])
def test_candidates_come_back_with_units(tmp_path: Path, n: int) -> None:
    path = tmp_path / "candidates.parquet"
    made = candidates(n)
    write_table(path, made.table, provenance={"version": "1", "rb_threshold": 0.5})
    read = read_candidates(path)
    assert read.table.colnames == made.table.colnames
    assert len(read) == n
    np.testing.assert_array_equal(read["x"], made["x"])
    assert list(read["candidate_id"]) == list(made["candidate_id"])
    assert str(read.table["ra"].unit) == "deg"
    assert read.table["snr"].description == made.table["snr"].description
    assert read.table.meta["rb_threshold"] == 0.5
    plain = pandas.read_parquet(path)
    assert list(plain.columns) == made.table.colnames
    schema = pq.read_schema(path)
    assert all(field.metadata[b"description"] for field in schema)


def test_candidates_of_runs_before_trails_are_read(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    table = candidates(3).table
    table.remove_columns([name for name in table.colnames if name.startswith(("trail_", "local_"))])
    write_table(path, table, provenance={"version": "1"})
    read = read_candidates(path)
    assert (read["trail_length"] == 0).all()
    assert (read["trail_peaks"] == 0).all()
    assert np.isnan(read["trail_x0"]).all()
    assert np.isnan(read["local_scatter"]).all()


def test_damaged_candidates_are_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_candidates(tmp_path / "c.parquet")


def test_provenance_must_be_finite() -> None:
    with pytest.raises(ValueError, match="JSON"):
        arrow_table(Table({"a": [1]}), provenance={"x": float("nan")})


def test_stamps_are_a_plain_array(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).normal(size=(2, 3, 63, 63)).astype(np.float32)
    write_stamps(tmp_path / "stamps.npy", Stamps(cube, np.ones((2, 3), np.float32), np.array(["a", "b"])))
    read = np.load(tmp_path / "stamps.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, cube)


def test_outcome_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    made = Outcome("a", "ok", mjd=float("nan"), facts={"x": np.float32(1.5), "y": float("inf")}, counts={"n": 3})
    write_outcome(path, made, key="k", config_hash="c")
    read = read_outcome(path)
    assert read is not None
    outcome, key = read
    assert key == "k"
    assert outcome.mjd is None
    assert outcome.facts == {"x": 1.5, "y": None}
    assert json.loads(path.read_text())["config_hash"] == "c"
    path.write_text("{")
    assert read_outcome(path) is None
    assert read_outcome(tmp_path / "absent.json") is None


def test_stored_image_comes_back(tmp_path: Path, image: Image) -> None:
    path = tmp_path / "reference.fits"
    write_image(path, image, key="key")
    read = read_image(path)
    for plane in ("data", "variance", "mask"):
        np.testing.assert_array_equal(read.numpy(plane), image.numpy(plane))
    assert read.psf is not None
    assert image.psf is not None
    np.testing.assert_array_equal(read.psf.planes.numpy(), image.psf.planes.numpy())
    assert (read.psf.fwhm, read.psf.order, read.psf.extent) == (image.psf.fwhm, image.psf.order, image.psf.extent)
    assert read.stars is not None
    assert image.stars is not None
    for name, column in image.stars.columns().items():
        np.testing.assert_array_equal(getattr(read.stars, name), column)
    assert read.stars.aperture_px == image.stars.aperture_px
    for name in ("zeropoint", "zeropoint_source", "mjd_mid", "exposure_s", "saturation", "image_id", "field", "chip"):
        assert getattr(read, name) == getattr(image, name)
    assert read.wcs is not None
    np.testing.assert_allclose(read.wcs.all_pix2world(5, 7, 0), image.wcs.all_pix2world(5, 7, 0), atol=1e-9)
    facts = read_image_facts(path)
    assert facts is not None
    assert (facts[0].field, facts[0].chip, facts[0].band, facts[1]) == ("M 31", "Q1-11", "V", "key")


def test_image_without_measurements_or_limits_comes_back(tmp_path: Path, image: Image) -> None:
    path = tmp_path / "bare.fits"
    bare = replace(image, psf=None, stars=None, wcs=None, mjd_mid=float("nan"), saturation=float("inf"))
    write_image(path, bare)
    read = read_image(path)
    assert read.psf is None
    assert read.stars is None
    assert read.wcs is None
    assert np.isnan(read.mjd_mid)
    assert np.isinf(read.saturation)


def test_other_files_are_not_stored_images(tmp_path: Path) -> None:
    path = night_frames.write(tmp_path / "a.fits", night_frames.counts(1))
    assert read_image_facts(path) is None
    assert read_image_facts(tmp_path / "absent.fits") is None
    with pytest.raises(FrameError, match="not an image written by gueststar"):
        read_image(path)
    with pytest.raises(FrameError, match="not a calibration frame written by gueststar"):
        read_master(path)


def test_master_comes_back(tmp_path: Path) -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    frame = Frame(
        name="dark of 3", kind="dark", field="", chip="1", band="", exposure_s=1.5, mjd_mid=float("nan"), data=data,
        header={}, wcs=None, instrument=load_instrument("generic"), gain_e_adu=1.0, mask=(data > 10).astype(np.int16),
    )  # fmt: skip
    write_master(tmp_path / "dark.fits", frame)
    read = read_master(tmp_path / "dark.fits")
    np.testing.assert_array_equal(read.data, data)
    np.testing.assert_array_equal(read.mask, frame.mask)
    assert (read.name, read.kind, read.chip, read.exposure_s) == ("dark of 3", "dark", "1", 1.5)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ecsv", "fits"])
def test_catalogue_is_read_from_any_usual_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"stars.{suffix}"
    table = Table({"RA_ICRS": [1.0, 2.0, 3.0], "DE_ICRS": [4.0, 5.0, 6.0], "Gmag": [12.0, 13.0, np.nan]})
    if suffix == "parquet":
        pandas.DataFrame({name: table[name] for name in table.colnames}).to_parquet(path)
    else:
        table.write(path, format="ascii.csv" if suffix == "csv" else None)
    catalog = read_catalog(path)
    np.testing.assert_array_equal(catalog.ra_deg, [1.0, 2.0])
    np.testing.assert_array_equal(catalog.mag, [12.0, 13.0])


def test_catalogue_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_catalog(tmp_path / "absent.csv")
    (tmp_path / "a.csv").write_text("ra,dec,colour\n1,2,3\n")
    with pytest.raises(InputError, match=r"no column for mag; expected one of mag, .*, found ra, dec, colour"):
        read_catalog(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        read_catalog(tmp_path / "a.parquet")
