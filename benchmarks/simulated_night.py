"""Count the candidates of a simulated night by cause, beside what the founding survey found by hand.

    gueststar simulate night NIGHT --chips all --visits 6 --seed 1
    gueststar run NIGHT --instrument tomoe --out RUN
    python benchmarks/simulated_night.py NIGHT RUN --out docs/measured/simulated_night.json

The cause of a candidate is told from the truth under it; that of a file from its simulated conditions. The survey's
own figures (Konan University 2019): about 20,000 candidates a night over 84 chips; of the 20 files with most false
positives 6 misaligned, 6 with an abnormal PSF, 5 crowded, 3 the network's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

from gueststar import __version__
from gueststar.simulate.camera import make_wcs, world_to_pixel
from gueststar.simulate.causes import REAL_KINDS, causes_of

THRESHOLD = 0.5
SURVEY_2019 = {
    "candidates": 20000,
    "chips": 84,
    "top20_share": 0.26,
    "top20_causes": {"misaligned": 6, "abnormal PSF": 6, "crowded": 5, "the network's own": 3},
}
CROWDED_PER_CHIP = 8000  # stars of S/N > 5 on a chip


def on_frame(rows: Table, science: Table, header: fits.Header) -> Table:
    """Rows of other frames of the field, with x and y on the science frame."""
    wcs = make_wcs(dict(header))
    known = science[np.asarray(science["source_id"]) >= 0]
    x, y = world_to_pixel(wcs, known["ra"], known["dec"])
    # The header is wrong by a smooth shift; what it is, the truth of the science frame says.
    steady = np.isfinite(x) & (np.hypot(known["x"] - x, known["y"] - y) < 20.0)
    terms = np.column_stack([np.ones(steady.sum()), x[steady], y[steady]])
    fits_ = [np.linalg.lstsq(terms, (known[n] - p)[steady], rcond=None)[0] for n, p in (("x", x), ("y", y))]
    moved = rows.copy()
    px, py = world_to_pixel(wcs, rows["ra"], rows["dec"])
    moved["x"], moved["y"] = (
        p + np.column_stack([np.ones(len(px)), px, py]) @ f for p, f in zip((px, py), fits_, strict=True)
    )
    inside = (np.abs(moved["x"]) < 1e5) & (np.abs(moved["y"]) < 1e5)
    return moved[inside]


def truth_of(night: Path, images: list[str]) -> dict[str, Table]:
    """Truth tables by image."""
    table = pq.read_table(night / "truth.parquet", filters=[("image", "in", images)])
    whole = Table({name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names})
    return {image: whole[np.asarray(whole["image"]) == image] for image in images}


def frame_of(conditions: Table, row: int) -> list[int]:
    """Rows of the earlier frames of the same field and chip."""
    same = (conditions["field"] == conditions["field"][row]) & (conditions["chip"] == conditions["chip"][row])
    return np.flatnonzero(same & (conditions["mjd"] < conditions["mjd"].max() - 1.0)).tolist()


def file_cause(failure: str, stars: int, *, trails: float) -> str:
    """Why a file is full of artifacts: its simulated conditions, or trails that hold most (share) of its artifacts."""
    names = set(failure.split(","))
    if {"trailed", "defocused", "bad_seeing"} & names:
        return "abnormal PSF"
    if "clouds" in names:
        return "clouds"
    # A wrong WCS comes last: the chain registers by the stars, and repairs most of it.
    if "misregistered" in names:
        return "misaligned"
    if trails > 0.5:
        return "satellite trail"
    return "crowded" if stars > CROWDED_PER_CHIP else "other"


def measure(night: Path, run: Path, *, limit: int | None) -> dict[str, Any]:
    raw = pq.read_table(night / "conditions.parquet").to_pydict()
    conditions = Table({name: np.asarray(values) for name, values in raw.items()})
    folders = sorted(p for p in (run / "images").iterdir() if (p / "outcome.json").is_file())[:limit]
    files: list[dict[str, Any]] = []
    statuses: Counter[str] = Counter()
    totals: dict[str, Counter[str]] = {"all": Counter(), "scored real": Counter()}
    for number, folder in enumerate(folders):
        outcome = json.loads((folder / "outcome.json").read_text())
        statuses[outcome["status"]] += 1
        row = int(np.flatnonzero(conditions["image"] == folder.name)[0])
        if outcome["status"] != "ok":
            continue
        candidates = pq.read_table(folder / "candidates.parquet", columns=["x", "y", "snr", "rb_score"]).to_pydict()
        others = frame_of(conditions, row)
        truth = truth_of(night, [folder.name, *(str(conditions["image"][i]) for i in others)])
        science = truth.pop(folder.name)
        path = next(night.glob(f"{folder.name}.fits*"))
        header = fits.getheader(path, 1 if path.suffix == ".fz" else 0)
        fwhm = max(float(conditions["fwhm_px"][i]) for i in [row, *others])
        reference = Table(np.concatenate([table.as_array() for table in truth.values()]))
        causes = causes_of(
            candidates["x"], candidates["y"], science, on_frame(reference, science, header),
            shape=(header["NAXIS2"], header["NAXIS1"]), fwhm_px=fwhm,
        )  # fmt: skip
        real = np.asarray(candidates["rb_score"], np.float64) >= THRESHOLD
        totals["all"].update(causes.tolist())
        totals["scored real"].update(causes[real].tolist())
        artifact = ~np.isin(causes, REAL_KINDS)
        trails = float((causes[artifact] == "satellite").mean()) if artifact.any() else 0.0
        stars = int(((science["kind"] == "star") & (science["snr"] > 5)).sum())
        failures = {str(conditions["failure"][i]) for i in [row, *others]}
        files.append({
            "image": folder.name, "candidates": len(causes), "artifacts": int(artifact.sum()), "stars": stars,
            "false_positives": int((artifact & real).sum()),
            "cause": file_cause(",".join(sorted(failures - {""})), stars, trails=trails),
        })  # fmt: skip
        print(f"\r{number + 1}/{len(folders)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return report(files, totals, statuses)


def report(files: list[dict[str, Any]], totals: dict[str, Counter[str]], statuses: Counter[str]) -> dict[str, Any]:
    counts = np.array([f["candidates"] for f in files])
    top = sorted(files, key=lambda f: -f["false_positives"])[:20]
    all_false = sum(f["false_positives"] for f in files)
    busiest = sorted(files, key=lambda f: -f["artifacts"])[:20]
    all_artifacts = sum(f["artifacts"] for f in files)
    return {
        "version": __version__,
        "frames": dict(statuses),
        "candidates": int(counts.sum()),
        "candidates_per_frame": {str(q): float(np.percentile(counts, q)) for q in (10, 50, 90)},
        "causes": {name: dict(total.most_common()) for name, total in totals.items()},
        "false_positives": all_false,
        "top20_by_false_positives": {
            "share": round(sum(f["false_positives"] for f in top) / max(all_false, 1), 3),
            "causes": dict(Counter(f["cause"] for f in top)),
        },
        "top20_by_artifacts": {
            "share": round(sum(f["artifacts"] for f in busiest) / max(all_artifacts, 1), 3),
            "causes": dict(Counter(f["cause"] for f in busiest)),
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("night", type=Path, help="folder of `gueststar simulate night`")
    parser.add_argument("run", type=Path, help="folder of `gueststar run`")
    parser.add_argument("--limit", type=int, help="only the first so many frames")
    parser.add_argument("--name", default="A night", help="heading of the figures")
    parser.add_argument("--out", type=Path, help="JSON file to which the figures are added")
    options = parser.parse_args()
    figures = {"name": options.name, **measure(options.night, options.run, limit=options.limit)}
    print(json.dumps(figures, indent=2))
    if options.out:
        known = (
            json.loads(options.out.read_text()) if options.out.is_file() else {"survey_2019": SURVEY_2019, "nights": []}
        )
        known["nights"] = [night for night in known["nights"] if night["name"] != options.name] + [figures]
        options.out.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
