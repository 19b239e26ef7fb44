"""Noise and faults of the detector, and blank frames as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate import detector
from gueststar.simulate.night import Survey, simulate_pair

BLANK = Survey.quiet().model_copy(
    update={
        "star_density": 0.0,
        "galaxy_density": 0.0,
        "supernovae_per_chip": 0.0,
        "hostless_per_chip": 0.0,
        "cosmic_rays_per_chip": 0.0,
        "hot_pixels": 0.0,
        "pattern_e": 0.0,
        "flat_error": 0.0,
        "vignetting": False,
        "sky_gradient": (0.0, 0.0),
    }
)
SHAPE = (300, 400)


@pytest.mark.parametrize("mean", [0.0, 0.7, 20.0, 60.0, 5000.0])
def test_poisson_noise_has_the_moments_of_its_law(mean):
    counts = detector.poisson_noise(np.full((500, 500), mean, np.float32), np.random.default_rng(0)).astype(float)
    assert counts.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / counts.size) + 1e-6)
    assert counts.var() == pytest.approx(mean, rel=0.02, abs=1e-6)
    if mean:
        skewness = ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3
        assert skewness == pytest.approx(1 / np.sqrt(mean), abs=0.03)


def test_blank_sky_has_the_expected_mean_and_variance():
    pair = simulate_pair(BLANK, seed=1, shape=SHAPE)
    for frame in (pair.science, pair.reference):
        electrons = frame.data.astype(float) * frame.gain_e_adu
        sky = 6.0 * 10 ** (0.4 * (25.0 - frame.conditions.sky_mag)) * 1.189**2
        variance = sky + 0.5 * 6 + 12 * 2.0**2
        assert frame.facts["sky_e"] == pytest.approx(sky, rel=1e-6)
        assert electrons.mean() == pytest.approx(sky, abs=5 * np.sqrt(variance / electrons.size))
        assert electrons.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / electrons.size))
        neighbours = np.corrcoef(electrons[:, 1:].ravel(), electrons[:, :-1].ravel())[0, 1]
        assert abs(neighbours) < 5 / np.sqrt(electrons.size)
    assert len(pair.truth) == 0
    assert "change_e" in pair.truth.colnames


def test_vignetting_keeps_the_level_and_raises_the_noise():
    survey = BLANK.model_copy(update={"vignetting": True})
    centre = simulate_pair(survey, seed=1, shape=SHAPE, chip="Q1-11").science
    edge = simulate_pair(survey, seed=1, shape=SHAPE, chip="Q1-44").science
    assert edge.data.mean() == pytest.approx(centre.data.mean(), rel=2e-3)
    assert 1.2 < edge.data.std() / centre.data.std() < 1.6
    for frame in (centre, edge):
        assert frame.data.std() * frame.gain_e_adu == pytest.approx(frame.facts["sky_noise_e"], rel=0.02)


def test_sky_gradient_runs_from_edge_to_edge():
    plane = detector.sky_plane((50, 80), 1000.0, (0.1, -0.04))
    assert plane.mean() == pytest.approx(1000.0, rel=1e-4)
    assert plane[:, -1].mean() - plane[:, 0].mean() == pytest.approx(100.0, rel=1e-3)
    assert plane[-1].mean() - plane[0].mean() == pytest.approx(-40.0, rel=1e-3)


def test_flat_residual_has_its_error_and_pattern_its_rows_and_columns():
    flat = [detector.flat_residual((200, 200), 0.01, np.random.default_rng(s)).std() for s in range(30)]
    assert np.sqrt(np.mean(np.square(flat))) == pytest.approx(0.01, rel=0.2)
    assert (detector.flat_residual((5, 5), 0.0, np.random.default_rng(0)) == 1).all()
    pattern = detector.pattern_noise((300, 300), 2.0, np.random.default_rng(0))
    assert pattern.std() == pytest.approx(2.0, rel=0.1)
    assert np.abs(np.diff(np.diff(pattern, axis=0), axis=1)).max() < 1e-5


def test_cosmic_rays_leave_their_charge():
    plane, rays = detector.cosmic_rays((800, 900), 200.0, np.random.default_rng(0))
    assert abs(len(rays) - 200) < 5 * np.sqrt(200)
    assert plane.sum() == pytest.approx(rays["flux_e"].sum(), rel=0.03)
    assert (plane >= 0).all()
    lit = np.count_nonzero(plane)
    assert rays["length_px"].max() > 10
    assert ((rays["angle_rad"] >= 0) & (rays["angle_rad"] < np.pi)).all()
    assert lit < 4 * (rays["length_px"].sum() + len(rays))
    empty, none = detector.cosmic_rays((50, 50), 0.0, np.random.default_rng(0))
    assert not empty.any()
    assert len(none) == 0


def test_stars_saturate_at_the_full_well_of_all_frames():
    survey = BLANK.model_copy(update={"star_density": 30.0, "star_mag": (6.0, 10.0)})
    frame = simulate_pair(survey, seed=5, shape=SHAPE).science
    assert frame.saturation_adu == 12 * 26000
    limit = frame.data.max()
    # Only read noise lies above the clipped charge.
    assert limit == pytest.approx(12 * 26000, abs=6 * frame.read_noise_e / frame.gain_e_adu)
    top = frame.data > 12 * 26000 - 5 * frame.read_noise_e / frame.gain_e_adu
    assert top.sum() > 20
    assert frame.data[top].std() * frame.gain_e_adu == pytest.approx(frame.read_noise_e, rel=0.5)
