"""Peak memory of the chain alone: in a fresh process that reads two prepared images and runs it on them.

    python benchmarks/chain_memory.py PAIR       # PAIR as `chain.py` pickles it; prints the peaks in MB as JSON

The simulator and the ingest have no part in it.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"


def peak_mb() -> float:
    """Most memory that this process has held (VmHWM of Linux), MB; what its parent held does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024.0


def main() -> None:
    import torch

    from gueststar import process_pair

    torch.set_num_threads(1)
    imported = peak_mb()
    with open(sys.argv[1], "rb") as stream:
        science, reference = pickle.load(stream)
    loaded = peak_mb()
    result = process_pair(science, reference)
    report = {"imported": imported, "images": loaded, "chain": peak_mb(), "candidates": len(result.candidates)}
    print(json.dumps({name: round(value) for name, value in report.items()}))


if __name__ == "__main__":
    main()
