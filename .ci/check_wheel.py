"""Fail unless a wheel carries the data files that the package reads at run time, and nothing that is not its own.

The files of the shipped model must be those that its card describes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from zipfile import ZipFile

MODEL = "gueststar/realbogus/shipped"
CARD = f"{MODEL}/card.json"
#: Entry of the card to the file whose SHA-256 it is.
HASHED = {"weights_hash": f"{MODEL}/model.onnx", "trainable_hash": f"{MODEL}/weights.npz"}
NEEDED = {
    "gueststar/py.typed",
    "gueststar/instruments/generic.toml",
    "gueststar/instruments/tomoe.toml",
    CARD,
    *HASHED.values(),
}


def changed_files(wheel: ZipFile) -> list[str]:
    """Files of the shipped model that are not those of its card; missing ones are told elsewhere."""
    names = set(wheel.namelist())
    if CARD not in names:
        return []
    card = json.loads(wheel.read(CARD))
    problems = []
    for entry, name in HASHED.items():
        if name not in names:
            continue
        told, found = str(card.get(entry) or ""), hashlib.sha256(wheel.read(name)).hexdigest()
        if not told:
            problems.append(f"{CARD} has no {entry}: nothing vouches for {name}")
        elif told != found:
            problems.append(f"changed: {name} has SHA-256 {found[:12]}..., its card says {told[:12]}...")
    return problems


def main(path: str) -> None:
    """Compare the wheel with the source tree and with the files that must not be missed."""
    with ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        changed = changed_files(wheel)
    source = Path(__file__).resolve().parents[1] / "src"
    tree = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    problems = [f"missing: {name}" for name in sorted((NEEDED | tree) - names)]
    problems += [f"not of the source tree: {name}" for name in sorted(names - tree)]
    problems += changed
    if problems:
        sys.exit(f"{path}\n  " + "\n  ".join(problems))
    size = Path(path).stat().st_size / 1e6
    sys.stdout.write(f"{Path(path).name}: {len(names)} files, {size:.2f} MB, complete\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
