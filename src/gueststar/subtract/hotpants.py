"""Adapter to an installed `hotpants` (Becker 2015, ASCL 1504.004), an implementation of Alard & Lupton (1998)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from astropy.io import fits
from pydantic import Field

from gueststar.errors import MissingPartError, SubtractionError
from gueststar.options import Options
from gueststar.subtract.finish import check_pair, difference_mask, finish_difference, spread_mask
from gueststar.types import Difference, Fact, Image, Mask

__all__ = ["Hotpants"]

_PEDESTAL = 1000.0  # e-; hotpants takes values near zero and below for bad pixels


class Hotpants(Options):
    """Subtract with the external program `hotpants`, in a temporary folder that is removed."""

    engine: Literal["hotpants"] = Field("hotpants", description="Name of the engine")
    program: str = Field("hotpants", description="Program name or path")
    kernel_order: int = Field(2, ge=0, le=4, description="Spatial order of the kernel (-ko)")
    background_order: int = Field(1, ge=0, le=4, description="Spatial order of the background (-bgo)")
    stamps_x: int = Field(10, ge=1, le=100, description="Most stamps along x (-nsx); fewer on small frames")
    stamps_y: int = Field(10, ge=1, le=100, description="Most stamps along y (-nsy); fewer on small frames")
    timeout_s: float = Field(300.0, gt=0, description="Given up after this many seconds")

    def __call__(self, science: Image, reference: Image) -> Difference:
        """Subtract; as `Kernel`, on the CPU.

        Raises
        ------
        MissingPartError
            When the program is not installed.
        SubtractionError
            When it fails, takes too long, or writes nothing; the end of its messages is in the error.
        """
        check_pair(science, reference)
        program = shutil.which(self.program)
        if program is None:
            raise MissingPartError(
                f"engine 'hotpants' needs the program {self.program!r}, which is not on the PATH; build it from "
                "github.com/acbecker/hotpants (needs cfitsio), or use engine 'kernel'",
                program=self.program,
            )
        with tempfile.TemporaryDirectory(prefix="gueststar-hotpants-") as folder:
            data, noise, flags = self._run(program, Path(folder), science, reference)
        share = float(((flags != 0) & (science.numpy("mask") == 0)).mean())
        if share > 0.9 or not np.isfinite(data[flags == 0]).all():
            raise SubtractionError(
                f"hotpants gave up {100.0 * share:.0f} % of the good pixels: it found no kernel; use engine 'kernel', "
                "or change subtract.stamps_x, subtract.stamps_y",
                bad_fraction=share,
            )
        device = science.data.device
        bad = torch.from_numpy(flags != 0).to(device)
        spread = spread_mask(reference.mask, self._radius(science, reference))
        mask = difference_mask(science.mask, spread) | (bad & (science.mask == 0)).to(torch.int16) * int(Mask.BAD)
        lost = (mask & int(Mask.NO_DATA)) != 0
        plane = torch.from_numpy(data).to(device)
        variance = torch.from_numpy(noise * noise).to(device)
        unsound = ~torch.isfinite(variance) | (variance <= 0)
        variance = torch.where(unsound, science.variance + reference.variance, variance)
        plane = torch.where(lost | ~torch.isfinite(plane), torch.zeros_like(plane), plane)
        facts: dict[str, Fact] = {"convolved": "reference", "hotpants_bad_fraction": float((flags != 0).mean())}
        return finish_difference(
            plane, variance, mask, science.psf, science, reference, engine=self.engine, facts=facts
        )

    @staticmethod
    def _radius(science: Image, reference: Image) -> int:
        """Half width of hotpants' kernel (-r), px."""
        widths = [image.psf.fwhm if image.psf is not None else 3.0 for image in (science, reference)]
        return int(np.clip(np.ceil(2.5 * max(widths)), 6, 20))

    def _command(self, program: str, folder: Path, science: Image, reference: Image) -> list[str]:
        fwhm_s = science.psf.fwhm if science.psf is not None else 3.0
        fwhm_r = reference.psf.fwhm if reference.psf is not None else 3.0
        # Narrower Gaussians than half a pixel are alike on the grid and make hotpants' matrix singular.
        sigma = max(float(np.sqrt(max(fwhm_s**2 - fwhm_r**2, 0.0))) / 2.3548, 1.0)
        radius = self._radius(science, reference)
        # hotpants fits any order to any number of stars; so few cannot carry more.
        bright = 0 if science.stars is None else int(((science.stars.flags == 0) & (science.stars.snr > 15.0)).sum())
        most = 0 if bright < 16 else 1 if bright < 45 else 4
        high = [f"{min(image.saturation, 1e7) * 0.95 + _PEDESTAL:.1f}" for image in (science, reference)]
        options: dict[str, str] = {
            "-inim": "science.fits",
            "-tmplim": "reference.fits",
            "-outim": "difference.fits",
            "-ini": "science_noise.fits",
            "-tni": "reference_noise.fits",
            "-imi": "science_mask.fits",
            "-tmi": "reference_mask.fits",
            "-oni": "noise.fits",
            "-omi": "mask.fits",
            "-iu": high[0],
            "-tu": high[1],
            "-il": "1",
            "-tl": "1",
            "-ko": str(min(self.kernel_order, most)),
            "-bgo": str(min(self.background_order, most)),
            "-nsx": str(max(1, min(self.stamps_x, science.shape[1] // 60))),
            "-nsy": str(max(1, min(self.stamps_y, science.shape[0] // 60))),
            "-r": str(radius),
            "-rss": str(int(radius * 1.5)),
            "-n": "i",
            "-c": "t",
        }
        words = [program]
        for name, value in options.items():
            path = str(folder / value) if value.endswith(".fits") else value
            words += [name, path]
        widths = (0.5 * sigma, sigma, 2.0 * sigma)
        degrees = ("6", "4", "2")
        words += ["-ng", "3", *(w for pair in zip(degrees, widths, strict=True) for w in (pair[0], f"{pair[1]:.3f}"))]
        return words

    def _run(
        self, program: str, folder: Path, science: Image, reference: Image
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        for name, image in (("science", science), ("reference", reference)):
            fits.writeto(folder / f"{name}.fits", image.numpy() + np.float32(_PEDESTAL))
            fits.writeto(folder / f"{name}_noise.fits", np.sqrt(image.numpy("variance")))
            fits.writeto(folder / f"{name}_mask.fits", (image.numpy("mask") != 0).astype(np.int16))
        command = self._command(program, folder, science, reference)
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout_s,
                check=False,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            raise SubtractionError(
                f"hotpants did not finish within {self.timeout_s:g} s; raise subtract.timeout_s or reduce its stamps",
                timeout_s=self.timeout_s,
            ) from None
        except OSError as error:
            raise SubtractionError(f"hotpants could not be started: {error}", program=program) from None
        output = folder / "difference.fits"
        if done.returncode != 0 or not output.exists():
            tail = " | ".join((done.stdout + done.stderr).strip().splitlines()[-4:])
            raise SubtractionError(
                f"hotpants failed with exit status {done.returncode}: {tail}", returncode=done.returncode
            )
        planes = [_read_plane(folder / f"{name}.fits", science.shape) for name in ("difference", "noise", "mask")]
        return planes[0], planes[1], planes[2].astype(np.int32)


def _read_plane(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        with fits.open(path, memmap=False) as hdus:
            plane = np.ascontiguousarray(np.asarray(hdus[0].data), np.float32)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise SubtractionError(f"hotpants wrote no readable {path.name}: {error}", file=path.name) from None
    if plane.shape != shape:
        raise SubtractionError(f"hotpants wrote {path.name} of shape {plane.shape}; expected {shape}", file=path.name)
    return plane
