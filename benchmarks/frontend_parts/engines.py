"""What is compared: our engines, the oracle, and peers on pixels of their own making, all scored and searched alike."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from peers import cpu_seconds, extract, programs, run_swarp, written_for_extractor, written_for_swarp

from frontend_parts.fields import FieldPair, oracle_data
from gueststar.align import Align
from gueststar.config import Config
from gueststar.subtract.finish import finish_difference
from gueststar.subtract.hotpants import Hotpants
from gueststar.types import Difference, Image

__all__ = ["Engine", "available", "engines", "oracle", "swarp"]

#: Science, aligned reference -> difference.
Engine = Callable[[Image, Image], Difference]


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
    """Peer programs and packages that are installed: name to path."""
    found = programs()
    try:
        import sfft

        found["sfft"] = str(sfft.__file__)
    except ImportError:
        print("peer not installed, left out: sfft")
    return found


def swarp(program: str, pair: FieldPair) -> tuple[Image, float]:
    """The reference on the science grid by SWarp and the headers' WCS, errors included; and the processor time."""
    moved = Align()(pair.science, pair.reference)  # masks and noise of our own: SWarp's weights know less
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written_for_swarp(folder, pair.science, pair.reference)
        started = cpu_seconds()
        run_swarp(program, folder)
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
        written_for_extractor(folder, difference.psf.fwhm)
        started = cpu_seconds()
        extract(program, folder)
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
