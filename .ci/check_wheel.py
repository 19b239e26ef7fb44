"""Fail unless a wheel carries the data files that the package reads at run time, and nothing that is not its own."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

NEEDED = {
    "gueststar/py.typed",
    "gueststar/instruments/generic.toml",
    "gueststar/instruments/tomoe.toml",
    "gueststar/realbogus/shipped/model.onnx",
    "gueststar/realbogus/shipped/card.json",
    "gueststar/realbogus/shipped/weights.npz",
}


def main(path: str) -> None:
    """Compare the wheel with the source tree and with the files that must not be missed."""
    with ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = Path(__file__).resolve().parents[1] / "src"
    tree = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    problems = [f"missing: {name}" for name in sorted((NEEDED | tree) - names)]
    problems += [f"not of the source tree: {name}" for name in sorted(names - tree)]
    if problems:
        sys.exit(f"{path}\n  " + "\n  ".join(problems))
    size = Path(path).stat().st_size / 1e6
    sys.stdout.write(f"{Path(path).name}: {len(names)} files, {size:.2f} MB, complete\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
