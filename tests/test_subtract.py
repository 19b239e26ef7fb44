"""Every subtraction engine alike: empty sky, new sources, widths, fluxes, gradients, edges, few stars."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

import skies
from gueststar.align import Align
from gueststar.detect import Detect
from gueststar.errors import MissingPartError, SubtractionError
from gueststar.ingest.prepare import prepare_image
from gueststar.subtract.hotpants import Hotpants
from gueststar.subtract.kernel import Kernel
from gueststar.subtract.sfft import Sfft
from gueststar.types import Difference, Image, Mask, Psf, Stars

SHAPE = (400, 400)
CENTRE = (199.5, 199.5)
ENGINES = {"kernel": Kernel(), "sfft": Sfft(), "hotpants": Hotpants()}
MOST = {"kernel": 2, "sfft": 2, "hotpants": 8}  # false candidates on one sky seen twice
OWN = [name for name in ENGINES if name != "hotpants"]
HAVE_HOTPANTS = shutil.which("hotpants") is not None
needs_hotpants = [
    pytest.mark.peer,
    pytest.mark.skipif(not HAVE_HOTPANTS, reason="the program hotpants is not installed"),
]
every_engine = pytest.mark.parametrize("engine", [*OWN, pytest.param("hotpants", marks=needs_hotpants)])


@dataclass(frozen=True)
class Case:
    """How two exposures of one sky differ."""

    science: skies.Shape = skies.Shape(2.8)
    reference: skies.Shape = skies.Shape(2.8)
    camera: skies.Affine = skies.Affine()
    flux_ratio: float = 1.0  # reference over science
    reference_sky: float = skies.SKY_E
    n_stars: int = 160
    apart: float = 7.0
    n_new: int = 0


CASES = {
    "equal": Case(),
    "shifted": Case(camera=skies.Affine(shift=(2.3, -1.7), rotation_deg=0.4, centre=CENTRE)),
    "sharper reference": Case(science=skies.Shape(3.4), reference=skies.Shape(2.5)),
    "sharper science": Case(science=skies.Shape(2.5), reference=skies.Shape(3.4)),
    "wings": Case(science=skies.Shape(3.0, beta=3.0), reference=skies.Shape(2.6, beta=3.5), apart=10.0, n_stars=110),
    "elongated": Case(science=skies.Shape(3.0, ellipticity=0.15, angle_deg=30.0), reference=skies.Shape(2.7)),
    "deep reference": Case(flux_ratio=3.0, reference_sky=3.0 * skies.SKY_E),
    "shallow reference": Case(flux_ratio=0.6, reference_sky=0.6 * skies.SKY_E),
    "crowded": Case(n_stars=500, apart=3.0),
}
# hotpants convolves the reference, always: a sharper science image it would have to sharpen.
every_case = pytest.mark.parametrize(
    ("engine", "name"),
    [(engine, name) for engine in OWN for name in CASES]
    + [pytest.param("hotpants", name, marks=needs_hotpants) for name in CASES if name != "sharper science"],
)


@dataclass(frozen=True)
class Pair:
    """Truth and images; `reference` is on the science grid already."""

    case: Case
    stars: skies.Stars
    new: skies.Stars
    science: Image
    reference: Image

    def psf(self, difference: Difference) -> skies.Shape:
        """The true profile of a point source in a difference."""
        return self.case.science if difference.facts["convolved"] == "reference" else self.case.reference


def make_pair(case: Case, seed: int, *, prepare=lambda counts: counts) -> Pair:
    rng = np.random.default_rng(1000 + seed)
    stars = skies.scatter(rng, case.n_stars, SHAPE, flux=(800.0, 80_000.0), apart=case.apart)
    room = 9.0 if case.n_stars < 300 else 4.0
    new = skies.scatter(rng, case.n_new, SHAPE, flux=(1500.0, 12_000.0), margin=16, apart=room, avoid=stars)
    science = skies.photograph(SHAPE, stars + new, case.science, rng)
    seen = stars.scaled(case.flux_ratio).seen_by(case.camera)
    reference = skies.photograph(SHAPE, seen, case.reference, rng, sky=case.reference_sky)
    return Pair(case, stars, new, science, Align()(science, reference))


@cache
def pair_of(name: str, seed: int = 0, n_new: int = 0) -> Pair:
    return make_pair(replace(CASES[name], n_new=n_new), seed)


@cache
def subtracted(name: str, engine: str, seed: int = 0, n_new: int = 0) -> tuple[Pair, Difference]:
    pair = pair_of(name, seed, n_new)
    return pair, ENGINES[engine](pair.science, pair.reference)


def forced(difference: Difference, shape: skies.Shape, places: skies.Stars) -> tuple[np.ndarray, np.ndarray]:
    """Flux of the true profile at true positions and its error, by this test's own arithmetic."""
    data, variance, mask = (difference.numpy(plane) for plane in ("data", "variance", "mask"))
    flux, error = np.full((2, len(places)), np.nan)
    r = int(np.ceil(1.5 * shape.fwhm))
    for i, (x, y) in enumerate(places.points):
        ix, iy = round(x), round(y)
        cut = np.s_[iy - r : iy + r + 1, ix - r : ix + r + 1]
        yy, xx = np.mgrid[cut]
        profile, weight = shape(xx - x, yy - y), 1.0 / variance[cut]
        if not mask[cut].any():
            flux[i] = (profile * data[cut] * weight).sum() / (profile**2 * weight).sum()
            error[i] = (profile**2 * weight).sum() ** -0.5
    return flux, error * difference.facts["score_scatter"]


