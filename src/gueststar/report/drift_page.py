"""The page of a drift report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.realbogus.drift.result import Drift, DriftTest, ImageCounts, ImageName, Standout
from gueststar.report.evaluation_style import MODELS, STYLES, axes_of, figure_uri, finish, heat, png_of

__all__ = ["drift_page", "drift_sentences", "group_words", "place_of", "standout_sentences"]

_MOST_NIGHTS, _MOST_CHIPS, _MOST_ROWS, _MOST_CURVES, _MOST_GROUPS, _MOST_IMAGES = 60, 90, 500, 6, 4, 5
_MOST_STRANGE = 100
_FULL = 0.5  # PSI beyond chance at which the heat map is darkest


def group_words(night: str, chip: str) -> str:
    """A group in words; empty is all."""
    if night and chip:
        return f"chip {chip} in night {night}"
    return f"night {night}" if night else f"chip {chip}" if chip else "everything together"


def place_of(drift: Drift) -> dict[tuple[str, str], list[DriftTest]]:
    """Drifting tests of each group, the worst group and the worst column first."""
    found: dict[tuple[str, str], list[DriftTest]] = {}
    for test in drift.drifting:
        found.setdefault((test.night, test.chip), []).append(test)
    return found


def drift_sentences(drift: Drift) -> list[str]:
    """One warning in plain words for each night, chip and chip of a night that has left the reference."""
    return [_sentence(tests) for tests in place_of(drift).values()]


def _sentence(tests: Sequence[DriftTest]) -> str:
    worst = tests[0]
    columns = ", ".join(f"{test.column} (PSI {test.psi:.2f}, by chance {test.psi_chance:.2f})" for test in tests[:3])
    more = f" and {len(tests) - 3} more columns" if len(tests) > 3 else ""
    return f"{group_words(worst.night, worst.chip)} has left the reference in {columns}{more}; {blame(worst)}"


def blame(test: DriftTest) -> str:
    """Which images are the cause, in words."""
    names = ", ".join(cause.image.name for cause in test.causes[: min(test.guilty, 3)])
    if test.images == 1:
        return f"its one image is {names}"
    if 2 * test.guilty > test.images:
        return f"most of its {test.images} images have moved, the farthest {names}"
    return f"because of {test.guilty} of its {test.images} images: {names}{', ...' if test.guilty > 3 else ''}"


def standouts_of(drift: Drift) -> list[list[Standout]]:
    """Strange columns of each image that stands out, the strangest image and column first."""
    found: dict[ImageName, list[Standout]] = {}
    for item in drift.standouts:
        found.setdefault(item.image, []).append(item)
    return list(found.values())


def standout_sentences(drift: Drift) -> list[str]:
    """One warning in plain words for each image that is strange by itself."""
    made = []
    for items in standouts_of(drift):
        image = items[0].image
        columns = ", ".join(
            f"{item.column} {item.median:.4g} (images of the reference {item.low:.4g} to {item.high:.4g})"
            for item in items[:3]
        )
        more = f" and {len(items) - 3} more columns" if len(items) > 3 else ""
        place = group_words(image.night, image.chip)
        made.append(f"image {image.name} ({place}) is unlike every image of the reference: {columns}{more}")
    return made


def drift_page(drift: Drift, data: ImageCounts, reference: ImageCounts, facts: Mapping[str, Any]) -> str:
    """The page as text.

    Parameters
    ----------
    drift : Drift
    data, reference : ImageCounts
        In the same bins.
    facts : mapping
        Of data, reference and options, as drift.json has them.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["num"] = _number
    places = place_of(drift)
    order = sorted(drift.tests, key=lambda test: (not test.drift, -_excess(test)))
    tested = [test for test in drift.tests if not test.reason]
    values = {
        "version": __version__, "facts": facts, "drift": drift, "places": list(places.values()), "words": group_words,
        "blame": blame, "strange": standouts_of(drift), "rows": order[:_MOST_ROWS], "n_rows": len(order),
        "n_tested": len(tested),
        "n_certain": sum(test.certain for test in tested), "map": _heat_map(drift),
        "figures": _figures(drift, data, reference), "most_groups": 40, "most_strange": _MOST_STRANGE,
        "most_images": _MOST_IMAGES,
        "columns": [column.name for column in data.columns],
        "scale": [heat(1.0 - i / 9)[0] for i in range(10)], "full": _FULL,
    }  # fmt: skip
    return environment.get_template("drift.html.j2").render(values)


def _excess(test: DriftTest) -> float:
    value = test.psi - test.psi_chance
    return value if math.isfinite(value) else -math.inf


def _number(value: float, digits: int = 2) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10.0**-digits else f"{value:.1e}"


