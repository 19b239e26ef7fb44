"""A whole night: find the frames, calibrate, make references, process the rest on all cores."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gueststar import __version__
from gueststar.config import Config, config_hash
from gueststar.night.frames import digest, find_frames
from gueststar.night.guard import lost
from gueststar.night.ledger import Ledger, Progress, open_run
from gueststar.night.pair import check_device
from gueststar.night.pool import Mapper, ProcessMap
from gueststar.night.steps import Run, process_night
from gueststar.realbogus.card import model_hash
from gueststar.types import Outcome

__all__ = ["NightResult", "run_night"]


@dataclass(frozen=True, slots=True)
class NightResult:
    """What became of a night.

    Parameters
    ----------
    out : Path
        Folder of the run.
    outcomes : tuple of Outcome
        One for each image that was to be processed, by name.
    kept : int
        How many of them an earlier run had finished.
    totals : dict
        Numbers of images by status.
    interrupted : bool
        The user stopped the run; the same call goes on where it stopped.
    """

    out: Path
    outcomes: tuple[Outcome, ...]
    kept: int
    totals: dict[str, int]
    interrupted: bool = False


def run_night(
    night: str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    reference_dir: str | Path | None = None,
    catalog: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    mapper: Mapper | None = None,
) -> NightResult:
    """Process a folder of frames.

    Light frames are grouped by field, chip and filter. The first ones of each group make its reference; each of the
    rest gets a folder of products and an outcome. What an earlier run of the same night and configuration finished is
    kept.

    Call it from under ``if __name__ == "__main__":`` in a script; it starts processes.

    Parameters
    ----------
    night : path
        Folder of FITS files, searched with its subfolders.
    out : path
        Folder of the run.
    config : Config, optional
    reference_dir : path, optional
        Take references from here: images of another run's ``references`` folder, or frames.
    catalog : path, optional
        Stars of known magnitude for the zero points.
    overwrite : bool
        Replace a run that is there already.
    progress : callable, optional
        (stage, done, total, outcome or None), called in this process.
    mapper : callable, optional
        Maps a function over tasks, in any order; a pool of ``config.night.workers`` processes when absent.

    Returns
    -------
    NightResult

    Raises
    ------
    InputError
        When there are no frames.
    ModelError
        When the real/bogus model cannot be used.
    OutputError
        When `out` cannot be written to, or holds something else.
    """
    config = config or Config()
    check_device(config.device)
    night, out = Path(night).resolve(), Path(out).resolve()
    hashed = config_hash(config)
    tasks = find_frames(night, instrument=config.instrument, leave_out=[out])
    earlier = None
    if reference_dir is not None:
        earlier = find_frames(Path(reference_dir), instrument=config.instrument)
    model = model_hash(config.classify.model)
    open_run(out, config_hash=hashed, night=night, overwrite=overwrite)
    ledger = Ledger(out, hashed, progress or _silent, _record(night, config, hashed))
    ledger.write(finished=False)
    start, interrupted, kept = time.perf_counter(), False, 0
    catalog = Path(catalog) if catalog is not None else None
    base = digest(__version__, hashed, model, str(catalog))
    with _mapping(mapper, config) as mapping:
        run = Run(out, config, catalog, mapping, ledger, base)
        try:
            kept = process_night(run, tasks, earlier)
        except KeyboardInterrupt:
            interrupted = True
    ledger.write(finished=not interrupted, seconds=round(time.perf_counter() - start, 1), ended=_now())
    outcomes = tuple(ledger.outcomes[name] for name in sorted(ledger.outcomes))
    return NightResult(out, outcomes, kept, ledger.totals(), interrupted)


def _mapping(mapper: Mapper | None, config: Config) -> AbstractContextManager[Mapper]:
    return ProcessMap(config.night.workers, lost=lost) if mapper is None else nullcontext(mapper)


def _record(night: Path, config: Config, hashed: str) -> dict[str, Any]:
    return {
        "gueststar": __version__,
        "night": str(night),
        "started": _now(),
        "config_hash": hashed,
        "config": config.model_dump(mode="json"),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _silent(_stage: str, _done: int, _total: int, _outcome: Outcome | None) -> None:
    return
