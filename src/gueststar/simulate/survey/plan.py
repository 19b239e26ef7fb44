"""When the fields are visited, and what the references lack."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gueststar.options import Options
from gueststar.simulate.survey.bounds import Pair, within

__all__ = ["Plan"]


class Plan(Options):
    """Visits and references of a survey."""

    earlier_visits: int = Field(3, ge=1, le=1000, description="Visits of each field on nights before tonight")
    reference_age_d: Annotated[Pair, AfterValidator(within(0.5, 20000))] = Field(
        (30.0, 400.0), description="Age of the last of the earlier visits, days; the others lie 5 days apart before it"
    )
    visit_gap_min: float = Field(30.0, gt=0, le=1440, description="Time between two visits of a field tonight, minutes")
    reference_exposures: int = Field(
        1, ge=1, le=1000, description="Exposures summed in the reference of a simulated pair"
    )
    reference_holes_per_chip: float = Field(
        0.05, ge=0, le=1000, description="Holes without data in all earlier visits of a chip, mean per chip"
    )
    reference_hole_px: Annotated[Pair, AfterValidator(within(1, 10000))] = Field(
        (20.0, 200.0), description="Width of those holes, px"
    )
