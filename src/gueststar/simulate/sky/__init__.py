"""The sky of a field: what stands there, what changes and what moves."""

from gueststar.simulate.sky.field_galaxies import draw_host_offsets
from gueststar.simulate.sky.field_sky import make_sky, sky_at
from gueststar.simulate.sky.stars import star_counts_per_deg2

__all__ = ["draw_host_offsets", "make_sky", "sky_at", "star_counts_per_deg2"]
