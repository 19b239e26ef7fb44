"""The core types: shapes checked, bad pixels kept out, PSF shapes against analytic profiles, nothing mutable."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch
from astropy.units import Unit

import skies
from gueststar.types import (
    CANDIDATE_COLUMNS,
    Candidates,
    Difference,
    Image,
    Mask,
    Outcome,
    Psf,
    Stamps,
    Stars,
    polynomial_exponents,
    stamp_shape,
)

NAMES = [column.name for column in CANDIDATE_COLUMNS]


def small_image(**fields: object) -> Image:
    return Image.from_arrays(np.arange(12.0).reshape(3, 4), 2.0, **fields)


def small_psf() -> Psf:
    return Psf.from_stamp(skies.Shape(2.5).stamp(15))


def small_difference(**planes: torch.Tensor) -> Difference:
    plane = torch.zeros(3, 4)
    every = {name: plane for name in ("data", "variance", "score", "flux", "flux_err")} | {"mask": plane.short()}
    return Difference(**(every | planes), psf=small_psf(), science_id="s", reference_id="r", engine="kernel")


# --- Image -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<i2", ">i2", ">u2", "u1", "<i4"])
def test_from_arrays_takes_any_number_type_and_byte_order(dtype):
    data = np.arange(12).reshape(3, 4).astype(dtype)
    image = Image.from_arrays(data, 2.0)
    np.testing.assert_array_equal(image.numpy(), np.arange(12).reshape(3, 4))
    assert image.shape == (3, 4)
    assert image.data.dtype == torch.float32
    assert image.mask.dtype == torch.int16
    np.testing.assert_array_equal(image.numpy("variance"), 2.0)


def test_from_arrays_keeps_what_is_not_a_number_out():
    data, variance = np.ones((4, 5)), np.full((4, 5), 3.0)
    data[0, 0], data[0, 1] = np.nan, np.inf
    variance[1, 0], variance[1, 1], variance[1, 2], variance[1, 3] = np.nan, np.inf, 0.0, -1.0
    before = data.copy(), variance.copy()
    image = Image.from_arrays(data, variance)
    lost = (image.numpy("mask") & Mask.NO_DATA) != 0
    assert sorted(zip(*np.nonzero(lost), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert (image.numpy()[lost] == 0).all()
    assert (image.numpy("variance") > 0).all()
    assert np.isfinite(image.numpy("variance")).all()
    np.testing.assert_array_equal(data, before[0])
    np.testing.assert_array_equal(variance, before[1])


def test_from_arrays_of_nothing_but_nan():
    image = Image.from_arrays(np.full((3, 3), np.nan), np.nan)
    assert (image.numpy("mask") == Mask.NO_DATA).all()
    assert (image.numpy("variance") == 1).all()


def test_masks_are_true_for_bad_or_bits():
    bad = np.zeros((3, 4), bool)
    bad[1, 2] = True
    assert small_image(mask=bad).numpy("mask")[1, 2] == Mask.BAD
    bits = np.where(bad, Mask.SATURATED | Mask.COSMIC_RAY, 0)
    image = small_image(mask=bits)
    assert image.numpy("mask")[1, 2] == 6
    assert image.numpy("mask").sum() == 6


def test_the_id_is_that_of_the_pixels():
    assert small_image().image_id == small_image(band="g").image_id
    assert small_image().image_id != Image.from_arrays(np.ones((3, 4)), 2.0).image_id
    assert small_image(image_id="mine").image_id == "mine"


def test_numpy_gives_a_copy():
    image = small_image()
    image.numpy()[:] = -1.0
    assert image.numpy()[0, 0] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(data=np.ones(5), variance=1.0), r"data has shape \(5,\); expected \(ny, nx\)"),
        (dict(data=np.ones((2, 3, 4)), variance=1.0), r"data has shape \(2, 3, 4\)"),
        (dict(data=np.ones((0, 4)), variance=1.0), r"data has shape \(0, 4\)"),
        (
            dict(data=np.ones((3, 4)), variance=1.0, mask=np.zeros((4, 3))),
            r"mask has shape \(4, 3\); expected \(3, 4\)",
        ),
        (dict(data=np.ones((3, 4)), variance=1.0, psf=np.ones((4, 4))), r"psf planes have shape .* k odd"),
        (dict(data=np.ones((3, 4)), variance=1.0, psf=np.zeros((5, 5))), "positive sum"),
        (dict(data=np.ones((3, 4)), variance=1.0, psf=np.full((5, 5), np.nan)), "finite"),
    ],
)
def test_wrong_arrays_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Image.from_arrays(**arguments)


def test_wrong_variance_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"variance has shape \(4, 3\); expected \(3, 4\)"):
        Image.from_arrays(np.ones((3, 4)), np.ones((4, 3)))


def test_planes_must_agree():
    plane = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"image variance is torch.float32 \(4, 3\).*expected torch.float32 \(3, 4\)"):
        Image(data=plane, variance=plane.T, mask=plane.short())
    with pytest.raises(ValueError, match=r"image data is torch\.float16"):
        Image(data=plane.half(), variance=plane, mask=plane.short())
    with pytest.raises(ValueError, match=r"image mask is torch\.int32"):
        Image(data=plane, variance=plane, mask=plane.int())


def test_types_are_frozen():
    for thing, name in (
        (small_image(), "band"),
        (small_psf(), "fwhm"),
        (Stars.empty(), "x"),
        (small_difference(), "engine"),
        (Candidates.empty(), "table"),
        (Outcome("a.fits", "ok"), "status"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, None)


def test_images_travel_between_processes():
    image = small_image(psf=skies.Shape(2.5).stamp(15), stars=Stars.empty(), band="g")
    back = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    assert back.psf.fwhm == image.psf.fwhm
    assert back.band == "g"


# --- Psf -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fwhm", [2.0, 2.6, 3.5, 5.0, 8.0])
@pytest.mark.parametrize("beta", [None, 2.5, 4.0], ids=["gaussian", "moffat 2.5", "moffat 4"])
def test_width_of_a_round_stamp(fwhm, beta):
    measured, ellipticity = stamp_shape(skies.Shape(fwhm, beta).stamp(61))
    assert measured == pytest.approx(fwhm, rel=0.025)
    assert ellipticity < 0.01


@pytest.mark.parametrize("fwhm", [2.6, 4.0])
@pytest.mark.parametrize("ellipticity", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 120.0])
def test_axis_ratio_of_a_stamp_at_any_angle(fwhm, ellipticity, angle_deg):
    shape = skies.Shape(fwhm, ellipticity=ellipticity, angle_deg=angle_deg)
    measured_fwhm, measured = stamp_shape(shape.stamp(41))
    assert measured == pytest.approx(ellipticity, abs=0.02)
    assert measured_fwhm == pytest.approx(fwhm, rel=0.03)


def test_from_stamp_normalises():
    psf = Psf.from_stamp(7.0 * skies.Shape(3.0).stamp(21))
    assert float(psf.stamp.sum()) == pytest.approx(1.0, abs=1e-6)
    assert psf.size == 21
    assert psf.fwhm == pytest.approx(3.0, rel=0.04)
    assert psf.exponents == [(0, 0)]


def test_constant_psf_is_the_same_everywhere():
    psf = small_psf()
    stamps = psf.at([0, 100.0, 3000], [5, 2.5, -7])
    assert stamps.shape == (3, 15, 15)
    for stamp in stamps:
        torch.testing.assert_close(stamp, psf.stamp)


def test_varying_psf_is_the_polynomial_it_says():
    rng = np.random.default_rng(3)
    planes = torch.from_numpy(rng.normal(size=(6, 5, 5)).astype(np.float32))
    psf = Psf(planes, fwhm=2.0, order=2, extent=(101, 201))
    assert psf.exponents == polynomial_exponents(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    # u = (x - 100) / 100, v = (y - 50) / 50
    x, y, u, v = 150.0, 12.5, 0.5, -0.75
    expected = sum(plane * u**p * v**q for plane, (p, q) in zip(planes, psf.exponents, strict=True))
    torch.testing.assert_close(psf.at(x, y)[0], expected)
    torch.testing.assert_close(psf.at(100, 50)[0], planes[0])


@pytest.mark.parametrize(
    ("shape", "order"), [((1, 4, 4), 0), ((1, 5, 3), 0), ((5, 5), 0), ((1, 5, 5), 1), ((3, 5, 5), 2)]
)
def test_psf_planes_must_fit_the_order(shape, order):
    with pytest.raises(ValueError, match=f"psf planes have shape .* k odd for order {order}"):
        Psf(torch.zeros(shape), fwhm=2.0, order=order)


# --- Stars, Difference, Stamps ---------------------------------------------------------------------------------------


def test_stars_are_chosen_together():
    columns = {name: np.arange(3.0) for name in ("x", "y", "flux", "snr", "fwhm", "elongation", "peak")}
    stars = Stars(**columns, flags=np.array([0, 4, 0]), aperture_px=3.5)
    good = stars[stars.flags == 0]
    assert len(good) == 2
    np.testing.assert_array_equal(good.snr, [0, 2])
    assert good.aperture_px == 3.5
    assert len(stars[:1]) == 1
    assert len(Stars.empty()) == 0
    assert Stars.empty().flags.dtype == np.int64


def test_star_columns_must_have_one_length():
    columns = {name: np.arange(3.0) for name in ("x", "y", "flux", "snr", "fwhm", "elongation")}
    with pytest.raises(ValueError, match=r"one common shape \(n,\), got .*'peak': \(2,\)"):
        Stars(**columns, peak=np.arange(2.0), flags=np.zeros(3, np.int64))


@pytest.mark.parametrize("name", ["variance", "score", "flux", "flux_err", "mask"])
def test_difference_planes_must_agree(name):
    with pytest.raises(ValueError, match=rf"difference {name} has shape \(2, 2\); expected \(3, 4\)"):
        small_difference(**{name: torch.zeros(2, 2)})


def test_stamps_must_belong_to_their_candidates():
    ids = np.array(["a", "b"])
    stamps = Stamps(np.zeros((2, 3, 21, 21), np.float32), np.ones((2, 3), np.float32), ids)
    assert len(stamps) == 2
    with pytest.raises(ValueError, match=r"stamp cube has shape \(2, 3, 21, 20\); expected \(2, 3, k, k\)"):
        replace(stamps, cube=np.zeros((2, 3, 21, 20), np.float32))
    with pytest.raises(ValueError, match=r"stamp sigma has shape \(3, 3\); expected \(2, 3\)"):
        replace(stamps, sigma=np.ones((3, 3), np.float32))


# --- Candidates ------------------------------------------------------------------------------------------------------


def test_no_candidates_have_all_columns_with_types_units_and_words():
    empty = Candidates.empty()
    assert len(empty) == 0
    assert empty.table.colnames == NAMES
    for column in CANDIDATE_COLUMNS:
        held = empty.table[column.name]
        assert held.dtype == np.dtype(column.dtype)
        assert held.unit == (Unit(column.unit) if column.unit else None)
        assert held.description == column.description


def test_later_stages_only_add_columns():
    columns = {column.name: np.zeros(2, column.dtype) for column in CANDIDATE_COLUMNS}
    candidates = Candidates.from_columns(columns)
    candidates.table.meta["n_dropped"] = 7
    scored = candidates.with_columns(rb_score=np.array([0.1, 0.9]))
    np.testing.assert_array_equal(scored["rb_score"], [0.1, 0.9])
    assert scored.table.meta["n_dropped"] == 7
    assert "rb_score" not in candidates.table.colnames
    assert Candidates.empty().with_columns(rb_score=np.empty(0, "f4"))["rb_score"].shape == (0,)
    with pytest.raises(ValueError, match=r"\['rb_score'\] exist already"):
        scored.with_columns(rb_score=np.zeros(2))


def test_candidates_need_every_column():
    columns = {name: np.zeros(1) for name in NAMES if name not in ("snr", "ra")}
    with pytest.raises(ValueError, match=r"\['ra', 'snr'\] are missing"):
        Candidates.from_columns(columns)
    table = Candidates.empty().table.copy()
    table.remove_column("flux")
    with pytest.raises(ValueError, match=r"lacks columns \['flux'\]"):
        Candidates(table)


# --- Outcome ---------------------------------------------------------------------------------------------------------


def test_outcome_survives_json():
    outcome = Outcome(
        "a.fits",
        "failed",
        stage="align",
        reason="no overlap",
        mjd=59882.25,
        facts={"fwhm_px": np.float32(2.5), "n": np.int64(3), "engine": "kernel", "none": None, "flag": True},
        seconds={"align": 0.5},
        products={"difference": "a/difference.fits"},
        counts={"candidates": np.int64(4)},
    )
    text = json.dumps(outcome.as_dict(), allow_nan=False)
    back = Outcome.from_dict(json.loads(text))
    assert back == outcome
    assert back.as_dict() == outcome.as_dict()


def test_outcome_has_no_nan_in_json():
    outcome = Outcome("a.fits", "ok", mjd=float("nan"), facts={"rms": float("inf"), "std": np.float32("nan")})
    text = json.dumps(outcome.as_dict(), allow_nan=False)
    assert json.loads(text)["mjd"] is None
    assert json.loads(text)["facts"] == {"rms": None, "std": None}


def test_outcome_of_a_later_version_can_be_read():
    values = Outcome("a.fits", "ok").as_dict() | {"of_the_future": 1}
    assert Outcome.from_dict(values) == Outcome("a.fits", "ok")
    assert {field.name for field in fields(Outcome)} == set(Outcome("a.fits", "ok").as_dict())
