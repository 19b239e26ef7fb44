"""Tables of measured figures, from the JSON files that the benchmarks write to ``docs/measured``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gueststar_docs.rst import escape, heading, list_table

__all__ = ["chain_page", "read_measured", "real_frames_page"]

_MEASURED = Path(__file__).resolve().parents[2] / "measured"
_HIGHEST_SNR = 50.0
_NAMES = {
    "bsu_sn2022yid_raw": "SN 2022yid, SBIG CCD, raw",
    "toros_eso085": "ESO 085-030, TOROS",
    "microobservatory_hatp32": "HAT-P-32, MicroObservatory",
    "panoptes_cygnus": "Cygnus, PANOPTES (RGGB cells summed)",
}


def read_measured(name: str) -> dict[str, Any] | None:
    """Return the figures of a benchmark, or None before it was run."""
    path = _MEASURED / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def real_frames_page() -> str:
    """Return the figures of ``benchmarks/real_frames.py``."""
    report = read_measured("real_frames.json")
    title = heading("Figures on real frames")
    if report is None:
        return title + "\nNot measured yet: run ``python benchmarks/real_frames.py``.\n"
    intro = (
        f"Version {report['version']}, seed {report['seed']}, {report['inject']} artificial reals per frame, of\n"
        "S/N 5 to 50 in the science frame, log-uniform, put in before subtraction. Sources that fall on flagged\n"
        "pixels count as not found. Intervals are 95 %.\n"
    )
    parts = [title, intro, heading("Candidates left per frame, and empty sky", "-"), _frames(report["cameras"])]
    parts += [heading("Artificial reals found", "-"), _depths(report["cameras"])]
    for name, camera in report["cameras"].items():
        if camera.get("bins"):
            parts += [heading(_NAMES.get(name, name), "~"), _bins(camera["bins"])]
    return "\n".join(parts) + _engines_on_real_frames()


def _engines_on_real_frames() -> str:
    """Return the figures of ``benchmarks/real_engines.py``, or nothing before it was run."""
    report = read_measured("real_engines.json")
    if report is None:
        return ""
    words = (
        f"The same {report['inject']} artificial reals in each frame for every engine, the same registration,\n"
        "search and score; by ``benchmarks/real_engines.py``. Candidates are those left without them, median over\n"
        "the frames. Bias and pull of the flux are medians at S/N > 10.\n"
    )
    parts = ["\n", heading("Engines on real frames", "-"), words]
    for name, camera in report["cameras"].items():
        rows = []
        for engine, figures in camera.items():
            found = ", ".join(f"{one['found']} of {one['n']}" for one in figures["bins"])
            bias = f"{100 * figures['bias']:+.1f} ± {100 * figures['bias_err']:.1f}" if "bias" in figures else ""
            pull = f"{figures['pull_median']:+.2f} ± {figures['pull_scatter']:.2f}" if "bias" in figures else ""
            left = f"{figures['positive']:g} / {figures['negative']:g}"
            rows.append((escape(engine), str(figures["frames"]), left, found, bias, pull))
        header = ("Engine", "Frames", "Candidates + / -", "Found at S/N 5-7, 7-10, 10-20, 20-50", "Bias, %", "Pull")
        parts += [heading(_NAMES.get(name, name), "~"), list_table(header, rows, widths=(16, 8, 14, 36, 13, 13))]
    return "\n".join(parts)


def _frames(cameras: dict[str, Any]) -> str:
    rows = []
    for name, camera in cameras.items():
        for image in camera["images"]:
            counts, sky = image.get("counts", {}), image.get("empty_sky", {})
            rows.append(
                (
                    escape(_NAMES.get(name, name)),
                    escape(image["image"][-24:]) + (" (rejected)" if image["status"] == "rejected" else ""),
                    str(image.get("fwhm_px", image["status"])),
                    str(counts.get("positive", counts.get("brighter", ""))),
                    str(counts.get("negative", counts.get("fainter", ""))),
                    str(counts.get("real", "")),
                    f"{sky['std']:.3f}" if sky else "",
                    f"{sky['mean']:+.3f}" if sky else "",
                )
            )
    header = ("Camera", "Frame", "FWHM, px", "Brighter", "Fainter", "Scored real", "Score: scatter", "Score: mean")
    return list_table(header, rows, widths=(22, 22, 8, 9, 9, 10, 10, 10))


def _depths(cameras: dict[str, Any]) -> str:
    rows = []
    for name, camera in cameras.items():
        for label, words in (("snr_detected", "detected"), ("snr_scored_real", "detected and scored real")):
            if camera.get(label):
                cells = [_depth(item) for item in camera[label]]
                rows.append((escape(_NAMES.get(name, name)), words, *cells))
    return list_table(("Camera", "What counts", "50 % at S/N", "90 % at S/N"), rows, widths=(35, 25, 20, 20))


def _depth(item: dict[str, Any]) -> str:
    low, high = item["interval_95"]
    # The fitted curve goes on beyond the S/N that were put in; what it says there was not measured.
    most = f"{high:.1f}" if high <= _HIGHEST_SNR else "beyond 50"
    return f"{item['snr']:.1f} ({low:.1f} to {most})" if item["snr"] <= _HIGHEST_SNR else "not up to 50"


def _bins(bins: list[dict[str, Any]]) -> str:
    rows = [
        (
            f"{row['snr'][0]:g} to {row['snr'][1]:g}",
            str(row["n"]),
            _share(row["detected"], row["detected_95"]),
            _share(row["scored_real"], row["scored_real_95"]),
        )
        for row in bins
    ]
    return list_table(("S/N", "Put in", "Detected", "Detected and scored real"), rows, widths=(15, 15, 35, 35))


def _share(value: float, interval: list[float]) -> str:
    return f"{100 * value:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def chain_page() -> str:
    """Return the figures of ``benchmarks/chain.py``."""
    report = read_measured("chain.json")
    title = heading("Speed of the chain")
    if report is None:
        return title + "\nNot measured yet: run ``python benchmarks/chain.py``.\n"
    ny, nx = report["shape"]
    first, seeds = report["first_seed"], report["seeds"]
    parts = [
        title,
        f"Chip pairs of {nx} x {ny} px, one thread, medians over {seeds} simulated pairs of each kind (seeds\n"
        f"{first} to {first + seeds - 1}); version {report['version']}; {report['machine']}.\n"
        "``chain`` runs from two calibrated images in memory to scored candidates with stamps: the sum of the\n"
        "stages from ``measure`` to ``quality``. ``ingest`` turns one raw frame into an image. ``peers`` is the sum\n"
        "of SWarp, hotpants and source-extractor on the same pixels in the same run. Peak memory is that of a fresh\n"
        "process that reads the two images and runs the chain.\n",
    ]
    for kind, figures in report["fields"].items():
        stars = ", ".join(str(count["stars"]) for count in figures["counts"])
        rows = [
            (escape(stage), f"{wall:.3f}", f"{figures['cpu_s'][stage]:.3f}")
            for stage, wall in figures["wall_s"].items()
        ]
        peak = figures["peak_mb"]
        words = (
            f"Stars of S/N > 5 on the chips: {stars}. Peak memory {peak['chain']} MB, of which {peak['imported']} MB\n"
            f"are the program and its libraries, and {peak['images'] - peak['imported']} MB the two images.\n"
        )
        ratios = ", ".join(map(str, figures.get("cpu_ratio_peers_to_chain", ())))
        end = f"\nProcessor time of the peers over that of the chain, each pair: {ratios}.\n" if ratios else ""
        table = list_table(("Stage", "Wall, s", "Processor, s"), rows, widths=(50, 25, 25))
        parts += [heading(f"{kind.capitalize()} field", "-"), words, table, end]
    return "\n".join(parts)
