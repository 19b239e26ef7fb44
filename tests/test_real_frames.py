"""Real frames of four cameras through the chain: registered, unit variance on empty sky, few candidates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, maximum_filter
from scipy.optimize import least_squares

from gueststar.ingest.calibrate import combine_darks, combine_flats
from gueststar.ingest.fits import load_image, read_frame, read_header_facts
from gueststar.pipeline import PairResult, process_pair
from gueststar.reference import MakeReference
from gueststar.types import Image, Mask


def unscored(candidates, stamps):
    return candidates


def empty_places(result: PairResult, n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels far from any light, chosen on the sum of both images, of which the difference knows nothing."""
    sigma = result.difference.psf.fwhm / 2.3548
    total = result.science.numpy() + result.reference.numpy() * result.difference.facts["kernel_sum"]
    bad = result.difference.numpy("mask") != 0
    smooth = gaussian_filter(np.where(bad, 0.0, total), sigma)
    scatter = 1.4826 * np.median(np.abs(smooth[~bad] - np.median(smooth[~bad])))
    lit = np.abs(smooth - np.median(smooth[~bad])) > 3.5 * scatter
    dark = ~binary_dilation(lit, iterations=int(np.ceil(1.5 * result.difference.psf.fwhm))) & ~bad
    y, x = np.nonzero(dark)
    pick = np.random.default_rng(1).choice(len(x), min(n, len(x)), replace=False)
    return y[pick], x[pick]


def gaussian_fwhm(image: Image) -> float:
    """Median width of Gaussians fitted to peaks of 30 to 300 sigma, found without the package's own star list."""
    data, noise = image.numpy(), np.sqrt(np.median(image.numpy("variance")))
    y, x = np.nonzero((data == maximum_filter(data, 9)) & (data > 30 * noise) & (data < 300 * noise))
    bad = image.numpy("mask") != 0
    yy, xx = np.mgrid[-4:5, -4:5]
    widths = []
    for j, i in zip(y, x, strict=True):
        stamp = data[j - 4 : j + 5, i - 4 : i + 5]
        if stamp.shape != (9, 9) or bad[j - 4 : j + 5, i - 4 : i + 5].any():
            continue

        def residual(p, stamp=stamp):
            return (
                p[0] * np.exp(-0.5 * ((xx - p[1]) ** 2 + (yy - p[2]) ** 2) / p[3] ** 2) + p[4] - stamp
            ).ravel() / noise

        fit = least_squares(residual, (stamp.max(), 0.0, 0.0, 1.2, 0.0), max_nfev=60)
        widths.append(2.3548 * abs(fit.x[3]))
        if len(widths) == 60:
            break
    return float(np.median(widths))


def assert_sound(result: PairResult, *, most: int, level: float = 0.1, scatter: float = 0.05) -> None:
    """What must hold for two frames of one camera minutes apart."""
    where = empty_places(result)
    assert len(where[0]) > 1500
    score = result.difference.numpy("score")[where]
    # Hot pixels and rays are candidates, not noise: beyond 4 sigma they are left out of the scatter, and are few.
    assert (np.abs(score) > 4).mean() < 3e-3
    assert score[np.abs(score) < 4].std() == pytest.approx(1.0, abs=scatter)
    assert score.mean() == pytest.approx(0.0, abs=level)
    # Pixel noise, free of the score's own scaling, to the accuracy of the gain. The variance is that of sums over a
    # star; resampling and convolution correlate pixels, each of which then scatters less.
    pixels = result.difference.numpy()[where] / np.sqrt(result.difference.numpy("variance")[where])
    assert 0.55 < 1.4826 * np.median(np.abs(pixels)) < 1.25
    assert len(result.candidates) <= most
    assert result.facts["align_rms_px"] < 0.4
    assert result.facts["align_matched"] >= 12
    assert np.isfinite(result.difference.numpy()).all()
    assert (result.difference.numpy("mask") & Mask.NO_DATA == 0).mean() > 0.5


# --- SBIG CCD, raw, with darks and flats, no WCS, drift between frames -----------------------------------------------


