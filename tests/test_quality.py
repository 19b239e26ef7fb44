"""Quality gates: each number on planes where it is known, each cause by its limit, and what becomes of a bad image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gueststar.errors import ConfigError
from gueststar.quality import CAUSES, Quality, transparency_scatter
from gueststar.types import Candidates, Difference, Image, Mask, Psf, Stars

SHAPE = (300, 400)


def stamp(fwhm: float, stretch: float = 1.0) -> Psf:
    y, x = np.mgrid[-12:13, -12:13]
    gauss = np.exp(-((x / stretch) ** 2 + (y * stretch) ** 2) * 4.0 * np.log(2.0) / fwhm**2)
    return Psf.from_stamp(gauss / gauss.sum())


def stars(n: int = 200, *, dimming: np.ndarray | float = 1.0, seed: int = 3) -> Stars:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(5, SHAPE[1] - 5, n), rng.uniform(5, SHAPE[0] - 5, n)
    flux = rng.uniform(1e4, 1e5, n) * dimming
    ones = np.ones(n)
    return Stars(x, y, flux, 100.0 * ones, 3.0 * ones, ones, 0.1 * flux, flags=np.zeros(n, np.int64))


def image(**changes) -> Image:
    plane = Image.from_arrays(np.zeros(SHAPE, np.float32), 100.0)
    return replace(plane, **{"psf": stamp(3.0), "stars": stars(), "facts": {"align_rms_px": 0.02}, **changes})


def difference(**changes) -> Difference:
    planes = {name: torch.zeros(SHAPE) for name in ("data", "variance", "score", "flux", "flux_err")}
    made = Difference(
        **planes, mask=torch.zeros(SHAPE, dtype=torch.int16), psf=stamp(3.0), science_id="s", reference_id="r",
        engine="kernel", facts={"kernel_sum": 1.0, "kernel_misfit": 0.01, "convolved": "reference"},
    )  # fmt: skip
    return replace(made, **changes)


def many(n: int) -> Candidates:
    empty = Candidates.empty().table
    for _ in range(n):
        empty.add_row()
    return Candidates(empty)


def flagged(share: float) -> torch.Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.int16)
    mask[: int(share * SHAPE[0])] = int(Mask.NO_DATA)
    return mask


def patchy() -> np.ndarray:
    return np.where(stars().x > 200, 0.6, 1.0)


def moved(*, half: bool) -> Stars:
    """Stars of which those in one half of the chip are 5 px away from where they are on the other image."""
    plain = stars()
    return replace(plain, x=np.where((plain.x > 200) | (not half), plain.x + 5.0, plain.x))


def wavy(*, amplitude: float) -> torch.Tensor:
    """A level that varies over the chip, e-; the noise of the images here is 10 e-."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return torch.from_numpy((amplitude * np.sin(x / 60.0) * np.cos(y / 50.0)).astype(np.float32))


def crowd() -> torch.Tensor:
    """Light on all pixels, smooth over 4 px, and noise of a tenth of it."""
    rng = np.random.default_rng(4)
    light = gaussian_filter(rng.normal(0.0, 1.0, SHAPE), 4.0)
    return torch.from_numpy((10.0 * light / light.std() + rng.normal(0.0, 1.0, SHAPE)).astype(np.float32))


GOOD = (image(), image(), difference(), many(3))
BAD = {
    "misaligned": (image(), image(facts={"align_rms_px": 1.2}), difference(), many(3)),
    "misaligned in part": (image(), image(stars=moved(half=True)), difference(), many(3)),
    "trailed": (image(psf=stamp(4.0, 1.8)), image(), difference(), many(3)),
    "wide PSF": (image(psf=stamp(8.8)), image(psf=stamp(2.1)), difference(), many(3)),
    "clouds": (image(stars=stars(dimming=patchy())), image(), difference(), many(3)),
    "crowded": (replace(image(), data=crowd()), image(), difference(), many(3)),
    "bright star": (image(facts={"saturated_fraction": 0.2}), image(), difference(), many(3)),
    "high background": (replace(image(), variance=torch.full(SHAPE, 4e4)), image(), difference(), many(3)),
    "structured background": (image(), image(), difference(data=wavy(amplitude=12.0)), many(3)),
    "reference holes": (image(), image(), difference(mask=flagged(0.8)), many(3)),
    "poor subtraction": (image(), image(), difference(facts={"kernel_misfit": 0.4, "kernel_sum": 1.0}), many(3)),
    "too many candidates": (image(), image(), difference(), many(200)),
}


def test_a_good_image_passes() -> None:
    report = Quality()(*GOOD)
    assert report.passed
    assert report.reason == ""
    assert set(report.numbers) == {name for name, *_ in CAUSES.values()}


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_each_cause_is_named_with_its_number_and_limit(cause: str) -> None:
    report = Quality()(*BAD[cause])
    name, _, option = CAUSES[cause]
    assert cause in report.causes
    assert f"limit {getattr(Quality(), option):g} (quality.{option})" in report.reason
    assert f"{report.numbers[name]:.3g}" in report.reason
    assert not report.passed


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_a_limit_of_zero_switches_a_gate_off(cause: str) -> None:
    assert cause not in Quality(**{CAUSES[cause][2]: 0.0})(*BAD[cause]).causes


def test_the_worst_cause_comes_first() -> None:
    report = Quality()(image(), image(facts={"align_rms_px": 0.4}), difference(mask=flagged(0.8)), many(500))
    # Holes are 1.33 times beyond their limit, the registration 1.14 times; candidates may follow from both.
    assert report.causes[:2] == ("reference holes", "misaligned")
    assert report.causes[-1] == "too many candidates"


def test_what_cannot_be_measured_rejects_nothing() -> None:
    bare = image(psf=None, stars=None, facts={})
    report = Quality()(bare, bare, difference(facts={}), Candidates.empty())
    assert report.passed
    assert report.numbers["quality_transparency_mag"] is None
    assert report.numbers["quality_ellipticity"] is None


@pytest.mark.parametrize("amplitude", [0.0, 0.1, 0.3])
def test_transparency_is_the_scatter_over_the_chip(amplitude: float) -> None:
    plain = stars(2000)
    mag = amplitude * np.sin(plain.x * 2.0 * np.pi / 400.0) * np.sqrt(2.0)
    noise = 10 ** (-0.4 * np.random.default_rng(5).normal(0.0, 0.05, 2000))
    seen = replace(plain, flux=plain.flux * 10 ** (-0.4 * mag) * noise)
    found = transparency_scatter(seen, plain, SHAPE)
    assert found == pytest.approx(amplitude, abs=0.02 + 0.25 * amplitude)


def test_few_stars_tell_nothing_of_clouds() -> None:
    assert transparency_scatter(stars(5), stars(5), SHAPE) is None
    assert transparency_scatter(Stars.empty(), stars(), SHAPE) is None


def test_swapped_convolution_compares_the_same_noise() -> None:
    facts = {"kernel_sum": 4.0, "convolved": "science"}
    swapped = Quality()(image(), image(), difference(facts=facts), many(1)).numbers["quality_noise_ratio"]
    plain = Quality()(image(), image(), difference(facts={"kernel_sum": 0.25}), many(1)).numbers["quality_noise_ratio"]
    assert swapped == pytest.approx(plain) == pytest.approx(4.0)


def test_limits_have_bounds() -> None:
    with pytest.raises(ConfigError, match="ellipticity"):
        Quality.parse({"ellipticity": 2.0})
