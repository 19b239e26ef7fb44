"""Tables of stamps scored and trained per second: ``scoring.json``, ``network_speed.json``, ``chip_cost.json``."""

from __future__ import annotations

from gueststar_docs.measured import read_measured
from gueststar_docs.rst import escape, list_table

__all__ = ["chip_cost", "network_speed", "scoring_speed"]

_RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def scoring_speed() -> str:
    """Return the figures of ``benchmarks/scoring.py`` as a part of a page."""
    report = read_measured("scoring.json")
    if report is None:
        return "Not measured yet.\n"
    words = (
        f"Version {report['version']}; {escape(report['machine'])}; load of the machine {report['load'][0]:g}. Median "
        f"and fastest of {report['repeats']} turns over {report['stamps']} stamps in batches of {report['batch']}, in "
        "stamps per second of processor time, from raw pixels to scores; preprocessing takes "
        f"{100 * report['preprocessing_share']:.0f} % of the first model's network.\n\n"
    )
    rows = [
        (
            escape(row["model"]),
            _RUNTIMES.get(row["runtime"], row["runtime"]),
            f"{row['stamp_px']} px",
            f"{row['stamps_per_s']:,}",
            f"{row['fastest']:,}",
        )
        for row in report["rows"]
    ]
    return words + list_table(("Model", "Runtime", "Stamps", "Median", "Fastest"), rows, widths=(28, 22, 14, 18, 18))


def network_speed() -> str:
    """Return the figures of ``benchmarks/network_speed.py`` as a part of a page."""
    report = read_measured("network_speed.json")
    if report is None:
        return "Not measured yet.\n"
    rows = [
        (escape(name), *(f"{own[key]:,.0f}" for key in ("weights", "trained", "two_stage", "scored")))
        for name, own in report["networks"].items()
    ]
    header = ("Network", "Weights", "Trained", "Trained, two-stage", "Scored")
    return (
        "Stamps per second of processor time on one core, in single precision, each with the stamps that it sees "
        "(``benchmarks/network_speed.py``).\n\n"
    ) + list_table(header, rows, widths=(28, 18, 18, 18, 18))


def chip_cost() -> str:
    """Return the figures of ``benchmarks/chip_cost.py`` as a part of a page."""
    report = read_measured("chip_cost.json")
    if report is None:
        return "Not measured yet.\n"
    rows = [
        (
            escape(name),
            f"{report['training'][name]['stamps_per_s']:,}" if name in report["training"] else "",
            f"{own['stamps_per_s']:,}",
            f"{own['time_over_first']:.2f}",
        )
        for name, own in report["scoring"].items()
    ]
    header = ("Model", "Trained", "Scored", "Time to score, over the first")
    return (
        "Stamps per second on one core (``benchmarks/chip_cost.py``). A set of models for 84 chips opens in "
        f"{report['set_open_s']:.1f} s and holds {report['set_memory_mb']:.0f} MB.\n\n"
    ) + list_table(header, rows, widths=(34, 18, 18, 30))
