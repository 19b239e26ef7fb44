"""Networks in eight bits: the convolutions of a model in whole numbers, two to three times as fast.

Static quantisation by ONNX Runtime (Jacob et al. 2018, CVPR, 2704): ranges of the activations are those of training
stamps, weights have a scale for each channel. Preprocessing, the first convolution, which is slower in whole numbers
with three planes, the measured numbers and the head stay in single precision.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ModelError
from gueststar.realbogus.card import Card
from gueststar.realbogus.chips.names import dataset_chip_codes
from gueststar.realbogus.dataset import LabelledStamps

__all__ = ["calibration_batches", "quantized"]

Feeds = Mapping[str, NDArray[Any]]
_KINDS = ("Conv", "Relu", "Add", "MaxPool", "AveragePool")


def calibration_batches(
    dataset: LabelledStamps, card: Card, *, rows: NDArray[np.int64], batch_size: int = 64
) -> Iterator[Feeds]:
    """Inputs of the network for some rows, in batches."""
    numbers = dataset.scalars([item.name for item in card.scalars])
    chip = dataset_chip_codes(dataset, card.chips) if card.chips else None
    for start in range(0, rows.size, batch_size):
        part = rows[start : start + batch_size]
        cube = dataset.stamps(part, size=card.stamp_size)
        feeds = {"cube": cube, "sigma": np.ones((part.size, 3), np.float32), "scalars": numbers[part]}
        yield feeds if chip is None else {**feeds, "chip": chip[part]}


def quantized(weights: bytes, batches: Iterable[Feeds], *, name: str = "model") -> bytes:
    """The network in eight bits.

    Parameters
    ----------
    weights : bytes
        An ONNX file.
    batches : iterable of mapping
        Inputs by name, that the ranges of the activations are taken from.
    name : str
        Of the model, for messages.

    Returns
    -------
    bytes
        An ONNX file with the same inputs and output.

    Raises
    ------
    ModelError
        When there is nothing that could be quantised: a network without convolutions, or one that is in whole numbers.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives one batch after the other."""

        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            """Inputs by name; None at the end."""
            return next((dict(batch) for batch in self.batches), None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, ready, done = (Path(folder) / f"{stem}.onnx" for stem in ("given", "ready", "done"))
        given.write_bytes(weights)
        quant_pre_process(given, ready, skip_symbolic_shape=True)
        graph = onnx.load(str(ready)).graph
        chosen = _after_first_convolution(graph, name)
        quantize_static(
            ready,
            done,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=chosen,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Processors without VNNI add products of eight bits in sixteen, which overflow.
            reduce_range=True,
        )
        return done.read_bytes()


def _after_first_convolution(graph: Any, name: str) -> list[str]:
    """Names of the layers to be quantised: those between the output of the first convolution and the pooling."""
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if any(node.op_type in ("QLinearConv", "DequantizeLinear") for node in graph.node):
        raise ModelError(f"model {name!r} is in eight bits already; quantise the one that it was made from", model=name)
    if len(convolutions) < 2:
        raise ModelError(
            f"model {name!r} has {len(convolutions)} convolution(s) that could be quantised; there is nothing to gain",
            model=name,
        )
    reached = {convolutions[0].output[0]}
    for node in graph.node:  # in the order of the computation
        if node.op_type == "Relu" and node.input[0] in reached:
            reached.add(node.output[0])  # joined with the convolution before it
            break
    chosen: list[str] = []
    for node in graph.node:
        if node.op_type in _KINDS and node is not convolutions[0] and reached & set(node.input):
            if node.output[0] in reached:
                continue
            reached.add(node.output[0])
            chosen.append(node.name)
    return chosen


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of the quantisation, which is followed here, from the console."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
