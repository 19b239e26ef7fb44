"""What a network says of rows of a data set."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gueststar.realbogus.chips.names import dataset_chip_codes
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.network import StampNet
from gueststar.realbogus.pieces import short_of_memory
from gueststar.realbogus.training_rows import network_inputs

__all__ = ["predict"]


def predict(
    network: StampNet,
    dataset: LabelledStamps,
    rows: NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
) -> NDArray[np.float32]:
    """Logits of some rows (default: all) from a network in evaluation mode, on the device it is on; shape (n,)."""
    rows = np.arange(len(dataset)) if rows is None else rows
    numbers = dataset.scalars([scalar.name for scalar in network.preprocess.scalars])
    chips = getattr(network, "chips", ())
    chip = dataset_chip_codes(dataset, chips) if chips else None
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    logits = np.empty(rows.size, np.float32)
    start = 0
    with torch.inference_mode():
        while start < rows.size:
            part = rows[start : start + batch_size]
            try:
                inputs = network_inputs(dataset, numbers, part, network.preprocess.size, device, chip=chip)
                logits[start : start + part.size] = network(*inputs).cpu().numpy()
            except (MemoryError, RuntimeError) as error:
                if not short_of_memory(error) or batch_size == 1:
                    raise
                batch_size //= 2
                continue
            start += part.size
    network.train(was_training)
    return logits
