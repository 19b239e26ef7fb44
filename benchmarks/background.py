"""How far the measured sky is off under and beside galaxies, in halos of bright stars, and in crowds.

    python benchmarks/background.py                     # five drawn skies for each kind
    python benchmarks/background.py --seeds 3 --first-seed 40 --out docs/measured/background.json

Each sky is drawn with a known level: 20 mag/arcsec2, a gradient of 5 % over the chip, stars, and either galaxies of
Sersic index 1 or 4 and R25 of 10, 20 or 40 arcsec, or saturated stars of 6 to 9 mag with the aureole, spikes and
ghosts of the simulator, or 30,000 stars. What is measured is (level - truth) / sigma of the sky, in the frame as a
whole and in rings around the objects, for gueststar's background and for plain SEP (mesh 64 px, filter 3 x 3) on the
same pixels. A positive number is light of the object taken for sky.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import sep
from astropy.table import Table
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.ingest.background import Background
from gueststar.simulate.optics.bright import Halo, paint_bright
from gueststar.simulate.optics.galaxies import paint_galaxies
from gueststar.simulate.optics.painter import PsfField, paint_points

SHAPE = (1152, 2048)
SCALE, EXPOSURE_S, ZEROPOINT, READ_NOISE = 1.189, 6.0, 25.0, 7.0
FULL_E = 70_000.0
RINGS = ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.5))
Case = tuple[str, NDArray[np.float64], list[tuple[float, float, float]], float]


def electrons(mag: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(EXPOSURE_S * 10.0 ** (0.4 * (ZEROPOINT - np.asarray(mag))))


def stars(rng: np.random.Generator, n: int, psf: PsfField, *, brightest: float = 10.5) -> NDArray[np.float64]:
    """Stars whose counts grow as 10^(0.28 mag) down to 20 mag."""
    mag = 20.0 + np.log10(rng.uniform(10 ** (-0.28 * (20.0 - brightest)), 1.0, n)) / 0.28
    x, y = rng.uniform(-20, SHAPE[1] + 20, n), rng.uniform(-20, SHAPE[0] + 20, n)
    flux, halo = electrons(mag), Halo(0.02, 2.5, 0.005, 0.6, 1.0, (0.4, 0.3))
    return np.asarray(
        paint_points(SHAPE, x, y, flux, psf) + paint_bright(SHAPE, x, y, flux, psf, halo=halo, cut=0.02), np.float64
    )


def galaxy(rng: np.random.Generator, r25_px: float, n: float, place: tuple[float, float]) -> Table:
    """A galaxy of 25 mag/arcsec2 at R25, half its light within R25 / 2."""
    from scipy.special import gamma, gammaincinv

    re, ratio, b = r25_px / 2.0, rng.uniform(0.5, 1.0), gammaincinv(2.0 * n, 0.5)
    total = 2.0 * np.pi * n * re**2 * ratio * np.exp(b) * b ** (-2.0 * n) * gamma(2.0 * n)
    flux = electrons(25.0) * SCALE**2 * np.exp(b * (2.0 ** (1.0 / n) - 1.0)) * total
    return Table(
        {
            "x": [place[0]], "y": [place[1]], "flux": [float(flux)], "sersic_n": [n], "re_px": [re],
            "axis_ratio": [ratio], "angle_rad": [rng.uniform(0, np.pi)],
        }
    )  # fmt: skip


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Name, light, objects (x, y, radius) and aperture of each kind of sky."""
    psf = PsfField.moffat(SHAPE, fwhm=float(rng.uniform(2.4, 3.4)), beta=3.0)
    places = [(x, y) for y in (200, 576, 950) for x in (200, 520, 850, 1180, 1510, 1840)]
    for n in (1.0, 4.0):
        for r25_arcsec in (10.0, 20.0, 40.0):
            r25 = r25_arcsec / SCALE
            light, found = stars(rng, 2500, psf), []
            for near in places:
                x, y = near[0] + rng.uniform(-32, 32), near[1] + rng.uniform(-32, 32)
                light = light + paint_galaxies(SHAPE, galaxy(rng, r25, n, (x, y)), psf, cut=0.02)
                found.append((x, y, r25))
            yield f'galaxies n={n:.0f} R25={r25_arcsec:.0f}"', light, found, r25
    for mag in (6.0, 7.0, 8.0, 9.0):
        light, found = stars(rng, 2500, psf), []
        for near in [(400, 300), (1600, 850)]:
            x, y = near[0] + rng.uniform(-100, 100), near[1] + rng.uniform(-100, 100)
            halo = Halo(float(rng.uniform(0.01, 0.03)), float(rng.uniform(2.2, 2.8)), 0.005, 0.6, 1.0, (0.4, 0.3))
            flux = electrons(mag)
            light = (
                light + paint_points(SHAPE, x, y, flux, psf) + paint_bright(SHAPE, x, y, flux, psf, halo=halo, cut=0.02)
            )
            found.append((x, y, 60.0))
        yield f"halos of {mag:.0f} mag", light, found, 60.0
    yield "2,500 stars", stars(rng, 2500, psf), [], 0.0
    yield "30,000 stars", stars(rng, 30000, psf), [], 0.0


