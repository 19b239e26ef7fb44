"""What a measured number was in training: mean and scatter that the network standardises it with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.card import Card, CardScalar

__all__ = ["Standard", "read_standard"]

_CLIP = 5.0  # standard deviations, as in Preprocess
_CONSTANT = 1.001e-3  # Preprocess takes no scatter below 0.001; of a number that has it nothing was learnt


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """Mean and scatter of the compressed numbers in training, shape (m,) each."""

    scalars: tuple[CardScalar, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def deviations(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """How many scatters each raw number lies from the mean, -5 to 5, as the network sees it; NaN where missing."""
        compressed = [
            _compress(item.compression, float(value)) for item, value in zip(self.scalars, values, strict=True)
        ]
        return np.clip((np.asarray(compressed) - self.mean) / self.scale, -_CLIP, _CLIP)

    def typical(self, deviation: float) -> NDArray[np.float64]:
        """Raw numbers that lie this many scatters from the mean; NaN for those that never differed in training."""
        values = np.where(self.scale > _CONSTANT, self.mean + deviation * self.scale, np.nan)
        return np.array([_expand(item.compression, float(v)) for item, v in zip(self.scalars, values, strict=True)])


def read_standard(card: Card, weights: bytes) -> Standard | None:
    """Read them from the network's own weights; None where these do not tell, as in eight bits or of other networks.

    Parameters
    ----------
    card : Card
    weights : bytes
        ``model.onnx``, of a model that could be loaded.
    """
    import onnx

    graph = onnx.load_from_string(weights).graph
    found = {}
    for item in graph.initializer:
        for part in ("mean", "scale"):
            if item.name.endswith(f"preprocess.{part}") and part not in found:
                found[part] = onnx.numpy_helper.to_array(item).astype(np.float64)
    m = len(card.scalars)
    if len(found) < 2 or found["mean"].shape != (m,) or found["scale"].shape != (m,):
        return None
    return Standard(card.scalars, found["mean"], found["scale"])


def _compress(kind: str, value: float) -> float:
    if kind == "log10_abs":
        return float(np.log10(max(abs(value), 1e-3))) if np.isfinite(value) else np.nan
    if kind == "log1p":
        return float(np.log1p(max(value, 0.0))) if np.isfinite(value) else np.nan
    return float(np.arcsinh(value)) if kind == "asinh" else value


def _expand(kind: str, value: float) -> float:
    if kind == "log10_abs":
        return float(10.0**value)
    if kind == "log1p":
        return float(np.expm1(value))
    return float(np.sinh(value)) if kind == "asinh" else value
