"""The page of an evaluation: one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gueststar import __version__
from gueststar.realbogus.evaluate import Rate
from gueststar.realbogus.evaluation.causes import CAUSE_WORDS
from gueststar.realbogus.evaluation.chips import QUADRANTS, chip_name, quadrant_chips
from gueststar.realbogus.evaluation.compare import METRICS
from gueststar.realbogus.evaluation.drawn_images import AT_THRESHOLD
from gueststar.realbogus.evaluation.label_sets import seen_auc
from gueststar.realbogus.evaluation.strata import BINNED, Stratum
from gueststar.realbogus.evaluation.studies import STUDY_METRICS, StudyTable
from gueststar.report.evaluation_inputs import Chain
from gueststar.report.evaluation_models import Contender
from gueststar.report.evaluation_pictures import FileGallery, StampPicture
from gueststar.report.evaluation_results import CLASSES, EvaluateOptions, ModelResults, Results
from gueststar.report.evaluation_sample import EvaluatedRows
from gueststar.report.evaluation_style import heat

__all__ = ["PageParts", "evaluation_page", "headline"]


@dataclass(frozen=True, slots=True, eq=False)
class PageParts:
    """What a page is made from.

    Parameters
    ----------
    results : Results
    chosen : EvaluatedRows
    contenders : sequence of Contender
    options : EvaluateOptions
    warnings : sequence of str
    time_note : str
    figures : mapping of str to str
        Names to data URIs.
    files : sequence of FileGallery
    misses : sequence of StampPicture
    studies : sequence of StudyTable
    chain : Chain or None
    """

    results: Results
    chosen: EvaluatedRows
    contenders: Sequence[Contender]
    options: EvaluateOptions
    warnings: Sequence[str]
    time_note: str
    figures: Mapping[str, str]
    files: Sequence[FileGallery]
    misses: Sequence[StampPicture]
    studies: Sequence[StudyTable]
    chain: Chain | None


def evaluation_page(parts: PageParts) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "pct": percent, "span": span, "num": number, "count": count, "upper": upper_of, "signed": signed,
    }  # fmt: skip
    results, chosen = parts.results, parts.chosen
    model = results.models[0]
    facts = {
        "version": __version__, "name": chosen.data.folder.name, "p": parts, "r": results, "model": model,
        "night": parts.options.night, "n_real": int(chosen.real.sum()), "n_bogus": int((~chosen.real).sum()),
        "headline": headline(parts.results, parts.options), "cards": _cards(parts), "words_of_column": words_of_column,
        "grids": _chip_grids(model), "chip_words": _chip_words(model), "metrics": METRICS, "at_threshold": AT_THRESHOLD,
        "study_metrics": STUDY_METRICS,
        "cause_words": CAUSE_WORDS, "seen": seen_auc, "provenance": _provenance(parts), "isfinite": math.isfinite,
        "chain_limits": _chain_limits(parts.chain), "n_images": len(set(chosen.image.tolist())),
        "chip_name": chip_name, "compared": _compared(results),
    }  # fmt: skip
    return environment.get_template("evaluation.html.j2").render(facts)


def headline(results: Results, options: EvaluateOptions) -> str:
    """The one sentence of an evaluation."""
    model, night = results.models[0], options.night
    if model.curve is None:
        at = model.at_threshold
        if at.tpr.trials:
            return f"At its threshold {model.threshold_text} {model.name} keeps {percent(at.tpr)} of the reals."
        return (
            f"At its threshold {model.threshold_text} {count(round(night.artifacts * at.fpr.value))} of "
            f"{night.artifacts:,} artifacts a night pass {model.name}."
        )
    item = model.point("TPR 0.98")
    low, high = item.low, item.high
    if results.replicas is not None:
        bounds = results.replicas.interval(0, "fpr_at_tpr_0.98")
        low, high = (night.artifacts * bound for bound in bounds)
    few = "" if item.point.fpr.hits else f": none of the {item.point.fpr.trials:,} artifacts here did"
    return (
        f"Of {night.artifacts:,} artifacts a night {count(round(item.false_positives))} pass at 98 % completeness "
        f"({count(math.floor(low))} to {count(math.ceil(max(high, item.high if few else high)))}){few}."
    )


def _cards(parts: PageParts) -> list[dict[str, str]]:
    results, model, night = parts.results, parts.results.models[0], parts.options.night
    at = model.at_threshold
    cards = []
    if model.curve is not None:
        cards.append(_card(f"{model.auc:.5f}", "area under the ROC curve",
                           f"{_area_span(results)}; |S/N| alone {number(results.auc_snr, 3)}"))  # fmt: skip
        point = model.point("TPR 0.98")
        cards.append(_card(percent(point.point.fpr), "false positives at TPR 98 %",
                           f"{count(round(point.false_positives))} of {night.artifacts:,} a night; the founding slides "
                           "had 2.1 %"))  # fmt: skip
        low = model.point("FPR 0.001").point
        missed = percent(1.0 - low.tpr.value) if low.resolved else "not resolved"
        cards.append(_card(missed, "reals missed at FPR 1e-3",
                           _missed_span(results, low.tpr) if low.resolved else
                           f"{low.fpr.trials:,} artifacts; 10,000 are needed"))  # fmt: skip
    complete = f"{percent(at.tpr)} complete" if at.tpr.trials else "–"
    passing = f"{percent(at.fpr)} of artifacts pass" if at.fpr.trials else "no artifacts"
    cards.append(_card(f"{model.threshold_text}", "common threshold", f"{complete}; {passing}"))
    if model.calibration is not None and model.balanced is not None:
        cards.append(_card(f"{model.calibration.ece:.4f}", "calibration error (ECE)",
                           f"{model.balanced.ece:.4f} with classes of equal weight"))  # fmt: skip
    summary = model.chip_summary
    if summary is not None and math.isfinite(summary.worst_tpr) and len(model.chips) > 1:
        cards.append(_card(percent(summary.worst_tpr), f"completeness of the worst chip, {summary.worst}",
                           f"median {percent(summary.median_tpr)}"))  # fmt: skip
    return cards


def _area_span(results: Results) -> str:
    """The interval of the first model's area, by drawing images where they can be drawn."""
    if results.replicas is None:
        return f"± {results.models[0].auc_err:.5f}, rows counted as independent"
    low, high = results.replicas.interval(0, "auc")
    return f"{number(low, 5)} – {number(high, 5)} by drawing images"


