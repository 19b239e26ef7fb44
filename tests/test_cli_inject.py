"""`gueststar inject`: files like their inputs, sources as told, nothing replaced."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

import night_frames
import skies
from gueststar.cli.main import app
from gueststar.ingest.calibrate import calibrate, combine_darks, combine_flats
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.ingest.psf import psf_photometry
from gueststar.night.injected_truth import read_truth
from gueststar.night.products import read_candidates

GAIN = night_frames.GAIN


def call(*words: object) -> Any:
    """Run a command as the shell does."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160", "NO_COLOR": "1"})


def done(*words: object) -> str:
    result = call("inject", *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def write(path: Path, seed: int = 1, *, dtype: str = "uint16", **cards: object) -> Path:
    """A frame of 60 stars in some type, fpacked where the name says so."""
    counts = night_frames.counts(seed)
    data = counts.astype(dtype) if dtype.startswith("f") else np.rint(counts).astype(dtype)
    night_frames.write(path, data, **cards)
    if path.suffix == ".fz":
        with fits.open(path) as plain:
            packed = fits.CompImageHDU(plain[0].data, plain[0].header, compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path, overwrite=True)
    return path


def pixels(path: Path) -> tuple[np.ndarray, fits.Header]:
    with fits.open(path, memmap=False) as hdus:
        hdu = next(hdu for hdu in hdus if hdu.data is not None)
        return hdu.data.copy(), hdu.header.copy()


def put_in(path: Path) -> Table:
    truth = read_truth(path)
    return truth[truth["status"] == "injected"]


FILES = [
    ("plain.fits", "uint16"), ("short.fits", "int16"), ("packed.fits.fz", "uint16"), ("float.fits", "float32"),
    ("double.fits", "float64"), ("float.fits.fz", "float32"), ("zipped.fits.gz", "int32"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), FILES, ids=[f"{n}-{t}" for n, t in FILES])
def test_copies_are_like_their_input_plus_the_sources(name: str, dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, dtype=dtype, NOTE="kept", MAGZP=26.0)
    out = tmp_path / "out"
    text = done(path, "--out", out, "--n", 20, "--snr", 20, 60)
    assert "20 sources in 1 image, 20 asked for" in text
    stem = name.split(".", maxsplit=1)[0]
    assert {item.name for item in out.iterdir()} == {name, f"{stem}.truth.parquet", "truth.parquet"}
    (old, before), (new, after) = pixels(path), pixels(out / name)
    assert new.dtype == old.dtype
    assert new.shape == old.shape
    assert set(after) - set(before) == {"GSINJECT", "GSINJBY", "GSINJSED", "HISTORY"}
    assert [key for key in before if key and before[key] != after[key]] == []
    assert after["GSINJECT"] == 20
    truth = put_in(out / f"{stem}.truth.parquet")
    added = new.astype(float) - old
    assert added.min() >= 0
    assert added.sum() * GAIN == pytest.approx(truth["flux_e"].sum(), rel=0.02)
    np.testing.assert_allclose(truth["flux_adu"], truth["flux_e"] / GAIN)
    np.testing.assert_allclose(truth["mag"], 26.0 - 2.5 * np.log10(truth["flux_adu"]), atol=1e-6)
    # Most of the frame is the same, bit by bit.
    assert (added == 0).mean() > 0.5


def test_faint_light_survives_whole_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", GAIN=12.0)  # an electron is a twelfth of a count
    places = [(x, y) for x in range(20, 210, 20) for y in range(20, 180, 20)]
    (tmp_path / "list.csv").write_text("x,y,flux_e\n" + "".join(f"{x},{y},300\n" for x, y in places))
    done(path, "--out", tmp_path / "out", "--table", tmp_path / "list.csv")
    truth = put_in(tmp_path / "out" / "a.truth.parquet")
    added = pixels(tmp_path / "out" / "a.fits")[0].astype(float) - pixels(path)[0]
    assert added.max() <= 8
    assert added.sum() * 12 == pytest.approx(truth["flux_e"].sum(), rel=0.07)


def test_recovered_flux_is_unbiased_and_pair_finds_the_sources(tmp_path: Path) -> None:
    science, reference = write(tmp_path / "science.fits", 1), write(tmp_path / "reference.fits", 2)
    out = tmp_path / "out"
    done(science, "--out", out, "--n", 25, "--snr", 15, 60, "--placement", "random", "--separation", 14, "--seed", 4)
    truth = put_in(out / "science.truth.parquet")
    result = call("pair", out / "science.fits", reference, "--out", tmp_path / "pair", "--set", "night.pictures=false")
    assert result.exit_code == 0, result.output
    found = read_candidates(tmp_path / "pair" / "candidates.parquet").table
    pulls = []
    for row in truth:
        distance = np.hypot(found["x"] - row["x"], found["y"] - row["y"])
        best = int(np.argmin(distance))
        if distance[best] < 1.5:
            pulls.append((found["flux"][best] - row["flux_e"]) / found["flux_err"][best])
    assert len(pulls) >= 0.95 * len(truth)
    assert abs(np.median(pulls)) < 1.0
    # The light itself, without sky and stars.
    old, new = (read_frame(folder / "science.fits") for folder in (tmp_path, out))
    light = torch.from_numpy((new.data - old.data) * np.float32(GAIN))
    psf = frame_image(old).psf
    assert psf is not None
    ratio = psf_photometry(light, psf, np.asarray(truth["x"]), np.asarray(truth["y"])) / truth["flux_e"]
    assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.std() / np.sqrt(len(truth)))
    assert ratio.std() < 0.1


