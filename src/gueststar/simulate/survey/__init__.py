"""What a simulated survey is like: camera, sky, weather and faults, each with its range, rate or switch.

Defaults describe a camera like Tomo-e Gozen (Sako et al. 2018, SPIE 10702, 107020J): high-gain CMOS chips, sum stacks
of twelve frames of 0.5 s without a filter. A range (low, high) is drawn from anew for each exposure or field.
"""

from __future__ import annotations

from gueststar.simulate.survey.camera import Camera
from gueststar.simulate.survey.plan import Plan
from gueststar.simulate.survey.sky import Sky
from gueststar.simulate.survey.weather import Weather

__all__ = ["Camera", "Plan", "Sky", "Survey", "Weather"]


class Survey(Plan, Weather, Sky, Camera):
    """Options of the simulator; see `gueststar.simulate.night` for what makes images of them.

    Ranges are (low, high) and drawn from uniformly unless the description says otherwise. Rates per chip refer to a
    chip of 2000 x 1128 px and scale with the area of the frame. Setting a rate to 0 switches that effect off.
    """

    @classmethod
    def varied(cls) -> Survey:
        """A survey of many conditions, for training: seeing 2.1-4.5 px, all latitudes, dark to twilight sky."""
        return cls(
            galactic_latitude_deg=(0.0, 90.0),
            fwhm_px=(2.1, 4.5),
            sky_mag=(17.0, 20.5),
            extinction_mag=(0.0, 1.0),
            wcs_shift_px=0.3,
            cosmic_rays_per_chip=10.0,
        )

    @classmethod
    def quiet(cls) -> Survey:
        """The default survey without what spoils whole frames or comes and goes: for tests of one thing at a time."""
        return cls(
            bright_stars="drawn", proper_motion=0.0, variable_fraction=0.0, active_nuclei=0.0, flares_per_chip=0.0,
            asteroid_density=0.0, near_earth_per_chip=0.0, satellites_per_chip=0.0, bad_seeing_rate=0.0,
            trailing_rate=0.0, defocus_rate=0.0, cloud_patch_rate=0.0, colour_term=0.0, wcs_failure_rate=0.0,
            reference_holes_per_chip=0.0, bad_columns_per_chip=0.0, edge_glow_e=(0.0, 0.0),
        )  # fmt: skip