def _missed_span(results: Results, kept: Rate) -> str:
    """The interval of what the first model misses at FPR 1e-3, by drawing images where they can be drawn."""
    if results.replicas is None:
        return f"{span(kept, miss=True)}, rows counted as independent"
    low, high = results.replicas.interval(0, "fnr_at_fpr_0.001")
    return f"{percent(low)[:-2]} – {percent(high)} by drawing images"


def _card(value: str, words: str, small: str) -> dict[str, str]:
    return {"value": value, "words": words, "small": small}


def words_of_column(name: str) -> str:
    """What a column says, in words."""
    return BINNED[name][0] if name in BINNED else CLASSES.get(name, name)


def _compared(results: Results) -> list[dict[str, Any]]:
    """One row for each model, with intervals from drawing whole images."""
    rows = []
    for i, model in enumerate(results.models):
        row: dict[str, Any] = {"model": model, "cells": []}
        if results.replicas is not None:
            for metric in METRICS:
                row["cells"].append((metric, results.replicas.value(i, metric), *results.replicas.interval(i, metric)))
        for name, drawn in results.drawn_threshold[i].items() if results.drawn_threshold else ():
            row["cells"].append((name, drawn.value, drawn.low, drawn.high))
        rows.append(row)
    return rows


def _chip_grids(model: ModelResults) -> list[dict[str, Any]]:
    """Two pictures of the camera: AUC, and false positives at the completeness asked for."""
    summary = model.chip_summary
    if summary is None or not summary.camera:
        return []
    known = {chip_name(chip.name): chip for chip in model.chips}
    return [
        _grid("AUC", known, summary.quadrant_auc, summary.mean_auc, "auc"),
        _grid("False positives at TPR 98 % of each chip, %", known, summary.quadrant_fpr, summary.mean_fpr, "fpr"),
    ]


