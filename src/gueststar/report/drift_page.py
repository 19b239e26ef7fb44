"""The page of a drift report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gueststar import __version__
from gueststar.realbogus.drift.result import Drift, DriftTest, ImageCounts, ImageName, Standout
from gueststar.report.drift_charts import drift_curves, group_words, image_strips
from gueststar.report.evaluation_style import heat

__all__ = ["drift_page", "drift_sentences", "standout_sentences"]

_MOST_NIGHTS, _MOST_CHIPS, _MOST_ROWS, _MOST_PLACES, _MOST_IMAGES, _MOST_STRANGE = 60, 90, 500, 40, 3, 100
_FULL = 0.5  # PSI beyond chance at which the heat map is darkest


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
        "figures": drift_curves(drift, data, reference),
        "strips": image_strips(drift, data, reference, image_rows=facts["options"]["image_rows"]),
        "most_groups": _MOST_PLACES, "most_strange": _MOST_STRANGE,
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
    """Cells night x chip, with sums at the rim, the longer side downwards: the test of each that is farthest out."""
    worst: dict[tuple[str, str], DriftTest] = {}
    for test in drift.tests:
        key = test.night, test.chip
        if key not in worst or _rank(test) > _rank(worst[key]):
            worst[key] = test
    sides, untold, hidden = [], 0, 0
    for number, most in ((0, _MOST_NIGHTS), (1, _MOST_CHIPS)):
        names: dict[str, DriftTest] = {}
        for key, test in worst.items():
            if key[number] not in names or _rank(test) > _rank(names[key[number]]):
                names[key[number]] = test
        rim = [""] if names.pop("", None) else []
        told = [name for name in names if not names[name].reason]
        kept = sorted(sorted(told, key=lambda name: _rank(names[name]), reverse=True)[:most])
        untold, hidden = untold + len(names) - len(told), hidden + len(told) - len(kept)
        sides.append([*kept, *rim])
    nights, chips = sides
    turned = len(chips) > len(nights)
    rows, heads = (chips, nights) if turned else (nights, chips)
    places = [[(head, row) if turned else (row, head) for head in heads] for row in rows]
    words = ("all nights", "all chips") if turned else ("all chips", "all nights")
    return {
        "heads": [head or words[0] for head in heads],
        "rows": [{"name": row or words[1], "cells": [_cell(worst.get(place), *place) for place in line]}
                 for row, line in zip(rows, places, strict=True)],
        "untold": untold, "hidden": hidden,
    }  # fmt: skip


def _rank(test: DriftTest) -> tuple[bool, bool, float, float]:
    """How far out a test is; what is not certain by its p value, for a large PSI alone says nothing."""
    if test.certain:
        return test.drift, True, _excess(test), 0.0
    return False, False, -2.0 if test.reason else -test.p, _excess(test)


def _cell(test: DriftTest | None, night: str, chip: str) -> dict[str, str]:
    if test is None:
        return {"text": "", "style": "", "title": "no test of its own", "kind": "none"}
    place = group_words(night, chip)
    if test.reason:
        return {"text": "?", "style": "", "title": f"{place}: unknown: {test.reason}", "kind": "none"}
    title = (
        f"{place}: {test.column}, PSI {test.psi:.3f}, by chance {test.psi_chance:.3f}, distance {test.ks:.3f}, "
        f"p {test.p:.2g}, q {test.q:.2g}, {test.images} images, {test.rows} rows"
    )
    if not test.certain:
        return {"text": "·", "style": "", "title": title, "kind": "calm"}
    ground, ink = heat(1.0 - min(max(_excess(test), 0.0) / _FULL, 1.0))
    return {
        "text": f"{max(_excess(test), 0.0):.2f}", "style": f"background:{ground};color:{ink}", "title": title,
        "kind": "drift" if test.drift else "calm",
    }  # fmt: skip
