"""`gueststar solve`: world coordinates into FITS files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.common import ConfigFile, Gain, Instrument, Overrides, Quiet, errors, number, output, resolve

__all__ = ["solve"]


def solve(
    files: Annotated[list[Path], typer.Argument(help="FITS files.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the copies with a WCS.")],
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            "-r",
            metavar="FILE",
            help="Take the WCS from this frame of the field, through its stars.",
        ),
    ] = None,
    scale: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--scale", metavar="LOW HIGH", help="Range of the pixel scale, arcsec/px; else the instrument profile's."
        ),
    ] = None,
    near: Annotated[
        tuple[float, float] | None,
        typer.Option("--near", metavar="RA DEC", help="Where the frames look, deg; within solve.radius_deg."),
    ] = None,
    instrument: Instrument = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    gain: Gain = None,
    quiet: Quiet = False,
) -> None:
    """Write copies of frames with world coordinates (TAN-SIP) in their headers.

    With --reference, a frame of the same field that has a good WCS, the stars
    of both tie the frame to it: this makes a missing WCS, or a better one.
    Without, the program solve-field of astrometry.net looks the stars up in
    its index; it is quick when scale and place are given.

    Nothing is ever replaced; an old WCS is left out of the copy.

    \b
    gueststar solve light.fits --out solved --scale 1.1 1.3 --near 150.1 2.2
    gueststar solve science.fits --reference reference.fits --out refined --instrument tomoe
    """  # noqa: D301
    settings = resolve(config, set_, instrument=instrument, gain_e_adu=gain)
    from gueststar.errors import ConfigError
    from gueststar.night.solve_files import solve_files

    if scale is not None and not 0 < scale[0] <= scale[1]:
        raise ConfigError(f"--scale {scale[0]:g} {scale[1]:g}: two positive numbers are needed, the lowest first")
    if near is not None and not (0 <= near[0] <= 360 and -90 <= near[1] <= 90):
        raise ConfigError(f"--near {near[0]:g} {near[1]:g}: RA from 0 to 360 and Dec from -90 to 90 deg are needed")
    with errors().status("solving"):
        done = solve_files(files, out, settings, reference=reference, scale_arcsec=scale, near_deg=near)
    if quiet:
        return
    for item in done:
        how = f"{item.n_stars} stars, registered to {number(item.rms_px, 3)} px"
        words = how if item.how == "reference" else f"astrometry.net, from {item.n_stars} stars"
        place = f"centre {item.ra_deg:.5f} {item.dec_deg:+.5f} deg, {item.scale_arcsec:.4f} arcsec/px"
        output().print(
            f"{item.path}: {place}, {words}; SIP good to {item.error_px:.1g} px",
            markup=False,
            soft_wrap=True,
        )
