"""Is the step that lost a real named right? Sources that are lost by construction, each at a known step.

    python benchmarks/missed_steps.py --images 6 --seed 1 --out docs/measured/missed_steps.json

Into each simulated pair sources are put whose fate is known beforehand: outside of the frame, under pixels that are
flagged afterwards, on the rim, far below the threshold, on a star that has faded in the science image, a third of a
FWHM beside a bright source, on the trails of satellites, beyond the largest number of candidates, measured three pixels
off their place, and with the threshold of the score raised above one. A night of files is run as a user runs it, too:
with its gates shut, with a frame that cannot be read, and with a catalogue of variables at the places of some of the
sources that were found. The step and the reason that are named are compared with the construction; a source that was
found all the same was not missed, and is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from astropy.table import Table, vstack
from scipy.ndimage import binary_dilation
from scipy.signal import fftconvolve
from scipy.stats import binomtest

from gueststar import __version__
from gueststar.config import Config, load_config
from gueststar.datasets.missed import read_missed
from gueststar.datasets.missed_lists import frame_wcs
from gueststar.ingest.prepare import measure_image
from gueststar.night import run_night
from gueststar.night.artificial_reals import search_rules
from gueststar.night.injection import match_artificial_reals
from gueststar.pipeline import PairResult, process_pair
from gueststar.realbogus.audit.missed_steps import REASONS, STEPS
from gueststar.simulate.inject import draw_artificial_reals, inject
from gueststar.simulate.night import simulate_pair, write_night
from gueststar.simulate.survey import Survey
from gueststar.types import Image, Mask

Pair = tuple[str, str]  # reason by construction, reason that is named
SHAPE = (520, 620)
RADIUS_PX = 2.0


def places(
    base: PairResult, n: int, rng: np.random.Generator, snr: float | tuple[float, float], apart: float = 26.0
) -> Table:
    """Sources of about one S/N at random places, at least 4 px from any flagged pixel of either image."""
    low, high = snr if isinstance(snr, tuple) else (snr, 1.001 * snr)
    drawn = draw_artificial_reals(
        base.science, 3 * n, rng=rng, snr=(low, high), placement="random", minimum_separation_px=apart
    )
    flagged = binary_dilation(base.difference.numpy("mask") != 0, np.ones((9, 9), bool))
    clear = ~flagged[np.rint(drawn["y"]).astype(int), np.rint(drawn["x"]).astype(int)]
    return drawn[clear][:n]


def fluxes(image: Image, table: Table, snr: float) -> Table:
    """The same sources with another S/N, as fluxes go near the noise of the sky."""
    result = table.copy()
    result["flux_e"] = np.asarray(table["flux_e"]) * snr / np.asarray(table["snr"])
    result["snr"] = snr
    return result


def judged(
    base: PairResult, image: Image, sources: Table, config: Config, *, flags: np.ndarray | None = None,
    reference: Image | None = None, threshold: float = 0.0, truth: Table | None = None,
) -> Table:  # fmt: skip
    """Process an image with sources in it, and judge them as a run does."""
    if flags is not None:
        image = replace(image, mask=image.mask | torch.from_numpy(flags))
    again = process_pair(measure_image(replace(image, psf=None)), reference or base.reference, detect=config.detect)
    return match_artificial_reals(
        truth if truth is not None else sources, again.candidates, again.difference, base.candidates,
        radius_px=RADIUS_PX, threshold=threshold, edge_px=config.detect.edge_px, rules=search_rules(config),
        difference_before=base.difference,
    )  # fmt: skip


def counted(reason: str, table: Table, rows: np.ndarray | slice = slice(None)) -> list[Pair]:
    """Construction and verdict of those that were missed, without those where a candidate was before."""
    mine = table[rows]
    mine = mine[(np.asarray(mine["lost_at"]) != "") & ~np.asarray(mine["occupied"], bool)]
    return [(reason, str(why)) for why in mine["lost_why"]]


def light_of_lines(image: Image, ends: list[tuple[float, float, float, float]], electrons_px: float) -> np.ndarray:
    """Light of straight trails: single pixels along lines, and the PSF over them."""
    plane = np.zeros(image.shape)
    for x0, y0, x1, y1 in ends:
        steps = np.linspace(0.0, 1.0, 4 * int(np.hypot(x1 - x0, y1 - y0)))
        x, y = np.rint(x0 + steps * (x1 - x0)).astype(int), np.rint(y0 + steps * (y1 - y0)).astype(int)
        np.add.at(plane, (y, x), 0.25 * electrons_px)
    return np.asarray(fftconvolve(plane, image.psf.stamp.double().numpy(), mode="same"), np.float32)


def of_image(seed: int, n: int, config: Config) -> list[Pair]:
    """All constructions on one simulated pair."""
    rng = np.random.default_rng([seed, 7])
    pair = simulate_pair(Survey(), seed=seed, shape=SHAPE)
    base = process_pair(pair.science.image(), pair.reference.image(), detect=config.detect)
    science, fwhm = base.science, base.difference.psf.fwhm
    ny, nx = science.shape
    pairs: list[Pair] = []

    # Places off the frame, flagged ones, the rim, and the faint, in one image: they do not touch each other.
    bright, faint = places(base, 2 * n, rng, (15.0, 40.0)), places(base, n, rng, 1.6)
    off = bright[:n].copy()
    off["x"] = np.asarray(off["x"]) + nx * np.where(rng.random(len(off)) < 0.5, 1.0, -1.0)
    rim = bright[:n].copy()
    rim["y"] = np.where(
        rng.random(len(rim)) < 0.5, rng.uniform(0, 1.4, len(rim)), rng.uniform(ny - 2.4, ny - 1, len(rim))
    )
    put = inject(science, vstack([bright, off, rim]), rng=rng)
    flags = np.zeros(science.shape, np.int16)
    for row in bright[n:]:
        x, y = round(row["x"]), round(row["y"])
        flags[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = int(Mask.BAD)
    table = judged(base, put.image, put.sources, config, flags=flags)
    plain = min(n, len(bright))
    kinds = np.repeat(["plain", "flagged", "outside", "rim"], [plain, len(bright) - plain, len(off), len(rim)])
    for kind in ("flagged", "outside", "rim"):
        pairs += counted(kind, table, kinds == kind)
    put = inject(science, faint, rng=rng)
    pairs += counted("faint", judged(base, put.image, put.sources, config))

    # The score: every source that is detected is scored below a threshold above one. Positions: the truth is 3 px off.
    put = inject(science, places(base, n, rng, (15.0, 60.0)), rng=rng)
    pairs += counted("score", judged(base, put.image, put.sources, config, threshold=1.01)) if len(put.sources) else []
    angle = rng.uniform(0, 2 * np.pi, len(put.sources))
    moved = put.sources.copy()
    moved["x"], moved["y"] = moved["x"] + 3.2 * np.cos(angle), moved["y"] + 3.2 * np.sin(angle)
    inside = (moved["x"] > 4) & (moved["x"] < nx - 5) & (moved["y"] > 4) & (moved["y"] < ny - 5)
    pairs += counted("position", judged(base, put.image, put.sources, config, truth=moved[inside]))

    # Blends: a source of S/N 12 a third of a FWHM beside one of S/N 60.
    strong = places(base, n, rng, 60.0, 30.0)
    weak = fluxes(science, strong, 12.0)
    angle = rng.uniform(0, 2 * np.pi, len(strong))
    weak["x"], weak["y"] = weak["x"] + 0.33 * fwhm * np.cos(angle), weak["y"] + 0.33 * fwhm * np.sin(angle)
    put = inject(science, vstack([strong, weak]), rng=rng)
    pairs += counted("blended", judged(base, put.image, put.sources, config))

    # On a star that the reference has, and the science image has not: bright enough, and drowned.
    fresh = places(base, n, rng, (14.0, 20.0), 40.0)
    gone = fresh.copy()
    gone["flux_e"] = 4.0 * np.asarray(gone["flux_e"])
    old = inject(base.reference, gone, rng=rng).image
    put = inject(science, fresh, rng=rng)
    table = judged(base, put.image, put.sources, config, reference=old)
    # The old star's photons are noise: only what is expected well above the threshold still is bright enough.
    pairs += counted("drowned", table, np.asarray(table["snr_difference"]) >= 7.0)

    # Three trails, with four sources on each.
    ends = [(40.0, float(y), nx - 60.0, float(y) + 40.0) for y in (90, 230, 370)]
    noise = float(science.variance.median().sqrt())
    light = light_of_lines(science, ends, 5.0 * noise)
    rows = [
        (x0 + t * (x1 - x0), y0 + t * (y1 - y0))
        for x0, y0, x1, y1 in ends
        for t in np.linspace(0.15, 0.85, 4) + rng.uniform(-0.04, 0.04, 4)
    ]
    on_trail = places(base, len(rows), rng, 40.0)[: len(rows)]
    on_trail["x"], on_trail["y"] = (np.array([row[i] for row in rows])[: len(on_trail)] for i in (0, 1))
    lit = replace(
        science,
        data=science.data + torch.from_numpy(light),
        variance=science.variance + torch.from_numpy(np.maximum(light, 0.0)),
    )
    put = inject(lit, on_trail, rng=rng)
    pairs += counted("trail", judged(base, put.image, put.sources, config))

    # More sources than candidates are kept.
    few = config.model_copy(update={"detect": config.detect.model_copy(update={"n_most": 6})})
    put = inject(science, places(base, n, rng, (8.0, 40.0)), rng=rng)
    # Of those that are found when all are kept: a cosmic ray takes one at times.
    every = np.asarray(judged(base, put.image, put.sources, config)["found"], bool)
    return pairs + counted("n_most", judged(base, put.image, put.sources, few), every)


def of_night(seed: int, n: int, folder: Path) -> list[Pair]:
    """The same of a night of files: gates, a frame that cannot be read, known variables."""
    write_night(folder / "night", Survey(), visits=5, seed=seed, shape=SHAPE)
    settings = ["instrument=tomoe", "night.pictures=false", f"night.inject={n}", "night.workers=1",
                "night.inject_snr=[8, 60]"]  # fmt: skip
    names = sorted(path for path in (folder / "night").rglob("*.fits*"))
    pairs: list[Pair] = []
    run_night(folder / "night", folder / "shut", load_config(None, [*settings, "quality.masked=0.00001"]), mapper=map)
    shut = read_missed(folder / "shut").sources
    rejected = np.asarray(shut["gate_stage"]) == "quality"
    pairs += [
        ("rejected", str(why) if step else "")
        for why, step in zip(shut["lost_why"][rejected], shut["lost_at"][rejected], strict=True)
    ]

    run_night(folder / "night", folder / "out", load_config(None, settings), mapper=map)
    found = read_missed(folder / "out").sources
    real = found[np.asarray(found["lost_at"]) == ""]
    half = real[::2]
    rows = []
    for row in half:
        sky = frame_wcs(folder / "out" / "images" / str(row["image"]) / "difference.fits")
        if sky is not None:
            ra, dec = (float(v) for v in sky[0].all_pix2world(float(row["x"]), float(row["y"]), 0))
            rows.append((ra, dec, "variable"))
    Table(rows=rows, names=("ra", "dec", "kind")).write(folder / "variables.csv")
    again = read_missed(
        folder / "out",
        objects=[folder / "variables.csv"],
    ).sources
    mine = {(str(r["image"]), float(r["x"]), float(r["y"])) for r in half}
    for row in again:
        if (str(row["image"]), float(row["x"]), float(row["y"])) in mine:
            pairs.append(("known_object", str(row["lost_why"])))

    names[-1].write_bytes(b"SIMPLE  =")
    run_night(folder / "night", folder / "broken", load_config(None, settings), mapper=map)
    table = read_missed(folder / "broken").sources
    failed = table[np.asarray(table["gate_stage"]) != ""]
    return pairs + [("failed", str(why)) for why in failed["lost_why"] if str(why) != "rejected"]


def step(reason: str) -> str:
    return REASONS[reason][0] if reason else "found"


def confusion(pairs: list[Pair]) -> tuple[str, dict[str, Any]]:
    """The confusion table of steps, what was wrong, and the shares with Wilson intervals."""
    steps = [(step(a), step(b)) for a, b in pairs]
    counts = Counter(steps)
    used = [s for s in (*STEPS, "found") if any(s in key for key in counts)]
    lines = [f"{'planted at':>12} " + "".join(f"{s:>12}" for s in used) + "       right"]
    for row in used:
        total = sum(counts[row, s] for s in used)
        if total:
            lines.append(
                f"{row:>12} "
                + "".join(f"{counts[row, s]:>12}" for s in used)
                + f"   {100 * counts[row, row] / total:6.1f} %"
            )
    n, right = len(pairs), sum(a == b for a, b in steps)
    same = sum(a == b for a, b in pairs)
    interval = binomtest(right, n).proportion_ci(method="wilson")
    lines.append(
        f"step right {right} of {n}: {100 * right / n:.2f} % "
        f"({100 * interval.low:.2f} to {100 * interval.high:.2f} %, Wilson 95 %)"
    )
    lines.append(f"reason right {same} of {n}: {100 * same / n:.2f} %")
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    lines += [f"  planted {a}, named {b or 'found'}: {k}" for (a, b), k in wrong.most_common()]
    by_reason = {
        a: [sum(x == a for x, _ in pairs), sum(x == a and step(x) == step(y) for x, y in pairs)]
        for a in sorted({a for a, _ in pairs})
    }
    lines += [f"  {a:>12}: {k} of {m}" for a, (m, k) in by_reason.items()]
    facts = {
        "n": n, "step_right": right, "share": right / n, "wilson_95": [interval.low, interval.high],
        "reason_right": same,
        "by_reason": by_reason, "wrong": [[a, b, k] for (a, b), k in wrong.most_common()],
    }  # fmt: skip
    return "\n".join(lines), facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="simulated pairs")
    parser.add_argument("--n", type=int, default=16, help="sources of each kind on each image")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-night", action="store_true", help="leave out the night of files")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    start = time.perf_counter()
    pairs: list[Pair] = []
    for i in range(arguments.images):
        pairs += of_image(1000 * arguments.seed + i, arguments.n, Config())
        print(
            f"image {i + 1} of {arguments.images}: {len(pairs)} missed so far, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    if not arguments.no_night:
        folder = Path(tempfile.mkdtemp())
        try:
            pairs += of_night(arguments.seed, arguments.n, folder)
        finally:
            shutil.rmtree(folder)
    text, facts = confusion(pairs)
    print(text)
    if arguments.out:
        facts |= {"gueststar": __version__, "images": arguments.images, "n_each": arguments.n, "seed": arguments.seed}
        arguments.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
