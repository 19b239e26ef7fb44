"""Seconds of a figure of `gueststar explain`: the whole command, a figure by a warm process, further ones of a command.

    python benchmarks/explain_speed.py my_set --json docs/measured/explain_speed.json

Processor time counts, so that a busy machine measures the same; elapsed time on an idle core is that or less, as some
steps use more than one thread. The first figure of a process loads the model and the libraries that draw.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gueststar.realbogus.stored import open_dataset


def seconds(who: int) -> float:
    """Processor time so far."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def command(data: Path, row: int, out: Path, more: list[str]) -> float:
    """The whole command for one figure, in a process of its own."""
    before = seconds(resource.RUSAGE_CHILDREN)
    given = ["explain", str(data), "--row", str(row), "--out", str(out), "--quiet", *more]
    subprocess.run([sys.executable, "-m", "gueststar", *given], check=True, stdout=subprocess.DEVNULL)
    return seconds(resource.RUSAGE_CHILDREN) - before


def further(data: Path, rows: list[int], folder: Path, more: list[str]) -> list[float]:
    """Each figure after the first, in this process."""
    from typer.testing import CliRunner

    from gueststar.cli.main import app

    found = []
    for row in rows:
        before = seconds(resource.RUSAGE_SELF)
        given = ["explain", str(data), "--row", str(row), "--out", str(folder / f"{row}.png"), *more, "--quiet"]
        result = CliRunner().invoke(app, given)
        if result.exit_code:
            raise SystemExit(result.output)
        found.append(seconds(resource.RUSAGE_SELF) - before)
    return found[1:]


def together(data: Path, rows: list[int], folder: Path, more: list[str], *, first: float) -> float:
    """Each further figure of one command that makes several, in this process, where the first one takes `first`."""
    from typer.testing import CliRunner

    from gueststar.cli.main import app

    before = seconds(resource.RUSAGE_SELF)
    given = [part for row in rows for part in ("--row", str(row))]
    result = CliRunner().invoke(app, ["explain", str(data), *given, "--out", str(folder), *more, "--quiet"])
    if result.exit_code:
        raise SystemExit(result.output)
    return (seconds(resource.RUSAGE_SELF) - before - first) / (len(rows) - 1)


def main() -> None:
    """Explain rows drawn at random, print and store the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set whose candidates are explained")
    parser.add_argument("-n", type=int, default=20, help="figures (default 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    rows = rng.choice(len(open_dataset(given.data)), given.n + 1, replace=False).tolist()
    found: dict[str, Any] = {"figures": given.n, "seed": given.seed, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        for what, more in (("plain", []), ("with_examples", ["--data", str(given.data)])):
            folder = Path(name) / what
            folder.mkdir()
            each = further(given.data, rows, folder, more)
            first = statistics.median(each)
            rest = together(given.data, rows[1:], folder / "together", more, first=first)
            whole = [command(given.data, row, folder / f"own{row}.png", more) for row in rows[:3]]
            found[what] = {
                "figure_s": round(first, 2), "slowest_figure_s": round(max(each), 2),
                "further_figure_s": round(rest, 2),
                "whole_command_s": round(statistics.median(whole), 2),
            }  # fmt: skip
            print(what, found[what], flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
