"""What the commands print about the cards of models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gueststar.cli.common import output

if TYPE_CHECKING:
    from gueststar.realbogus.card import Card
    from gueststar.realbogus.card_figures import CardFigure

__all__ = ["card_lines", "measured_lines", "print_card", "quality", "rate_text"]

_FURTHER = {"head": "its head", "head+film": "its head and the modulation by the chip", "all": "every layer"}
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
    for line in measured_lines(card):
        output().print(line, markup=False, soft_wrap=True)
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


def measured_lines(card: Card) -> Iterator[str]:
    """What was measured on rows that were not trained on, a few lines for each test set."""
    from gueststar.realbogus.card_figures import few_images, figures_of, how_drawn, images_text, measured_parts

    yield "measured on parts that were not trained on"
    for part in measured_parts(card.metrics):
        yield f"  {part['name']}: {part['n_real']} reals, {part['n_bogus']} artifacts, {images_text(part)}"
        yield f"    {how_drawn(part)}"
        if few := few_images(part):
            yield f"    warning: {few}"
        for figure in figures_of(part):
            # A new threshold or calibration keeps the figures of the version that was measured.
            moved = part.get("threshold") is not None and part["threshold"] != card.threshold
            yield f"    {figure.name:30s} {_value_text(figure, moved=moved)}"


def _value_text(figure: CardFigure, *, moved: bool) -> str:
    """A figure with its interval and all that limits it."""
    from gueststar.realbogus.card_figures import interval_text

    at = "" if math.isnan(figure.threshold) else f"at {figure.threshold:.4f}{' of an earlier version' if moved else ''}"
    notes = [
        "" if figure.by_images or math.isnan(figure.low) else "rows counted as independent",
        "" if figure.resolved else "fewer than ten rows decide it",
    ]
    told = ", ".join(note for note in (at, *notes) if note)
    return f"{interval_text(figure)}{'; ' if told else ''}{told}"


def card_lines(card: Card, size: int) -> Iterator[str]:
    """Everything that a card says, line by line; `size` is that of the weights in bytes."""
    yield f"{card.name} {card.version}: {card.parameters} parameters, {size} bytes, SHA-256 {card.weights_hash}"
    network = card.training.get("options", {}).get("network", "gueststar")
    if network != "gueststar":
        yield f"network {network}, to compare with"
    yield f"made by gueststar {card.code_version}; licence {card.licence}"
    yield f"takes {', '.join(card.channels)}, {card.stamp_size} x {card.stamp_size} px; {card.normalisation}"
    if card.views > 1:
        yield f"looks {card.views} times, turned, where the first look gives a logit above {card.views_from:g}"
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
    if base := card.training.get("finetune"):
        yield f"  what {base['from']} was; from there on, {_FURTHER[base['part']]}:"
    for name, part in card.training_data.get("parts", {}).items():
        yield f"  {name}: {part['real']} reals, {part['artifact']} artifacts"
    if names := [str(one["name"]) for one in card.training_data.get("sets", ())]:
        yield f"  of {len(names)} sets that were joined: {', '.join(names)}"
    yield from measured_lines(card)
    for text in card.caveats:
        yield f"caveat: {text}"


def quality(card: Card) -> tuple[str, str]:
    """AUC, and false positives at TPR 98 % with their interval, of the first set; a dagger: rows as independent."""
    from gueststar.realbogus.card_figures import figures_of, interval_text, measured_parts

    for part in measured_parts(card.metrics):
        figures = {figure.name: figure for figure in figures_of(part)}
        rate = figures.get("FPR at TPR 0.98")
        mark = "" if rate is None or rate.by_images else " †"
        return f"{figures['AUC'].value:.4f}", "-" if rate is None else f"{interval_text(rate)}{mark}"
    return "-", "-"


def rate_text(rate: Mapping[str, Any]) -> str:
    """A share with its 95 % interval, in per cent."""
    return f"{100 * rate['value']:.2f} % ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"
