"""Time the simulator and check its painter against GalSim.

    python benchmarks/simulator.py                       # pairs of 3,000 and 30,000 stars, painter against GalSim
    python benchmarks/simulator.py --night /tmp/night    # and a night of 84 chips x 6 visits, on all cores
    python benchmarks/simulator.py --out docs/measured/simulator.json

A pair is what `gueststar simulate pair` makes, but for the writing: sky, optics, detector and truth of two frames, one
thread. GalSim draws the stars of one of the two frames, as Moffat profiles, and nothing else. Medians over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np

from gueststar import __version__
from gueststar.instruments import load_instrument
from gueststar.simulate.night import CHIP_SHAPE, simulate_pair, write_night
from gueststar.simulate.optics.painter import PsfField, paint_points
from gueststar.simulate.sky import star_counts_per_deg2
from gueststar.simulate.survey import Survey

LATITUDES = {3000: 60.0, 30000: 5.0}


def survey_of_stars(stars: int) -> Survey:
    """The default survey with about this many stars on a chip."""
    latitude = LATITUDES.get(stars, 20.0)
    survey = Survey(galactic_latitude_deg=(latitude, latitude))
    area = CHIP_SHAPE[0] * CHIP_SHAPE[1] * (survey.pixel_scale_arcsec / 3600.0) ** 2
    expected = float(star_counts_per_deg2(survey.star_mag[1], latitude)) * area
    return survey.model_copy(update={"star_density": stars / expected})


def time_pairs(stars: int, seeds: int) -> dict[str, Any]:
    """Wall and processor time of whole pairs."""
    survey, wall, cpu, counts = survey_of_stars(stars), [], [], []
    simulate_pair(survey, seed=999, shape=(256, 256))
    for seed in range(seeds):
        start, used = time.perf_counter(), time.process_time()
        pair = simulate_pair(survey, seed=seed)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        counts.append(int(np.isin(pair.truth["kind"], ("star", "variable")).sum()))
    return {
        "stars_asked": stars, "stars_median": int(statistics.median(counts)), "seeds": seeds,
        "wall_s": round(statistics.median(wall), 3), "wall_s_all": [round(v, 3) for v in wall],
        "cpu_s": round(statistics.median(cpu), 3),
    }  # fmt: skip


def time_galsim(stars: int, seed: int = 0) -> float | None:
    """Seconds that GalSim takes for the stars of one frame; None when it is not installed."""
    try:
        import galsim
    except ImportError:
        print("peer not installed, left out: GalSim")
        return None
    rng = np.random.default_rng(seed)
    ny, nx = CHIP_SHAPE
    x, y, flux = rng.uniform(0, nx, stars), rng.uniform(0, ny, stars), 10 ** rng.uniform(2, 5, stars)
    image = galsim.ImageF(nx, ny, scale=1.0)
    profile = galsim.Moffat(beta=3.0, fwhm=2.8)
    start = time.perf_counter()
    for i in range(stars):
        place = galsim.PositionD(x[i] + 1.0, y[i] + 1.0)
        stamp = profile.withFlux(flux[i]).drawImage(center=place, scale=1.0)
        bounds = stamp.bounds & image.bounds
        if bounds.isDefined():
            image[bounds] += stamp[bounds]
    return round(time.perf_counter() - start, 2)


def time_painter(stars: int, seed: int = 0) -> float:
    """Seconds that our painter takes for the same."""
    rng = np.random.default_rng(seed)
    ny, nx = CHIP_SHAPE
    x, y, flux = rng.uniform(0, nx, stars), rng.uniform(0, ny, stars), 10 ** rng.uniform(2, 5, stars)
    start = time.perf_counter()
    psf = PsfField.moffat(CHIP_SHAPE, fwhm=np.full((3, 3), 2.8), beta=3.0)
    paint_points(CHIP_SHAPE, x, y, flux, psf, cut=0.5)
    return round(time.perf_counter() - start, 3)


def painter_error(seed: int = 0, draws: int = 40) -> dict[str, float] | None:
    """Largest error of single stars against GalSim, % of the peak and of the flux."""
    try:
        import galsim
    except ImportError:
        return None
    rng, peak, total = np.random.default_rng(seed), 0.0, 0.0
    for _ in range(draws):
        fwhm, beta = rng.uniform(2.1, 6.7), rng.uniform(2.5, 4.0)
        e, angle = rng.uniform(0.0, 0.2), rng.uniform(0.0, np.pi)
        x, y = 100.0 + rng.uniform(-0.5, 0.5, 2)
        psf = PsfField.moffat((201, 201), fwhm=fwhm, beta=beta, e1=e * np.cos(2 * angle), e2=e * np.sin(2 * angle))
        ours = paint_points((201, 201), [x], [y], [1.0], psf, cut=1e-12).astype(np.float64)
        profile = galsim.Moffat(beta=beta, fwhm=fwhm).shear(q=1.0 - e, beta=angle * galsim.radians)
        theirs = profile.drawImage(
            nx=201, ny=201, scale=1.0, center=galsim.PositionD(x + 1.0, y + 1.0), dtype=np.float64,
        ).array  # fmt: skip
        inside = ours > 0
        peak = max(peak, float(np.abs(ours - theirs)[inside].max() / theirs.max()))
        total = max(total, float(abs(ours[inside].sum() / theirs[inside].sum() - 1.0)))
    return {"draws": draws, "peak_percent": round(100 * peak, 3), "flux_percent": round(100 * total, 3)}


def time_night(folder: Path, workers: int) -> dict[str, Any]:
    """Wall time and memory of a night of all chips and six visits."""
    start = time.perf_counter()
    chips = load_instrument("tomoe").chips
    paths = write_night(
        folder, chips=chips, visits=6, seed=1, workers=workers,
        progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True),
    )  # fmt: skip
    print()
    return {
        "frames": len(paths), "workers": workers, "wall_min": round((time.perf_counter() - start) / 60.0, 2),
        "gigabytes": round(sum(path.stat().st_size for path in paths) / 1e9, 2),
        "peak_worker_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="pairs of each kind (default 5)")
    parser.add_argument("--night", type=Path, metavar="FOLDER", help="also write a night of all chips there")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of the night")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "version": __version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "shape": list(CHIP_SHAPE),
        "pairs": [time_pairs(stars, options.seeds) for stars in LATITUDES],
        "stars_of_one_frame": [
            {"stars": n, "painter_s": statistics.median(time_painter(n, s) for s in range(options.seeds)),
             "galsim_s": time_galsim(n)} for n in LATITUDES
        ],
        "painter_against_galsim": painter_error(),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0),
    }  # fmt: skip
    if options.night:
        report["night"] = time_night(options.night, options.workers)
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
