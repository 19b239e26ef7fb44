"""What the commands print about the cards of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gueststar.cli.common import output

if TYPE_CHECKING:
    from rich.table import Table

    from gueststar.realbogus.card import Card

__all__ = ["card_lines", "measured_table", "print_card", "quality", "rate_text"]

_STOPPED = {"patience": "no better pass came within train.patience", "epochs": "all passes were made"}


def print_card(card: Card, out: Path) -> None:
    """Print what a training made, and where it is."""
    lines = [
        f"Model {card.name} {card.version} in {out}, {card.parameters} parameters",
        f"threshold {card.threshold:.3f}: {card.threshold_meaning}",
        *_trained(card.training),
    ]
    for line in lines:
        output().print(line, markup=False, soft_wrap=True)
    output().print(measured_table(card))
    output().print(
        f"All figures are in {out / 'card.json'}; the curves are {out / 'roc.png'} and {out / 'training.png'}",
        markup=False,
        soft_wrap=True,
    )
    output().print(f"Use it with --set classify.model={out}", markup=False, soft_wrap=True)


def _trained(training: Mapping[str, Any]) -> list[str]:
    """How the training went, in words."""
    if not training.get("history"):
        return []
    made, best, stopped = len(training["history"]), training["best_epoch"] + 1, training.get("stopped", "")
    lines = [f"trained for {made} passes, the best is number {best}; stopped: {_STOPPED.get(stopped, stopped)}"]
    if training.get("pieces_of_a_step", 1) > 1:
        lines.append(f"steps were taken in {training['pieces_of_a_step']} pieces for want of memory")
    return lines


def measured_table(card: Card) -> Table:
    """What was measured, one row for each test set."""
    from rich.table import Table

    table = Table(title="Measured on parts that were not trained on", title_justify="left", box=None)
    for name in ("set", "reals", "artifacts", "AUC", "false positives at TPR 90 %", "at TPR 98 %"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for part in _measured(card):
        points = {point["name"]: point["fpr"] for point in part["points"]}
        rates = [rate_text(points[name]) if name in points else "-" for name in ("TPR 0.9", "TPR 0.98")]
        auc = f"{part['auc']:.4f} ± {part['auc_err']:.4f}"
        table.add_row(str(part["name"]), str(part["n_real"]), str(part["n_bogus"]), auc, *rates)
    return table


def card_lines(card: Card, size: int) -> Iterator[str]:
    """Everything that a card says, line by line; `size` is that of the weights in bytes."""
    yield f"{card.name} {card.version}: {card.parameters} parameters, {size} bytes, SHA-256 {card.weights_hash}"
    network = card.training.get("options", {}).get("network", "gueststar")
    if network != "gueststar":
        yield f"network {network}, to compare with"
    yield f"made by gueststar {card.code_version}; licence {card.licence}"
    yield f"takes {', '.join(card.channels)}, {card.stamp_size} x {card.stamp_size} px; {card.normalisation}"
    yield f"measured numbers: {', '.join(item.name for item in card.scalars) or 'none'}"
    if card.chips:
        yield f"told the chip: {', '.join(card.chips)}; any other one is unknown to it"
    if card.trainable_hash:
        yield "can be trained further: gueststar train --finetune"
    yield f"score: {card.score_meaning}"
    yield f"temperature {card.temperature:.4f}, offset {card.bias:+.4f}, prior {card.prior:g}"
    cut = f"{card.threshold:.4f}" if card.threshold >= 0.01 else f"{card.threshold:.4g}"
    yield f"threshold {cut}: {card.threshold_meaning}"
    yield "trained on"
    for name, part in card.training_data.get("parts", {}).items():
        yield f"  {name}: {part['real']} reals, {part['artifact']} artifacts"
    yield "measured on parts that were not trained on, 95 % intervals"
    for part in _measured(card):
        yield f"  {part['name']}: {part['n_real']} reals, {part['n_bogus']} artifacts; AUC {part['auc']:.4f}"
        for point in part["points"]:
            rates = (f"{rate_text(point['tpr'])} of the reals", f"{rate_text(point['fpr'])} of the artifacts")
            yield f"    {point['name']}: at {point['threshold']:.4f} {' and '.join(rates)} are called real"
    for text in card.caveats:
        yield f"caveat: {text}"


def _measured(card: Card) -> list[Mapping[str, Any]]:
    return [part for part in card.metrics.values() if isinstance(part, Mapping) and part.get("auc") is not None]


def quality(card: Card) -> tuple[str, str]:
    """AUC and false positives of the first set that was measured."""
    for part in _measured(card):
        points = {point["name"]: point["fpr"] for point in part["points"]}
        return f"{part['auc']:.4f}", rate_text(points["TPR 0.98"]) if "TPR 0.98" in points else "-"
    return "-", "-"


def rate_text(rate: Mapping[str, Any]) -> str:
    """A share with its 95 % interval, in per cent."""
    return f"{100 * rate['value']:.2f} % ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"
