"""A survey like a real camera: what is measured on its frames, as options of the simulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.simulate.detector import CHIP_PIXELS
from gueststar.simulate.sky import star_counts_per_deg2
from gueststar.simulate.survey import Survey
from gueststar.simulate.visits import simulate_pair
from realism_parts.frames import Camera, Shot, simulated_shot
from realism_parts.observed import COUNTED_SNR, frame_psf, pattern_excess_e, sharp_counts, sky_noise_e, star_counts

__all__ = ["mimic", "simulated_pairs"]

F8 = NDArray[np.float64]


def mimic(
    camera: Camera, measured: dict[str, Any], *, seed: int, rounds: int = 3, pairs: int = 3
) -> Iterator[tuple[Survey, float, list[dict[str, Any]]]]:
    """Surveys ever more like the camera, the factor on the FWHM, and what was seen with the survey before.

    The rates of stars, hot pixels and rays, and the width of the PSF are put right by simulating and measuring.
    """
    values, factor = _first_guess(camera, measured), 1.0
    widths = np.array([np.mean(pair["fwhm_px"]) for pair in measured["of_pairs"]])
    yield Survey.quiet().model_copy(update=values), factor, []
    for turn in range(rounds):
        survey = Survey.quiet().model_copy(update=values)
        got: list[dict[str, Any]] = []
        seeds = range(seed + 7000 + 10 * turn, seed + 7000 + pairs + 10 * turn)
        made = simulated_pairs(survey, measured, seeds=seeds, gain_e_adu=measured["gain_e_adu"], fwhm_factor=factor)
        for science, reference in made:
            got.append(
                {
                    **sharp_counts((science, reference)),
                    "stars": star_counts([science]),
                    "noise": sky_noise_e(science),
                    "fwhm": float(np.mean([frame_psf(science)[0], frame_psf(reference)[0]])),
                    "pattern": pattern_excess_e(science),
                }
            )
        values = _corrected(values, measured, got)
        wanted = widths[np.arange(pairs) % len(widths)].mean()
        factor *= float(np.clip(wanted / np.mean([g["fwhm"] for g in got]), 0.8, 1.25))
        yield Survey.quiet().model_copy(update=values), factor, got


def _first_guess(camera: Camera, measured: dict[str, Any]) -> dict[str, Any]:
    gain = camera.true_gain_e_adu or measured["gain_e_adu"]
    more = gain / measured["gain_e_adu"]
    noise2 = (more * measured["sky_noise_e"]) ** 2
    read = min(camera.read_noise_e, 0.7 * float(np.sqrt(noise2)))
    seconds, scale = measured["seconds"], camera.scale_arcsec
    zero = 21.0
    sky_mag = zero - 2.5 * np.log10((noise2 - read**2) / seconds / scale**2)
    ratio = min(0.5, measured["fwhm_change_over_frame"])
    latitude = camera.latitude_deg
    return {
        "pixel_scale_arcsec": scale,
        "gain_e_adu": gain,
        "read_noise_e": read,
        "dark_e_s": 0.0,
        "saturation_adu": measured["saturation_e"] / measured["gain_e_adu"],
        "frame_s": seconds,
        "frames": 1,
        "zeropoint_mag": zero,
        "vignetting": False,
        "bleeding": camera.ccd,
        "rolling_shutter_s": 0.0,
        "fwhm_px": (measured["fwhm_px"][0], measured["fwhm_px"][2]),
        "moffat_beta": (measured["moffat_beta"][0], measured["moffat_beta"][2]),
        "ellipticity": (measured["ellipticity"][0], measured["ellipticity"][2]),
        "psf_variation": ratio,
        "reference_sharper": 0.0,
        "sky_mag": (sky_mag - 0.02, sky_mag + 0.02),
        "sky_gradient": (0.5 * measured["gradient"], min(1.0, measured["gradient"])),
        "extinction_mag": (0.0, 0.05),
        "galactic_latitude_deg": (latitude - 1.0, latitude + 1.0),
        "star_mag": (zero - 18.0, _faintest(measured, more, zero)),
        "dither_px": max(measured["drift_px"] / np.sqrt(2.0), 0.1),
        "rotation_deg": 0.002,
        "wobble_px": 0.6 * measured["registration_rms_px"],
        "supernovae_per_chip": 0.0,
        "hostless_per_chip": 0.0,
        "hot_pixels": max(measured["hot_per_mpx"] + measured["sharp_once_per_mpx"], 0.5) * 1e-6,
        "cosmic_rays_per_chip": max(measured["tracks_per_mpx"], 0.2) * CHIP_PIXELS / 1e6 / (seconds / 6.0),
        "pattern_e": more * measured["pattern_e"],
        # What stays on the pixels comes from the dark current here: no flat of these frames is that noisy.
        "dark_pattern_e": more * measured["fixed_pattern"] * measured["sky_noise_e"] ** 2,
        "flat_error": 0.003,
        "column_pairs_e": more * measured["column_pairs_e"],
        "hot_left": 0.1,
        "spikes": camera.spikes,
        "ghosts": 0.0,
        "aureole": camera.aureole,
    } | _zeropoint(camera, measured, more, zero, sky_mag)


def _faintest(measured: dict[str, Any], more: float, zero: float) -> float:
    """Stars of S/N 1 in the frame, mag."""
    area = 2.0 * np.pi * (measured["fwhm_px"][1] / 2.355) ** 2 * 2.0
    flux = more * np.sqrt(area) * measured["sky_noise_e"] / measured["seconds"]
    return float(min(28.0, zero - 2.5 * np.log10(flux)))


def _zeropoint(camera: Camera, measured: dict[str, Any], more: float, zero: float, sky_mag: float) -> dict[str, Any]:
    """Zero point at which the counts of the galactic latitude give the stars that are seen."""
    ny, nx = measured["shape"]
    area = nx * ny * (camera.scale_arcsec / 3600.0) ** 2
    aperture2 = np.pi * (1.2 * measured["fwhm_px"][1]) ** 2 * measured["sky_noise_e"] ** 2
    snr = np.array(COUNTED_SNR)
    flux = more * 0.5 * (snr**2 + np.sqrt(snr**4 + 4.0 * snr**2 * aperture2)) / 0.8
    shifts = np.linspace(-10.0, 10.0, 401)
    wanted = np.log10(np.maximum(measured["stars_per_frame"], 0.5))
    misfit = []
    for shift in shifts:
        mags = zero + shift - 2.5 * np.log10(flux / measured["seconds"])
        expected = np.log10(star_counts_per_deg2(mags, camera.latitude_deg) * area)
        misfit.append(((expected - wanted) ** 2).sum())
    best = float(shifts[int(np.argmin(misfit))])
    mags = _faintest(measured, more, zero + best)
    # All magnitudes move together: sky noise and flux in electrons stay as measured.
    return {
        "zeropoint_mag": zero + best,
        "sky_mag": (sky_mag + best - 0.02, sky_mag + best + 0.02),
        "star_mag": (max(-2.0, mags - 17.0), mags),
        "galaxy_mag": (12.0, min(28.0, mags + 0.5)),
    }


def _corrected(values: dict[str, Any], measured: dict[str, Any], got: list[dict[str, Any]]) -> dict[str, Any]:
    """The options with each rate changed so that the simulated frames show what the real ones do."""
    new = dict(values)
    stars, wanted = np.mean([g["stars"] for g in got], axis=0), np.array(measured["stars_per_frame"])
    ratio = float(np.exp(np.log((wanted[:2] + 5.0) / (stars[:2] + 5.0)).mean()))
    new["star_density"] = float(np.clip(values.get("star_density", 1.0) * ratio, 0.02, 100.0))
    seen = {key: float(np.mean([g[key] for g in got])) for key in ("hot", "once", "tracks", "pattern")}
    total = measured["hot_per_mpx"] + measured["sharp_once_per_mpx"]
    new["hot_pixels"] = values["hot_pixels"] * _factor(total, seen["hot"] + seen["once"])
    stays = measured["hot_per_mpx"] / max(measured["sharp_once_per_mpx"], 1.0), seen["hot"] / max(seen["once"], 1.0)
    new["hot_left"] = float(np.clip(values["hot_left"] * _factor(*stays), 0.01, 1.0))
    new["cosmic_rays_per_chip"] = values["cosmic_rays_per_chip"] * _factor(measured["tracks_per_mpx"], seen["tracks"])
    more = values["gain_e_adu"] / measured["gain_e_adu"]
    change = measured["pattern_e"] ** 2 - seen["pattern"] ** 2
    new["pattern_e"] = float(np.sqrt(max(values["pattern_e"] ** 2 + more**2 * change, 0.0)))
    # Sky photons make up for what is missing in the noise, or give way to the light of stars that nobody resolves.
    per_mag = measured["seconds"] * values["pixel_scale_arcsec"] ** 2
    middle = float(np.mean(values["sky_mag"]))
    photons = per_mag * 10.0 ** (0.4 * (values["zeropoint_mag"] - middle))
    excess = more**2 * (float(np.mean([g["noise"] ** 2 for g in got])) - measured["sky_noise_e"] ** 2)
    photons = max(photons - excess, 0.2 * photons)
    middle = values["zeropoint_mag"] - 2.5 * float(np.log10(photons / per_mag))
    new["sky_mag"] = (middle - 0.02, middle + 0.02)
    return new


def _factor(wanted: float, seen: float) -> float:
    return float(np.clip((wanted + 1.0) / (seen + 1.0), 0.33, 3.0))


def simulated_pairs(
    survey: Survey,
    measured: dict[str, Any],
    *,
    seeds: Sequence[int],
    gain_e_adu: float | None = None,
    fwhm_factor: float = 1.0,
) -> Iterator[tuple[Shot, Shot]]:
    """Simulated pairs of science and reference, ingested as the real ones; each has the seeing of a real pair.

    `gain_e_adu` is what ingest believes, where that is not the truth; `fwhm_factor` what the FWHM is multiplied by so
    that it is measured as on the real frames.
    """
    for number, seed in enumerate(seeds):
        seeing = measured["of_pairs"][number % len(measured["of_pairs"])]
        limits = {name: tuple(values) for name, values in seeing.items()}
        limits["fwhm_px"] = tuple(fwhm_factor * v for v in seeing["fwhm_px"])
        one = survey.model_copy(update=limits)
        pair = simulate_pair(one, seed=seed, shape=tuple(measured["shape"]))
        yield simulated_shot(pair.science, gain_e_adu), simulated_shot(pair.reference, gain_e_adu)
