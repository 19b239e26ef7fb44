"""Adapter to an installed astrometry.net (Lang et al. 2010, AJ 139, 1782): the WCS of an image from its stars alone.

The program gets a list of our own stars, not the pixels, and works in a temporary folder that is removed. It needs
index files whose quads fit into the image; those of Tycho-2 serve images wider than about 20 arcmin that hold some ten
stars brighter than 11.5 mag.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field

from gueststar.errors import AstrometryError, MissingPartError
from gueststar.ingest.astrometry import FittedWcs, fit_sip, pixel_scale_arcsec, read_wcs
from gueststar.options import Options
from gueststar.types import Image, Mask, Stars

__all__ = ["PlateSolution", "SolveField"]

_INSTALL = "apt install astrometry.net astrometry-data-tycho2"
_FEWEST = 6


@dataclass(frozen=True, slots=True, eq=False)
class PlateSolution:
    """Where an image looks.

    Parameters
    ----------
    fitted : FittedWcs
        TAN-SIP world coordinates.
    scale_arcsec : float
        Pixel scale at the centre, arcsec/px.
    n_stars : int
        Stars that were given to the program.
    """

    fitted: FittedWcs
    scale_arcsec: float
    n_stars: int


class SolveField(Options):
    """Find the WCS of an image with the external program `solve-field`."""

    program: str = Field("solve-field", description="Program name or path")
    n_stars: int = Field(200, ge=_FEWEST, le=5000, description="Most stars given to the program, brightest first")
    scale_margin: float = Field(0.1, gt=0, lt=1, description="How far a known pixel scale may be off, fraction")
    radius_deg: float = Field(5.0, gt=0, le=180, description="How far a given place may be off, deg")
    sip_order: int = Field(3, ge=1, le=5, description="Order of the distortion that is fitted; 1 is none")
    index_folder: str = Field("", description="Folder of index files; empty: as the program is configured")
    timeout_s: float = Field(120.0, gt=0, le=86_400, description="Given up after this many seconds")

    def __call__(
        self,
        image: Image,
        *,
        scale_arcsec: tuple[float, float] | None = None,
        near_deg: tuple[float, float] | None = None,
    ) -> PlateSolution:
        """Solve.

        Parameters
        ----------
        image : Image
            With stars. Its WCS, if it has one, is not used.
        scale_arcsec : (float, float), optional
            Lowest and highest pixel scale; None tries all from 0.1 to 180 deg of width.
        near_deg : (float, float), optional
            RA, Dec that the image looks at.

        Raises
        ------
        MissingPartError
            When the program is not installed.
        AstrometryError
            With too few stars, or when the program fails, takes too long or finds no solution.
        """
        stars = _usable(image.stars, self.n_stars)
        if len(stars) < _FEWEST:
            raise AstrometryError(
                f"{len(stars)} usable stars; a plate solution needs at least {_FEWEST}. Is the frame exposed and in "
                "focus? Lower ingest.stars.threshold_sigma",
                n_stars=len(stars),
            )
        program = shutil.which(self.program)
        if program is None:
            raise MissingPartError(
                f"a plate solution needs the program {self.program!r}, which is not on the PATH; install it with: "
                f"{_INSTALL}; or give a reference with a WCS",
                program=self.program,
            )
        with tempfile.TemporaryDirectory(prefix="gueststar-solve-") as folder:
            header = self._run(program, Path(folder), stars, image.shape, scale_arcsec, near_deg)
        wcs = read_wcs(header)
        if wcs is None:
            raise AstrometryError("solve-field wrote a WCS without celestial axes")

        def sky(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(wcs.all_pix2world(points, 0), np.float64)

        return PlateSolution(fit_sip(sky, image.shape, order=self.sip_order), pixel_scale_arcsec(wcs), len(stars))

    def _command(
        self,
        program: str,
        folder: Path,
        shape: tuple[int, int],
        scale_arcsec: tuple[float, float] | None,
        near_deg: tuple[float, float] | None,
    ) -> list[str]:
        none = ("--new-fits", "--corr", "--rdls", "--match", "--index-xyls", "--solved")
        words = [program, str(folder / "stars.xyls"), "--dir", str(folder), "--temp-dir", str(folder), "--overwrite"]
        words += ["--no-plots", "--no-remove-lines", "--uniformize", "0", "--crpix-center"]
        words += ["--width", str(shape[1]), "--height", str(shape[0]), "--x-column", "X", "--y-column", "Y"]
        words += ["--sort-column", "FLUX", "--cpulimit", f"{int(np.ceil(self.timeout_s))}"]
        words += ["--wcs", str(folder / "stars.wcs"), *(word for name in none for word in (name, "none"))]
        words += ["--tweak-order", str(self.sip_order)] if self.sip_order > 1 else ["--no-tweak"]
        if self.index_folder:
            words += ["--index-dir", self.index_folder]
        if scale_arcsec is not None:
            low, high = scale_arcsec
            words += ["--scale-units", "arcsecperpix", "--scale-low", f"{low:.6g}", "--scale-high", f"{high:.6g}"]
        if near_deg is not None:
            words += ["--ra", f"{near_deg[0]:.6f}", "--dec", f"{near_deg[1]:.6f}", "--radius", f"{self.radius_deg:g}"]
        return words

    def _run(
        self,
        program: str,
        folder: Path,
        stars: Stars,
        shape: tuple[int, int],
        scale_arcsec: tuple[float, float] | None,
        near_deg: tuple[float, float] | None,
    ) -> fits.Header:
        # FITS counts pixels from 1.
        table = Table({"X": stars.x + 1.0, "Y": stars.y + 1.0, "FLUX": stars.flux})
        table.write(folder / "stars.xyls", format="fits")
        command = self._command(program, folder, shape, scale_arcsec, near_deg)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=self.timeout_s + 5.0, check=False,
                cwd=folder, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise AstrometryError(
                f"solve-field did not finish within {self.timeout_s:g} s; give the pixel scale and the place, or raise "
                "solve.timeout_s",
                timeout_s=self.timeout_s,
            ) from None
        except OSError as error:
            raise AstrometryError(f"solve-field could not be started: {error}", program=program) from None
        said = (done.stdout + done.stderr).strip().splitlines()
        if done.returncode != 0:
            tail = " | ".join(said[-4:])
            raise AstrometryError(
                f"solve-field failed with exit status {done.returncode}: {tail}", returncode=done.returncode
            )
        if not (folder / "stars.wcs").exists():
            raise AstrometryError(
                f"solve-field found no solution for {len(stars)} stars; give the right pixel scale (--scale) and place "
                f"(--near), and index files for the width of the image ({_INSTALL}: wider than 20 arcmin)",
                n_stars=len(stars),
            )
        return fits.getheader(folder / "stars.wcs")


def _usable(stars: Stars | None, most: int) -> Stars:
    """Brightest first, the saturated ones too: they are those that the index knows."""
    if stars is None:
        raise AstrometryError("a plate solution needs the stars of the image; call measure_image first")
    good = stars[((stars.flags & ~int(Mask.SATURATED)) == 0) & (stars.snr > 5.0)]
    return good[:most]
