"""What the chain finds of known sources, and at which step each of the others was lost: tables in, tables out."""

from gueststar.efficiency.completeness import Completeness, completeness
from gueststar.efficiency.losses import STEPS, judge_sources
from gueststar.efficiency.sources import SOURCE_COLUMNS, sources_of_artificial, sources_of_truth

__all__ = [
    "SOURCE_COLUMNS",
    "STEPS",
    "Completeness",
    "completeness",
    "judge_sources",
    "sources_of_artificial",
    "sources_of_truth",
]
