"""All input and output of a run: one pair, or a whole night."""

from gueststar.night.pair import run_pair
from gueststar.night.run import NightResult, run_night

__all__ = ["NightResult", "run_night", "run_pair"]