def test_saturation_clips_what_is_added_and_lowers_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", SATURATE=3000.0)
    row, column = np.argwhere(pixels(path)[0][20:-20, 20:-20] > 3300)[0] + 20
    (tmp_path / "list.csv").write_text(f"x,y,flux_e\n60.3,70.2,200000\n{column + 7},{row},100000\n")
    assert "2 sources" in done(path, "--out", tmp_path / "out", "--table", tmp_path / "list.csv")
    old, new = pixels(path)[0].astype(int), pixels(tmp_path / "out" / "a.fits")[0].astype(int)
    assert (old > 3000).any()
    assert (new >= old).all()
    assert new[new > old].max() == 3000
    assert ((new == 3000) & (new > old)).sum() > 10


def test_a_flat_dims_the_counts_at_its_place(tmp_path: Path) -> None:
    yy, xx = np.mgrid[: night_frames.SHAPE[0], : night_frames.SHAPE[1]]
    response = 0.5 + xx / night_frames.SHAPE[1]
    rng = np.random.default_rng(0)
    raw = night_frames.counts(1) * response + 300.0
    night_frames.write(tmp_path / "light.fits", np.rint(raw).astype("uint16"))
    for i in range(2):
        dark = rng.normal(300, 2, raw.shape)
        flat = 20_000 * response + rng.normal(300, 40, raw.shape)
        night_frames.write(tmp_path / f"dark{i}.fits", np.rint(dark).astype("uint16"), IMAGETYP="Dark")
        night_frames.write(tmp_path / f"flat{i}.fits", np.rint(flat).astype("uint16"), IMAGETYP="Flat")
    text = done(tmp_path, "--out", tmp_path / "out", "--n", 12, "--snr", 60, 150, "--placement", "random")
    assert "4 darks, flats or bias copied" in text
    assert (tmp_path / "out" / "flat1.fits").read_bytes() == (tmp_path / "flat1.fits").read_bytes()
    truth = put_in(tmp_path / "out" / "light.truth.parquet")
    words = [word for i in range(2) for word in ("--dark", tmp_path / f"dark{i}.fits")]
    words += [word for i in range(2) for word in ("--flat", tmp_path / f"flat{i}.fits")]
    words += ["--n", 12, "--snr", 60, 150, "--placement", "random"]
    assert "12 sources" in done(tmp_path / "light.fits", "--out", tmp_path / "given", *words)
    by_name, by_folder = (pixels(tmp_path / out / "light.fits")[0] for out in ("given", "out"))
    np.testing.assert_array_equal(by_name, by_folder)
    dark = combine_darks([read_frame(tmp_path / f"dark{i}.fits") for i in range(2)])
    flat = combine_flats([read_frame(tmp_path / f"flat{i}.fits") for i in range(2)], dark=dark)
    new, old = (read_frame(folder / "light.fits") for folder in (tmp_path / "out", tmp_path))
    raw_light = (new.data - old.data).astype(float) * GAIN
    light = (calibrate(new, dark=dark, flat=flat).data - calibrate(old, dark=dark, flat=flat).data) * GAIN
    for row in truth:
        middle = round(row["y"]), round(row["x"])
        box = tuple(slice(max(0, at - 10), at + 11) for at in middle)
        error = 5 / np.sqrt(row["flux_e"])
        assert light[box].sum() / row["flux_e"] == pytest.approx(1.0, abs=error + 0.01)
        local = response[middle] / np.median(response)
        assert raw_light[box].sum() / row["flux_e"] == pytest.approx(local, abs=error + 0.03)


