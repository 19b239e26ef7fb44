"""The detector: from light on the chip to the numbers in the file, each effect a small function of a plane."""

from gueststar.simulate.detector.faults import bad_columns, bleed, edge_glow, holes, hot_pixels
from gueststar.simulate.detector.fixed_pattern import column_pairs, dark_pattern, dust_rings, sky_structure
from gueststar.simulate.detector.noise import (
    CHIP_PIXELS,
    cosmic_rays,
    flat_residual,
    pattern_noise,
    poisson_noise,
    read_noise,
    sky_plane,
)

__all__ = [
    "CHIP_PIXELS",
    "bad_columns",
    "bleed",
    "column_pairs",
    "cosmic_rays",
    "dark_pattern",
    "dust_rings",
    "edge_glow",
    "flat_residual",
    "holes",
    "hot_pixels",
    "pattern_noise",
    "poisson_noise",
    "read_noise",
    "sky_plane",
    "sky_structure",
]
