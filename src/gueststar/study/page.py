"""Files of a study: figures as JSON and Parquet, a picture, and one short page as HTML and as Markdown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gueststar import __version__
from gueststar.study.base import Study
from gueststar.study.files import write_bytes, write_json, write_table
from gueststar.study.material import Material
from gueststar.study.paired import FNR_AT, METRICS, Interval
from gueststar.study.results import Findings, Results, Table, percent

__all__ = ["write_study"]

_HEADER = ("arm", "rows", "steps", "AUC", "FPR at TPR 90 %", "FPR at TPR 98 %",
           "missed at FPR 1 %", "missed at FPR 0.1 %", "missed at FPR 0.02 %", "minutes")  # fmt: skip


def write_study(
    folder: Path,
    study: Study,
    material: Material,
    results: Results,
    findings: Findings,
    failures: Sequence[str] = (),
) -> None:
    """Write ``study.json``, ``results.parquet``, ``chips.parquet``, ``study.png``, ``study.html`` and ``study.md``."""
    write_table(folder / "results.parquet", results.rows(study.name))
    chips = results.chip_rows(study.name)
    if chips:
        write_table(folder / "chips.parquet", chips)
    picture = io.BytesIO()
    study.draw(results, findings).savefig(picture, format="png", metadata={"Software": None})
    write_bytes(folder / "study.png", picture.getvalue())
    facts = _facts(study, material, results, findings, failures)
    write_json(folder / "study.json", facts)
    first, rest = findings.tables[: findings.leading], findings.tables[findings.leading :]
    shown = {**facts, "tables": [*first, _arm_table(results), *rest], "seeds": results.seeds}
    write_bytes(folder / "study.md", _markdown(shown).encode())
    write_bytes(folder / "study.html", _html(shown, picture.getvalue()).encode())


def _facts(
    study: Study, material: Material, results: Results, findings: Findings, failures: Sequence[str]
) -> dict[str, Any]:
    measured = results.measured()
    arms = []
    for arm in results.arms:
        runs = results.of(arm)
        row: dict[str, Any] = {"arm": arm, "words": results.words[arm], "seeds": [run.seed for run in runs]}
        row |= {"n_train": results.mean_n_train(arm), "seconds": float(np.mean([run.seconds for run in runs]))}
        row |= {"steps": float(np.mean([run.steps for run in runs]))}
        arms.append({**row, "metrics": {name: measured.value(arm, name).as_dict() for name in METRICS}})
    parts = {name: int(rows.size) for name, rows in material.split.parts().items() if name != "test"}
    data = {"name": material.dataset.folder.name, "hash": material.dataset.content_hash(), "rows": parts}
    data["excluded"] = list(material.dataset.excluded)
    test: dict[str, Any] = {"name": material.test.folder.name, "hash": material.test_hash(), "n_real": results.n_real}
    test |= {"n_bogus": results.n_bogus, "images": int(results.image.max(initial=0)) + 1}
    test["images_by"] = material.images(study.image_column)[1]
    return {
        "format": "gueststar-study", "study": study.name, "title": study.title, "version": __version__,
        "data": data, "test": test, "conclusions": list(findings.sentences),
        "held_fixed": list(study.held_fixed(material)),
        "notes": [*findings.notes, *material.notes, *_notes(results, test)],
        "failures": list(failures), "arms": arms,
        "comparisons": [item.as_dict() for item in findings.comparisons],
        "tables": [_plain_table(table) for table in findings.tables], "facts": dict(findings.facts),
        "options": study.model_dump(mode="json"),
    }  # fmt: skip


def _plain_table(table: Table) -> dict[str, Any]:
    rows = [list(row) for row in table.rows]
    return {"title": table.title, "header": list(table.header), "rows": rows, "note": table.note}


def _notes(results: Results, test: dict[str, Any]) -> Iterator[str]:
    """What the sample is too small for, and how the intervals come about."""
    yield (
        f"Intervals of 95 %: {results.boots} drawings of {test['images']:,} images (told apart by {test['images_by']}) "
        f"and of {len(results.seeds)} seed{'s' if len(results.seeds) != 1 else ''}, the same for every arm."
    )
    if len(results.seeds) < 3:
        yield "With fewer than three seeds the spread between trainings is not in the intervals, or hardly."
    if test["images"] < 30:
        yield "There are few images: the intervals are rough."
    few = [rate for rate in FNR_AT if rate * test["n_bogus"] < 10]
    if few:
        rates = ", ".join(f"{100 * rate:g} %" for rate in few)
        yield f"{test['n_bogus']:,} artifacts are too few for FPR {rates}: fewer than ten of them set the threshold."
    measured = results.measured()
    scarce = [a for a in results.arms if measured.value(a, "fpr_at_tpr_0.98").value * test["n_bogus"] < 10]
    if scarce:
        yield f"Fewer than ten false positives at TPR 98 % in {', '.join(scarce)}: their ratios are unsure."
    failed = sorted({run.seed for run in results.runs} - set(results.seeds))
    if failed:
        yield f"Seeds {', '.join(map(str, failed))} are not finished for every arm and are left out of the means."


def _arm_table(results: Results) -> Table:
    measured = results.measured()
    rows = []
    for arm in results.arms:
        runs = results.of(arm)
        auc = measured.value(arm, "auc")
        row = [arm, f"{results.mean_n_train(arm):,.0f}", f"{np.mean([run.steps for run in runs]):,.0f}", _auc(auc)]
        row += [percent(measured.value(arm, name)) for name in METRICS[1:]]
        rows.append((*row, f"{np.mean([run.seconds for run in runs]) / 60:.1f}"))
    words = "Means over seeds, intervals of 95 %. " + "; ".join(f"{a}: {results.words[a]}" for a in results.arms) + "."
    return Table("Every arm", _HEADER, rows, words)


def _auc(item: Interval) -> str:
    return f"{item.value:.5f} ({item.low:.5f} to {item.high:.5f})"


def _markdown(facts: dict[str, Any]) -> str:
    lines = [f"# {facts['title']}", "", _origin(facts), "", *(f"- {text}" for text in facts["conclusions"]), ""]
    lines += ["![figure](study.png)", ""]
    for table in facts["tables"]:
        lines += [f"## {table.title}", "", "| " + " | ".join(table.header) + " |"]
        lines += ["|" + "---|" * len(table.header), *("| " + " | ".join(row) + " |" for row in table.rows), ""]
        lines += [table.note, ""] if table.note else []
    for title, key in (("Held fixed", "held_fixed"), ("Beware", "notes"), ("Runs that failed", "failures")):
        if facts[key]:
            lines += [f"## {title}", "", *(f"- {text}" for text in facts[key]), ""]
    return "\n".join(lines)


def _origin(facts: dict[str, Any]) -> str:
    data, test = facts["data"], facts["test"]
    return (
        f"Trained on {data['name']} ({data['rows']['train']:,} rows, {data['hash'][:12]}), tested on {test['name']}: "
        f"{test['n_real']:,} reals and {test['n_bogus']:,} artifacts of {test['images']:,} images; seeds "
        f"{', '.join(map(str, facts['seeds']))}; gueststar {facts['version']}."
    )


def _html(facts: dict[str, Any], picture: bytes) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("gueststar.study"), autoescape=True, trim_blocks=True)
    image = base64.b64encode(picture).decode()
    return environment.get_template("study.html.j2").render(facts, origin=_origin(facts), image=image)