def test_a_colour_mosaic_keeps_its_colours(tmp_path: Path) -> None:
    profile = tmp_path / "dslr.toml"
    profile.write_text('name = "dslr"\ngain_e_adu = 1.0\nmosaic = "bin"\n')
    stars = skies.scatter(np.random.default_rng(3), 60, (160, 180), flux=(3000.0, 90_000.0), apart=9.0)
    light = skies.paint((160, 180), stars, skies.Shape(fwhm=2.8))
    raw = np.zeros((320, 360))
    shares = {(0, 0): 0.4, (0, 1): 0.3, (1, 0): 0.2, (1, 1): 0.1}
    for (row, column), share in shares.items():
        raw[row::2, column::2] = light * share + 100.0
    rng = np.random.default_rng(0)
    night_frames.write(tmp_path / "a.fits", rng.poisson(raw).astype("uint16"), GAIN=None)
    done(tmp_path / "a.fits", "--out", tmp_path / "out", "--instrument", profile, "--n", 15, "--snr", 50, 100)
    truth = put_in(tmp_path / "out" / "a.truth.parquet")
    added = pixels(tmp_path / "out" / "a.fits")[0].astype(float) - pixels(tmp_path / "a.fits")[0]
    total = truth["flux_e"].sum()
    assert added.sum() == pytest.approx(total, rel=0.02)
    for (row, column), share in shares.items():
        assert added[row::2, column::2].sum() / total == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet", "fits"])
def test_own_list_counts_what_is_outside_and_masked(suffix: str, tmp_path: Path) -> None:
    data = np.rint(night_frames.counts(1)).astype("float32")
    data[100:104, 50:54] = np.nan
    path = night_frames.write(tmp_path / "a.fits", data)
    rows = Table({"X": [80.25, 30.5, 51.0, -4.0, 500.0], "y": [60.5, 150.0, 102.0, 5.0, 20.0], "snr": [40.0] * 5})
    table = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({name: np.asarray(rows[name]) for name in rows.colnames}), table)
    else:
        rows.write(table, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[suffix])
    text = done(path, "--out", tmp_path / "out", "--table", table)
    assert "2 sources in 1 image, 5 asked for" in text
    assert "2 outside: not put in" in text
    assert "1 masked: not put in" in text
    truth = read_truth(tmp_path / "out" / "a.truth.parquet")
    assert list(truth["status"]) == ["injected", "injected", "masked", "outside", "outside"]
    np.testing.assert_allclose(truth["x"], rows["X"])
    assert (truth["flux_e"][:2] > 100).all()
    new = pixels(tmp_path / "out" / "a.fits")[0]
    np.testing.assert_array_equal(np.isnan(new), np.isnan(data))


def test_own_list_by_sky_and_magnitude_for_one_image(tmp_path: Path) -> None:
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 100.5, "CRPIX2": 90.5, "CRVAL1": 150.0,
             "CRVAL2": 20.0, "CDELT1": -3e-4, "CDELT2": 3e-4}  # fmt: skip
    for name, seed in (("a.fits", 1), ("b.fits", 2)):
        night_frames.write(tmp_path / name, np.rint(night_frames.counts(seed)).astype("uint16"), **cards)
    # FITS pixel (100.5, 90.5) is (99.5, 89.5) here; the third place is on the far side of the sky.
    table = tmp_path / "list.csv"
    table.write_text("image,ra,dec,mag\na,150.0,20.0,18.0\na.fits,150.009,20.0,18.0\na,330,-20,18\nb,150,20.003,17\n")
    done(tmp_path / "a.fits", tmp_path / "b.fits", "--out", tmp_path / "out", "--table", table, "--zeropoint", 27)
    first, second = (read_truth(tmp_path / "out" / f"{name}.truth.parquet") for name in "ab")
    assert list(first["status"]) == ["injected", "injected", "outside"]
    assert (first["x"][0], first["y"][0]) == (pytest.approx(99.5, abs=0.01), pytest.approx(89.5, abs=0.01))
    assert first["x"][1] == pytest.approx(99.5 - 30 * np.cos(np.radians(20)), abs=0.01)
    np.testing.assert_allclose(first["flux_adu"], 10 ** (0.4 * 9.0))
    np.testing.assert_allclose(first["mag"], 18.0)
    np.testing.assert_allclose(first["ra"][:2], [150.0, 150.009])
    assert len(second) == 1
    both = read_truth(tmp_path / "out" / "truth.parquet")
    assert list(both["image"]) == ["a"] * 3 + ["b"]
    assert str(both["ra"].unit) == "deg"