@pytest.fixture(scope="module")
def bsu(shared_data) -> list[Image]:
    folder = shared_data / "bsu_sn2022yid_raw"
    darks = [read_frame(path, instrument="sbig_stxl6303") for path in sorted(folder.glob("Darks*"))]
    flats = [read_frame(path, instrument="sbig_stxl6303") for path in sorted(folder.glob("Flats*"))]
    assert [frame.kind for frame in darks + flats] == ["dark"] * 3 + ["flat"] * 3
    dark = combine_darks(darks)
    flat = combine_flats(flats, dark=dark)
    lights = sorted(folder.glob("SN2022yid*"))
    return [load_image(path, instrument="sbig_stxl6303", dark=dark, flat=flat) for path in lights[:4]]


def test_raw_frames_with_darks_and_flats(bsu):
    result = process_pair(bsu[1], bsu[0], classify=unscored)
    assert result.facts["align_method"] == "patterns"
    assert bsu[0].facts["gain_e_adu"] == pytest.approx(2.58, abs=0.01)
    assert "pedestal" in bsu[0].facts["dark"]
    for image in bsu:
        assert image.psf.fwhm == pytest.approx(gaussian_fwhm(image), rel=0.12)
    assert_sound(result, most=40)


def test_two_frames_make_a_reference_for_the_others(bsu):
    reference = MakeReference()(bsu[:2])
    assert reference.facts["reference_frames"] == 2
    result = process_pair(bsu[3], reference, classify=unscored)
    assert_sound(result, most=40)


def test_the_flat_takes_the_vignetting_out(bsu, shared_data):
    raw = read_frame(sorted((shared_data / "bsu_sn2022yid_raw").glob("SN2022yid*"))[0], instrument="sbig_stxl6303")
    assert raw.data.shape == (1023, 1536)
    assert raw.saturation_adu is None or raw.saturation_adu <= 65535
    bad = bsu[0].numpy("mask") != 0
    assert bad.mean() < 0.05


# --- other cameras ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def pair(folder: Path, instrument: str, first: str, second: str) -> PairResult:
    science, reference = (load_image(folder / name, instrument=instrument) for name in (second, first))
    return process_pair(science, reference, classify=unscored)


def test_toros(shared_data):
    names = ("aligned_eso085-030-004.fits.fz", "aligned_eso085-030-005.fits.fz")
    result = pair(shared_data / "toros_eso085", "toros", *names)
    assert result.science.shape == (682, 1024)
    assert result.science.psf.fwhm == pytest.approx(gaussian_fwhm(result.science), rel=0.12)
    assert_sound(result, most=40)


@pytest.mark.parametrize(
    ("first", "second"),
    [("HATP-32171220013343", "HATP-32171220014812"), ("HATP-32171220013343", "HATP-32171220023012")],
    ids=["15 minutes apart", "an hour apart"],
)
def test_microobservatory(shared_data, first, second):
    folder = shared_data / "microobservatory_hatp32"
    result = pair(folder, "microobservatory", f"{first}.fits.fz", f"{second}.fits.fz")
    for image in (result.science, load_image(folder / f"{first}.fits.fz", instrument="microobservatory")):
        assert image.psf.fwhm == pytest.approx(gaussian_fwhm(image), rel=0.12)
    assert_sound(result, most=80)


def test_local_times_with_a_zone_are_utc(shared_data):
    facts = read_header_facts(
        shared_data / "microobservatory_hatp32" / "HATP-32171220013343.fits.fz", instrument="microobservatory"
    )
    # 2017-12-19T18:33:43.317-0700, 60 s: MJD 58107 is 2017-12-20
    assert facts.mjd_mid == pytest.approx(58107 + (1 + 33 / 60 + (43.317 + 30) / 3600) / 24, abs=1e-7)


def test_panoptes_mosaic(shared_data):
    """One frame has a WCS and the other has none: registered by star patterns."""
    result = pair(shared_data / "panoptes_cygnus", "panoptes", "unsolved.fits.fz", "solved.fits.fz")
    assert result.science.shape == (350, 350)
    assert result.science.wcs is not None
    assert result.facts["align_method"] == "patterns"
    sky = result.science.wcs.pixel_to_world(174.5, 174.5)
    raw = read_frame(shared_data / "panoptes_cygnus" / "solved.fits.fz", instrument="generic", gain_e_adu=1.0)
    assert sky.separation(raw.wcs.pixel_to_world(349.5, 349.5)).arcsec < 0.01
    assert result.science.psf.fwhm == pytest.approx(gaussian_fwhm(result.science), rel=0.2)
    # Stars 1.4 px wide, binned, which no interpolator can follow; hardly a pixel without their light.
    assert_sound(result, most=1400, level=0.25, scatter=0.08)