def empty_sky(pair: Pair, difference: Difference, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(77)
    widest = max(pair.case.science, pair.case.reference, key=lambda shape: shape.fwhm)
    x, y = skies.empty_places(
        rng, n, SHAPE, (pair.stars + pair.new).scaled(max(1.0, pair.case.flux_ratio)), widest, margin=20
    )
    good = difference.numpy("mask")[y, x] == 0
    return x[good], y[good]


# --- one sky, twice --------------------------------------------------------------------------------------------------


@every_case
def test_score_of_empty_sky_has_unit_variance(engine, name):
    pair, difference = subtracted(name, engine)
    x, y = empty_sky(pair, difference, 6000)
    score = difference.numpy("score")[y, x]
    assert len(score) > 1000
    assert score.std() == pytest.approx(1.0, abs=0.05)
    assert score.mean() == pytest.approx(0.0, abs=0.1)
    assert (np.abs(score) > 3.5).mean() < 0.002


@every_case
def test_fluxes_at_empty_places_scatter_as_their_errors_say(engine, name):
    pair, difference = subtracted(name, engine)
    x, y = empty_sky(pair, difference, 2500)
    places = skies.Stars(x.astype(float), y.astype(float), np.zeros(len(x)))
    flux, error = forced(difference, pair.psf(difference), places)
    pull = (flux / error)[np.isfinite(flux)]
    assert pull.std() == pytest.approx(1.0, abs=0.08)
    assert pull.mean() == pytest.approx(0.0, abs=0.15)


@every_case
def test_one_sky_twice_gives_no_candidates(engine, name):
    pair, difference = subtracted(name, engine)
    candidates = Detect()(difference, pair.science, pair.reference)
    assert len(candidates) <= MOST[engine] + (2 if name == "crowded" else 0)


@every_case
def test_pixels_scatter_as_their_variance_says(engine, name):
    pair, difference = subtracted(name, engine)
    x, y = empty_sky(pair, difference)
    pull = difference.numpy()[y, x] / np.sqrt(difference.numpy("variance")[y, x])
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    assert pull.mean() == pytest.approx(0.0, abs=0.1)


@every_case
def test_stars_leave_noise_only(engine, name):
    pair, difference = subtracted(name, engine)
    data, variance, mask = (difference.numpy(plane) for plane in ("data", "variance", "mask"))
    chi2 = []
    for x, y in pair.stars[pair.stars.flux > 8000].points:
        ix, iy = round(x), round(y)
        cut = np.s_[max(iy - 3, 0) : iy + 4, max(ix - 3, 0) : ix + 4]
        if 20 < x < 380 and 20 < y < 380 and not mask[cut].any():
            chi2.append((data[cut] ** 2 / variance[cut]).mean())
    assert len(chi2) > 20
    assert np.median(chi2) == pytest.approx(1.0, abs=0.2)
    assert np.quantile(chi2, 0.9) < 1.8


@every_case
def test_the_score_is_flux_over_error(engine, name):
    _, difference = subtracted(name, engine)
    score, flux, error = (difference.numpy(plane) for plane in ("score", "flux", "flux_err"))
    known = np.isfinite(error)
    np.testing.assert_allclose(score[known], (flux / error)[known], atol=2e-3, rtol=1e-3)
    assert (score[~known] == 0).all()
    for plane in ("data", "variance", "score", "flux"):
        assert np.isfinite(difference.numpy(plane)).all()
    assert (difference.numpy("variance") > 0).all()


# --- new sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "name"),
    [(engine, name) for engine in OWN for name in ("equal", "shifted", "sharper reference", "sharper science", "wings")]
    + [pytest.param("hotpants", name, marks=needs_hotpants) for name in ("shifted", "sharper reference")],
)
def test_flux_of_new_sources_is_recovered(engine, name):
    true, flux, error = [], [], []
    for seed in (1, 2):
        pair, difference = subtracted(name, engine, seed, 60)
        found = forced(difference, pair.psf(difference), pair.new)
        for kept, values in zip((true, flux, error), (pair.new.flux, *found), strict=True):
            kept.append(values[np.isfinite(found[0])])
    true, flux, error = (np.concatenate(values) for values in (true, flux, error))
    assert len(true) >= 100
    pull = (flux - true) / error
    ratio = np.average(flux / true, weights=(true / error) ** 2)
    # 120 sources of S/N 30: the ratio is known to 0.0025, mean and scatter of the pulls to 0.09 and 0.07.
    assert ratio == pytest.approx(1.0, abs=0.01)
    assert pull.std() == pytest.approx(1.0, abs=0.25)
    assert pull.mean() == pytest.approx(0.0, abs=0.35)


