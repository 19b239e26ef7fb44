"""World coordinates: SIP and TPV against their definitions, binning, spellings, and what cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from gueststar.errors import FrameError
from gueststar.ingest.astrometry import binned_header, pixel_scale_arcsec, read_wcs
from gueststar.ingest.fits import read_frame
from gueststar.instruments import Instrument

CENTRE = (150.0, 20.0)
SIP = {"A_2_0": 2e-5, "A_1_1": -1e-5, "A_0_2": 5e-6, "B_2_0": -8e-6, "B_1_1": 1e-5, "B_0_2": 3e-5, "A_3_0": 1e-8}
PV = {
    "PV1_0": 1e-4,
    "PV1_1": 1.01,
    "PV1_2": 0.002,
    "PV1_4": 0.3,
    "PV1_5": -0.2,
    "PV2_0": -2e-4,
    "PV2_1": 0.99,
    "PV2_6": 0.4,
}


def tan_header(*, ctype=("RA---TAN", "DEC--TAN"), shape=(400, 600), **values):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = ctype
    header["CRVAL1"], header["CRVAL2"] = CENTRE
    header["CRPIX1"], header["CRPIX2"] = shape[1] / 2 + 7.5, shape[0] / 2 - 3.25
    angle, scale = np.radians(12.0), 1.2 / 3600
    header["CD1_1"], header["CD1_2"] = -scale * np.cos(angle), scale * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = scale * np.sin(angle), scale * np.cos(angle)
    header.update(values)
    return header


def pixels(rng, n=40, shape=(400, 600)):
    return rng.uniform((0, 0), (shape[1], shape[0]), (n, 2))


def gnomonic(plane_deg):
    """Sky of gnomonic (TAN) plane coordinates (deg) about `CENTRE`, by vectors."""
    xi, eta = np.radians(plane_deg).T
    ra, dec = np.radians(CENTRE)
    pole = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0.0])
    north = np.cross(pole, east)
    vector = pole + xi[:, None] * east + eta[:, None] * north
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    return np.degrees(np.column_stack((np.arctan2(vector[:, 1], vector[:, 0]), np.arcsin(vector[:, 2]))))


def linear_plane(header, uv):
    matrix = np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]])
    return uv @ matrix.T


def separation_arcsec(a, b):
    return 3600.0 * np.hypot((a[:, 0] - b[:, 0]) * np.cos(np.radians(b[:, 1])), a[:, 1] - b[:, 1])


def test_tan(rng):
    header = tan_header()
    points = pixels(rng)
    uv = points + 1.0 - (header["CRPIX1"], header["CRPIX2"])
    sky = read_wcs(header).all_pix2world(points, 0)
    assert separation_arcsec(sky, gnomonic(linear_plane(header, uv))).max() < 1e-6


@pytest.mark.parametrize("ctype", [("RA---TAN-SIP", "DEC--TAN-SIP"), ("RA---TAN", "DEC--TAN")])
def test_sip_is_used_whether_named_or_not(rng, ctype):
    header = tan_header(ctype=ctype, A_ORDER=3, B_ORDER=3, **SIP)
    points = pixels(rng)
    u, v = (points + 1.0 - (header["CRPIX1"], header["CRPIX2"])).T
    moved = np.column_stack(
        [
            w + sum(c * u ** int(k[2]) * v ** int(k[4]) for k, c in SIP.items() if k[0] == a)
            for w, a in ((u, "A"), (v, "B"))
        ]
    )
    wcs = read_wcs(header)
    sky = wcs.all_pix2world(points, 0)
    assert separation_arcsec(sky, gnomonic(linear_plane(header, moved))).max() < 1e-6
    back = np.column_stack(wcs.all_world2pix(sky[:, 0], sky[:, 1], 0, quiet=True))
    assert np.abs(back - points).max() < 1e-3


@pytest.mark.parametrize("ctype", [("RA---TPV", "DEC--TPV"), ("RA---TAN", "DEC--TAN")])
def test_tpv_is_used_whether_named_or_not(rng, ctype):
    header = tan_header(ctype=ctype, **PV)
    points = pixels(rng)
    x, y = linear_plane(header, points + 1.0 - (header["CRPIX1"], header["CRPIX2"])).T
    xi = 1e-4 + 1.01 * x + 0.002 * y + 0.3 * x**2 - 0.2 * x * y
    eta = -2e-4 + 0.99 * y + 0.4 * x**2
    wcs = read_wcs(header)
    sky = wcs.all_pix2world(points, 0)
    assert separation_arcsec(sky, gnomonic(np.column_stack((xi, eta)))).max() < 1e-6
    back = np.column_stack(wcs.all_world2pix(sky[:, 0], sky[:, 1], 0, quiet=True))
    assert np.abs(back - points).max() < 1e-3


def test_reading_leaves_the_header_alone():
    header = tan_header(A_ORDER=3, B_ORDER=3, **SIP)
    before = header.tostring()
    read_wcs(header)
    binned_header(header)
    assert header.tostring() == before


@pytest.mark.parametrize("spelling", ["cd", "cdelt", "pc", "pc and cdelt"])
@pytest.mark.parametrize("sip", [False, True])
def test_binning_keeps_sky_positions(rng, spelling, sip):
    header = tan_header(A_ORDER=3, B_ORDER=3, **SIP) if sip else tan_header()
    cd = [[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]]
    if spelling != "cd":
        del header["CD*"]
    if spelling == "cdelt":
        header["CDELT1"], header["CDELT2"], header["CROTA2"] = -1.2 / 3600, 1.2 / 3600, 12.0
    for i in (0, 1) if "pc" in spelling else ():
        step = 1.2 / 3600 if "cdelt" in spelling else 1.0
        if "cdelt" in spelling:
            header[f"CDELT{i + 1}"] = step
        for j in (0, 1):
            header[f"PC{i + 1}_{j + 1}"] = cd[i][j] / step
    points = pixels(rng)
    sky = read_wcs(header).all_pix2world(points, 0)
    # The centre of a binned pixel i is at 2 i + 0.5 in the old ones.
    binned = read_wcs(binned_header(header))
    there = binned.all_pix2world((points - 0.5) / 2.0, 0)
    assert separation_arcsec(there, sky).max() < 1e-6
    assert pixel_scale_arcsec(binned) == pytest.approx(2 * pixel_scale_arcsec(read_wcs(header)))


def test_a_binned_mosaic_keeps_sky_positions(rng, tmp_path):
    header = tan_header(ctype=("RA---TAN-SIP", "DEC--TAN-SIP"), shape=(80, 120), A_ORDER=3, B_ORDER=3, **SIP)
    header["GAIN"], header["EXPTIME"] = 1.0, 5.0
    fits.writeto(tmp_path / "a.fits", rng.poisson(100, (80, 120)).astype("f4"), header)
    frame = read_frame(tmp_path / "a.fits", instrument=Instrument(name="mine", mosaic="bin"))
    assert frame.data.shape == (40, 60)
    points = pixels(rng, shape=(80, 120))
    truth = read_wcs(header).all_pix2world(points, 0)
    assert separation_arcsec(frame.wcs.all_pix2world((points - 0.5) / 2.0, 0), truth).max() < 1e-6


@pytest.mark.parametrize("ctype", [("", ""), ("PIXEL", "PIXEL"), ("LINEAR", "LINEAR"), ("WAVE", "DEC--TAN")])
def test_no_celestial_wcs_is_none(ctype):
    assert read_wcs(tan_header(ctype=ctype)) is None
    assert read_wcs(fits.Header()) is None


def test_scale():
    assert pixel_scale_arcsec(read_wcs(tan_header())) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0}, "singular"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "Unrecognized projection code"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "RA---TAN"}, "Inconsistent projection types"),
    ],
)
def test_a_wcs_that_cannot_be_used_is_an_error(tmp_path, values, message):
    header = tan_header(**values)
    with pytest.raises(ValueError, match=message):
        read_wcs(header)
    header["GAIN"], header["EXPTIME"] = 1.0, 5.0
    fits.writeto(tmp_path / "a.fits", np.ones((60, 60), "f4"), header)
    with pytest.raises(FrameError, match=rf"a\.fits: .*{message}"):
        read_frame(tmp_path / "a.fits")


def test_sip_coefficients_of_another_projection_are_left_out():
    header = tan_header(ctype=("RA---ZEA", "DEC--ZEA"), A_ORDER=2, B_ORDER=2, A_2_0=1e-3, B_0_2=1e-3)
    wcs = read_wcs(header)
    assert wcs.sip is None
    assert isinstance(wcs, WCS)
