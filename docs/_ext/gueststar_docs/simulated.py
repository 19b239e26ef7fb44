"""Tables of the simulator's measured figures, from the JSON files that its benchmarks write to ``docs/measured``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import heading, list_table

__all__ = ["simulated_night_page", "simulator_page"]

_HOW_TO_READ = """\
What the default chain finds on simulated nights of Tomo-e Gozen, by the cause that the truth tells, beside what the
survey of 2019 found on its own nights, by hand, with another subtraction and other thresholds.

The shipped network was trained on skies without satellites and on frames that were neither trailed nor out of focus
nor clouded in patches, and nothing rejects such frames yet. Where they are, they hold nearly all false positives; such
files led the list of 2019 too, and that is why the simulator has them. Frames with a grossly wrong WCS are not among
the worst: they are registered by their stars. "Star" is a star that neither changes nor saturates: an imperfect
subtraction. "Noise" is where nothing is; about 0.9 peaks above 5 sigma of each sign are expected on a chip of this size
at this seeing.
"""


def simulator_page() -> str:
    """Return the figures of ``benchmarks/simulator.py``."""
    report = read_measured("simulator.json")
    title = heading("Speed of the simulator")
    if report is None:
        return title + "\nNot measured yet: run ``python benchmarks/simulator.py``.\n"
    ny, nx = report["shape"]
    pairs = []
    for pair in report["pairs"]:
        wall = pair["wall_s_all"]
        pairs.append((f"{pair['stars_median']:,}", f"{pair['wall_s']:.2f}", f"{min(wall):.2f} to {max(wall):.2f}"))
    stars = [
        (f"{n:,}", f"{ours:.3f}", f"{theirs:.1f}", f"{theirs / ours:.0f}")
        for n, ours, theirs in (
            (row["stars"], row["painter_s"], row["galsim_s"]) for row in report["stars_of_one_frame"]
        )
        if theirs
    ]
    return "\n".join(
        (
            title,
            f"Chips of {nx} x {ny} px, one thread, medians over {report['pairs'][0]['seeds']} seeds; version",
            f"{report['version']}; {report['machine']}.\n",
            heading("A pair of frames and its truth, without writing them", "-"),
            list_table(("Stars on the chip", "Wall, s", "Smallest to largest"), pairs, widths=(40, 25, 35)),
            heading("Stars alone, one frame", "-"),
            list_table(("Stars", "Painter, s", "GalSim, s", "Ratio"), stars, widths=(25, 25, 25, 25)),
            _against_galsim(report["painter_against_galsim"]),
            _whole_night(report.get("night")),
        )
    )


def _against_galsim(error: dict[str, Any] | None) -> str:
    if not error:
        return ""
    return (
        f"\nLargest difference of a single star from GalSim, over {error['draws']} draws of FWHM (2.1 to 6.7 px),\n"
        f"Moffat exponent and ellipticity: {error['peak_percent']} % of the peak, {error['flux_percent']} % of the\n"
        "flux.\n"
    )


def _whole_night(night: dict[str, Any] | None) -> str:
    if not night:
        return ""
    return (
        f"\nA night of {night['frames']} frames (84 chips, six visits of one field) on {night['workers']} cores:\n"
        f"{night['wall_min']} minutes, {night['gigabytes']} GB; largest memory of a process\n"
        f"{night['peak_worker_mb']} MB.\n"
    )


def simulated_night_page() -> str:
    """Return the figures of ``benchmarks/simulated_night.py``."""
    report = read_measured("simulated_night.json")
    title = heading("Candidates of simulated nights")
    if report is None:
        return title + "\nNot measured yet: run ``python benchmarks/simulated_night.py``.\n"
    parts = [
        title,
        _HOW_TO_READ,
    ]
    for night in report["nights"]:
        parts += [heading(night["name"], "-"), _night(night, report["survey_2019"])]
    return "\n".join(parts)


def _night(night: dict[str, Any], survey: dict[str, Any]) -> str:
    spread = night["candidates_per_frame"]
    statuses = ", ".join(f"{n} {status}" for status, n in sorted(night["frames"].items()))
    intro = (
        f"{sum(night['frames'].values())} frames ({statuses}); {night['candidates']:,} candidates of both signs above\n"
        f"5 sigma, {spread['50']:.0f} a frame (10 to 90 % of them: {spread['10']:.0f} to {spread['90']:.0f}). The\n"
        f"survey of 2019 had about {survey['candidates']:,} a night on {survey['chips']} chips.\n"
    )
    real = night["causes"]["scored real"]
    rows = [
        (cause.replace("_", " "), f"{n:,}", f"{real.get(cause, 0):,}") for cause, n in night["causes"]["all"].items()
    ]
    causes = list_table(("Cause", "Candidates", "Scored real"), rows, widths=(40, 30, 30))
    by_hand = {"causes": survey["top20_causes"], "share": survey["top20_share"]}
    files = [
        _files("false positives of the network", night["top20_by_false_positives"]),
        _files("artifacts before the network", night["top20_by_artifacts"]),
        _files("survey of 2019: false positives", by_hand),
    ]
    top = list_table(("The 20 files with most", "Why", "Share of all"), files, widths=(35, 45, 20))
    return "\n".join((intro, causes, top))


def _files(words: str, top: dict[str, Any]) -> tuple[str, str, str]:
    causes = sorted(top["causes"].items(), key=lambda item: -item[1])
    return words, ", ".join(f"{n} {cause}" for cause, n in causes), f"{100 * top['share']:.0f} %"
