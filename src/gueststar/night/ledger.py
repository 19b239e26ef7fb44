"""State of a run in the parent process: outcomes as they come, and run.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gueststar.errors import OutputError
from gueststar.night.folders import clean_leftovers, explain_os_error, remove_tree, replace_file, staged_folder
from gueststar.night.products import PRODUCT_NAMES, write_outcome
from gueststar.types import Outcome

__all__ = ["RUN_NAMES", "Ledger", "Progress", "open_run"]

#: (stage, done, total, outcome of the image that was just finished)
Progress = Callable[[str, int, int, Outcome | None], None]

#: What a run writes into its folder.
RUN_NAMES = frozenset({"images", "references", "calibration", "run.json", "report.html", "efficiency"})


@dataclass(slots=True)
class Ledger:
    """Outcomes of a run, and everything that goes into run.json."""

    out: Path
    config_hash: str
    progress: Progress
    record: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Folder of the products of one image."""
        return self.out / "images" / name

    def fail(self, outcome: Outcome, *, key: str = "") -> None:
        """Take and store the outcome of an image that has no products.

        A full disk does not end the night here: the outcome is kept for run.json.
        """
        self.outcomes[outcome.image] = outcome
        folder = self.folder(outcome.image)
        try:
            with staged_folder(folder, overwrite=True, known=PRODUCT_NAMES) as staged:
                write_outcome(staged / "outcome.json", outcome, key=key, config_hash=self.config_hash)
        except OutputError as error:
            self.record.setdefault("not_stored", {})[outcome.image] = error.message

    def totals(self) -> dict[str, int]:
        """Numbers of images by status."""
        counts = Counter(outcome.status for outcome in self.outcomes.values())
        return {status: counts.get(status, 0) for status in ("ok", "rejected", "failed", "crashed")}

    def write(self, **more: Any) -> None:
        """Write run.json.

        Raises
        ------
        OutputError
            When it cannot be written.
        """
        self.record |= more
        self.record["totals"] = self.totals()
        self.record["images"] = {name: self.outcomes[name].status for name in sorted(self.outcomes)}
        text = json.dumps(self.record, indent=1, allow_nan=False) + "\n"
        replace_file(self.out / "run.json", text.encode())


def open_run(out: Path, *, config_hash: str, night: Path, overwrite: bool) -> None:
    """Make sure that a run may write into a folder, and remove what a killed run left half-written.

    Raises
    ------
    OutputError
        When the folder holds something else, or a run of another night or configuration.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; a folder is written here: choose another --out", path=str(out))
    with explain_os_error(out):
        out.mkdir(parents=True, exist_ok=True)
        present = {item.name for item in out.iterdir()}
        foreign = sorted(name for name in present - RUN_NAMES if not name.startswith("."))
    if present and "run.json" not in present:
        raise OutputError(f"{out} exists already and is not the folder of a run; choose another --out", path=str(out))
    if "run.json" in present:
        _check_same_run(out, config_hash, night, overwrite=overwrite)
    if overwrite:
        if foreign:
            raise OutputError(
                f"{out} is not replaced: it holds {foreign[0]!r}, which gueststar did not write; choose another --out",
                path=str(out),
            )
        with explain_os_error(out):
            for name in sorted(RUN_NAMES & present):
                remove_tree(out / name)
    for folder in (out, out / "images", out / "references", out / "calibration"):
        clean_leftovers(folder)


def _check_same_run(out: Path, config_hash: str, night: Path, *, overwrite: bool) -> None:
    if overwrite:
        return
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        there, where = str(record["config_hash"]), str(record["night"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{out / 'run.json'} cannot be read ({error}); choose another --out, or give --overwrite", path=str(out)
        ) from error
    if there != config_hash or where != str(night):
        what = "another configuration" if where == str(night) else f"another night ({where})"
        raise OutputError(
            f"{out} holds a run of {what}; choose another --out, or give --overwrite to replace it", path=str(out)
        )
