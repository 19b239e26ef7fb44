"""Seeded generators and fixed algorithms around a training, with everything global put back afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["deterministic"]


@contextlib.contextmanager
def deterministic(seed: int, *, device: str = "cpu", threads: int = 0) -> Iterator[None]:
    """Let what happens inside be the same every time.

    Parameters
    ----------
    seed : int
        Of the generators of PyTorch.
    device : str
        'cpu', 'cuda' or 'cuda:N'; its generator is put back, too.
    threads : int
        CPU threads inside; 0: as many as PyTorch is set to.
    """
    devices = [torch.device(device)] if device.startswith("cuda") else []
    before = torch.get_num_threads()
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
