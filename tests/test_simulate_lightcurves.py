"""Light curves of variables, supernovae, outbursts and flares against what is known of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from gueststar.simulate.sky.explosions import (
    EXPLOSION_TYPES,
    draw_flares,
    draw_hostless,
    draw_supernovae,
    explosion_mag,
)
from gueststar.simulate.sky.lightcurves import (
    VARIABLE_TYPES,
    Curve,
    damped_random_walk,
    draw_variables,
    variable_change,
)
from gueststar.simulate.sky.sky_table import Box
from gueststar.simulate.survey import Survey

BOX = Box((1128, 2000), 20.0, 1.189)
PERIODIC = ("contact", "detached", "rr_lyrae", "cepheid")


def sources(n=300, period_d=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return {"period_d": np.full(n, period_d), "phase": rng.random(n), "shape": rng.random(n),
            "seed": rng.integers(0, 2**62, n)}  # fmt: skip


def light_curves(kind, times, **options):
    given = sources(**options)
    n = given["phase"].size
    return np.array([variable_change(np.full(n, kind), np.ones(n), Curve(t, **given)) for t in times])


@pytest.mark.parametrize("kind", [kind for kind in VARIABLE_TYPES if kind != "agn"])
def test_curves_fill_their_half_range_and_stay_in_it(kind):
    curves = light_curves(kind, np.linspace(0, 30, 1501) + 60000.0, n=100)
    assert np.abs(curves).max() <= 1 + 1e-9
    reached = np.median(np.ptp(curves, axis=0)) / 2
    # The height of flares is drawn, so the highest of some dozen may stay below the full range.
    assert reached > (0.7 if kind == "flare_star" else 0.85)
    # Each source has its own curve.
    assert np.unique(np.round(curves[17], 9)).size > 10 or kind in ("detached", "flare_star")


@pytest.mark.parametrize("kind", PERIODIC)
def test_periodic_kinds_repeat_after_a_period(kind):
    times = 60000.0 + np.linspace(0, 0.9, 50)
    np.testing.assert_allclose(light_curves(kind, times), light_curves(kind, times + 3.0), atol=1e-6)


def test_curves_are_of_the_known_shapes():
    phases = np.linspace(0, 1, 1000, endpoint=False)
    # Pulsating stars rise faster than they fall.
    for kind, low, high in (("rr_lyrae", 0.1, 0.25), ("cepheid", 0.25, 0.4)):
        rising = (np.diff(light_curves(kind, phases), axis=0) < 0).mean(axis=0)
        assert ((rising > low - 0.01) & (rising < high + 0.01)).all()
    # An Algol is at its brightest nearly always, a contact binary hardly ever.
    quiet = {kind: (light_curves(kind, phases) < -0.98).mean() for kind in ("detached", "contact")}
    assert quiet["detached"] > 0.7
    assert quiet["contact"] < 0.15
    # Two eclipses in a period, the second shallower.
    given = sources()
    at = [variable_change(np.full(300, "detached"), np.ones(300),
                          Curve(p, given["period_d"], np.zeros(300), given["shape"], given["seed"]))
          for p in (0.0, 0.25, 0.5)]  # fmt: skip
    np.testing.assert_allclose(at[0], 1.0)
    np.testing.assert_allclose(at[1], -1.0, atol=1e-6)
    assert ((at[2] > -0.7) & (at[2] < 0.85)).all()


def test_beating_stars_do_not_repeat():
    times = 60000.0 + np.linspace(0, 0.9, 50)
    for kind in ("delta_scuti", "semiregular", "mira", "rotating"):
        difference = np.abs(light_curves(kind, times) - light_curves(kind, times + 30.0)).max()
        assert difference > 0.05, kind


def test_flare_stars_flare_once_in_a_period_and_fall_slower_than_they_rise():
    times = np.arange(0, 10, 0.001) + 60000.0
    curves = light_curves("flare_star", times, n=25)
    assert (curves > 0.99).mean() > 0.8
    change = np.diff(curves, axis=0)
    rising, falling = (change < -1e-6).sum(), (change > 1e-6).sum()
    assert falling > 5 * rising
    starts = ((change[1:] < -1e-6) & (change[:-1] >= -1e-6)).sum(axis=0)
    assert starts.mean() == pytest.approx(10, abs=1.5)


def test_active_nuclei_walk_as_a_damped_random_walk():
    n, tau = 4000, 200.0
    given = sources(n=n, period_d=tau)
    start = damped_random_walk(Curve(60000.0, **given))
    assert start.mean() == pytest.approx(0.0, abs=0.03)
    assert start.std() == pytest.approx(0.5, rel=0.04)
    # Gaussian: a third lie beyond one standard deviation, a twentieth beyond two.
    assert (np.abs(start) > 0.5).mean() == pytest.approx(0.317, abs=0.03)
    assert (np.abs(start) > 1.0).mean() == pytest.approx(0.0455, abs=0.012)
    for lag in (2.0, 20.0, 100.0, 200.0, 600.0):
        structure = np.mean((damped_random_walk(Curve(60000.0 + lag, **given)) - start) ** 2)
        assert structure == pytest.approx(0.5 * (1 - np.exp(-lag / tau)), rel=0.12), lag
    np.testing.assert_array_equal(start, damped_random_walk(Curve(60000.0, **given)))
    other = given | {"seed": given["seed"] + 1}
    assert np.corrcoef(start, damped_random_walk(Curve(60000.0, **other)))[0, 1] == pytest.approx(0.0, abs=0.06)


def test_drawn_variables_have_the_asked_amplitudes_and_kinds():
    varies = np.random.default_rng(0).random(40000) < 0.5
    rows = draw_variables(varies, (0.05, 1.0), np.random.default_rng(1))
    amplitude, kind = rows["amplitude_mag"][varies], rows["variable_type"][varies]
    assert (rows["amplitude_mag"][~varies] == 0).all()
    assert set(rows["variable_type"][~varies]) == {""}
    assert set(rows["kind"][varies]) == {"variable"}
    assert amplitude.min() >= 0.05
    assert amplitude.max() <= 1.0
    assert np.median(np.log(amplitude)) == pytest.approx(np.log(0.05) / 2, abs=0.05)
    assert set(kind) == set(VARIABLE_TYPES) - {"agn"}
    # No delta Scuti star varies by a magnitude, no Mira by a tenth.
    assert amplitude[kind == "delta_scuti"].max() <= 0.3
    assert amplitude[kind == "mira"].min() >= 0.6
    small = kind[amplitude < 0.25]
    assert (small == "contact").mean() > 0.35
    extreme = draw_variables(np.ones(500, bool), (6.0, 8.0), np.random.default_rng(2))
    assert (extreme["amplitude_mag"] >= 6.0).all()
    assert "" not in set(extreme["variable_type"])


@pytest.mark.parametrize("kind", EXPLOSION_TYPES)
def test_explosions_rise_once_and_fall(kind):
    ages = np.linspace(-5, 300, 200_001)
    mags = explosion_mag(kind, ages)
    assert np.isinf(mags[ages < 0]).all()
    assert np.nanmin(mags) == pytest.approx(0.0, abs=0.01)
    peak = int(np.argmin(mags))
    assert (np.diff(mags[peak:]) >= 0).all()
    risen = mags[(ages > 0.001) & (np.arange(mags.size) < peak)]
    assert (np.diff(risen[np.isfinite(risen)]) <= 1e-9).all()


def test_supernovae_have_the_pace_of_their_types():
    def after_peak(days):
        return float(explosion_mag("SN Ia", 18.0 + days))

    assert after_peak(0) == 0.0
    assert 0.4 < after_peak(15) < 0.9
    # Type Ia brightens by more than a magnitude in the second week; early light grows as the square of time.
    assert float(explosion_mag("SN Ia", 7.0)) - float(explosion_mag("SN Ia", 14.0)) > 1.0
    assert float(explosion_mag("SN Ia", 1.0) - explosion_mag("SN Ia", 2.0)) == pytest.approx(5 * np.log10(2))
    # Type II-P stays within half a magnitude for 80 d, falls 1.5-2.5 mag, then follows cobalt: 0.98 mag in 100 d.
    plateau = explosion_mag("SN II-P", np.linspace(10, 90, 50))
    assert np.ptp(plateau) < 0.5
    assert 1.5 < float(explosion_mag("SN II-P", 120.0) - explosion_mag("SN II-P", 95.0)) < 2.5
    assert float(explosion_mag("SN II-P", 330.0) - explosion_mag("SN II-P", 230.0)) == pytest.approx(1.0, abs=0.05)


def test_flares_have_the_width_they_are_asked_for_and_decay_exponentially():
    t = np.linspace(0, 40, 400_001)
    light = 10 ** (-0.4 * explosion_mag("flare", t))
    above = t[light > 0.5]
    assert np.ptp(above) == pytest.approx(1.0, abs=0.1)
    assert t[np.argmax(light)] == pytest.approx(1.0, abs=1e-3)
    late = np.log(np.interp([12.0, 14.0], t, light))
    assert (late[0] - late[1]) / 2 == pytest.approx(0.2783, rel=0.01)


def test_transients_are_under_way_tonight():
    survey = Survey(supernovae_per_chip=400, hostless_per_chip=400, flares_per_chip=400)
    options = {"tonight_mjd": 61000.0, "rng": np.random.default_rng(0)}
    hosts, supernovae = draw_supernovae(survey, BOX, **options)
    dwarfs, flares = draw_flares(survey, BOX, **options)
    hostless = draw_hostless(survey, BOX, **options)
    assert hosts["px"].size == supernovae["px"].size
    for rows, shortest, longest in ((supernovae, 2.0, 28.0), (hostless, 0.1, 28.0), (flares, 1 / 1440, 0.1)):
        age = 61000.0 - rows["start_mjd"]
        assert age.min() >= shortest
        assert age.max() <= longest
        for kind in np.unique(rows["variable_type"]):
            some = rows["variable_type"] == kind
            assert np.isfinite(explosion_mag(kind, age[some] / rows["period_d"][some])).all()
    share = (supernovae["variable_type"] == "SN Ia").mean()
    assert share == pytest.approx(0.7, abs=0.1)
    assert set(hostless["variable_type"]) == {"SN Ia", "SN II-P", "outburst"}
    # The star of a flare is fainter than the flare, and red.
    assert (dwarfs["mag"] > flares["mag"]).all()
    np.testing.assert_array_equal(dwarfs["px"], flares["px"])
    # Some rise still, others fall.
    age = (61000.0 - flares["start_mjd"]) / flares["period_d"]
    assert 0.1 < (age < 1.0).mean() < 0.6
    inside = [(rows["px"] >= -0.5) & (rows["px"] < 1999.5) for rows in (supernovae, hostless, flares)]
    assert all(on.all() for on in inside)
