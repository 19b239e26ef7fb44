"""The trained network as an ONNX file, so that scoring needs no PyTorch."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch

from gueststar.realbogus.network import StampNet

__all__ = ["CHIP", "INPUTS", "OUTPUT", "onnx_bytes"]

INPUTS = ("cube", "sigma", "scalars")
CHIP = "chip"  #: fourth input of a network that is conditioned on the chip
OUTPUT = "logit"
_OPSET = 17


def onnx_bytes(network: StampNet) -> bytes:
    """Export a network with any batch size n and any stamp width k from the seen size up.

    Parameters
    ----------
    network : StampNet
        Used as it is in evaluation mode; left in the mode it was in.

    Returns
    -------
    bytes
        An ONNX model, opset 17: inputs ``cube`` (n, 3, k, k), ``sigma`` (n, 3), ``scalars`` (n, m), output ``logit``
        (n,), all float32. A network that is conditioned on the chip has a fourth input ``chip`` (n,), int64.
    """
    k = network.preprocess.size + 2
    m = len(network.preprocess.scalars)
    example: tuple[torch.Tensor, ...] = (torch.randn(2, 3, k, k), torch.ones(2, 3), torch.randn(2, m))
    names = list(INPUTS)
    axes = {"cube": {0: "n", 2: "k", 3: "k"}, "sigma": {0: "n"}, "scalars": {0: "n"}, OUTPUT: {0: "n"}}
    if getattr(network, "chips", ()):
        names.append(CHIP)
        example, axes = (*example, torch.tensor([0, 1])), {**axes, CHIP: {0: "n"}}
    was_training = network.training
    network.eval()
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            # The TorchScript exporter needs no further package and takes a second; its successor needs onnxscript.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                network,
                example,
                file,
                input_names=names,
                output_names=[OUTPUT],
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,
            )
            return file.read_bytes()
    finally:
        network.train(was_training)
