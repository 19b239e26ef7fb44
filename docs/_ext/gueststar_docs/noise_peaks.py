"""Tables of false positives by signal to noise, from ``docs/measured/noise_peaks*.json``."""

from __future__ import annotations

from typing import Any

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import list_table, none_of

__all__ = ["noise_peaks"]


def noise_peaks() -> str:
    """Return the figures of ``benchmarks/noise_peaks.py`` as a part of a page."""
    reports = [read_measured(name) for name in ("noise_peaks.json", "noise_peaks_default.json")]
    return "\n".join(_part(report) for report in reports if report is not None) or "Not measured yet.\n"


def _part(report: dict[str, Any]) -> str:
    whose = f"the chain {report['chain']!r} alone" if report.get("chain") else "all chains"
    rates: dict[float, list[dict[str, Any]]] = {}
    for item in report["rates"]:
        rates.setdefault(item["snr_from"], []).append(item)
    both = [f"At TPR {100 * item['tpr']:g} %" for item in next(iter(rates.values()))]
    lines = [
        f"Model {report['model']}, program {report['version']}, on {report['reals']:,} reals and "
        f"{report['artifacts']:,} artifacts of {report['images']} simulated images of other skies, {whose}. Reals and "
        "artifacts from a signal to noise on, each with a threshold of its own; intervals of 95 % draw images; last in "
        "a cell is the number of false positives. Where there is none, the bound of 95 % takes rows as independent.\n",
        list_table(
            ("From S/N", "Artifacts", *both),
            [
                (f"{least:g}", f"{items[0]['artifacts']:,}", *(_rate(item) for item in items))
                for least, items in rates.items()
            ],
            widths=(12, 16, 36, 36),
        ),
    ]
    for tpr, items in report["intervals"].items():
        lines += [
            f"\nWith one threshold for all, at TPR {100 * float(tpr):g} %:\n",
            list_table(
                ("S/N", "Artifacts", "False positives", "At so many places", "Peaks of noise expected"),
                [
                    (
                        _interval(item["snr"]),
                        f"{item['artifacts']:,}",
                        str(item["false_positives"]),
                        str(item["places"]),
                        f"{item['noise_peaks']:.1f}",
                    )
                    for item in items
                ],
                widths=(20, 20, 20, 20, 20),
            ),
        ]
    return "\n".join(lines) + "\n"


def _rate(item: dict[str, Any]) -> str:
    if item["false_positives"] == 0:  # draws of images have no scatter; rows as if independent, one-sided
        return none_of(item["artifacts"])
    low, high = item["interval_95"]
    return f"{100 * item['fpr']:.3f} % ({100 * low:.3f} to {100 * high:.3f}); {item['false_positives']}"


def _interval(limits: list[float | None]) -> str:
    low, high = limits
    return f"above {low:g}" if high is None else f"{low:g} to {high:g}"
