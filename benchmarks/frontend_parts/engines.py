"""What is compared: our engines, the oracle, and peers on pixels of their own making, all scored and searched alike."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits

from frontend_parts.fields import FieldPair, oracle_data
from gueststar.align import Align
from gueststar.config import Config
from gueststar.subtract.finish import finish_difference
from gueststar.subtract.hotpants import Hotpants
from gueststar.types import Difference, Image

__all__ = ["Engine", "available", "cpu_seconds", "engines", "oracle", "swarp"]

#: Science, aligned reference -> difference.
Engine = Callable[[Image, Image], Difference]


def cpu_seconds() -> float:
    """Processor time of this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def engines(names: list[str]) -> dict[str, Engine]:
    """Our engines by name, as a configuration would choose them."""
    return {name: Config.parse({"subtract": {"engine": name}}).subtract for name in names}


def oracle(pair: FieldPair) -> Difference:
    """The true scene subtracted; the reference's masks do not enter."""
    science = pair.science
    data = torch.where(science.mask != 0, torch.zeros_like(science.data), oracle_data(pair))
    return finish_difference(
        data, science.variance, science.mask, science.psf, science, science, engine="oracle", facts={}
    )


def available() -> dict[str, str]:
    """Peer programs and packages that are installed: name to path or version."""
    found = {}
    for label, spellings in (
        ("SWarp", ("SWarp", "swarp")), ("hotpants", ("hotpants",)), ("extractor", ("source-extractor", "sex")),
    ):  # fmt: skip
        paths = [path for name in spellings if (path := shutil.which(name))]
        if paths:
            found[label] = paths[0]
    try:
        import sfft  # noqa: F401

        found["sfft"] = "sfft"
    except ImportError:
        pass
    return found


def swarp(program: str, pair: FieldPair) -> tuple[Image, float]:
    """The reference on the science grid by SWarp and the headers' WCS, errors included; and the processor time."""
    science, reference = pair.science, pair.reference
    moved = Align()(science, reference)  # masks and noise of our own: SWarp's weights know less
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "reference.fits", reference.numpy(), reference.wcs.to_header(relax=True))
        target = science.wcs.to_header(relax=True)
        ny, nx = science.shape
        target["NAXIS"], target["NAXIS1"], target["NAXIS2"] = 2, nx, ny
        (folder / "coadd.head").write_text(target.tostring(sep="\n", endcard=True) + "\n")
        started = cpu_seconds()
        command = [program, "reference.fits", "-IMAGEOUT_NAME", "coadd.fits", "-SUBTRACT_BACK", "N"]
        command += ["-RESAMPLING_TYPE", "LANCZOS3", "-NTHREADS", "1", "-WRITE_XML", "N", "-VERBOSE_TYPE", "QUIET"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        seconds = cpu_seconds() - started
        data = np.ascontiguousarray(fits.getdata(folder / "coadd.fits"), dtype=np.float32)
    lost = moved.numpy("mask") != 0
    plane = torch.from_numpy(np.where(np.isfinite(data) & ~lost, data, moved.numpy()))
    return replace(moved, data=plane), seconds


def hotpants_alone(pair: FieldPair, aligned: Image, program: str) -> float:
    """Processor time of hotpants itself, without writing its input and scoring its output."""
    engine = Hotpants()
    with tempfile.TemporaryDirectory() as name:
        started = cpu_seconds()
        engine._run(program, Path(name), pair.science, aligned)
        return cpu_seconds() - started


def extractor(program: str, difference: Difference) -> float:
    """Processor time of source-extractor on a difference, with a filter of the size of the PSF."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits.writeto(folder / "difference.fits", difference.numpy())
        fits.writeto(folder / "noise.fits", np.sqrt(difference.numpy("variance")))
        (folder / "default.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUXERR_AUTO\nFLAGS\n")
        grid = np.mgrid[-4:5, -4:5]
        kernel = np.exp(-(grid**2).sum(0) / (2.0 * (difference.psf.fwhm / 2.3548) ** 2))
        rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in kernel)
        (folder / "psf.conv").write_text(f"CONV NORM\n{rows}\n")
        started = cpu_seconds()
        command = [program, "difference.fits", "-PARAMETERS_NAME", "default.param", "-FILTER_NAME", "psf.conv"]
        command += ["-DETECT_THRESH", "2.5", "-DETECT_MINAREA", "3", "-BACK_TYPE", "MANUAL", "-CATALOG_NAME", "out.cat"]
        command += ["-WEIGHT_TYPE", "MAP_RMS", "-WEIGHT_IMAGE", "noise.fits", "-VERBOSE_TYPE", "QUIET"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return cpu_seconds() - started


def sfft_package(pair: FieldPair, aligned: Image) -> tuple[Difference, float]:
    """The published package `sfft` (Hu et al. 2022) on the processor; flagged pixels and faint sky replaced by zeros.

    It wants sky-subtracted images of which only sources remain for the fit, as its own sparse mode prepares them.
    """
    from sfft.CustomizedPacket import Customized_Packet

    science = pair.science
    keep = _near_good_stars(science, aligned)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planes = {
            "ref": aligned.numpy(), "sci": science.numpy(), "mref": np.where(keep, aligned.numpy(), 0.0),
            "msci": np.where(keep, science.numpy(), 0.0),
        }  # fmt: skip
        for label, plane in planes.items():
            fits.writeto(folder / f"{label}.fits", plane.astype(np.float32).T.astype(np.float64).T)
        half = int(np.clip(np.ceil(1.5 * science.psf.fwhm), 4, 8))
        started = time.process_time()
        Customized_Packet.CP(
            *(str(folder / f"{label}.fits") for label in ("ref", "sci", "mref", "msci")),
            FITS_DIFF=str(folder / "diff.fits"), ForceConv="REF", GKerHW=half, KerPolyOrder=2, BGPolyOrder=1,
            ConstPhotRatio=True, BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0,
        )  # fmt: skip
        seconds = time.process_time() - started
        data = np.ascontiguousarray(fits.getdata(folder / "diff.fits"), dtype=np.float32)
    mask = science.mask | aligned.mask
    plane = torch.where(mask != 0, torch.zeros_like(science.data), torch.from_numpy(np.nan_to_num(data)))
    variance = science.variance + aligned.variance
    scored = finish_difference(plane, variance, mask, science.psf, science, aligned, engine="sfft package", facts={})
    return scored, seconds


def _near_good_stars(science: Image, aligned: Image) -> np.ndarray:
    """True on discs around unflagged sources of S/N > 15."""
    keep = np.zeros(science.shape, bool)
    radius = int(np.ceil(3.0 * science.psf.fwhm))
    stars = science.stars[(science.stars.flags == 0) & (science.stars.snr > 15.0)]
    for x, y in zip(np.round(stars.x).astype(int), np.round(stars.y).astype(int), strict=True):
        keep[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = True
    return keep & (science.numpy("mask") == 0) & (aligned.numpy("mask") == 0)
