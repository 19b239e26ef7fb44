"""What is compared: our engines, the oracle, and peers on pixels of their own making, all scored and searched alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from peers import cpu_seconds, extract, programs, run_swarp, written_for_extractor, written_for_swarp

from frontend_parts.fields import FieldPair, oracle_data
from frontend_parts.packages import PACKAGES, found_packages
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
    """Peer programs and packages that are installed, by name; the others are named on the screen."""
    found = programs()
    for name in found_packages():
        found[name] = name
    for name in sorted(set(PACKAGES) - set(found)):
        print(f"peer not installed, left out: {PACKAGES[name][0]}")
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
