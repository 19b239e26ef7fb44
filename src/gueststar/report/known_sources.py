"""Gather the known sources of a run: its artificial reals, and simulated transients when the truth is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table, vstack
from numpy.typing import NDArray

from gueststar.efficiency.evidence import SearchRules, flags_at
from gueststar.efficiency.losses import judge_sources, lost_frame
from gueststar.efficiency.noise import flux_errors
from gueststar.efficiency.sources import TRANSIENT_KINDS, source_table, sources_of_artificial, sources_of_truth
from gueststar.errors import InputError
from gueststar.night.injection import image_rng, unsearched_reals
from gueststar.night.products import read_candidates, read_outcome
from gueststar.report.collect import read_run
from gueststar.report.truth_table import read_truth_table, table_of
from gueststar.types import Candidates, Mask, Outcome

__all__ = ["Frame", "KnownSources", "frames_of", "judge_stored", "noise_of", "read_known_sources", "rejected_sources"]

_FEWEST_CANDIDATES = 10


@dataclass(slots=True, eq=False)
class KnownSources:
    """Known sources of a run, and what could not be said of some.

    Parameters
    ----------
    out : Path
        Folder of the run.
    run : mapping
        run.json.
    table : Table
        `SOURCE_COLUMNS`, one row for each source of each frame.
    searched : int
        Frames that were processed.
    lost_frames : list of (Outcome, int)
        The others, and how many sources were lost with each.
    notes : list of str
        What was left out and why, as sentences.
    """

    out: Path
    run: Mapping[str, Any]
    table: Table
    searched: int = 0
    lost_frames: list[tuple[Outcome, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a run with its folder, and where its flags and noise are."""

    outcome: Outcome
    folder: Path

    @property
    def place(self) -> dict[str, str]:
        """Image, field and chip."""
        return {"image": self.outcome.image, "field": self.outcome.field, "chip": self.outcome.chip}

    @property
    def gate(self) -> dict[str, str]:
        """Where and why it was lost."""
        reason = self.outcome.reason.splitlines()[0] if self.outcome.reason else self.outcome.status
        return {"gate_stage": self.outcome.stage or self.outcome.status, "gate_reason": reason[:200]}


def read_known_sources(
    out: Path,
    *,
    truth: Path | None = None,
    kinds: Sequence[str] = TRANSIENT_KINDS,
    faintest_snr: float = 3.0,
    radius_px: float | None = None,
) -> KnownSources:
    """Read the artificial reals of a run, and match simulated transients with its candidates.

    Parameters
    ----------
    out : Path
        Folder of the run.
    truth : Path, optional
        truth.parquet of the simulated night, or the folder that holds it.
    kinds : sequence of str
        Simulated sources that are wanted.
    faintest_snr : float
        Simulated changes with less than this S/N in the science frame are left out, and counted in the notes.
    radius_px : float, optional
        Largest distance between a simulated source and its candidate; that of the run when None.

    Raises
    ------
    InputError
        When `out` is not the folder of a run, there is neither an artificial real nor a truth, or the truth cannot be
        used or is of another night.
    """
    run = read_run(out)
    if not run["images"] and any((out / "images").glob("*/outcome.json")):
        raise InputError(
            f"{out}: the run has not finished; wait, or give the command `gueststar run` again: it goes on",
            path=str(out),
        )
    settings = run.get("config", {}).get("night", {})
    wanted = int(settings.get("inject", 0))
    if truth is None and wanted == 0:
        raise InputError(
            f"{out} holds no artificial reals, so nothing is known to look for; run the night again with them "
            "(gueststar run NIGHT --out OTHER --inject 200), or give the truth of a simulated night (--truth NIGHT)",
            path=str(out),
        )
    rows = None if truth is None else read_truth_table(truth, kinds)
    radius = radius_px if radius_px is not None else float(settings.get("match_radius_px", 2.0))
    known = KnownSources(out, run, source_table(0))
    parts, tested, no_flags, not_placed = [known.table], 0, 0, 0
    names = None if rows is None else np.asarray(rows["image"]).astype(str)
    for frame in frames_of(known.out, run):
        lost = frame.outcome.status != "ok"
        mine = None if rows is None or names is None else rows[names == _truth_name(frame.outcome.image, names)]
        tested += mine is not None and len(mine) > 0
        try:
            pieces = [_artificial(frame, settings, wanted)] if wanted else []
            if mine is not None:
                pieces.append(_simulated(frame, mine, kinds=kinds, radius_px=radius, config=run.get("config", {})))
        except InputError as error:
            known.notes.append(f"{frame.outcome.image} is left out: {error.message}.")
            continue
        not_placed += int(frame.outcome.counts.get("not_placed", 0))
        no_flags += mine is not None and not lost and not (frame.folder / "difference.fits").is_file()
        if lost:
            known.lost_frames.append((frame.outcome, sum(len(piece) for piece in pieces)))
        known.searched += not lost
        parts += pieces
    if rows is not None and len(rows) and not tested:
        raise InputError(
            f"none of the images of {truth} is in the run {out}: the one has {rows['image'][0]} and others, the other "
            f"{next(iter(sorted(run['images'])), 'none')}; give the truth of the night that was run",
            path=str(truth),
        )
    table = vstack([part for part in parts if len(part)] or parts[:1], metadata_conflicts="silent")
    known.table = _without_faint(known, table, faintest_snr)
    _note_counts(known, no_flags=no_flags, not_placed=not_placed, rows=rows)
    return known


