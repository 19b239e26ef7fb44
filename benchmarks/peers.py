"""Peer programs on the same pixels, timed alone: SWarp, hotpants, source-extractor. One thread each."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
from astropy.io import fits

from gueststar import Image

__all__ = ["cpu_seconds", "extract", "programs", "run_swarp", "written_for_extractor", "written_for_swarp"]

_SPELLINGS = {"SWarp": ("SWarp", "swarp"), "hotpants": ("hotpants",), "extractor": ("source-extractor", "sex")}


def cpu_seconds() -> float:
    """Processor time of this process and of its finished children, s."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def programs() -> dict[str, str]:
    """Peers that are installed, by name; the others are named."""
    found = {}
    for label, spellings in _SPELLINGS.items():
        paths = [path for name in spellings if (path := shutil.which(name))]
        if paths:
            found[label] = paths[0]
        else:
            print(f"peer not installed, left out: {spellings[0]}")
    return found


def call(command: list[str], folder: Path) -> None:
    """Run a program in a folder; its last words when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {(done.stdout + done.stderr)[-500:]}")


def written_for_swarp(folder: Path, science: Image, reference: Image) -> None:
    """Write reference.fits, and coadd.head with the grid of the science image."""
    fits.writeto(folder / "reference.fits", reference.numpy(), reference.wcs.to_header(relax=True))
    target = science.wcs.to_header(relax=True)
    ny, nx = science.shape
    target["NAXIS"], target["NAXIS1"], target["NAXIS2"] = 2, nx, ny
    (folder / "coadd.head").write_text(target.tostring(sep="\n", endcard=True) + "\n")


def run_swarp(program: str, folder: Path) -> None:
    """Resample reference.fits onto the grid of coadd.head, by the headers alone, into coadd.fits."""
    call(
        [program, "reference.fits", "-IMAGEOUT_NAME", "coadd.fits", "-SUBTRACT_BACK", "N"]
        + ["-RESAMPLING_TYPE", "LANCZOS3", "-NTHREADS", "1", "-WRITE_XML", "N", "-VERBOSE_TYPE", "QUIET"],
        folder,
    )


def written_for_extractor(folder: Path, fwhm: float) -> None:
    """Write the list of columns and a Gaussian filter of the width of the PSF."""
    (folder / "default.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUXERR_AUTO\nFLAGS\n")
    grid = np.mgrid[-4:5, -4:5]
    kernel = np.exp(-(grid**2).sum(0) / (2.0 * (fwhm / 2.3548) ** 2))
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in kernel)
    (folder / "psf.conv").write_text(f"CONV NORM\n{rows}\n")


def extract(program: str, folder: Path, difference: str = "difference.fits", noise: str = "noise.fits") -> int:
    """Detect positive sources of a difference; their number."""
    call(
        [program, difference, "-PARAMETERS_NAME", "default.param", "-FILTER_NAME", "psf.conv"]
        + ["-DETECT_THRESH", "2.5", "-DETECT_MINAREA", "3", "-BACK_TYPE", "MANUAL", "-CATALOG_NAME", "out.cat"]
        + ["-WEIGHT_TYPE", "MAP_RMS", "-WEIGHT_IMAGE", noise, "-VERBOSE_TYPE", "QUIET"],
        folder,
    )
    return sum(not line.startswith("#") for line in (folder / "out.cat").read_text().splitlines())
