"""Run the chain on real frames and measure what it finds: artificial reals by S/N, candidates left, empty sky.

    python benchmarks/real_frames.py DATA --out docs/measured/real_frames.json

DATA holds one folder per camera, named as in `CAMERAS`; those that are not there are left out. Each folder is
processed by `gueststar run` as a user would, with 200 artificial reals of S/N 5 to 50 put into each science frame
before subtraction. The scatter of the score on empty sky is measured here, apart from the chain, at random positions
away from flagged pixels and from the light of any source.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from scipy.ndimage import binary_dilation, percentile_filter

from gueststar import __version__
from gueststar.report.collect import collect
from gueststar.report.page import recovery_of
from gueststar.report.recovery import recovery_bins

CAMERAS = {
    "bsu_sn2022yid_raw": "sbig_stxl6303",
    "toros_eso085": "toros",
    "microobservatory_hatp32": "microobservatory",
    "panoptes_cygnus": "panoptes",
}
EDGES = (5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


def empty_sky(folder: Path, rng: np.random.Generator) -> dict[str, float]:
    """Score at random empty positions of one image: no flag, and no light of sources for 3 px around.

    The variance holds the photon noise of sources, smoothed over 3 x 3 px. Where it tells of light over 1.2 sigma of
    the sky, which the noise of such means does not reach, there is a source; a lower limit would select by the noise.
    """
    with fits.open(folder / "difference.fits") as hdus:
        score, mask = np.asarray(hdus["SCORE"].data, np.float32), np.asarray(hdus["MASK"].data)
        variance = np.asarray(hdus["VARIANCE"].data, np.float32)
    floor = percentile_filter(variance[::8, ::8], 30, size=9)
    floor = np.repeat(np.repeat(floor, 8, 0), 8, 1)[: variance.shape[0], : variance.shape[1]]
    busy = binary_dilation((variance > floor + 1.2 * np.sqrt(floor)) | (mask != 0), iterations=3)
    y, x = rng.integers(0, score.shape[0], 40_000), rng.integers(0, score.shape[1], 40_000)
    values = score[y, x][~busy[y, x]]
    kept = values[np.abs(values) < 5.0]
    return {"std": round(float(kept.std()), 4), "mean": round(float(kept.mean()), 4), "positions": int(kept.size)}


def camera(source: Path, out: Path, instrument: str, inject: int, seed: int) -> dict[str, Any]:
    """Run one folder and gather its figures."""
    command = [sys.executable, "-m", "gueststar", "run", str(source), "--out", str(out), "--instrument", instrument]
    command += ["--inject", str(inject), "--inject-snr", "5", "50", "--seed", str(seed), "--quiet"]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}")
    night = collect(out, top=0)
    rng = np.random.default_rng(seed)
    images = []
    for outcome in night.outcomes:
        row: dict[str, Any] = {"image": outcome.image, "status": outcome.status, "reason": outcome.reason}
        if outcome.status in ("ok", "rejected"):
            row |= {"counts": dict(outcome.counts), "empty_sky": empty_sky(out / "images" / outcome.image, rng)}
            row["fwhm_px"] = round(float(outcome.facts["fwhm_px"]), 2)
            row["seconds"] = round(sum(outcome.seconds.values()), 2)
        images.append(row)
    figures: dict[str, Any] = {"instrument": instrument, "images": images}
    recovery = recovery_of(night.injected)
    if recovery is not None:
        use = ~night.injected.occupied
        snr, found, real = night.injected.snr[use], night.injected.found[use], night.injected.real[use]
        figures["bins"] = [
            {
                "snr": [one.low, one.high],
                "n": one.n,
                "detected": round(one.fraction, 4),
                "detected_95": [round(one.fraction_low, 4), round(one.fraction_high, 4)],
                "scored_real": round(two.fraction, 4),
                "scored_real_95": [round(two.fraction_low, 4), round(two.fraction_high, 4)],
            }
            for one, two in zip(
                recovery_bins(snr, found, edges=EDGES), recovery_bins(snr, real, edges=EDGES), strict=True
            )
        ]
        for label, curve in (("detected", recovery.detected), ("scored_real", recovery.real)):
            figures[f"snr_{label}"] = [
                {"share": level, "snr": round(at, 2), "interval_95": [round(low, 2), round(high, 2)]}
                for level, at, low, high in curve.levels
            ]
        figures["flux_pull"] = {"median": round(recovery.pull_mean, 3), "scatter": round(recovery.pull_std, 3)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with one folder per camera")
    parser.add_argument("--inject", type=int, default=200, help="artificial reals in each science frame (default 200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="keep the runs with their reports in this folder")
    options = parser.parse_args()
    report: dict[str, Any] = {"version": __version__, "seed": options.seed, "inject": options.inject, "cameras": {}}
    with tempfile.TemporaryDirectory() as name:
        for folder, instrument in CAMERAS.items():
            source = options.data / folder
            if not source.is_dir():
                print(f"left out, not there: {source}")
                continue
            out = (options.keep or Path(name)) / folder
            report["cameras"][folder] = camera(source, out, instrument, options.inject, options.seed)
            print(json.dumps({folder: report["cameras"][folder]}, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