def frames_of(out: Path, run: Mapping[str, Any]) -> list[Frame]:
    """Frames of a run (run.json) that were, or should have been, searched."""
    frames = []
    for name in sorted(run["images"]):
        folder = out / "images" / name
        stored = read_outcome(folder / "outcome.json")
        if stored is None:
            reason = run.get("not_stored", {}).get(name, "outcome.json is missing or damaged")
            outcome = Outcome(name, "failed", stage="store", reason=reason)
        else:
            outcome = stored[0]
        # Darks and flats that cannot be used are among the failures of a run, and are no frames that are searched.
        if outcome.status == "ok" or outcome.stage in ("header", "store", "process") or _is_light(outcome):
            frames.append(Frame(outcome, folder))
    return frames


def _is_light(outcome: Outcome) -> bool:
    return bool(outcome.field or outcome.chip or outcome.mjd is not None)


def _artificial(frame: Frame, settings: Mapping[str, Any], wanted: int) -> Table:
    """Artificial reals of one frame; those that a lost frame would have got are all lost at the gate."""
    path, error = frame.folder / "injected.parquet", frame.outcome.facts.get("inject_error")
    gate = frame.gate if frame.outcome.status != "ok" else {"gate_stage": "inject", "gate_reason": str(error)[:200]}
    searched = frame.outcome.status == "ok" or (frame.outcome.status == "rejected" and path.is_file())
    if not searched or (error and not path.is_file()):
        low, high = settings["inject_snr"]
        rng = image_rng(int(settings.get("seed", 0)), frame.outcome.image)
        rows = unsearched_reals(wanted, snr=(float(low), float(high)), rng=rng)
        return _at_gate(sources_of_artificial(rows, **frame.place), gate)
    try:
        stored = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as trouble:
        raise InputError(f"{path} cannot be read: {trouble}", path=str(path)) from trouble
    table = sources_of_artificial(table_of(stored), **frame.place)
    if frame.outcome.status == "rejected" and not error:
        return rejected_sources(table, gate)
    return _at_gate(table, gate) if error else table


def _simulated(
    frame: Frame, rows: Table, *, kinds: Sequence[str], radius_px: float, config: Mapping[str, Any]
) -> Table:
    """Simulated sources of one frame, judged by what its run has stored."""
    sources = sources_of_truth(rows, **frame.place, kinds=kinds)
    if len(sources) == 0:
        return sources
    rejected = frame.outcome.status == "rejected" and (frame.folder / "candidates.parquet").is_file()
    if frame.outcome.status != "ok" and not rejected:
        return _at_gate(source_table(len(sources), lost_frame(sources)), frame.gate)
    judged = judge_stored(frame, sources, radius_px=radius_px, config=config)
    return rejected_sources(judged, frame.gate) if rejected else judged


def judge_stored(
    frame: Frame, sources: Table, *, radius_px: float, config: Mapping[str, Any],
    flux_known: NDArray[np.bool_] | None = None,
) -> Table:  # fmt: skip
    """Judge sources of one frame, with the columns of `SOURCE_COLUMNS`, by what its run has stored.

    Parameters
    ----------
    frame : Frame
    sources : Table
        By `SOURCE_COLUMNS`; with x, y and change_e.
    radius_px : float
        Match radius.
    config : mapping
        Of the run.
    flux_known : ndarray of bool, shape (n,), optional
        False where change_e gives the sign only; all are known when left out.

    Raises
    ------
    InputError
        When a product of the frame cannot be read.
    """
    candidates = read_candidates(frame.folder / "candidates.parquet")
    planes = _planes(frame.folder / "difference.fits")
    facts, edge_px = frame.outcome.facts, int(config.get("detect", {}).get("edge_px", 0))
    fwhm, expected = 3.0, np.full(len(sources), np.nan)
    if planes is not None:
        fwhm, scatter = noise_of(candidates, planes["VARIANCE"], facts)
        errors = flux_errors(planes["VARIANCE"], sources["x"], sources["y"], fwhm_px=fwhm, scatter=scatter)
        flags, *_ = flags_at(planes["MASK"], sources["x"], sources["y"], edge_px=edge_px)
        expected = np.abs(sources["change_e"]) / np.where((flags & int(Mask.NO_DATA)) != 0, np.nan, errors)
        expected = expected if flux_known is None else np.where(flux_known, expected, np.nan)
    judged = judge_sources(
        sources, candidates, mask=None if planes is None else planes["MASK"], radius_px=radius_px,
        threshold=float(facts.get("rb_threshold") or 0.5), edge_px=edge_px,
        score=None if planes is None else planes["SCORE"], rules=_rules(config, fwhm), expected_snr=expected,
    )  # fmt: skip
    judged["snr_difference"] = expected
    return source_table(len(judged), judged)