def _grid(
    title: str, known: Mapping[str, Stratum], means: Mapping[str, float], mean: float, which: str
) -> dict[str, Any]:
    values = {
        name: chip.auc if which == "auc" else chip.fpr_own.value
        for name, chip in known.items()
        if math.isfinite(chip.auc)
    }
    # The colours leave out the twentieth that is worst, so that one chip does not make all others alike.
    ordered = sorted(values.values(), reverse=which == "fpr") or [0.0, 1.0]
    low, high = sorted((ordered[len(ordered) // 20], ordered[-1]))
    quadrants = []
    for quadrant in QUADRANTS:
        rows = [[_cell(name, known.get(name), values, (low, high), which) for name in row]
                for row in quadrant_chips(quadrant)]  # fmt: skip
        quadrants.append(
            {"name": quadrant, "mean": _shown(means.get(quadrant, math.nan), which, digits=6), "rows": rows}
        )
    return {"title": title, "mean": _shown(mean, which, digits=6), "quadrants": quadrants,
            "low": _shown(low, which), "high": _shown(high, which), "better": "more" if which == "auc" else "fewer",
            "colours": [heat(i / 9)[0] for i in (range(10) if which == "auc" else range(9, -1, -1))]}  # fmt: skip


def _cell(
    name: str, chip: Stratum | None, values: Mapping[str, float], limits: tuple[float, float], which: str
) -> dict[str, str]:
    if name not in values or chip is None:
        there = f"{chip.n_real} reals, {chip.n_bogus} artifacts" if chip is not None else "no rows"
        return {"name": name, "text": "", "style": "", "title": f"{name}: {there}"}
    low, high = limits
    share = (values[name] - low) / (high - low) if high > low else 1.0
    ground, ink = heat(share if which == "auc" else 1.0 - share)
    title = (
        f"{name}: AUC {chip.auc:.5f} ± {number(chip.auc_err, 5)}; {chip.n_real} reals, {chip.n_bogus} artifacts; FPR "
        f"at TPR 98 % {percent(chip.fpr_own)} ({span(chip.fpr_own)}); at the common threshold TPR {percent(chip.tpr)}"
    )
    return {
        "name": name,
        "text": _shown(values[name], which),
        "style": f"background:{ground};color:{ink}",
        "title": title,
    }


def _shown(value: float, which: str, *, digits: int = 3) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" if which == "auc" else f"{100 * value:.2f}"


def _chip_words(model: ModelResults) -> str:
    summary = model.chip_summary
    if summary is None or not math.isfinite(summary.worst_tpr):
        return ""
    words = (
        f"At the common threshold the worst chip, {summary.worst}, keeps {percent(summary.worst_tpr)} of its reals, "
        f"the median {percent(summary.median_tpr)}: {100 * (summary.median_tpr - summary.worst_tpr):.1f} points apart."
    )
    if math.isfinite(summary.p_alike):
        verdict = "so the chips differ" if summary.p_alike < 0.01 else "which chance alone explains"
        words += f" If all were alike, they would scatter as much with a chance of {summary.p_alike:.2g}, {verdict}."
    return words


def _chain_limits(chain: Chain | None) -> list[dict[str, Any]]:
    """Limits of all sources of each origin, one row for each axis."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for item in chain.limits if chain is not None else ():
        if item.get("class") == "all" and item.get("axis") in ("snr", "snr_difference", "mag"):
            key = str(item.get("origin")), str(item.get("axis"))
            row = rows.setdefault(key, {"origin": key[0], "axis": key[1], "n": item.get("n"), "cells": {}})
            row["cells"][f"{item.get('series')} {round(100 * float(item.get('level') or 0))}"] = item
    return list(rows.values())


def _provenance(parts: PageParts) -> list[tuple[str, str]]:
    chosen = parts.chosen
    rows = [
        ("data set", f"{chosen.data.folder.name}, hash {chosen.data.content_hash()}"),
        (
            "part",
            f"{chosen.part}: {len(chosen):,} rows; {chosen.neither:,} that are neither real nor artifact left out",
        ),
        ("images", f"told apart by the column {chosen.group_by}"),
        ("excluded", ", ".join(chosen.data.excluded) or "nothing"),
    ]
    for contender in parts.contenders:
        facts = "; ".join(f"{key}: {value}" for key, value in contender.facts.items() if value)
        rows.append((contender.name, f"{contender.origin}; {facts}"))
    options = ", ".join(
        f"{key} {value}" for key, value in parts.options.model_dump().items() if value not in (None, "")
    )
    return [*rows, ("options", options), ("gueststar", __version__)]


def percent(value: Rate | float) -> str:
    """A share in per cent with three significant digits, at most two behind the point from 1 % on."""
    share = 100.0 * (value.value if isinstance(value, Rate) else value)
    if not math.isfinite(share):
        return "–"
    if share == 0 or share >= 1:
        return f"{share:.2f} %" if share else "0 %"
    return f"{share:.{min(2 - math.floor(math.log10(share)), 6)}f} %"


def span(value: Rate, *, miss: bool = False) -> str:
    """Its interval in per cent; of what is missed, when asked."""
    if not value.trials:
        return "–"
    low, high = (1.0 - value.high, 1.0 - value.low) if miss else (value.low, value.high)
    return f"{percent(low)[:-2]} – {percent(high)}"


def upper_of(value: Rate) -> str:
    """A share, or the upper end of its interval where there was no hit."""
    return percent(value) if value.hits or not value.trials else f"< {percent(value.high)}"


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits; a dash for no number."""
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "–"


def signed(value: float, digits: int = 3) -> str:
    """Fixed digits with the sign."""
    return f"{value:+.{digits}f}" if math.isfinite(value) else "–"


def count(value: float) -> str:
    """A number with separators; a dash for no number."""
    return f"{value:,.0f}" if math.isfinite(value) else "–"