def test_nothing_is_replaced_and_the_same_call_goes_on(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "night" / "deep" / f"l{i}.fits", i + 1)
    words = [tmp_path / "night", "--out", tmp_path / "out", "--n", 5]
    done(*words)
    folder = tmp_path / "out" / "deep"
    before = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.*")) if path.is_file()}
    assert len(before) == 7
    # One frame is lost: the same call writes it again, the same byte for byte, and keeps the others.
    (folder / "l1.fits").unlink()
    times = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    assert "2 kept from an earlier call" in done(*words)
    assert {path: path.read_bytes() for path in before} == before
    assert (folder / "l0.fits").stat().st_mtime_ns == times[folder / "l0.fits"]
    for extra in (["--seed", 1], ["--snr", 5, 20], ["--set", "ingest.saturation_margin=0.9"]):
        other = call("inject", *words, *extra)
        assert other.exit_code == 1
        assert "exists already, of other options" in other.stderr
    (tmp_path / "night" / "deep" / "l0.fits").unlink()
    write(tmp_path / "night" / "deep" / "l0.fits", 9)
    assert "another input" in call("inject", *words).stderr
    itself = call("inject", tmp_path / "night" / "deep" / "l2.fits", "--out", tmp_path / "night" / "deep")
    assert itself.exit_code == 1
    assert "would be written over itself" in itself.stderr
    foreign = tmp_path / "foreign"
    write(foreign / "l2.fits", 5)
    blocked = call("inject", tmp_path / "night" / "deep" / "l2.fits", "--out", foreign)
    assert "nothing is replaced" in blocked.stderr
    assert len(list(foreign.iterdir())) == 1


def test_sources_do_not_depend_on_what_else_is_injected(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"l{i}.fits", i + 1) for i in range(2)]
    done(*paths, "--out", tmp_path / "both", "--n", 5, "--seed", 3)
    done(paths[1], "--out", tmp_path / "one", "--n", 5, "--seed", 3)
    done(paths[1], "--out", tmp_path / "other", "--n", 5, "--seed", 4)
    assert (tmp_path / "both" / "l1.fits").read_bytes() == (tmp_path / "one" / "l1.fits").read_bytes()
    assert (tmp_path / "both" / "l1.fits").read_bytes() != (tmp_path / "other" / "l1.fits").read_bytes()


def test_a_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path / "night" / "good.fits")
    (tmp_path / "night" / "torn.fits").write_bytes((tmp_path / "night" / "good.fits").read_bytes()[:9000])
    night_frames.write(tmp_path / "night" / "flatline.fits", np.full(night_frames.SHAPE, 7, "uint16"))
    result = call("inject", tmp_path / "night", "--out", tmp_path / "out", "--n", 5)
    assert result.exit_code == 3
    assert "failed torn: " in result.stderr
    assert "failed flatline: flatline.fits: all" in result.stderr
    assert "5 sources in 1 image" in result.stdout
    assert {item.name for item in (tmp_path / "out").iterdir()} == {"good.fits", "good.truth.parquet", "truth.parquet"}
    alone = call("inject", tmp_path / "night" / "flatline.fits", "--out", tmp_path / "alone")
    assert alone.exit_code == 1
    assert "No image was written" in alone.stdout
    assert not (tmp_path / "alone").exists()


def test_a_full_disk_stops_cleanly_and_the_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gueststar.night.folders as folders

    for i in range(2):
        write(tmp_path / "night" / f"l{i}.fits", i + 1)
    real, calls = folders.os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(folders.os, "fsync", full)
    stopped = call("inject", tmp_path / "night", "--out", tmp_path / "out", "--n", 5)
    assert stopped.exit_code == 1
    assert "no space is left on the disk" in stopped.stderr
    assert len(stopped.stderr.strip().splitlines()) == 1
    monkeypatch.setattr(folders.os, "fsync", real)
    assert not [item for item in (tmp_path / "out").iterdir() if item.name.startswith(".")]
    for path in (tmp_path / "out").glob("*.fits"):
        pixels(path)
    assert "10 sources in 2 images" in done(tmp_path / "night", "--out", tmp_path / "out", "--n", 5)


