"""The page of an audit: one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.realbogus.audit.decision import CAUSE_WORDS, FAMILIES, Proof
from gueststar.realbogus.audit.result import Audited, AuditedFile
from gueststar.report.audit_charts import CAUSE_COLOURS, cause_map, causes_of_all, share_chart
from gueststar.report.evaluation_page import count, number, percent, signed

__all__ = ["AuditPicture", "audit_headline", "audit_page", "proof_words"]

_MOST_FILES = 1000  # rows of the table of files


@dataclass(frozen=True, slots=True)
class AuditPicture:
    """Stamp of one false positive: data URI (empty: none), and its row in `Audited.found`."""

    uri: str
    row: int


def audit_page(audited: Audited, pictures: Sequence[Sequence[AuditPicture]], *, left_out: Sequence[int]) -> str:
    """The page as text.

    Parameters
    ----------
    audited : Audited
    pictures : sequence of sequence of AuditPicture
        Stamps of each of the first files.
    left_out : sequence of int
        Stamps of each that did not fit into the page.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pct": percent, "num": number, "count": count, "signed": signed, "proof": proof_words}
    shown = audited.files[: audited.top]
    galleries = [
        {"file": file, "stamps": [_stamp(audited, item) for item in items], "left_out": left,
         "map": _map_of(audited, file)}
        for file, items, left in zip(shown, pictures, left_out, strict=True)
    ]  # fmt: skip
    return environment.get_template("audit.html.j2").render(
        version=__version__, a=audited, headline=audit_headline(audited), causes=causes_of_all(audited),
        words=CAUSE_WORDS, colours=CAUSE_COLOURS, remedies={item.name: item.remedy for item in FAMILIES},
        share=share_chart(audited.by_file, audited.top), galleries=galleries,
        chip_map=_chip_map(audited), isfinite=math.isfinite, files=audited.files[:_MOST_FILES],
        same_threshold=math.isfinite(audited.threshold), has_more=_has_more(audited),
    )  # fmt: skip


def audit_headline(audited: Audited) -> str:
    """What was found, in one sentence."""
    if audited.n == 0:
        n = len(audited.by_file)
        return f"No false positives: {'the file has' if n == 1 else f'all {n:,} files have'} no candidates at all."
    if audited.n_false == 0:
        called = "none was called real" if audited.n_called == 0 else f"all {audited.n_called:,} called real are real"
        return f"No false positives: of {audited.n:,} candidates {called}."
    causes = causes_of_all(audited)
    first = ", ".join(f"{cause.replace('_', ' ')} {k:,}" for cause, k, _ in causes[:3])
    n, files = audited.n_false, len(audited.by_file)
    top = f"; the first {audited.top} hold {percent(audited.share_top)} of them" if _has_more(audited) else ""
    return (
        f"{n:,} false positive{'s' if n > 1 else ''} in {len(audited.files):,} of {files:,} "
        f"file{'s' if files > 1 else ''}{top}. Causes: {first}."
    )


def _has_more(audited: Audited) -> bool:
    """Whether there are more files with false positives than are shown: else the first of them hold all."""
    return len(audited.files) > audited.top


def proof_words(proof: Proof) -> str:
    """A number that proves a cause, in words."""
    unit = f" {proof.unit}" if proof.unit else ""
    z = f", {proof.z:+.0f} sigma" if abs(proof.z) >= 10 else f", {proof.z:+.1f} sigma"
    usual = f" (usual {proof.usual:.3g}{z})" if math.isfinite(proof.usual) else ""
    return f"{proof.words} {proof.value:.3g}{unit}{usual}"


def _stamp(audited: Audited, item: AuditPicture) -> dict[str, Any]:
    found, i = audited.found, item.row
    cause = str(found.decided.cause[i])
    return {
        "uri": item.uri, "score": float(found.score[i]), "snr": float(found.snr[i]), "cause": cause,
        "confidence": float(found.decided.confidence[i]), "id": str(found.candidate_id[i]), "x": float(found.x[i]),
        "y": float(found.y[i]), "colour": CAUSE_COLOURS[cause], "known": str(found.known[i]),
        "star": str(found.star[i]) if cause == "bright_star" else "",
    }  # fmt: skip


def _map_of(audited: Audited, file: AuditedFile) -> str:
    if file.rows.size < 2:
        return ""
    return cause_map(audited.found, file.rows, title="On the chip", arrows=file.cause == "misalignment", size=260)


def _chip_map(audited: Audited) -> str:
    """All false positives on the chip; what gathers there belongs to the detector."""
    rows = np.arange(len(audited.found))
    return cause_map(audited.found, rows[:4000], title="All false positives, by their place on the chip", arrows=False,
                     size=460) if rows.size else ""  # fmt: skip
