"""What the commands print about sets of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from gueststar.realbogus.chips.model_set import ChipEntry, ModelSet

__all__ = ["chip_table", "set_lines"]


def set_lines(models: ModelSet) -> Iterator[str]:
    """Say in sentences what a set is."""
    own = [entry for entry in models.chips.values() if entry.own is not None]
    yield f"{models.name} {models.version}: a set of models, {len(own)} of {len(models.chips)} chips have their own"
    yield f"made by gueststar {models.code_version}; fallback: {models.fallback_from}"
    pairs = [(e.auc, e.fallback_auc) for e in own if e.auc is not None and e.fallback_auc is not None]
    if pairs:
        means = [sum(values) / len(pairs) for values in zip(*pairs, strict=True)]
        better = sum(a > b for a, b in pairs)
        worst = min(pairs)
        yield (
            f"mean AUC over {len(pairs)} chips {means[0]:.4f} by their own models, {means[1]:.4f} by the fallback, "
            f"which {better} beat; worst chip {worst[0]:.4f}"
        )


def chip_table(models: ModelSet) -> Table:
    """One row for each chip: rows, quality, and which model serves it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("chip", "reals", "artifacts", "test", "AUC own", "AUC fallback", "model"):
        table.add_column(name, justify="left" if name in ("chip", "model") else "right")
    for chip, entry in models.chips.items():
        train, test = _counts(entry, "train"), _counts(entry, "test")
        served = "own" if entry.own is not None else f"fallback: {entry.reason}"
        table.add_row(
            chip, str(train[0]), str(train[1]), f"{test[0]} + {test[1]}", _auc(entry.auc), _auc(entry.fallback_auc),
            served,
        )  # fmt: skip
    return table


def _counts(entry: ChipEntry, part: str) -> tuple[int, int]:
    counts = entry.rows.get(part)
    return (0, 0) if counts is None else (counts.real, counts.artifact)


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