def test_errors_in_plain_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits")
    (tmp_path / "nothing.csv").write_text("x,flux_e\n1,2\n")
    (tmp_path / "negative.csv").write_text("x,y,flux_e\n1,2,5\n1,2,-3\n")
    (tmp_path / "words.csv").write_text("x,y,snr\n1,two,5\n")
    (tmp_path / "mags.csv").write_text("x,y,mag\n50,50,17\n")
    (tmp_path / "sky.csv").write_text("ra,dec,snr\n50,50,17\n")
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "a.fits")
    out = ["--out", tmp_path / "out"]
    for code, message, words in (
        (1, "absent.fits: no such file or folder", [tmp_path / "absent.fits"]),
        (1, "two files would be written as", [path, tmp_path / "b" / "a.fits"]),
        (1, "no such file", [path, "--table", tmp_path / "none.csv"]),
        (1, "lacks places: x and y", [path, "--table", tmp_path / "nothing.csv"]),
        (1, "flux_e = -3 in row 2; expected a positive number", [path, "--table", tmp_path / "negative.csv"]),
        (1, "column y does not hold numbers", [path, "--table", tmp_path / "words.csv"]),
        (1, "no zero point; give --catalog or --zeropoint", [path, "--table", tmp_path / "mags.csv"]),
        (1, "no WCS; give x and y", [path, "--table", tmp_path / "sky.csv"]),
        (1, "no zero point; give it one", [path, "--mag", 15, 17]),
        (2, "give one of them", [path, "--mag", 15, 17, "--snr", 5, 9]),
        (2, "the lowest first", [path, "--snr", 9, 5]),
        (2, "greater than or equal to 0", [path, "--n", -1]),
        (2, "takes S/N only", [path, "--mag", 15, 17, "--injector", "trail"]),
        (2, "unknown profile", [path, "--instrument", "magic"]),
        (2, "Invalid value", [path, "--placement", "comet"]),
    ):
        result = call("inject", *words, *out)
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("injector", ["second", "trail", "variable"])
def test_second_injector_into_files(injector: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits")
    done(path, "--out", tmp_path / "out", "--injector", injector, "--n", 10, "--snr", 15, 40, "--separation", 8)
    truth = put_in(tmp_path / "out" / "a.truth.parquet")
    assert "injector_kind" in truth.colnames
    added = pixels(tmp_path / "out" / "a.fits")[0].astype(float) - pixels(path)[0]
    spread = 5 * np.sqrt(3 * np.abs(truth["flux_e"]).sum()) + 0.02 * np.abs(truth["flux_e"]).sum()
    assert added.sum() * GAIN == pytest.approx(truth["flux_e"].sum(), abs=spread)
    assert pixels(tmp_path / "out" / "a.fits")[1]["GSINJBY"] == injector
    if injector == "variable":
        assert (truth["change_e"] < 0).any()


def test_notes_tell_the_options(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits")
    done(path, "--out", tmp_path / "out", "--n", 3, "--seed", 8, "--distribution", "euclidean")
    notes = json.loads(pq.read_schema(tmp_path / "out" / "a.truth.parquet").metadata[b"gueststar"])
    assert (notes["options"]["seed"], notes["options"]["distribution"], notes["asked"]) == (8, "euclidean", 3)
    assert call("inject", path, "--out", tmp_path / "two", "--n", 3, "--quiet").output == ""


def test_gzip_copies_are_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "a.fits").read_bytes()))
    for out in ("one", "two"):
        done(path, "--out", tmp_path / out, "--n", 3)
    assert (tmp_path / "one" / "a.fits.gz").read_bytes() == (tmp_path / "two" / "a.fits.gz").read_bytes()


def test_real_raw_frame_through_its_darks_and_flats(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "bsu_sn2022yid_raw"
    light = min(folder.glob("SN2022yid*"))
    words = [word for path in sorted(folder.glob("Darks*"))[:1] for word in ("--dark", path)]
    words += [word for path in sorted(folder.glob("Flats*"))[:1] for word in ("--flat", path)]
    done(light, "--out", tmp_path / "out", "--instrument", "sbig_stxl6303", "--n", 40, "--snr", 30, 100, *words)
    old, new = pixels(light)[0], pixels(tmp_path / "out" / light.name)[0]
    assert old.dtype == new.dtype == np.uint16
    dark = combine_darks([read_frame(min(folder.glob("Darks*")), instrument="sbig_stxl6303")])
    flat = combine_flats([read_frame(min(folder.glob("Flats*")), instrument="sbig_stxl6303")], dark=dark)
    truth = put_in(next((tmp_path / "out").glob("SN*.truth.parquet")))
    added = (new.astype(float) - old) / np.maximum(flat.data, 0.2) * 2.58
    assert added.sum() == pytest.approx(truth["flux_e"].sum(), rel=5 / np.sqrt(truth["flux_e"].sum()) + 1e-3)
