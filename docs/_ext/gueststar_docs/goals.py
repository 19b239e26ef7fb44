"""Tables of what trainings of one recipe reach, from ``docs/measured/goals*.json``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table, none_of

__all__ = ["goals", "part"]

_RATES = ("0.98", "0.9")


def goals(name: str = "goals.json") -> str:
    """Return figures of ``benchmarks/goals.py``, from one of the files of measured ones, as a part of a page."""
    report = read_measured(name)
    if report is None:
        return "Not measured yet.\n"
    return "\n".join(part(found, int(report["trainings"]), str(report["version"])) for found in report["sets"])


def part(found: dict[str, Any], trainings: int, version: str) -> str:
    """Tables of one test set: figures from each signal to noise on, and what the models' own thresholds keep."""
    own, before = found["own_threshold"], found["before"]
    beside = f" Last in a cell: the ratio to {before['model']}, from the same draws." if before else ""
    many = "one training" if trainings == 1 else f"{trainings} trainings, their mean and in brackets each of them"
    words = [
        f"Test set ``{found['name']}``: {found['reals']:,} reals and {found['artifacts']:,} artifacts of "
        f"{found['images']} simulated images of other skies; {many}; program {version}. "
        f"Intervals of 95 % draw images and trainings.{beside}\n",
        list_table(
            ("From S/N", "Artifacts", "AUC", *(f"FPR at TPR {100 * float(rate):g} %" for rate in _RATES)),
            [
                (
                    f"{item['snr_from']:g}",
                    f"{item['artifacts']:,}",
                    _area(item["auc"]),
                    *(_rate(item[f"fpr_at_{rate}"], item["artifacts"]) for rate in _RATES),
                )
                for item in found["rates"]
            ],
            widths=(10, 12, 26, 26, 26),
        ),
        "\n",
        list_table(
            (
                "Model",
                "Threshold",
                "Keeps of reals",
                "of artifacts",
                "ECE",
                "Worst chip and middle one",
                "Apart by chance",
            ),
            [_own(item) for item in [*own, *([before] if before else [])]],
            widths=(20, 11, 13, 13, 11, 18, 14),
        ),
    ]
    return "\n".join(words) + "\n"


def _area(told: dict[str, Any]) -> str:
    low, high = told["interval_95"]
    each = f" [{', '.join(f'{value:.5f}' for value in told['each'])}]" if len(told["each"]) > 1 else ""
    return f"{told['mean']:.5f} ({low:.5f} to {high:.5f}){each}"


def _rate(told: dict[str, Any], artifacts: int) -> str:
    low, high = told["interval_95"]
    if not any(told["each"]):  # draws of images have no scatter; rows as if independent, one-sided
        words = none_of(artifacts)
    else:
        each = f" [{', '.join(f'{100 * value:.3f}' for value in told['each'])}]" if len(told["each"]) > 1 else ""
        words = f"{100 * told['mean']:.3f} % ({100 * low:.3f} to {100 * high:.3f}){each}"
    if "ratio" in told:
        words += f"; {told['ratio']:.2f} ({told['ratio_95'][0]:.2f} to {told['ratio_95'][1]:.2f})"
    return words


def _own(item: dict[str, Any]) -> tuple[str, ...]:
    chips = item.get("chips")
    return (
        f"{item['model']} ({item['hash'][:8]})",
        f"{item['threshold']:.4f}",
        f"{100 * item['kept']:.2f} %",
        f"{100 * item['false']:.3f} %",
        "" if item["ece"] is None else f"{item['ece']:.4f}",
        "" if chips is None else f"{100 * chips['worst']:.1f} and {100 * chips['median']:.1f} % of {chips['n']}",
        "" if chips is None else _chance(chips),
    )


def _chance(chips: dict[str, Any]) -> str:
    low, high = chips["gap_by_chance_95"]
    return f"{100 * chips['gap_by_chance']:.1f} ({100 * low:.1f} to {100 * high:.1f}) points"