@every_engine
@pytest.mark.parametrize("name", ["equal", "sharper reference", "sharper science", "wings", "elongated"])
def test_psf_of_the_difference_is_that_of_its_sources(engine, name):
    pair, difference = subtracted(name, engine)
    shape = pair.psf(difference)
    truth = shape.stamp(difference.psf.size)
    truth /= skies.Shape(shape.fwhm, shape.beta, shape.ellipticity, shape.angle_deg).stamp(101).sum()
    # What a wrong profile does to a flux.
    fitted = difference.psf.stamp.double().numpy()
    assert (fitted * truth).sum() / (fitted**2).sum() == pytest.approx(1.0, abs=0.03)
    assert difference.psf.fwhm == pytest.approx(shape.fwhm, rel=0.06)


@every_engine
def test_a_vanished_source_is_negative(engine):
    case = replace(CASES["equal"], n_new=12)
    pair = make_pair(case, 4)
    swapped = ENGINES[engine](pair.reference, pair.science)
    flux, error = forced(swapped, case.science, pair.new)
    seen = np.isfinite(flux)
    assert seen.sum() >= 10
    assert ((flux + pair.new.flux) / error)[seen].std() < 1.8
    assert (flux[seen] < 0).all()


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("kernel", "equal"),
        ("kernel", "sharper reference"),
        ("kernel", "deep reference"),
        ("sfft", "equal"),
        ("sfft", "deep reference"),
        pytest.param("hotpants", "equal", marks=needs_hotpants),
        pytest.param("hotpants", "deep reference", marks=needs_hotpants),
    ],
)
def test_swapping_the_images_changes_the_sign(engine, name):
    pair, forth = subtracted(name, engine, 1, 60)
    back = ENGINES[engine](pair.reference, pair.science)
    ratio = pair.case.flux_ratio
    a, ea = forced(forth, pair.psf(forth), pair.new)
    shape = pair.case.reference if back.facts["convolved"] == "reference" else pair.case.science
    b, eb = forced(back, shape, pair.new)
    seen = np.isfinite(a) & np.isfinite(b)
    assert seen.sum() > 20
    assert np.average(-b[seen] / a[seen] / ratio, weights=(a[seen] / ea[seen]) ** 2) == pytest.approx(1.0, abs=0.05)
    x, y = empty_sky(pair, forth)
    good = back.numpy("mask")[y, x] == 0
    scores = [difference.numpy("score")[y[good], x[good]] for difference in (forth, back)]
    assert np.corrcoef(*scores)[0, 1] < (-0.9 if ratio == 1.0 else -0.8)


