"""The setting of the C library that keeps freed memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gueststar.memory import keep_freed_memory

FAULTS = """
import resource, sys
from gueststar.memory import keep_freed_memory
import numpy as np
if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(3):
    before = faults()
    kept = [np.ones(2_500_000, np.float32) for _ in range(8)]
    del kept
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_planes_that_come_and_go_cost_no_fresh_pages() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    # Eight planes of 10 MB are 19,500 pages of 4 kB; some systems hand out larger ones.
    assert faults("keep") < 0.2 * max(faults("default"), 500)


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
