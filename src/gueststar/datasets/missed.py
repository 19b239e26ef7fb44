"""Missed reals of a run: gather them, name the step and the remedy of each, and write tables and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.datasets.known import KnownObjects, read_known
from gueststar.datasets.missed_lists import frame_wcs, listed_sources, read_transients, transient_summary
from gueststar.detect.false_alarms import expected_false_alarms
from gueststar.efficiency.curves import used
from gueststar.efficiency.sources import source_table
from gueststar.errors import InputError, ModelError
from gueststar.night.folders import replace_file
from gueststar.night.products import read_candidates, write_table
from gueststar.quality import CAUSES
from gueststar.realbogus.audit.missed import MissedReals, detection_rungs, score_rungs, sum_up, with_remedies
from gueststar.realbogus.audit.missed_steps import STEPS
from gueststar.realbogus.card import model_hash
from gueststar.report.collect import collect, read_run
from gueststar.report.known_sources import Frame, frames_of, read_known_sources
from gueststar.report.missed_section import missed_page

__all__ = ["read_missed", "write_missed"]

_SEED = 20190319
_MATCH_ARCSEC = 3.0


def read_missed(
    run: str | Path,
    *,
    known: str | Path | None = None,
    truth: str | Path | None = None,
    objects: Sequence[str | Path] = (),
    days: tuple[float, float] = (0.0, 100.0),
    faintest_snr: float = 3.0,
    match_arcsec: float = _MATCH_ARCSEC,
) -> MissedReals:
    """Name the step that lost each real of a run, and what would have saved it.

    Parameters
    ----------
    run : path
        Folder of a run.
    known : path, optional
        List of known transients; see `gueststar.datasets.missed_lists.read_transients`.
    truth : path, optional
        truth.parquet of the simulated night that was run, or its folder.
    objects : sequence of path
        Catalogues of variables and asteroids whose places the survey does not alert on; see
        `gueststar.datasets.known.read_known`. A real at such a place is lost at the match.
    days : (float, float)
        Frames count for a listed transient from so long before its discovery until so long after it.
    faintest_snr : float
        Simulated changes with less than this S/N are left out.
    match_arcsec : float
        A source within this of a catalogue's object is called that object.

    Raises
    ------
    InputError
        When it is not the folder of a run, nothing is known to look for, or a list or catalogue cannot be used.
    """
    run = Path(run)
    record = read_run(run)
    config: Mapping[str, Any] = record.get("config", {})
    night = config.get("night", {})
    injected = int(night.get("inject", 0))
    if not injected and truth is None and known is None:
        raise InputError(
            f"{run} holds no artificial reals, so nothing is known to look for; run the night again with them "
            "(gueststar run NIGHT --out OTHER --inject 200), or give known transients (--known LIST.csv) or the truth "
            "of a simulated night (--truth NIGHT)",
            path=str(run),
        )
    catalogue = read_known([Path(path) for path in objects]) if objects else None
    transients = read_transients(Path(known)) if known is not None else None
    frames = frames_of(run, record)
    parts, notes = [source_table(0)], []
    if injected or truth is not None:
        gathered = read_known_sources(run, truth=Path(truth) if truth is not None else None, faintest_snr=faintest_snr)
        parts.append(used(gathered.table))
        notes += gathered.notes
    if transients is not None:
        listed, said = listed_sources(
            frames, transients, radius_px=float(night.get("match_radius_px", 2.0)), config=config, days=days
        )
        parts.append(listed)
        notes += said
    sources = vstack([part for part in parts if len(part)] or parts[:1], metadata_conflicts="silent")
    for name, nothing in (("name", ""), ("days", np.nan)):
        if name not in sources.colnames:
            sources[name] = np.full(len(sources), nothing, "U32" if nothing == "" else "f8")
        sources[name] = np.ma.filled(np.ma.asarray(sources[name]), nothing)
    sources = _after_scores(sources, frames, catalogue, match_arcsec)
    return _result(run, record, frames, sources, transients, notes)


def _after_scores(
    sources: Table, frames: Sequence[Frame], catalogue: KnownObjects | None, match_arcsec: float
) -> Table:
    """Sources with the losses of the steps after the score: known objects, and rules."""
    result = sources.copy()
    real = np.asarray(result["lost_at"]) == ""
    for frame in frames:
        mine = np.flatnonzero(real & (np.asarray(result["image"]) == frame.outcome.image))
        if mine.size == 0:
            continue
        reasons = _reasons_of_candidates(result[mine], frame)
        if catalogue is not None and (sky := frame_wcs(frame.folder / "difference.fits")) is not None:
            x, y = (np.asarray(result[name], np.float64)[mine] for name in ("x", "y"))
            ra, dec = (np.asarray(axis) for axis in sky[0].all_pix2world(x, y, 0))
            when = float("nan") if frame.outcome.mjd is None else frame.outcome.mjd
            kinds = catalogue.kinds_at(ra, dec, when, radius_arcsec=match_arcsec)
            # What the catalogue calls a transient is what is looked for.
            reasons = np.where((reasons == "") & ~np.isin(kinds, ("", "transient", "supernova", "hostless", "flare")),
                               "known_object", reasons)  # fmt: skip
        lost = mine[reasons != ""]
        result["lost_why"][lost] = reasons[reasons != ""]
        result["lost_at"][lost] = np.where(reasons[reasons != ""] == "rule", "rule", "match")
        result["real"][lost] = False
    return result


def _reasons_of_candidates(sources: Table, frame: Frame) -> NDArray[np.str_]:
    """What later steps say of the candidates of real sources, as far as the run has columns for it."""
    reasons = np.full(len(sources), "", "U12")
    stored = np.flatnonzero(
        (np.asarray(sources["origin"]) != "artificial") & (np.asarray(sources["candidate_id"]) != "")
    )
    if stored.size == 0:
        return reasons
    table = read_candidates(frame.folder / "candidates.parquet").table
    row = {str(name): i for i, name in enumerate(table["candidate_id"])}
    for i in stored:
        j = row.get(str(sources["candidate_id"][i]), -1)
        if j >= 0 and "mover_name" in table.colnames and str(table["mover_name"][j]):
            reasons[i] = "known_object"
        elif j >= 0 and "reject_reason" in table.colnames and str(table["reject_reason"][j]):
            reasons[i] = "rule"
    return reasons


def _result(
    run: Path, record: Mapping[str, Any], frames: Sequence[Frame], sources: Table, transients: Table | None,
    notes: list[str],
) -> MissedReals:  # fmt: skip
    config = record.get("config", {})
    threshold_sigma = float(config.get("detect", {}).get("threshold_sigma", 5.0))
    limits = config.get("quality", {})
    gates, fwhms, shapes = {}, {}, {}
    for frame in frames:
        facts, image = frame.outcome.facts, frame.outcome.image
        beyond = {option: facts.get(name) for name, _, option in CAUSES.values()}
        gates[image] = {
            option: float(value)
            for option, value in beyond.items()
            if isinstance(value, int | float) and 0 < float(limits.get(option, 0.0)) < value
        }
        widths = [facts.get(key) for key in ("seeing_px", "reference_seeing_px")]
        fwhms[image] = max((float(w) for w in widths if isinstance(w, int | float)), default=float("nan"))
        if (np.asarray(sources["lost_why"])[np.asarray(sources["image"]) == image] == "rim").any():
            sky = frame_wcs(frame.folder / "difference.fits")
            shapes.update({image: sky[1]} if sky is not None else {})
    sources = with_remedies(sources, threshold_sigma=threshold_sigma, gates=gates, fwhms=fwhms, shapes=shapes)
    steps, remedies, comparisons = sum_up(sources, rng=np.random.default_rng(_SEED))
    night = collect(run, top=0)
    done = [frame.outcome for frame in frames if frame.outcome.status == "ok"]
    thresholds = [float(outcome.facts.get("rb_threshold") or 0.5) for outcome in done]
    threshold = float(np.median(thresholds)) if thresholds else 0.5
    junk = _junk_scores(night.score, night.snr, sources)
    width = float(np.nanmedian(list(fwhms.values()))) if np.isfinite(list(fwhms.values())).any() else 3.0
    ladder = [(t, expected_false_alarms(t, width)) for t in (4.75, 4.5, 4.25, 4.0, 3.75, 3.5, 3.0)]
    notes += _model_notes(done, config)
    listed = sources[np.asarray(sources["origin"]) == "listed"]
    summary = Table() if transients is None else transient_summary(transients, listed, STEPS)
    facts = {
        "run": str(record.get("night", run.name)).rstrip("/").split("/")[-1],
        "config_hash": record.get("config_hash", ""),
        "threshold": threshold, "threshold_sigma": threshold_sigma, "frames": len(frames), "searched": len(done),
        "candidates": int(night.score.size), "junk": int((junk >= threshold).sum()),
        "sources": len(sources), "missed": int((np.asarray(sources["lost_at"]) != "").sum()),
        "rb_model": ", ".join(sorted({str(o.facts.get("rb_model", "")) for o in done} - {""})),
        "transients": len(summary),
        "transients_covered": int((np.asarray(summary["frames"]) > 0).sum()) if len(summary) else 0,
        "transients_found": int((np.asarray(summary["found"]) > 0).sum()) if len(summary) else 0,
    }  # fmt: skip
    return MissedReals(
        sources, summary, steps, remedies, comparisons, score_rungs(sources, junk, threshold),
        detection_rungs(sources, threshold_sigma, ladder), facts, tuple(notes),
    )  # fmt: skip


def _junk_scores(score: NDArray[np.float64], snr: NDArray[np.float64], sources: Table) -> NDArray[np.float64]:
    """Scores of the positive candidates of the night, without those of known sources, each taken out once."""
    left = np.sort(score[(snr > 0) & np.isfinite(score)])
    mine = sources[(np.asarray(sources["origin"]) != "artificial") & (np.asarray(sources["candidate_id"]) != "")]
    _, first = np.unique(np.asarray(mine["candidate_id"]), return_index=True)
    taken = [
        int(np.searchsorted(left, value))
        for value in np.asarray(mine["rb_score"], np.float64)[first]
        if np.isfinite(value) and np.any(np.isclose(left, value, rtol=0, atol=1e-6))
    ]
    return np.delete(left, [min(at, len(left) - 1) for at in taken]) if taken else left


def _model_notes(done: Sequence[Any], config: Mapping[str, Any]) -> list[str]:
    """Whether the scores are those of one model, and of the one that is there now."""
    hashes = sorted({str(outcome.facts.get("rb_model_hash", "")) for outcome in done} - {""})
    if len(hashes) > 1:
        return [f"The images were scored by {len(hashes)} different models ({', '.join(hashes)}): losses at the score "
                "are those of each image's own."]  # fmt: skip
    name = str(config.get("classify", {}).get("model", ""))
    try:
        now = model_hash(name) if name else ""
    except ModelError:
        return [f"The model {name} that scored the run is not there any more; its stored scores are used."]
    if hashes and now and not now.startswith(hashes[0]):
        return [f"The run was scored by another model ({hashes[0]}) than {name} is now ({now[:16]}): losses at the "
                "score are those of the stored scores. Run the night again to judge the new one."]  # fmt: skip
    return []


def write_missed(
    run: str | Path, out: str | Path | None = None, *, most: int = 12, missed: MissedReals | None = None, **options: Any
) -> tuple[Path, MissedReals]:
    """Write missed.html, missed.parquet, missed.json and, with a list, transients.parquet.

    Parameters
    ----------
    run : path
    out : path, optional
        Folder to write; ``missed`` in the folder of the run when left out.
    most : int
        Pictures for each reason.
    missed : MissedReals, optional
        What `read_missed` gave; read here with `options` when left out.
    **options
        Of `read_missed`.

    Returns
    -------
    Path, MissedReals
        The page, and what is on it.

    Raises
    ------
    InputError
        As `read_missed`.
    OutputError
        When the folder cannot be written to.
    """
    run = Path(run)
    found = missed if missed is not None else read_missed(run, **options)
    folder = Path(out) if out is not None else run / "missed"
    replace_file(folder / "missed.html", missed_page(run, found, most=most).encode())
    provenance = {"gueststar": __version__, **{key: value for key, value in found.facts.items()}}
    write_table(folder / "missed.parquet", found.sources, provenance=provenance)
    if len(found.transients):
        write_table(folder / "transients.parquet", found.transients, provenance=provenance)
    replace_file(folder / "missed.json", (json.dumps(_plain(found), indent=1, allow_nan=False) + "\n").encode())
    return folder / "missed.html", found


def _plain(found: MissedReals) -> dict[str, Any]:
    """Everything but the tables as plain values; NaN becomes None."""

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "gueststar": __version__, "facts": dict(found.facts), "notes": list(found.notes),
        "steps": [
            {"origin": s.origin, "step": s.step, "lost": s.share.k, "of": s.share.n, "share": number(s.share.fraction),
             "interval": [number(v) for v in s.share.interval], "reasons": dict(s.reasons)}
            for s in found.steps
        ],
        "remedies": [{"name": r.name, "saves": r.n, "means": r.words} for r in found.remedies],
        "places": [
            {"name": c.name, "missed": [c.missed.k, c.missed.n], "found": [c.found.k, c.found.n],
             "difference": number(c.difference), "interval": [number(v) for v in c.interval], "by_frames": c.by_frames}
            for c in found.comparisons
        ],
        "score_thresholds": [{"value": r.value, "saved": r.saved, "junk": number(r.junk)} for r in found.score_rungs],
        "detection_thresholds": [
            {"value": r.value, "saved": r.saved, "noise_per_megapixel": number(r.junk)} for r in found.detection_rungs
        ],
    }  # fmt: skip