@every_engine
@pytest.mark.parametrize("name", ["deep reference", "shallow reference", "equal"])
def test_the_difference_is_in_the_flux_scale_of_the_science_image(engine, name):
    pair, difference = subtracted(name, engine)
    assert difference.zeropoint == pair.science.zeropoint
    if engine in OWN:
        assert difference.facts["kernel_sum"] * pair.case.flux_ratio == pytest.approx(1.0, abs=0.02)


# --- sky and PSF that change over the chip ---------------------------------------------------------------------------


@every_engine
def test_a_gradient_between_the_skies_is_taken_out(engine):
    pair = pair_of("shifted")
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / 200.0 - 1.0
    slope = torch.from_numpy((30.0 + 40.0 * x - 25.0 * y).astype(np.float32))
    difference = ENGINES[engine](replace(pair.science, data=pair.science.data + slope), pair.reference)
    places = empty_sky(pair, difference)
    values = difference.numpy()[places[1], places[0]]
    for axis in places:
        for half in (axis < 200, axis >= 200):
            assert values[half].mean() == pytest.approx(0.0, abs=0.1 * skies.NOISE_E)


@every_engine
def test_a_psf_that_varies_over_the_chip_is_followed(engine):
    rng = np.random.default_rng(31)
    stars = skies.scatter(rng, 260, SHAPE, flux=(2000.0, 60_000.0), apart=9)

    def local(x, y):
        return skies.Shape(2.9 * (1 + 0.1 * (x / 200 - 1)), ellipticity=max(0.0, 0.1 * (y / 200 - 1)))

    science = skies.photograph(SHAPE, stars, local, rng)
    reference = Align()(science, skies.photograph(SHAPE, stars, skies.Shape(2.4), rng))
    difference = ENGINES[engine](science, reference)
    data, variance, mask = (difference.numpy(plane) for plane in ("data", "variance", "mask"))
    for rows in (slice(20, 200), slice(200, 380)):
        for columns in (slice(20, 200), slice(200, 380)):
            light = skies.paint(SHAPE, stars, skies.Shape(3.0))[rows, columns] > 60.0
            use = light & (mask[rows, columns] == 0)
            chi2 = (data**2 / variance)[rows, columns][use].mean()
            # Equal weights let the brightest stars decide, and the others follow less well.
            assert chi2 == pytest.approx(1.0, abs=0.5 if engine == "sfft" else 0.25)


# --- holes and edges -------------------------------------------------------------------------------------------------


def with_hole(image: Image, rows: slice, columns: slice, flag: Mask = Mask.NO_DATA) -> Image:
    mask, data = image.mask.clone(), image.data.clone()
    mask[rows, columns] |= int(flag)
    data[rows, columns] = 0.0
    return replace(image, mask=mask, data=data)


