"""FITS frames: every container, number type and byte order; times, kinds, names; files that are no frames."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

import skies
from gueststar.errors import FrameError, GueststarError, KeywordError
from gueststar.ingest.fits import load_image, read_frame, read_header_facts
from gueststar.instruments import Instrument

GOOD = {"GAIN": 2.0, "EXPTIME": 60.0, "DATE-OBS": "2022-10-30T06:00:00", "FILTER": "L", "OBJECT": "M31"}
SHAPE = (64, 80)


def counts(dtype: str = "f4") -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.poisson(300, SHAPE).astype(dtype)


def header_of(values: dict | None = None, *, without: tuple[str, ...] = ()) -> fits.Header:
    kept = {key: value for key, value in (GOOD | (values or {})).items() if key not in without}
    return fits.Header(list(kept.items()))


def write(path, data, header=None, *, kind="plain"):
    header = header_of() if header is None else header
    if kind == "fpack":
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header, compression_type="RICE_1")])
    elif kind == "extension":
        hdus = fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(data)])
    elif kind == "after a table":
        table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
        hdus = fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(data, header)])
    elif kind == "cube of one":
        hdus = fits.HDUList([fits.PrimaryHDU(data[None], header)])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(data, header)])
    hdus.writeto(path)
    return path


# --- containers and numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("plain", "a.fits"),
        ("plain", "a.fits.gz"),
        ("fpack", "a.fits.fz"),
        ("extension", "a.fits"),
        ("extension", "a.fits.gz"),
        ("after a table", "a.fits"),
        ("cube of one", "a.fits"),
    ],
)
def test_the_same_frame_from_every_container(tmp_path, kind, name):
    data = counts("i2")
    frame = read_frame(write(tmp_path / name, data, kind=kind))
    np.testing.assert_array_equal(frame.data, data)
    assert frame.data.dtype == np.dtype("=f4")
    assert frame.data.flags.c_contiguous
    assert (frame.gain_e_adu, frame.exposure_s, frame.band, frame.field, frame.chip, frame.kind) == (
        (2.0, 60.0, "L", "M31", "", "light")
    )
    assert frame.mjd_mid == pytest.approx(59882.25 + 30 / 86400, abs=1e-9)
    assert frame.name == name


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">i4", "<u4", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_every_number_type(tmp_path, dtype, name):
    data = counts(dtype) % 200 if dtype == "u1" else counts(dtype) + (40_000 if "u" in dtype else 0)
    np.testing.assert_array_equal(read_frame(write(tmp_path / name, data.astype(dtype))).data, data.astype(float))


def test_unsigned_sixteen_bit_is_stored_with_bzero(tmp_path):
    data = counts("u2")
    data[0, :3] = 0, 32768, 65535
    path = write(tmp_path / "a.fits", data)
    assert fits.getheader(path)["BZERO"] == 32768
    np.testing.assert_array_equal(read_frame(path).data, data)


def test_scaled_integers(tmp_path):
    raw = counts("i2")
    hdu = fits.PrimaryHDU(raw, header_of())
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 100.0
    hdu.data = raw  # the header tells how to read the integers
    path = tmp_path / "a.fits"
    with open(path, "wb") as file:
        file.write(hdu.header.tostring().encode())
        file.write(raw.astype(">i2").tobytes().ljust(-(-raw.nbytes // 2880) * 2880, b"\0"))
    np.testing.assert_array_equal(read_frame(path).data, 0.5 * raw + 100.0)


@pytest.mark.parametrize(("dtype", "blank"), [("i2", -32768), ("i4", -1), ("u1", 255)])
@pytest.mark.parametrize("scaled", [False, True])
def test_blank_pixels_are_no_data(tmp_path, dtype, blank, scaled):
    raw = (counts(dtype) % 200).astype(dtype)
    raw[10:20, 5:9] = blank
    header = fits.PrimaryHDU(raw, header_of()).header
    header["BLANK"] = blank
    if scaled:
        header["BSCALE"], header["BZERO"] = 2.0, 10.0
    path = tmp_path / "a.fits"
    big = raw.astype(np.dtype(dtype).newbyteorder(">")).tobytes()
    path.write_bytes(header.tostring().encode() + big.ljust(-(-len(big) // 2880) * 2880, b"\0"))
    frame = read_frame(path)
    blanked = np.zeros(SHAPE, bool)
    blanked[10:20, 5:9] = True
    np.testing.assert_array_equal(np.isnan(frame.data), blanked)
    np.testing.assert_array_equal(frame.data[~blanked], raw[~blanked] * (2.0 if scaled else 1.0) + 10.0 * scaled)


def test_nan_survives_compression(tmp_path):
    data = counts()
    data[3:6, 4:8] = np.nan
    hdu = fits.CompImageHDU(data, header_of(), compression_type="GZIP_2", quantize_level=0.0)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits.fz")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.fits.fz").data, data)


def test_image_extension_wins_over_the_primary_header_but_is_completed_by_it(tmp_path):
    primary = fits.PrimaryHDU(header=header_of({"GAIN": 9.0, "RDNOISE": 4.0}))
    extension = fits.ImageHDU(counts(), fits.Header([("GAIN", 3.0)]))
    fits.HDUList([primary, extension]).writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits")
    assert (frame.gain_e_adu, frame.read_noise_e, frame.exposure_s) == (3.0, 4.0, 60.0)


@pytest.mark.parametrize("kind", ["plain", "fpack"])
def test_the_name_of_an_extension_is_a_chip_but_not_that_of_a_compressor(tmp_path, kind):
    path = write(tmp_path / "a.fits", counts("i2"), header_of({"CHIP": "C07"}), kind=kind)
    assert read_frame(path).chip == "C07"
    hdu = fits.ImageHDU(counts(), header_of(), name="CCD3")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "b.fits")
    assert read_frame(tmp_path / "b.fits").chip == "CCD3"
    packed = fits.CompImageHDU(counts("i2"), header_of(), name="COMPRESSED_IMAGE")
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "c.fits.fz")
    assert read_frame(tmp_path / "c.fits.fz").chip == ""


def test_header_facts_are_those_of_the_frame(tmp_path):
    path = write(tmp_path / "a.fits.fz", counts("i2"), kind="fpack")
    frame, facts = read_frame(path), read_header_facts(path)
    for name in facts.__slots__:
        assert getattr(frame, name) == getattr(facts, name)


# --- headers ---------------------------------------------------------------------------------------------------------


MIDNIGHT = 59882.0  # 2022-10-30


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"DATE-OBS": "2022-10-30T06:00:00"}, 0.25),
        ({"DATE-OBS": "2022-10-30T06:00:00.5"}, 0.25 + 0.5 / 86400),
        ({"DATE-OBS": "2022-10-30T06:00:00.123456789"}, 0.25 + 0.123456 / 86400),
        ({"DATE-OBS": "2022-10-30T06:00:00Z"}, 0.25),
        ({"DATE-OBS": "2022-10-30T15:00:00+09:00"}, 0.25),
        ({"DATE-OBS": "2022-10-30T00:30:00-05:30"}, 0.25),
        ({"DATE-OBS": "2022-10-30", "TIME-OBS": "06:00:00"}, 0.25),
        ({"DATE-OBS": "2022-10-30", "UT": "06:00:00.0"}, 0.25),
        ({"DATE-OBS": "2022-10-30", "TIME-OBS": "2022-10-30T06:00:00"}, 0.25),
        ({"DATE-OBS": "2022-10-30 06:00:00"}, 0.25),
        ({"DATE-OBS": "30/10/22", "MJD-OBS": MIDNIGHT + 0.25}, 0.25),
        ({"DATE-OBS": "2022-10-30", "MJD-OBS": MIDNIGHT + 0.25}, 0.25),
        ({"DATE-OBS": "", "MJD-OBS": MIDNIGHT + 0.25}, 0.25),
        ({"DATE-OBS": "2016-12-31T23:59:60", "MJD-OBS": MIDNIGHT + 0.25}, 0.25),
    ],
)
def test_mid_exposure_from_every_spelling_of_the_start(tmp_path, values, start):
    frame = read_frame(write(tmp_path / "a.fits", counts(), header_of(values)))
    assert frame.mjd_mid == pytest.approx(MIDNIGHT + start + 30 / 86400, abs=2e-9)


@pytest.mark.parametrize("values", [{}, {"DATE-OBS": "yesterday"}, {"DATE-OBS": "2022-10-30"}])
def test_without_a_time_of_day_there_is_no_time(tmp_path, values):
    header = header_of(without=("DATE-OBS",))
    header.update(values)
    assert np.isnan(read_frame(write(tmp_path / "a.fits", counts(), header)).mjd_mid)


@pytest.mark.parametrize("key", ["OBSERVER", "OBSEVER"])
def test_both_spellings_of_the_observer(tmp_path, key):
    header = header_of({key: "Sako"})
    path = write(tmp_path / "sTMQ1202210300009423811.fits", counts(), header)
    frame = read_frame(path, instrument="tomoe")
    found = [frame.header[name] for name in frame.instrument.keywords.observer if name in frame.header]
    assert found == ["Sako"]


def test_a_tomoe_stack(tmp_path):
    header = header_of({"EXPTIME": 6.0, "EXPTIME1": 0.5, "DATA-TYP": "OBJECT", "OBJECT": "J0322+5925_dith1"})
    path = write(tmp_path / "sTMQ3202210300009423824.fits", counts(), header)
    frame = read_frame(path, instrument="tomoe")
    assert (frame.chip, frame.field, frame.kind, frame.n_frames) == ("Q3-24", "J0322+5925_dith1", "light", 12.0)
    assert frame.saturation_adu == 12 * frame.instrument.saturation_adu


@pytest.mark.parametrize(
    ("stack", "n_frames", "level"), [("single", 1, 1000.0), ("sum", 12, 12_000.0), ("mean", 1, 1000.0)]
)
def test_a_mean_counts_as_one_frame_and_a_sum_as_many(tmp_path, stack, n_frames, level):
    profile = Instrument(name="mine", stack=stack, saturation_adu=1000.0, keywords={"frame_exposure_s": ("EXPTIME1",)})
    path = write(tmp_path / "a.fits", counts(), header_of({"EXPTIME": 6.0, "EXPTIME1": 0.5}))
    frame = read_frame(path, instrument=profile)
    assert frame.n_frames == n_frames
    assert frame.saturation_adu == level


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        ({"IMAGETYP": "Light Frame"}, "flat_1.fits", "light"),
        ({"IMAGETYP": "Dark Frame"}, "a.fits", "dark"),
        ({"IMAGETYP": "FLAT"}, "a.fits", "flat"),
        ({"IMAGETYP": "Bias Frame"}, "a.fits", "bias"),
        ({"OBSTYPE": "zero"}, "a.fits", "bias"),
        ({}, "Darks_0001.fits", "dark"),
        ({}, "Flats_L.fits", "flat"),
        ({}, "M31_0001.fits", "light"),
    ],
)
def test_kinds_of_frames(tmp_path, values, name, kind):
    assert read_header_facts(write(tmp_path / name, counts(), header_of(values))).kind == kind


@pytest.mark.parametrize(
    ("values", "without", "message", "keyword"),
    [
        ({}, ("GAIN",), r"a\.fits: no gain: none of the keywords GAIN, EGAIN", "GAIN"),
        ({}, ("EXPTIME",), r"a\.fits: no exposure time: none of the keywords EXPTIME, EXPOSURE", "EXPTIME"),
        ({"GAIN": 0.0}, (), r"a\.fits: gain 0\.0 e-/ADU from GAIN, EGAIN; expected a positive number", "GAIN"),
        ({"GAIN": "high"}, (), r"a\.fits: GAIN = 'high' is not a finite number", "GAIN"),
        ({"EXPTIME": "long"}, (), r"a\.fits: EXPTIME = 'long' is not a finite number", "EXPTIME"),
    ],
)
def test_missing_or_senseless_keywords_are_named(tmp_path, values, without, message, keyword):
    path = write(tmp_path / "a.fits", counts(), header_of(values, without=without))
    with pytest.raises(KeywordError, match=message) as caught:
        read_frame(path)
    assert keyword in caught.value.facts["keyword"]


@pytest.mark.parametrize("exposure", [-5.0, 0.0])
def test_a_light_frame_needs_a_positive_exposure_time(tmp_path, exposure):
    path = write(tmp_path / "a.fits", counts(), header_of({"EXPTIME": exposure}))
    with pytest.raises(KeywordError, match=r"a\.fits: .*EXPTIME.*positive"):
        read_frame(path)


def test_gain_and_exposure_from_elsewhere(tmp_path):
    path = write(tmp_path / "a.fits", counts(), header_of(without=("GAIN", "EXPTIME")))
    profile = Instrument(name="mine", gain_e_adu=1.5, exposure_s=20.0)
    frame = read_frame(path, instrument=profile)
    assert (frame.gain_e_adu, frame.exposure_s) == (1.5, 20.0)
    assert read_frame(path, instrument=profile, gain_e_adu=3.0).gain_e_adu == 3.0
    with pytest.raises(KeywordError, match="gain -1"):
        read_frame(path, instrument=profile, gain_e_adu=-1.0)


def test_calibration_frames_need_no_exposure_time(tmp_path):
    path = write(tmp_path / "a.fits", counts(), header_of({"IMAGETYP": "BIAS"}, without=("EXPTIME",)))
    assert np.isnan(read_frame(path).exposure_s)


def test_a_keyword_without_a_value_is_missing(tmp_path):
    header = header_of(without=("GAIN",))
    header["GAIN"] = fits.card.UNDEFINED
    header["EGAIN"] = 2.5
    assert read_frame(write(tmp_path / "a.fits", counts(), header)).gain_e_adu == 2.5


# --- colour mosaics --------------------------------------------------------------------------------------------------


def mosaic(tmp_path, mode, *, values=None, data=None, **profile):
    path = write(tmp_path / "a.fits", counts() if data is None else data, header_of(values))
    return read_frame(path, instrument=Instrument(name="mine", mosaic=mode, **profile))


def test_cells_of_a_mosaic_are_summed(tmp_path):
    data = counts()
    cells = data.reshape(32, 2, 40, 2)
    np.testing.assert_allclose(mosaic(tmp_path, "bin").data, cells.sum((1, 3)), rtol=1e-6)


def test_green_pixels_of_a_mosaic_are_summed(tmp_path):
    data = counts()
    np.testing.assert_allclose(mosaic(tmp_path, "green").data, data[::2, 1::2] + data[1::2, ::2], rtol=1e-6)


def test_an_odd_row_of_a_mosaic_is_left_out(tmp_path):
    assert mosaic(tmp_path, "bin", data=counts()[:63, :79]).data.shape == (31, 39)


@pytest.mark.parametrize(("mode", "cells"), [("bin", 4), ("green", 2)])
def test_saturation_of_a_mosaic_is_that_of_its_sum(tmp_path, mode, cells):
    assert mosaic(tmp_path, mode, saturation_adu=4000.0).saturation_adu == 4000.0 * cells


def test_saturation_in_the_header_is_that_of_one_pixel(tmp_path):
    assert mosaic(tmp_path, "bin", values={"SATURATE": 4000.0}).saturation_adu == 16_000.0


def test_one_saturated_pixel_spoils_its_cell(tmp_path):
    data = counts()
    data[20:28, 30:38] = 1000.0
    data[20:28:2, 31:38:2] = 4000.0  # one of the two green ones: the sum stays far below four times the level
    frame = mosaic(tmp_path, "bin", data=data, saturation_adu=4000.0)
    assert frame.mask is not None
    spoilt = np.zeros((32, 40), bool)
    spoilt[10:14, 15:19] = True
    np.testing.assert_array_equal((frame.mask & 2) != 0, spoilt)


# --- files that are no frames ----------------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FrameError, match=r"none\.fits: no such file"):
        read_frame(tmp_path / "none.fits")
    with pytest.raises(FrameError, match="is a folder"):
        read_frame(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 5000, b"no FITS at all\n" * 300, b"SIMPLE  =                    T", b"\x1f\x8b\x08 not gzip"],
)
@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_not_fits(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FrameError, match=r"a\.fits.*(empty|not a whole FITS file|no HDU)"):
        read_frame(path)


def test_no_image_in_the_file(tmp_path):
    fits.HDUList([fits.PrimaryHDU(header=header_of())]).writeto(tmp_path / "a.fits")
    with pytest.raises(FrameError, match="no HDU holds a two-dimensional image; found 0 PRIMARY"):
        read_frame(tmp_path / "a.fits")
    fits.HDUList([fits.PrimaryHDU(np.zeros((3, 20, 30)), header_of())]).writeto(tmp_path / "b.fits")
    with pytest.raises(FrameError, match="no HDU holds a two-dimensional image"):
        read_frame(tmp_path / "b.fits")


@pytest.mark.parametrize("kind", ["plain", "extension", "fpack"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_truncated_files(tmp_path, kind, share):
    whole = write(tmp_path / "whole.fits", counts("i2"), kind=kind).read_bytes()
    path = tmp_path / "a.fits"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FrameError, match=r"a\.fits"):
        read_frame(path)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_damaged_files_give_a_frame_or_one_of_our_errors(tmp_path, name):
    write(tmp_path / "whole.fits", counts("i2"), kind="fpack" if name.endswith("fz") else "plain")
    whole = (tmp_path / "whole.fits").read_bytes()
    if name.endswith("gz"):
        whole = gzip.compress(whole)
    rng, told = np.random.default_rng(11), []
    path = tmp_path / name
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.4 else whole)
        for place in rng.integers(0, len(damaged), 12):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            told.append(read_frame(path).name)
        except GueststarError as error:
            told.append(error.message)
    assert len(told) == 60
    assert all(name in text for text in told)


def test_load_image_names_the_file(tmp_path):
    for data, words in (
        (np.full(SHAPE, np.nan, "f4"), "no good pixel"),
        (np.full(SHAPE, 7.0, "f4"), "have the value 14"),
    ):
        path = tmp_path / f"{words[:2]}.fits"
        write(path, data)
        with pytest.raises(GueststarError, match=f"{path.name}: .*{words}"):
            load_image(path)


def test_header_zero_point_is_that_of_one_electron(tmp_path):
    light = skies.paint((128, 128), skies.scatter(np.random.default_rng(1), 20, (128, 128), apart=10), skies.Shape(2.8))
    data = skies.expose(light, np.random.default_rng(2)) / 2.0
    image = load_image(write(tmp_path / "a.fits", data, header_of({"MAGZP": 25.0})))
    assert (image.zeropoint, image.zeropoint_source) == (pytest.approx(25.0 + 2.5 * np.log10(2.0)), "header")
    image = load_image(write(tmp_path / "b.fits", data))
    assert (image.zeropoint, image.zeropoint_source) == (pytest.approx(25.0 + 2.5 * np.log10(60.0)), "instrumental")
    assert (image.band, image.field, image.exposure_s, image.instrument) == ("L", "M31", 60.0, "generic")
