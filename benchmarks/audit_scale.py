"""Time and memory of `gueststar audit` from 20,000 to a million candidates, from a data set that is repeated.

    python benchmarks/audit_scale.py my_set --work /tmp/scale --json docs/measured/audit_scale.json

The shards of the set are linked as often as it takes; each copy has images, tiles and positions of its own. Scores are
drawn: one artifact in 25 is called real, in the set of 20,000 every one of them, so that the largest audit measures as
many false positives as an audit measures at most. Each size is audited in a process of its own, by the command; time
and most memory are those of that process. Scoring is not in it (a run has its scores; see benchmarks/scoring.py).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SIZES = (20_000, 200_000, 1_000_000)
SHARE = 0.04  # of the artifacts that are called real in a large set: more than are measured at most
TEXTS = ("image", "tile", "night", "reference", "candidate_id")


def repeat(source: Path, out: Path, n: int) -> int:
    """Link the shards of a set until there are `n` rows; give how many there are."""
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    (out / "shards").mkdir(parents=True)
    shards: list[dict[str, Any]] = []
    while sum(shard["n"] for shard in shards) < n:
        copy, number = divmod(len(shards), len(manifest["shards"]))
        old = manifest["shards"][number]
        name = f"{len(shards):05d}"
        os.link(source / "shards" / f"{old['name']}.stamps.npy", out / "shards" / f"{name}.stamps.npy")
        table = pq.read_table(source / "shards" / f"{old['name']}.rows.parquet")
        for column in TEXTS:
            made = pc.binary_join_element_wise(f"{copy}_", table[column].cast(pa.string()), "")
            table = table.set_column(table.column_names.index(column), column, made)
        # Other places of the sky, or every source would come back in each copy.
        made = pc.add(table["ra"], pa.scalar(5.0 * copy))
        table = table.set_column(table.column_names.index("ra"), "ra", made)
        path = out / "shards" / f"{name}.rows.parquet"
        pq.write_table(table, path)
        shards.append({**old, "name": name, "rows_bytes": path.stat().st_size})
    manifest |= {"shards": shards, "n": sum(shard["n"] for shard in shards)}
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return int(manifest["n"])


def draw_scores(folder: Path, share: float) -> None:
    """Scores under which a share of the artifacts are false positives."""
    labels = np.concatenate([pq.read_table(path, columns=["label"])["label"].to_numpy()
                             for path in sorted((folder / "shards").glob("*.parquet"))])  # fmt: skip
    rng = np.random.default_rng(1)
    called = np.where(labels == 1, 0.97, share) > rng.random(len(labels))
    scores = np.where(called, 0.9, 0.1).astype(np.float32)
    pq.write_table(pa.table({"row": np.arange(len(labels)), "rb_score": scores}), folder / "scores.parquet")


def measure(folder: Path, out: Path) -> dict[str, Any]:
    """Audit by the command in a process of its own."""
    command = [sys.executable, "-m", "gueststar", "audit", str(folder), "--scores", str(folder / "scores.parquet"),
               "--threshold", "0.5", "--out", str(out), "--quiet"]  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return {
        "candidates": facts["candidates"], "false_positives": facts["false_positives"], "looked_at": facts["looked_at"],
        "seconds": round(seconds, 1),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        # The most of all children so far: sizes are measured from small to large.
        "most_memory_mb": round(after.ru_maxrss / 1024),
    }  # fmt: skip


def main() -> None:
    """Make the sets, audit them, print and store what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="data set that is repeated")
    parser.add_argument("--work", type=Path, required=True, help="for the sets, on the disk of the source; emptied")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args()
    found = []
    for n in sorted(given.sizes):
        folder = given.work / f"set{n}"
        shutil.rmtree(folder, ignore_errors=True)
        repeat(given.source, folder, n)
        draw_scores(folder, 1.0 if n <= SIZES[0] else SHARE)
        found.append(measure(folder, given.work / f"audit{n}"))
        print(found[-1], flush=True)
        shutil.rmtree(folder)
        shutil.rmtree(given.work / f"audit{n}")
    if given.json is not None:
        given.json.write_text(json.dumps({"cores": os.cpu_count(), "sizes": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
