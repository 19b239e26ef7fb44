"""Artificial reals: sources put into images, real or simulated, before the subtraction."""

from gueststar.simulate.inject.artificial_reals import (
    TRUTH_COLUMNS,
    Distribution,
    Injected,
    Placement,
    describe_sources,
    draw_artificial_reals,
    inject,
    point_light,
    psf_stamps,
)

__all__ = [
    "TRUTH_COLUMNS",
    "Distribution",
    "Injected",
    "Placement",
    "describe_sources",
    "draw_artificial_reals",
    "inject",
    "point_light",
    "psf_stamps",
]