@every_engine
@pytest.mark.parametrize("which", ["science", "reference"])
def test_holes_stay_holes_and_their_rims_are_quiet(engine, which):
    pair = pair_of("sharper reference")
    hole = (slice(150, 190), slice(120, 260))
    images = {"science": pair.science, "reference": pair.reference}
    images[which] = with_hole(images[which], *hole)
    difference = ENGINES[engine](images["science"], images["reference"])
    mask = difference.numpy("mask")
    assert (mask[hole] & Mask.NO_DATA != 0).all()
    assert ((mask[hole] & Mask.REFERENCE) != 0).all() == (which == "reference")
    assert (difference.numpy()[hole] == 0).all()
    assert (difference.numpy("score")[160:180, 130:250] == 0).all()
    assert (mask[:120] & Mask.NO_DATA == 0).mean() > 0.85
    for plane in ("data", "variance", "score", "flux"):
        assert np.isfinite(difference.numpy(plane)).all()
    assert len(Detect()(difference, images["science"], images["reference"])) <= MOST[engine]


@every_engine
def test_half_coverage(engine):
    case = Case(camera=skies.Affine(shift=(-190.0, 0.0)), n_stars=200)
    rng = np.random.default_rng(32)
    stars = skies.scatter(rng, 320, (400, 800), flux=(800.0, 80_000.0), apart=7)
    science = skies.photograph(SHAPE, stars, case.science, rng)
    reference = Align()(science, skies.photograph(SHAPE, stars.seen_by(case.camera), case.reference, rng))
    difference = ENGINES[engine](science, reference)
    mask, score = difference.numpy("mask"), difference.numpy("score")
    assert (mask[:, :185] & Mask.NO_DATA != 0).all()
    assert (mask[30:-30, 220:-30] == 0).mean() > 0.95
    pair = Pair(case, stars[stars.x < 420], stars[:0], science, reference)
    x, y = empty_sky(pair, difference)
    assert len(x) > 500
    assert x.min() > 185
    assert score[y, x].std() == pytest.approx(1.0, abs=0.07)
    assert len(Detect()(difference, science, reference)) <= MOST[engine]


@every_engine
def test_cosmic_rays_and_bad_columns_of_either_image_are_no_candidates(engine):
    rng = np.random.default_rng(33)
    stars = skies.scatter(rng, 160, SHAPE, flux=(800.0, 80_000.0), apart=7)
    images, spoilt = [], np.zeros(SHAPE, bool)
    for _ in range(2):
        counts = skies.expose(skies.paint(SHAPE, stars, skies.Shape(2.8)), rng)
        rows, columns = rng.integers(10, 390, (2, 60))
        counts[rows, columns] += rng.uniform(500, 5000, 60).astype("f4")
        mask = np.zeros(SHAPE, bool)
        mask[:, rng.integers(50, 350)] = True
        counts[mask] += 2000.0
        spoilt[rows, columns] = True
        images.append(prepare_image(counts, mask=mask))
        spoilt |= mask
    reference = Align()(images[0], images[1])
    candidates = Detect()(ENGINES[engine](images[0], reference), images[0], reference)
    x, y = np.round(candidates["x"]).astype(int), np.round(candidates["y"]).astype(int)
    near = binary_dilation(spoilt, np.ones((5, 5)))[y.clip(0, 399), x.clip(0, 399)]
    # Of 120 rays one on the flank of a star may survive.
    assert near.sum() <= 3


@every_engine
def test_saturated_stars_are_flagged(engine):
    rng = np.random.default_rng(34)
    bright = skies.Stars(np.array([120.0, 280.0]), np.array([200.0, 110.0]), np.array([3e6, 1.5e6]))
    stars = skies.scatter(rng, 150, SHAPE, flux=(800.0, 60_000.0), apart=7, avoid=bright)
    images = []
    for fwhm in (3.0, 2.6):
        counts = skies.expose(skies.paint(SHAPE, stars + bright, skies.Shape(fwhm)), rng)
        images.append(prepare_image(np.minimum(counts, 30_000.0), saturation_adu=30_000.0))
    reference = Align()(images[0], images[1])
    difference = ENGINES[engine](images[0], reference)
    for x, y in bright.points.astype(int):
        assert difference.numpy("mask")[y, x] & Mask.SATURATED
    pair = Pair(Case(skies.Shape(3.0), skies.Shape(2.6)), stars + bright, stars[:0], images[0], reference)
    x, y = empty_sky(pair, difference)
    assert difference.numpy("score")[y, x].std() == pytest.approx(1.0, abs=0.06)