def _rules(config: Mapping[str, Any], fwhm: float) -> SearchRules:
    """How a run with this configuration has searched its differences."""
    stored, names = config.get("detect", {}), {field.name for field in fields(SearchRules)}
    return SearchRules(**{**{key: value for key, value in stored.items() if key in names}, "fwhm_px": fwhm})


def rejected_sources(judged: Table, gate: Mapping[str, str]) -> Table:
    """Judged sources of an image that a quality gate rejected: lost there, and `otherwise` where they would have been.

    'found' stands for those that would have been found and scored real, 'unknown' for those whose finding would prove
    nothing.
    """
    steps = np.asarray(judged["lost_at"])
    otherwise = np.where(np.asarray(judged["occupied"], bool), "unknown", np.where(steps == "", "found", steps))
    n = len(judged)
    return source_table(
        n, judged, lost_at="gate", lost_why="rejected", otherwise=otherwise, found=False, real=False, occupied=False,
        **gate,
    )  # fmt: skip


def _planes(path: Path) -> dict[str, NDArray[Any]] | None:
    """Flags, variance and score of a difference; None when it was not kept."""
    if not path.is_file():
        return None
    try:
        with fits.open(path) as hdus:
            return {name: np.asarray(hdus[name].data) for name in ("MASK", "VARIANCE", "SCORE")}
    except (OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable difference: {error}", path=str(path)) from error


def noise_of(candidates: Candidates, variance: NDArray[np.floating], facts: Mapping[str, Any]) -> tuple[float, float]:
    """FWHM in a difference, and how much larger the error of a flux is than its variance says.

    The errors of the frame's own candidates tell it best, for they know the true PSF; without enough of them it is the
    scatter of empty sky.
    """
    widths = [float(facts[name]) for name in ("seeing_px", "reference_seeing_px") if facts.get(name)]
    scatter = float(facts.get("score_scatter") or 1.0)
    if len(candidates) == 0:
        return max(widths, default=3.0), scatter
    fwhm = float(np.median(candidates["psf_fwhm"]))
    clear = np.flatnonzero(candidates["mask_flags"] == 0)[:200]
    if clear.size < _FEWEST_CANDIDATES:
        return fwhm, scatter
    white = flux_errors(variance, candidates["x"][clear], candidates["y"][clear], fwhm_px=fwhm)
    return fwhm, float(np.nanmedian(candidates["flux_err"][clear] / white))


def _at_gate(table: Table, gate: Mapping[str, str]) -> Table:
    n = len(table)
    return source_table(n, table, lost_at="gate", lost_why="failed", found=False, real=False, **gate)


def _truth_name(image: str, names: NDArray[np.str_]) -> str:
    """What the truth calls an image of the run, whose name may begin with those of its folders."""
    return image if image in names else image.rpartition("__")[2]


def _without_faint(known: KnownSources, table: Table, faintest_snr: float) -> Table:
    snr = np.asarray(table["snr"], np.float64)
    faint = (np.asarray(table["origin"]) == "simulated") & ~(snr >= faintest_snr)
    if faint.any():
        known.notes.append(
            f"{int(faint.sum())} simulated changes below S/N {faintest_snr:g} in the science frame are left out."
        )
    return table[~faint]


def _note_counts(known: KnownSources, *, no_flags: int, not_placed: int, rows: Table | None) -> None:
    occupied = int(np.asarray(known.table["occupied"], bool).sum())
    if occupied:
        known.notes.append(
            f"{occupied} artificial reals lie where a candidate was already; finding them proves nothing, and they are "
            "left out."
        )
    if not_placed:
        known.notes.append(f"{not_placed} artificial reals found no room on their frame and were never put in.")
    if no_flags:
        known.notes.append(
            f"{no_flags} frames kept no difference.fits: there, a loss at the mask shows as one at detection, and the "
            "S/N in the difference is not known."
        )
    if rows is not None:
        searched = {name.rpartition("__")[2] for name in known.run["images"]} | set(known.run["images"])
        absent = set(np.asarray(rows["image"]).tolist()) - searched
        if absent:
            known.notes.append(f"{len(absent)} frames of the truth were not searched; references are made of them.")
