"""An audit as files: the page, tables and facts."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gueststar import __version__
from gueststar.datasets.audit import AuditOptions, audit
from gueststar.datasets.audit_rows import AuditRows
from gueststar.errors import OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.audit.counts import Counted
from gueststar.realbogus.audit.decision import CAUSES, UNKNOWN, Proof
from gueststar.realbogus.audit.result import Audited, Section
from gueststar.report.audit_page import AuditPicture, audit_headline, audit_page
from gueststar.report.evaluation_pictures import triplet_uri

__all__ = ["FACTS", "PAGE", "WrittenAudit", "further_sections", "write_audit"]

PAGE, FACTS = "audit.html", "audit.json"
#: Modules that add a section to the page, when they are there: each has a function ``audit_section``.
SECTION_MODULES = ("gueststar.datasets.missed_section", "gueststar.datasets.drift_section")
_PIECE = 256
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class WrittenAudit:
    """What was written: the page, what was found, and the headline."""

    page: Path
    audited: Audited
    headline: str


def write_audit(
    sources: Sequence[str | Path],
    out: str | Path,
    options: AuditOptions | None = None,
    *,
    model: str | Path | None = None,
    scores: Path | None = None,
    truth: Sequence[Path] = (),
    known: Sequence[Path] = (),
    catalog: Path | None = None,
    stamps: int = 600,
    sections: Sequence[Section] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> WrittenAudit:
    """Audit runs or a data set, and write audit.html, audit.json and the folder ``tables``.

    Parameters
    ----------
    sources, options, model, scores, truth, known, catalog, progress
        As for `gueststar.datasets.audit.audit`; one more stage, 'pictures'.
    out : path
        Folder.
    stamps : int
        Most stamps on the page.
    sections : sequence of Section, optional
        Further sections of the page; None: those of `further_sections`.
    overwrite : bool
        Replace an audit that is there.

    Raises
    ------
    OutputError
        When an audit is there already or cannot be written.
    """
    folder = Path(out)
    if (folder / FACTS).exists() and not overwrite:
        raise OutputError(
            f"{folder} holds an audit already; choose another --out, or give --overwrite", path=str(folder)
        )
    options = options or AuditOptions()
    found, rows = audit(
        sources, options, model=model, scores=scores, truth=truth, known=known, catalog=catalog, progress=progress
    )
    more = further_sections(sources, truth=truth, known=known) if sections is None else sections
    found = replace(found, sections=tuple(more))
    pictures, left_out = _pictures(found, rows, stamps, progress)
    page = audit_page(found, pictures, left_out=left_out)
    for name, table in _tables(found, rows).items():
        replace_file(folder / "tables" / f"{name}.parquet", _parquet(table))
    replace_file(folder / FACTS, (json.dumps(_facts(found, options), indent=1, allow_nan=False) + "\n").encode())
    replace_file(folder / PAGE, page.encode())
    return WrittenAudit(folder / PAGE, found, audit_headline(found))


def further_sections(
    sources: Sequence[str | Path], *, truth: Sequence[Path] = (), known: Sequence[Path] = ()
) -> list[Section]:
    """Sections that other parts of the program add, see `SECTION_MODULES`; each may have nothing to say.

    Their function is called as ``audit_section(sources, truth=truth, known=known)`` and gives a Section or None.
    """
    found = []
    for name in SECTION_MODULES:
        if find_spec(name) is None:
            continue
        function = getattr(import_module(name), "audit_section", None)
        section = None if function is None else function([Path(source) for source in sources], truth=truth, known=known)
        if section is not None:
            found.append(section)
    return found


def _pictures(
    found: Audited, rows: AuditRows, most: int, progress: Progress | None
) -> tuple[list[list[AuditPicture]], list[int]]:
    """Stamps of the first files, until there are `most`; each file gets its share first."""
    files = found.files[: found.top]
    fair = max(most // max(len(files), 1), 1)
    counts = [min(len(file.rows), fair) for file in files]
    left = most - sum(counts)
    for i, file in enumerate(files):
        more = min(len(file.rows) - counts[i], max(left, 0))
        counts[i] += more
        left -= more
    chosen = [file.rows[:count] for file, count in zip(files, counts, strict=True)]
    every = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
    uris: list[str] = []
    for start in range(0, every.size, _PIECE):
        part = every[start : start + _PIECE]
        order = np.argsort(found.found.row[part], kind="stable")
        cube, _ = rows.source.stamps(found.found.row[part][order])
        made = dict(zip(part[order].tolist(), (triplet_uri(stamp) for stamp in cube), strict=True))
        uris += [made[row] for row in part.tolist()]
        if progress is not None:
            progress("pictures", len(uris), every.size)
    pictures, at = [], 0
    for mine in chosen:
        pictures.append(
            [AuditPicture(uri, row) for uri, row in zip(uris[at : at + len(mine)], mine.tolist(), strict=True)]
        )
        at += len(mine)
    return pictures, [len(file.rows) - len(mine) for file, mine in zip(files, chosen, strict=True)]


def _tables(found: Audited, rows: AuditRows) -> dict[str, pa.Table]:
    fp = found.found
    images = [rows.images[i] for i in fp.image.tolist()]
    columns: dict[str, Any] = {
        "row": fp.row, "candidate_id": fp.candidate_id.tolist(), "file": [i.name for i in images],
        "chip": [i.chip for i in images], "night": [i.night for i in images], "x": fp.x, "y": fp.y, "ra": fp.ra,
        "dec": fp.dec, "snr": fp.snr, "rb_score": fp.score, "cause": fp.decided.cause.tolist(),
        "confidence": fp.decided.confidence, "known": fp.known.tolist(), "bright_star": fp.star.tolist(),
    }  # fmt: skip
    columns |= {f"p_{cause}": fp.decided.odds[:, i] for i, cause in enumerate(CAUSES) if cause != UNKNOWN}
    columns |= {name: values for name, values in fp.numbers.items() if name not in columns}
    files = [
        {"rank": f.rank, "file": f.name, "chip": f.chip, "night": f.night, "candidates": f.counted.candidates,
         "false_positives": f.counted.false_positives, "share": f.counted.share, "cause": f.cause,
         "confidence": f.confidence, "proofs": json.dumps([_proof(p) for p in f.proofs]), "rejected": f.reason}
        for f in found.files
    ]  # fmt: skip
    names = ("rank", "file", "chip", "night", "candidates", "false_positives", "share", "cause", "confidence", "proofs",
             "rejected")  # fmt: skip
    return {
        "false_positives": pa.table(columns),
        "files": pa.table({name: [row[name] for row in files] for name in names}),
        "chips": _counts(found.chips, "chip"), "nights": _counts(found.nights, "night"),
    }  # fmt: skip


def _counts(items: Sequence[Counted], what: str) -> pa.Table:
    return pa.table({
        what: [item.name for item in items], "candidates": [item.candidates for item in items],
        "false_positives": [item.false_positives for item in items], "share": [item.share for item in items],
    })  # fmt: skip


def _facts(found: Audited, options: AuditOptions) -> Mapping[str, Any]:
    """Everything but single candidates, as plain values."""
    causes, counts = np.unique(found.found.decided.cause, return_counts=True)
    return {
        "format": "gueststar-audit", "gueststar": __version__, "headline": audit_headline(found), "source": found.name,
        "model": found.model, "threshold": _plain(round(found.threshold, 6)), "candidates": found.n,
        "reals": found.n_real, "called_real": found.n_called, "false_positives": found.n_false,
        "looked_at": len(found.found),
        "files": len(found.by_file), "files_with": len(found.files), "share_of_top": _plain(found.share_top),
        "share_by_chance": _plain(found.share_chance), "catalogue": found.catalogue, "warnings": list(found.warnings),
        "causes": dict(zip(causes.tolist(), counts.tolist(), strict=True)), "options": options.model_dump(mode="json"),
        "top": [
            {"rank": f.rank, "file": f.name, "chip": f.chip, "night": f.night, "candidates": f.counted.candidates,
             "false_positives": f.counted.false_positives, "share": f.counted.share, "cause": f.cause,
             "confidence": f.confidence, "causes": dict(f.causes), "proofs": [_proof(p) for p in f.proofs],
             "rejected": f.reason} for f in found.files[: found.top]
        ],
        "usual": {name: {"median": _plain(u.median), "scatter": _plain(u.scatter), "n": u.n}
                  for name, u in sorted(found.usual.items())},
    }  # fmt: skip


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "number": proof.column, "words": proof.words, "value": _plain(proof.value), "usual": _plain(proof.usual),
        "sigma": _plain(proof.z), "weight": _plain(proof.weight), "unit": proof.unit, "of": proof.per,
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