# --- few stars -------------------------------------------------------------------------------------------------------


@every_engine
@pytest.mark.parametrize("n", [4, 8, 16])
def test_few_stars_give_a_sane_result_or_say_so(engine, n):
    rng = np.random.default_rng(35)
    stars = skies.scatter(rng, n, SHAPE, flux=(20_000.0, 80_000.0), margin=30, apart=40)
    case = Case(science=skies.Shape(3.1), reference=skies.Shape(2.6))
    science = skies.photograph(SHAPE, stars, case.science, rng)
    reference = skies.photograph(SHAPE, stars, case.reference, rng)
    try:
        difference = ENGINES[engine](science, reference)
    except SubtractionError as error:
        said = error.message
        assert any(word in said for word in ("star", "stamp", "kernel"))
        return
    pair = Pair(case, stars, stars[:0], science, reference)
    x, y = empty_sky(pair, difference)
    assert len(x) > 2000
    assert difference.numpy("score")[y, x].std() == pytest.approx(1.0, abs=0.06)
    assert len(Detect()(difference, science, reference)) <= MOST[engine]


@every_engine
def test_no_stars_at_all(engine, rng):
    psf = Psf.from_stamp(skies.Shape(2.8).stamp(21))
    science, reference = (
        Image.from_arrays(rng.normal(0, 5, SHAPE), 25.0, psf=psf, stars=Stars.empty()) for _ in range(2)
    )
    with pytest.raises(SubtractionError, match="star|found no kernel"):
        ENGINES[engine](science, reference)


@every_engine
def test_everything_masked(engine):
    pair = pair_of("equal")
    with pytest.raises(SubtractionError):
        ENGINES[engine](pair.science, with_hole(pair.reference, slice(None), slice(None), Mask.BAD))


# --- contract --------------------------------------------------------------------------------------------------------


@every_engine
def test_inputs_are_left_alone_and_the_result_is_the_same_twice(engine):
    pair = pair_of("sharper science")
    images = (pair.science, pair.reference)
    before = [getattr(image, plane).clone() for image in images for plane in ("data", "variance", "mask")]
    first, second = (ENGINES[engine](*images) for _ in range(2))
    after = [getattr(image, plane) for image in images for plane in ("data", "variance", "mask")]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    for plane in ("data", "variance", "score", "flux", "flux_err", "mask"):
        np.testing.assert_array_equal(first.numpy(plane), second.numpy(plane))
    assert first.engine == engine
    assert (first.science_id, first.reference_id) == (pair.science.image_id, pair.reference.image_id)
    assert first.wcs is pair.science.wcs


@every_engine
def test_images_of_different_shape(engine):
    pair = pair_of("equal")
    small = Image.from_arrays(np.ones((60, 70)), 1.0, psf=pair.science.psf, stars=pair.science.stars)
    with pytest.raises(SubtractionError, match=r"science has shape \(400, 400\), the reference \(60, 70\); align"):
        ENGINES[engine](pair.science, small)


@every_engine
@pytest.mark.parametrize("missing", ["psf", "stars"])
def test_images_that_were_not_measured(engine, missing):
    pair = pair_of("equal")
    with pytest.raises(SubtractionError, match="call measure_image"):
        ENGINES[engine](replace(pair.science, **{missing: None}), pair.reference)


