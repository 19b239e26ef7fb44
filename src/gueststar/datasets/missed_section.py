"""The missed reals of a run as a section of the page of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gueststar.datasets.missed import read_missed
from gueststar.realbogus.audit.result import Section
from gueststar.report.collect import read_run
from gueststar.report.missed_section import missed_section

__all__ = ["audit_section"]


def audit_section(
    sources: Sequence[Path], *, truth: Sequence[Path] = (), known: Sequence[Path] = (), most: int = 6
) -> Section | None:
    """The section about the missed reals of the run that is audited; None where nothing is known to look for.

    That is so of data sets, of several runs at once, and of runs without artificial reals or the truth of their night.

    Parameters
    ----------
    sources : sequence of Path
        Runs or data sets.
    truth : sequence of Path
        Of simulated nights.
    known : sequence of Path
        Catalogues of an audit tell what a candidate is, not that it is dropped: no real is lost by them here.
    most : int
        Pictures for each reason.

    Raises
    ------
    InputError
        When the run or the truth cannot be read.
    """
    if len(sources) != 1 or not (sources[0] / "run.json").is_file() or len(truth) > 1:
        return None
    injected = int(read_run(sources[0]).get("config", {}).get("night", {}).get("inject", 0))
    if not injected and not truth:
        return None
    missed = read_missed(sources[0], truth=truth[0] if truth else None)
    return Section("missed-reals", "Missed reals", _lower(missed_section(sources[0], missed, most=most)))


def _lower(html: str) -> str:
    """Headings one level lower, below that of the section."""
    for old, new in ((3, 4), (2, 3)):
        html = html.replace(f"<h{old}", f"<h{new}").replace(f"</h{old}>", f"</h{new}>")
    return html
