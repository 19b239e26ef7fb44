"""Sources of an image where wings of stars overlap: the more stars there are, the more have to be found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

import skies

SHAPE = (300, 320)


def crowd(n: int, rng: np.random.Generator) -> skies.Stars:
    """Stars with N(> f) ~ 1 / f, as counts towards the Milky Way nearly are."""
    places = skies.scatter(rng, n, SHAPE)
    return skies.Stars(places.x, places.y, np.minimum(600.0 / rng.uniform(0.0, 1.0, n), 600_000.0))


def clear_ones(stars: skies.Stars, fwhm: float, least: float) -> skies.Stars:
    """Stars above a flux that no other within two widths comes near to."""
    pairs = cKDTree(stars.points).query_pairs(2.0 * fwhm, output_type="ndarray")
    near = np.zeros(len(stars))
    for a, b in (pairs.T, pairs[:, ::-1].T):
        np.maximum.at(near, a, stars.flux[b])
    inside = ((stars.points > 4) & (stars.points < np.array(SHAPE[::-1]) - 5)).all(1)
    return stars[inside & (stars.flux > least) & (near < 0.2 * stars.flux)]


@pytest.mark.parametrize(("fwhm", "n"), [(2.5, 300), (2.5, 1500), (2.5, 3000), (2.5, 6000), (4.5, 3000)])
def test_clear_stars_are_found_however_many_there_are(fwhm, n, rng):
    stars = crowd(n, rng)
    image = skies.photograph(SHAPE, stars, skies.Shape(fwhm, beta=3.0), rng)
    clear = clear_ones(stars, fwhm, least=12_000.0)
    there, index = skies.matched(clear, image.stars.x, image.stars.y, radius=1.0)
    assert len(clear) >= 5
    assert len(there) >= 0.8 * len(clear)
    assert image.psf.fwhm == pytest.approx(fwhm, rel=0.2 if fwhm < 3 else 0.4), "neighbours widen it, a little"
    assert image.psf.ellipticity < 0.12
    quarters = np.histogram2d(image.stars.y, image.stars.x, bins=2, range=[(0, SHAPE[0]), (0, SHAPE[1])])[0]
    assert quarters.min() > 0.4 * quarters.max(), "in every part of the frame"
