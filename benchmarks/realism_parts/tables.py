"""Tables of the comparison in reStructuredText, to be included by the guide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["tables_text"]

_SHOWN = (
    ("fwhm_px", "FWHM of the PSF, px", 2),
    ("moffat_beta", "Moffat exponent", 2),
    ("ellipticity", "ellipticity of the PSF", 3),
    ("fwhm_change_over_frame", "largest change of the FWHM over the frame", 3),
    ("star_fwhm_scatter", "scatter of the stars' FWHM", 3),
    ("registration_rms_px", "residual of registration, px", 3),
    ("science_scatter_over_predicted", "pixel scatter over predicted, science", 3),
    ("difference_scatter_over_predicted", "the same, difference", 3),
    ("hot", "sharp pixels in both frames, per Mpx", 0),
    ("once", "sharp pixels in one frame, per Mpx", 0),
    ("saturated_per_mpx", "saturated pixels per Mpx", 0),
)


def tables_text(report: dict[str, Any]) -> str:
    """Return the tables as text."""
    cameras = [camera for camera in report["cameras"].values() if "real" in camera]
    head = (
        f".. Written by benchmarks/realism.py; version {report['version']}, seed {report['seed']}.\n\n"
        "Real value, then simulated value; medians over the pairs.\n"
    )
    titles = [camera["title"] for camera in cameras]
    rows = [[label, *(_both(camera, name, digits) for camera in cameras)] for name, label, digits in _SHOWN]
    rows += [
        ["scatter of the score on empty sky", *(_sky(c, "score_std", 3) for c in cameras)],
        ["its excess kurtosis", *(_sky(c, "score_kurtosis", 2) for c in cameras)],
        ["beyond 4 sigma (normal law: 6e-5)", *(_beyond(c) for c in cameras)],
        ["pull of an aperture on empty sky", *(_sky(c, "aperture_pull_std", 2) for c in cameras)],
        ["negative share of peaks above 4 sigma", *(_share(c) for c in cameras)],
        ["pairs", *(f"{c['real']['pairs']}, {c['simulated']['pairs']}" for c in cameras)],
    ]
    aucs = []
    for camera in cameras:
        for kind in ("artifacts", "stars"):
            found = camera["classifier"][kind]
            aucs.append(
                [
                    f"{camera['title']}: {kind}",
                    f"{found['real']}, {found['simulated']}",
                    _auc(found.get("cnn")),
                    _auc(found.get("trees")),
                    _null(found),
                    ", ".join(f"{name} {lost:.2f}" for name, lost in list(found.get("importance", {}).items())[:3]),
                ]
            )
    names = "Camera, stamps|Real, simulated|Network, AUC|Trees, AUC|Simulated against simulated|AUC lost without"
    return "\n".join([head, _table(["", *titles], rows), "", _table(names.split("|"), aucs), ""])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _both(camera: dict[str, Any], name: str, digits: int) -> str:
    return ", ".join(_number(camera[side]["medians"].get(name), digits) for side in ("real", "simulated"))


def _sky(camera: dict[str, Any], name: str, digits: int) -> str:
    return ", ".join(_number(camera[side]["sky"].get(name), digits) for side in ("real", "simulated"))


def _beyond(camera: dict[str, Any]) -> str:
    return ", ".join(f"{camera[side]['sky'].get('beyond', {}).get('4', 0):.0e}" for side in ("real", "simulated"))


def _share(camera: dict[str, Any]) -> str:
    texts = []
    for side in ("real", "simulated"):
        value, low, high = camera[side]["candidates"]["4"]["negative_share"]
        texts.append(f"{value:.2f} ({low:.2f}–{high:.2f})")
    return ", ".join(texts)


def _auc(found: Sequence[float] | None) -> str:
    return "too few" if found is None else f"{found[0]:.2f} ({found[1]:.2f}–{found[2]:.2f})"


def _null(found: dict[str, Any]) -> str:
    values = [null[key][0] for null in found.get("simulated_against_simulated", []) for key in null]
    return f"{min(values):.2f}–{max(values):.2f}" if values else "–"