def measure(light: NDArray[np.float64], found: list[tuple[float, float, float]], rng: np.random.Generator) -> dict:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    middle = float(electrons(20.0)) * SCALE**2
    sky = middle * (1.0 + 0.05 * ((x / SHAPE[1] - 0.5) * np.cos(1.0) + (y / SHAPE[0] - 0.5) * np.sin(1.0)))
    sigma = float(np.sqrt(middle + READ_NOISE**2))
    counts = rng.poisson(sky + light) + rng.normal(0.0, READ_NOISE, SHAPE)
    counts = np.minimum(counts, FULL_E).astype(np.float32)
    bad = counts >= 0.95 * FULL_E
    ours, noise = Background()(counts, bad)
    plain = sep.Background(counts, mask=bad, bw=64, bh=64, fw=3, fh=3)
    result = {}
    for name, level, scatter in (("ours", ours, noise), ("sep", plain.back(), plain.rms())):
        error = (level - sky) / sigma
        rings = []
        for low, high in RINGS if found else ():
            ring = np.zeros(SHAPE, bool)
            for cx, cy, radius in found:
                r = np.hypot(x - cx, y - cy)
                ring |= (r >= low * radius) & (r < high * radius)
            rings.append(float(error[ring].mean()))
        result[name] = {
            "frame": float(error.mean()), "frame_std": float(error.std()), "rings": rings,
            "noise": float(np.median(scatter) / sigma),
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    every: dict[str, list[dict]] = {}
    for i in range(options.seeds):
        rng = np.random.default_rng(options.first_seed + i)
        for name, light, found, _ in cases(rng):
            every.setdefault(name, []).append(measure(light, found, rng))
    rows = []
    print(
        "mean of (level - truth) / sigma: whole frame, its scatter, rings to 0.5, 1, 1.5 and 2.5 radii; noise / truth"
    )
    for name, runs in every.items():
        row: dict[str, object] = {"sky": name}
        for method in ("ours", "sep"):
            row[method] = {
                key: np.round(np.mean([run[method][key] for run in runs], axis=0), 4).tolist()
                for key in ("frame", "frame_std", "rings", "noise")
            }
            one = row[method]
            rings = " ".join(f"{value:+.3f}" for value in one["rings"])
            print(
                f"{name:24s} {method:5s} frame {one['frame']:+.3f} std {one['frame_std']:.3f} rings {rings:28s} "
                f"noise {one['noise']:.3f}",
                flush=True,
            )
        rows.append(row)
    if options.out:
        report = {"version": __version__, "first_seed": options.first_seed, "seeds": options.seeds, "rows": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