# --- our own engine --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "image"), [("sharper reference", "reference"), ("sharper science", "science")])
def test_the_sharper_image_is_convolved(name, image):
    _, difference = subtracted(name, "kernel")
    assert difference.facts["convolved"] == image


@pytest.mark.parametrize("which", ["reference", "science"])
def test_the_image_to_convolve_can_be_chosen(which):
    pair = pair_of("equal", 1, 60)
    difference = Kernel(convolve=which)(pair.science, pair.reference)
    assert difference.facts["convolved"] == which
    flux, error = forced(difference, pair.psf(difference), pair.new)
    seen = np.isfinite(flux)
    assert ((flux - pair.new.flux) / error)[seen].std() < 1.5


@pytest.mark.parametrize("options", [{"radius_px": 7}, {"order": 0}, {"n_windows": 30}, {"tile_px": 200}])
def test_options_of_the_kernel(options):
    pair = pair_of("sharper reference")
    difference = Kernel(**options)(pair.science, pair.reference)
    x, y = empty_sky(pair, difference)
    assert difference.numpy("score")[y, x].std() == pytest.approx(1.0, abs=0.05)
    facts = difference.facts
    assert facts["kernel_radius_px"] == options.get("radius_px", facts["kernel_radius_px"])
    assert facts["kernel_order"] <= options.get("order", 2)
    assert facts["kernel_windows"] <= options.get("n_windows", 200)


def test_a_variable_star_is_left_out_of_the_fit():
    rng = np.random.default_rng(36)
    stars = skies.scatter(rng, 60, SHAPE, flux=(20_000.0, 40_000.0), margin=25, apart=25)
    brighter = replace(stars, flux=np.where(np.arange(60) < 8, 2.0 * stars.flux, stars.flux))
    science = skies.photograph(SHAPE, brighter, skies.Shape(3.0), rng)
    reference = Align()(science, skies.photograph(SHAPE, stars, skies.Shape(2.6), rng))
    difference = Kernel()(science, reference)
    assert difference.facts["kernel_clipped"] >= 7
    flux, error = forced(difference, skies.Shape(3.0), stars)
    steady = np.isfinite(flux) & (np.arange(60) >= 8)
    assert np.median(np.abs(flux / error)[steady]) < 1.2
    varied = np.isfinite(flux) & (np.arange(60) < 8)
    assert (flux / stars.flux)[varied].mean() == pytest.approx(1.0, abs=0.03)


def test_images_without_a_common_sky_have_no_kernel():
    pair = pair_of("equal")
    negative = replace(pair.reference, data=-pair.reference.data)
    with pytest.raises(SubtractionError, match=r"flux ratio of -.*Do both images show the same stars"):
        Kernel()(pair.science, negative)


# --- the adapter to hotpants, with programs that misbehave -----------------------------------------------------------


def program(tmp_path, script):
    path = tmp_path / "hotpants"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_a_missing_program_says_how_to_get_it():
    pair = pair_of("equal")
    with pytest.raises(MissingPartError, match=r"needs the program 'no-such-hotpants'.*acbecker/hotpants.*'kernel'"):
        Hotpants(program="no-such-hotpants")(pair.science, pair.reference)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of stamps >&2; exit 3", "exit status 3: out of stamps"),
        ("exit 0", "hotpants failed with exit status 0"),
        ("kill -SEGV $$", "hotpants failed with exit status -11"),
        ("sleep 30", r"did not finish within 0\.5 s; raise subtract\.timeout_s"),
        (
            'for a in "$@"; do case "$a" in */difference.fits|*/noise.fits|*/mask.fits) echo junk > "$a";; esac; done',
            "hotpants",
        ),
    ],
    ids=["error", "nothing", "crash", "hangs", "junk"],
)
def test_a_program_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch, script, message):
    pair = pair_of("equal")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(SubtractionError, match=message):
        Hotpants(program=program(tmp_path, script), timeout_s=0.5)(pair.science, pair.reference)
    assert not list(temporary.iterdir())