def _heat_map(drift: Drift) -> dict[str, Any]:
    """Cells night x chip with sums at the rim: the largest PSI beyond chance of any column."""
    worst: dict[tuple[str, str], DriftTest] = {}
    for test in drift.tests:
        key = test.night, test.chip
        if key not in worst or (test.drift, _excess(test)) > (worst[key].drift, _excess(worst[key])):
            worst[key] = test

    def chosen(number: int, most: int) -> tuple[list[str], int]:
        names: dict[str, tuple[bool, float]] = {}
        for key, test in worst.items():
            if key[number]:
                names[key[number]] = max(names.get(key[number], (False, -math.inf)), (test.drift, _excess(test)))
        kept = sorted(names, key=lambda name: names[name], reverse=True)[:most]
        return sorted(kept), len(names)

    nights, n_nights = chosen(0, _MOST_NIGHTS)
    chips, n_chips = chosen(1, _MOST_CHIPS)
    kept = [chip for chip in chips if any((night, chip) in worst for night in nights) or ("", chip) in worst]
    rows = [
        {
            "night": night or "all nights",
            "cells": [_cell(worst.get((night, chip)), night, chip) for chip in (*kept, "")],
        }
        for night in (*nights, "")
    ]
    return {"chips": [*kept, "all chips"], "rows": rows, "n_nights": n_nights, "n_chips": n_chips,
            "shown": len(nights), "shown_chips": len(kept)}  # fmt: skip


def _cell(test: DriftTest | None, night: str, chip: str) -> dict[str, str]:
    if test is None:
        return {"text": "", "style": "", "title": "no test of its own", "kind": "none"}
    if test.reason:
        return {
            "text": "?",
            "style": "",
            "title": f"{group_words(night, chip)}: unknown: {test.reason}",
            "kind": "none",
        }
    ground, ink = heat(1.0 - min(max(_excess(test), 0.0) / _FULL, 1.0))
    title = (
        f"{group_words(night, chip)}: {test.column}, PSI {test.psi:.3f}, by chance {test.psi_chance:.3f}, distance "
        f"{test.ks:.3f}, p {test.p:.2g}, q {test.q:.2g}, {test.images} images, {test.rows} rows"
    )
    return {
        "text": f"{max(_excess(test), 0.0):.2f}", "style": f"background:{ground};color:{ink}", "title": title,
        "kind": "drift" if test.drift else "calm",
    }  # fmt: skip


def _figures(drift: Drift, data: ImageCounts, reference: ImageCounts) -> list[tuple[str, str]]:
    """Cumulative distributions of the worst columns as data URIs, with the name of each column."""
    ranked = sorted(drift.tests, key=lambda test: (test.drift, _excess(test)), reverse=True)
    columns = list(dict.fromkeys(test.column for test in ranked if not test.reason))[:_MOST_CURVES]
    made = []
    for column in columns:
        number = [item.name for item in data.columns].index(column)
        mine = [test for test in ranked if test.column == column and not test.reason]
        shown = [test for test in mine if test.drift][:_MOST_GROUPS] or mine[:1]
        made.append((column, figure_uri(_curve(number, shown, data, reference))))
    return made


def _curve(number: int, shown: Sequence[DriftTest], data: ImageCounts, reference: ImageCounts) -> bytes:
    bins = data.columns[number]
    figure, (axes,) = axes_of(width=6.4, height=4.0)

    def cumulative(counts: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(counts[:-1])[:-1] / max(counts[:-1].sum(), 1))

    total = reference.of(number).sum(axis=0)
    axes.plot(
        bins.edges, cumulative(total), color="#1c2128", lw=2.4, label=f"reference, {len(reference.images)} images"
    )
    for i, test in enumerate(shown):
        members = [
            k for k, image in enumerate(data.images)
            if test.night in ("", image.night) and test.chip in ("", image.chip)
        ]  # fmt: skip
        counts = data.of(number)[members].sum(axis=0)
        missing = counts[-1] / max(counts.sum(), 1)
        note = f", {100 * missing:.0f} % missing" if missing > 0.005 else ""
        # A curve that lies on the frame would be looked for in vain.
        ends = {"below": counts[0], "above": counts[-2]}
        for side, rows in ends.items():
            share = rows / max(counts[:-1].sum(), 1)
            note += f", {100 * share:.0f} % {side} all that is drawn" if share > 0.2 else ""
        label = f"{group_words(test.night, test.chip)}{note}{'' if test.drift else ' (no drift)'}"
        axes.plot(bins.edges, cumulative(counts), color=MODELS[i], ls=STYLES[i], lw=1.8, label=label)
    axes.set_ylim(0, 1)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    middle = float(np.median(np.abs(bins.edges)))
    if max(abs(low), abs(high)) > 30 * max(middle, 1e-9):
        axes.set_xscale("symlog", linthresh=max(middle, 1e-3))
    finish(axes, bins.name, "share of the candidates below", title=bins.name, legend="lower right")
    return png_of(figure)
