"""What is said about a processed pair: facts, counts, keywords and provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from gueststar import __version__
from gueststar.config import Config
from gueststar.pipeline import PairResult
from gueststar.plots import scores_of
from gueststar.types import Candidates, Fact, Image

__all__ = ["Names", "cards", "counts_of", "facts_of", "provenance", "subtitle_of", "threshold_of", "with_sky_noise"]


@dataclass(frozen=True, slots=True)
class Names:
    """What the products are called after, and what they were made from.

    `folder` leads from the run's folder to that of the products; empty, or with a slash at its end.
    """

    image: str
    science_file: str
    reference_file: str
    key: str
    config_hash: str
    folder: str = ""


def provenance(result: PairResult, names: Names) -> dict[str, Any]:
    """What a product was made from, as plain values."""
    meta = result.candidates.table.meta
    return {
        "version": __version__, "config_hash": names.config_hash, "key": names.key, "image": names.image,
        "science": names.science_file, "reference": names.reference_file, "science_id": result.difference.science_id,
        "reference_id": result.difference.reference_id, "engine": result.difference.engine,
        "rb_model": str(meta.get("rb_model", "")), "rb_model_hash": str(meta.get("rb_model_hash", "")),
        "rb_threshold": meta.get("rb_threshold"), "pixels": "x, y are 0-based pixel centres",
    }  # fmt: skip


def cards(result: PairResult, names: Names) -> dict[str, tuple[str | float, str]]:
    """Keywords of the primary header that tell what the file was made from."""
    notes = provenance(result, names)
    every: dict[str, tuple[str | float, str]] = {
        "GUESTVER": (__version__, "gueststar version"),
        "CONFHASH": (names.config_hash, "hash of the configuration"),
        "RUNKEY": (names.key, "hash of images, configuration and version"),
        "SCIFILE": (names.science_file, "science file"),
        "REFFILE": (names.reference_file, "reference file"),
        "RBMODEL": (notes["rb_model"], "real/bogus model"),
        "RBHASH": (notes["rb_model_hash"], "hash of the model's weights"),
        "NCAND": (len(result.candidates), "candidates"),
    }
    return {key: card for key, card in every.items() if card[0] != ""}


def with_sky_noise(result: PairResult) -> Table:
    """The candidate table with the sky noise of each stamp, which training needs, beside it."""
    table = result.candidates.table.copy()
    for i, plane in enumerate(("science", "reference", "difference")):
        table[f"sky_sigma_{plane}"] = result.stamps.sigma[:, i].astype(np.float32)
    return table


def threshold_of(candidates: Candidates, config: Config) -> float:
    """Score from which a candidate counts as real: the configuration's, else the model card's."""
    if config.night.rb_threshold is not None:
        return config.night.rb_threshold
    return float(candidates.table.meta.get("rb_threshold", 0.5))


def facts_of(result: PairResult, threshold: float) -> dict[str, Fact]:
    """Numbers of the whole pair, for the outcome and the report."""
    science, reference, difference = result.science, result.reference, result.difference
    meta = result.candidates.table.meta
    good = difference.numpy("mask") == 0
    return {
        "seeing_px": _fwhm(science), "reference_seeing_px": _fwhm(reference), "zeropoint_mag": science.zeropoint,
        "zeropoint_source": science.zeropoint_source, "band": science.band, "exposure_s": science.exposure_s,
        "engine": difference.engine, "masked_fraction": float(1.0 - good.mean()),
        "rb_model": str(meta.get("rb_model", "")), "rb_model_hash": str(meta.get("rb_model_hash", "")),
        "rb_threshold": threshold, **({"rb_chip_note": note} if (note := str(meta.get("rb_chip_note", ""))) else {}),
    }  # fmt: skip


def _fwhm(image: Image) -> float | None:
    return image.psf.fwhm if image.psf is not None else None


def counts_of(candidates: Candidates, threshold: float) -> dict[str, int]:
    """Numbers of candidates by sign, and of those that count as real."""
    positive = candidates["snr"] > 0
    strong = scores_of(candidates) >= threshold
    return {
        "candidates": len(candidates), "positive": int(positive.sum()), "negative": int((~positive).sum()),
        "real": int(strong.sum()), "real_positive": int((strong & positive).sum()),
    }  # fmt: skip


def subtitle_of(result: PairResult, names: Names) -> str:
    """Second line of the picture."""
    science, difference = result.science, result.difference
    parts = [f"minus {names.reference_file}", science.field, science.chip, science.band]
    if np.isfinite(science.mjd_mid):
        parts.append(f"MJD {science.mjd_mid:.5f}")
    parts.append(f"zero point {difference.zeropoint:.2f} mag ({science.zeropoint_source})")
    return "   ".join(part for part in parts if part)
