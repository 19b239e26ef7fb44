"""What every test shares: one thread per process, no network, a seeded generator, and where the data lie."""

from __future__ import annotations

import os
from pathlib import Path

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when a library is loaded, so before NumPy is
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import numpy as np
import pytest
import pytest_socket
import threadpoolctl
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Use one thread per test process (one process per core), and draw no windows."""
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(limits=1)
    os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_runtest_setup() -> None:
    """Fail any test that opens a network connection; sockets inside the machine are allowed."""
    pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Give the sockets back to pytest itself."""
    pytest_socket.enable_socket()


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a fresh generator, the same for every test."""
    return np.random.default_rng(20190319)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def toros() -> Path:
    """Return the folder of the real pair that comes with the source tree."""
    return REPOSITORY / "examples" / "data" / "toros_eso085"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real frames that may not be shipped; tests that need it skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real frames beside the source tree: {folder} is not there")
    return folder
