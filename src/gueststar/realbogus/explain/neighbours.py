"""Training examples that look to the network most like a candidate: nearest in the features before its last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ModelError
from gueststar.realbogus.card import Card
from gueststar.realbogus.chips.names import chip_codes

__all__ = ["FeatureRows", "Features", "Neighbours", "feature_function", "nearest"]

Features = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.str_]], NDArray[np.float32]
]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Features (n, f) of some rows of a data set, and their numbers (n,)."""

    rows: NDArray[np.int64]
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows, from the nearest on.

    Parameters
    ----------
    rows : ndarray, shape (n,)
        Their numbers in the data set.
    distance : ndarray, shape (n,)
        Euclidean, each feature in units of its scatter in the sample; divided by the median distance of the sample
        from the candidate: 1 is as far as any.
    looked_at : int
        Rows of the sample.
    """

    rows: NDArray[np.int64]
    distance: NDArray[np.float64]
    looked_at: int


def feature_function(card: Card, weights: bytes, *, threads: int = 1) -> Features:
    """The features that a network computes before its last layer; of a mean of networks those of all.

    Parameters
    ----------
    card : Card
    weights : bytes
        ``model.onnx``.
    threads : int

    Returns
    -------
    callable
        Of cube (n, 3, size, size), sigma (n, 3), numbers (n, m) and chips (n,); gives (n, f).

    Raises
    ------
    ModelError
        When the network has no last layer of the usual kind, as those in eight bits.
    """
    import onnx
    import onnxruntime

    network = onnx.load_from_string(weights)
    matrices = {item.name: tuple(item.dims) for item in network.graph.initializer}
    last = [
        node.input[0] for node in network.graph.node if node.op_type == "Gemm" and 1 in matrices.get(node.input[1], ())
    ]
    if not last:
        raise ModelError(
            f"model {card.name!r}: its last layer cannot be found, so there are no features to compare with training "
            "examples; use the model before it was brought to eight bits, or leave --data away",
            model=card.name,
        )
    network.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in last)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def features(
        cube: NDArray[np.float32], sigma: NDArray[np.float32], scalars: NDArray[np.float32], chips: NDArray[np.str_]
    ) -> NDArray[np.float32]:
        feeds: dict[str, NDArray[Any]] = {"cube": cube, "sigma": sigma, "scalars": scalars}
        if card.chips:
            feeds["chip"] = chip_codes(chips, card.chips)
        return np.concatenate(session.run(last, feeds), axis=1)

    return features


def nearest(own: NDArray[np.floating], sample: Iterable[FeatureRows], *, n: int = 6) -> Neighbours:
    """Rows of a sample that are nearest to a candidate.

    Parameters
    ----------
    own : ndarray, shape (f,)
        Features of the candidate.
    sample : iterable of FeatureRows
    n : int
    """
    parts = list(sample)
    if not parts:
        return Neighbours(np.empty(0, np.int64), np.empty(0), 0)
    rows = np.concatenate([part.rows for part in parts])
    features = np.concatenate([part.features for part in parts]).astype(np.float64)
    scatter = features.std(axis=0)
    used = scatter > 0
    distance = np.sqrt((((features[:, used] - own[used]) / scatter[used]) ** 2).sum(axis=1))
    best = np.argsort(distance, kind="stable")[:n]
    unit = float(np.median(distance))
    return Neighbours(rows[best], distance[best] / (unit if unit > 0 else 1.0), rows.size)
