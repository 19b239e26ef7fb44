"""Bad input, file by file through the chain: one of our errors, that names the file or the image, and nothing else."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import skies
from gueststar import load_image, process_pair
from gueststar.errors import (
    AlignmentError,
    FrameError,
    GueststarError,
    InputError,
    KeywordError,
    PixelError,
    SubtractionError,
)
from gueststar.instruments import Instrument

SHAPE = (220, 240)
CAMERA = skies.Affine(shift=(2.6, -1.4))


def unscored(candidates, stamps):
    return candidates


def celestial(*, offset_px=(0.0, 0.0), crval=(150.0, 20.0)) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), crval
    wcs.wcs.crpix, wcs.wcs.cdelt = np.array([120.5, 110.5]) + offset_px, (-1.2 / 3600, 1.2 / 3600)
    return wcs.to_header()


def write(path, counts, *, header=None, without=(), **values):
    header = header.copy() if header is not None else fits.Header()
    for key, value in ({"GAIN": 1.0, "EXPTIME": 30.0} | values).items():
        if key not in without:
            header[key] = value
    fits.writeto(path, counts, header)
    return path


@pytest.fixture(scope="module")
def frames():
    """Counts of a sound pair."""
    rng = np.random.default_rng(8)
    stars = skies.scatter(rng, 70, SHAPE, flux=(1500.0, 60_000.0), apart=8, margin=-8)
    science = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.9)), rng)
    return science, skies.expose(skies.paint(SHAPE, stars.seen_by(CAMERA), skies.Shape(2.7)), rng)


def run(science, reference):
    return process_pair(load_image(science), load_image(reference), classify=unscored)


def test_the_sound_pair_is_sound(tmp_path, frames):
    result = run(write(tmp_path / "s.fits", frames[0]), write(tmp_path / "r.fits", frames[1]))
    assert len(result.candidates) <= 1


# --- one file --------------------------------------------------------------------------------------------------------


def truncated(path, counts):
    whole = write(path.with_name("whole"), counts).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def not_fits(path, counts):
    path.write_text("<html>404 Not Found</html>" * 200, encoding="utf-8")


def empty_file(path, counts):
    path.write_bytes(b"")


def no_image(path, counts):
    fits.HDUList([fits.PrimaryHDU()]).writeto(path)


def all_nan(path, counts):
    write(path, np.full_like(counts, np.nan))


def constant(path, counts):
    write(path, np.full(SHAPE, 1000, np.int16))


def two_values(path, counts):
    """A frame read out without light: one count of difference here and there."""
    write(path, (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2).astype(np.int16))


def no_stars(path, counts):
    write(path, np.random.default_rng(1).normal(400, 20, SHAPE).astype("f4"))


def all_saturated(path, counts):
    write(path, counts + 1000.0, SATURATE=500.0)


def no_gain(path, counts):
    write(path, counts, without=("GAIN",))


def no_exposure_time(path, counts):
    write(path, counts, without=("EXPTIME",))


def negative_gain(path, counts):
    write(path, counts, GAIN=-1.0)


def singular_wcs(path, counts):
    write(path, counts, CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=0.0, CD1_2=0.0, CD2_1=0.0, CD2_2=0.0)


def too_small(path, counts):
    write(path, counts[:20, :20])


def colour_cube(path, counts):
    write(path, np.stack([counts] * 3))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (truncated, FrameError, "not a whole FITS file"),
        (not_fits, FrameError, "not a whole FITS file"),
        (empty_file, FrameError, "the file is empty"),
        (no_image, FrameError, "no HDU holds a two-dimensional image"),
        (colour_cube, FrameError, "no HDU holds a two-dimensional image"),
        (all_nan, PixelError, "no good pixel"),
        (constant, PixelError, "there is no sky noise"),
        (two_values, PixelError, "no usable star"),
        (no_stars, PixelError, "no usable star"),
        (all_saturated, PixelError, "no good pixel"),
        (no_gain, KeywordError, "GAIN"),
        (no_exposure_time, KeywordError, "EXPTIME"),
        (negative_gain, KeywordError, "gain -1"),
        (singular_wcs, FrameError, "WCS"),
        (too_small, InputError, "at least 48 px"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, frames, spoil, error, words):
    path = tmp_path / "night" / "bad.fits"
    path.parent.mkdir()
    spoil(path, frames[0])
    before = path.read_bytes()
    with pytest.raises(error) as caught:
        load_image(path)
    assert "bad.fits" in caught.value.message
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.message, again.facts) == (error, caught.value.message, caught.value.facts)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".gz", ".fz"])
def test_truncated_in_a_container(tmp_path, frames, suffix):
    whole = tmp_path / f"whole.fits{suffix}"
    if suffix == ".gz":
        write(whole, frames[0])
    else:
        header = fits.Header([("GAIN", 1.0), ("EXPTIME", 30.0)])
        packed = fits.CompImageHDU(frames[0].astype("i2"), header)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(whole)
    content = whole.read_bytes()
    path = tmp_path / f"bad.fits{suffix}"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(FrameError, match=r"bad\.fits"):
            load_image(path)


def test_a_file_that_may_not_be_read(tmp_path, frames, monkeypatch):
    path = write(tmp_path / "bad.fits", frames[0])

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(fits, "open", refuse)
    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(FrameError, match=r"bad\.fits.*Permission denied"):
        load_image(path)


def test_what_a_header_lacks_can_come_from_a_profile(tmp_path, frames):
    path = write(tmp_path / "a.fits", frames[0], without=("GAIN", "EXPTIME"))
    image = load_image(path, instrument=Instrument(name="mine", gain_e_adu=1.0, exposure_s=30.0))
    assert image.exposure_s == 30.0
    assert image.facts["gain_e_adu"] == 1.0


# --- two files -------------------------------------------------------------------------------------------------------


def test_reference_is_science(tmp_path, frames):
    path = write(tmp_path / "a.fits", frames[0])
    copied = tmp_path / "b.fits"
    shutil.copy(path, copied)
    for other in (path, copied):
        with pytest.raises(AlignmentError, match="the same image"):
            run(path, other)


def test_the_same_pixels_in_another_container_are_the_same_image(tmp_path, frames):
    counts = frames[0].astype(np.int16)
    plain = write(tmp_path / "a.fits", counts)
    packed = fits.CompImageHDU(counts, fits.Header([("GAIN", 1.0), ("EXPTIME", 30.0)]), compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "b.fits.fz")
    with pytest.raises(AlignmentError, match="the same image"):
        run(plain, tmp_path / "b.fits.fz")


def test_no_overlap(tmp_path, frames):
    science = write(tmp_path / "s.fits", frames[0], header=celestial())
    reference = write(tmp_path / "r.fits", frames[1], header=celestial(crval=(150.5, 20.0)))
    with pytest.raises(AlignmentError, match="do not overlap"):
        run(science, reference)


@pytest.mark.parametrize("offset_px", [(40.0, 0.0), (-20.0, 35.0)])
def test_a_wcs_that_contradicts_the_sky(tmp_path, frames, offset_px):
    science = write(tmp_path / "s.fits", frames[0], header=celestial())
    reference = write(tmp_path / "r.fits", frames[1], header=celestial(offset_px=np.array(CAMERA.shift) + offset_px))
    with pytest.raises(AlignmentError, match="the WCS contradicts the sky"):
        run(science, reference)


def test_another_field(tmp_path, frames):
    rng = np.random.default_rng(80)
    stars = skies.scatter(rng, 70, SHAPE, flux=(1500.0, 60_000.0), apart=8)
    other = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    with pytest.raises(AlignmentError, match="no common star pattern|stars match"):
        run(write(tmp_path / "s.fits", frames[0]), write(tmp_path / "r.fits", other))


@pytest.mark.parametrize("with_wcs", [True, False], ids=["wcs", "patterns"])
@pytest.mark.parametrize("scale", [0.5, 1.6])
def test_another_pixel_scale_is_no_fault(tmp_path, scale, with_wcs):
    rng = np.random.default_rng(81)
    camera = skies.Affine(scale=scale, centre=(119.5, 109.5))
    stars = skies.scatter(rng, 130, SHAPE, flux=(3000.0, 60_000.0), apart=9, margin=-50)
    fwhm = 3.0 if scale > 1 else 5.0
    science = skies.expose(skies.paint(SHAPE, stars, skies.Shape(fwhm)), rng)
    reference = skies.expose(skies.paint(SHAPE, stars.seen_by(camera), skies.Shape(0.9 * fwhm * scale)), rng)
    headers = [None, None]
    if with_wcs:
        headers = [celestial(), celestial()]
        for axis in (1, 2):
            headers[1][f"CDELT{axis}"] /= scale
            headers[1][f"CRPIX{axis}"] = (119.5, 109.5)[axis - 1] + 1.0
            headers[0][f"CRPIX{axis}"] = (119.5, 109.5)[axis - 1] + 1.0
    paths = [
        write(tmp_path / f"{name}.fits", counts, header=header)
        for name, counts, header in zip("sr", (science, reference), headers, strict=True)
    ]
    result = run(*paths)
    assert result.facts["align_scale"] == pytest.approx(scale, rel=2e-3)
    assert len(result.candidates) <= 3
    x, y = skies.empty_places(rng, 3000, SHAPE, stars, skies.Shape(1.3 * fwhm), margin=18)
    good = result.difference.numpy("mask")[y, x] == 0
    assert good.sum() > 100
    assert result.difference.numpy("score")[y[good], x[good]].std() == pytest.approx(1.0, abs=0.1)


def test_a_science_frame_in_clouds(tmp_path, frames):
    """All but the brightest stars are gone: a result or one of our errors, and no false candidates."""
    rng = np.random.default_rng(82)
    stars = skies.scatter(rng, 70, SHAPE, flux=(1500.0, 60_000.0), apart=8)
    clear = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.7)), rng)
    cloudy = skies.expose(skies.paint(SHAPE, stars.scaled(0.03), skies.Shape(2.9)), rng)
    try:
        result = run(write(tmp_path / "s.fits", cloudy), write(tmp_path / "r.fits", clear))
    except (PixelError, AlignmentError, SubtractionError) as error:
        told = error.message
    else:
        told = "star" if len(result.candidates) <= 3 else f"{len(result.candidates)} false candidates"
    assert "star" in told


def test_trailed_and_defocused_frames_are_measured_or_refused(tmp_path, frames):
    rng = np.random.default_rng(83)
    stars = skies.scatter(rng, 50, SHAPE, flux=(20_000.0, 90_000.0), apart=16, margin=10)
    trailed = skies.expose(skies.paint(SHAPE, stars, skies.Shape(5.0, ellipticity=0.6, angle_deg=20.0)), rng)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    donuts = sum(
        f / 60.0 * np.exp(-0.5 * (np.hypot(x - a, y - b) - 6.0) ** 2)
        for a, b, f in zip(*stars.points.T, stars.flux, strict=True)
    )
    defocused = skies.expose(donuts, rng)
    sharp = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
    reference = write(tmp_path / "r.fits", sharp)
    for name, counts in (("trailed", trailed), ("defocused", defocused)):
        try:
            result = run(write(tmp_path / f"{name}.fits", counts), reference)
        except GueststarError as error:
            told = error.message
        else:
            assert np.isfinite(result.difference.numpy()).all()
            told = name
        assert told
