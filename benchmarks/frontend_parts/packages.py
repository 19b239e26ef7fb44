"""Published packages that subtract images: each gets the registered pair and, where it takes any, the same PSFs.

What a package gives is scored and searched as our own engines are. It runs in a process of its own, with a time limit;
its processor time is that of one call on the whole pair, without what `sfft` compiles at its first.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import NDArray

from gueststar.planes import Tiling
from gueststar.reference import flux_ratio
from gueststar.subtract.finish import difference_mask, finish_difference, spread_mask
from gueststar.subtract.zogy import Zogy, _as_psf
from gueststar.types import Difference, Image, Psf

__all__ = ["PACKAGES", "PackageError", "found_packages", "run_package"]

Plane = NDArray[np.float32]


class PackageError(Exception):
    """A package failed or took too long."""


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """What a package gives: the difference in the flux scale of the science image, and its PSF.

    `psf` is None when the reference was convolved and the difference has the PSF of the science image. `reach` is how
    far the convolution carries light, px.
    """

    data: Plane
    psf: Psf | None = None
    reach: int = 0


def sfft(science: Image, aligned: Image) -> Produced:
    """`sfft` (Hu et al. 2022) on the processor; flagged pixels and faint sky are zeros in what it fits.

    It wants sky-subtracted images of which only sources remain for the fit, as its own sparse mode prepares them.
    """
    half = int(np.clip(np.ceil(1.5 * science.psf.fwhm), 4, 8))
    return Produced(_sfft(*_sfft_planes(science, aligned), half), reach=half)


def warm_sfft(science: Image, aligned: Image) -> None:
    """Let it compile, on a corner."""
    corner = [np.ascontiguousarray(plane[:256, :256]) for plane in _sfft_planes(science, aligned)]
    half = int(np.clip(np.ceil(1.5 * science.psf.fwhm), 4, 8))
    with contextlib.suppress(Exception):  # too few stars there: it has compiled by then
        _sfft(*corner, half)


def _sfft_planes(science: Image, aligned: Image) -> list[Plane]:
    keep = _near_good_stars(science, aligned)
    whole = [aligned.numpy(), science.numpy()]
    return whole + [np.where(keep, plane, np.float32(0.0)) for plane in whole]


def _sfft(reference: Plane, science: Plane, masked_reference: Plane, masked_science: Plane, half: int) -> Plane:
    from sfft.CustomizedPacket import Customized_Packet

    with tempfile.TemporaryDirectory() as name:
        paths = [f"{name}/{label}.fits" for label in ("ref", "sci", "mref", "msci")]
        for path, plane in zip(paths, (reference, science, masked_reference, masked_science), strict=True):
            fits.writeto(path, plane.astype(np.float64))
        Customized_Packet.CP(
            *paths, FITS_DIFF=f"{name}/diff.fits", ForceConv="REF", GKerHW=half, KerPolyOrder=2, BGPolyOrder=1,
            ConstPhotRatio=True, BACKEND_4SUBTRACT="Numpy", NUM_CPU_THREADS_4SUBTRACT=1, VERBOSE_LEVEL=0,
        )  # fmt: skip
        return np.ascontiguousarray(fits.getdata(f"{name}/diff.fits"), np.float32)


def ois(science: Image, aligned: Image) -> Produced:
    """`ois` (Bramich 2008): a kernel with free pixels, its own for each part of a grid over the chip."""
    from ois import optimal_system

    half = int(np.clip(np.ceil(1.5 * science.psf.fwhm), 4, 8))
    bad = ((science.mask | aligned.mask) != 0).numpy()
    planes = [np.ma.array(image.numpy().astype(np.float64), mask=bad) for image in (science, aligned)]
    grid = tuple(max(1, n // 500) for n in science.shape)
    found = optimal_system(
        *planes, kernelshape=(2 * half + 1,) * 2, bkgdegree=1, method="Bramich", gridshape=grid
    )  # fmt: skip
    return Produced(np.asarray(np.ma.filled(found[0], 0.0), np.float32), reach=half)


def pyzogy(science: Image, aligned: Image) -> Produced:
    """`PyZOGY` (Guevel & Hosseinzadeh): ZOGY with one PSF for the chip and its own iterated flux ratio."""
    from PyZOGY.subtract import run_subtraction

    masks = [(image.mask != 0).numpy().astype(float) for image in (science, aligned)]
    data, psf = run_subtraction(
        science.numpy().astype(float), aligned.numpy().astype(float), *(_stamp(image) for image in (science, aligned)),
        science_mask=masks[0], reference_mask=masks[1], normalization="science", n_stamps=1,
    )  # fmt: skip
    stamp, share = _cut(np.real(psf), science)
    return Produced(np.asarray(data / share, np.float32), stamp, _reach(science))


def zogy(science: Image, aligned: Image) -> Produced:
    """`zogy` (Vreeswijk, the pipeline of MeerLICHT and BlackGEM): its `run_ZOGY` on parts, each with the PSF there."""
    import zogy as package

    engine = Zogy()
    ratio, _ = engine._flux_ratio(science, aligned)
    scatter = float(aligned.facts.get("align_rms_px") or 0.0)
    os.environ.setdefault("ZOGYHOME", str(Path(package.__file__).parent))
    settings = importlib.import_module("Settings.set_zogy")
    settings.display = settings.verbose = settings.timing = False
    settings.dir_numpy = None
    package.tel, package.set_zogy = "", settings
    core, border = 600, 40
    ny, nx = science.shape
    padded = [np.pad(image.numpy(), border) for image in (science, aligned)]
    rms = [np.pad(np.sqrt(image.numpy("variance")), border, mode="edge") for image in (science, aligned)]
    rms = [np.full_like(plane, np.sqrt(np.quantile(plane[::8, ::8] ** 2, 0.25))) for plane in rms]
    data = np.zeros(science.shape, np.float32)
    with tempfile.TemporaryDirectory() as name:
        package.base_newref = f"{name}/part"
        for number, (top, left) in enumerate((t, s) for t in range(0, ny, core) for s in range(0, nx, core)):
            cut = (slice(top, top + core + 2 * border), slice(left, left + core + 2 * border))
            part = [plane[cut] for plane in padded]
            place = (left + core / 2.0, top + core / 2.0)
            psfs = [_at_origin(image.psf, place, part[0].shape) for image in (science, aligned)]
            out = package.run_ZOGY(
                number, part[1], part[0], psfs[1], psfs[0], rms[1][cut], rms[0][cut], 1.0 / ratio, 0.0, scatter,
                scatter, use_FFTW=False,
            )  # fmt: skip
            inner = np.load(out[0])[border:-border, border:-border]
            data[top : top + core, left : left + core] = inner
    tiling = Tiling(science.shape, engine.tile_px)
    psf = _as_psf(
        engine._kernels(science, aligned, ratio, tiling)[2], tiling, max(science.psf.order, aligned.psf.order)
    )
    return Produced(data, psf, _reach(science))


#: Packages by the name of their import: label in the tables, and adapter.
PACKAGES: dict[str, tuple[str, Callable[[Image, Image], Produced]]] = {
    "sfft": ("sfft package", sfft),
    "zogy": ("zogy package", zogy),
    "PyZOGY": ("PyZOGY package", pyzogy),
    "ois": ("ois package", ois),
}


def found_packages() -> list[str]:
    """Names of the packages that are installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is not None]


def run_package(name: str, science: Image, aligned: Image, *, timeout_s: float) -> tuple[Difference, float]:
    """Subtract by a package; the scored difference, and its processor time.

    Raises
    ------
    PackageError
        When it fails or takes longer than the limit.
    """
    made, seconds = _in_child(name, science, aligned, timeout_s)
    mask = difference_mask(science.mask, spread_mask(aligned.mask, made.reach))
    if made.psf is not None:  # both images were convolved
        mask = difference_mask(spread_mask(science.mask, made.reach), spread_mask(aligned.mask, made.reach))
    data = torch.from_numpy(np.nan_to_num(made.data))
    data = torch.where(mask != 0, torch.zeros_like(data), data)
    variance = science.variance + aligned.variance * flux_ratio(science, aligned) ** 2
    psf = made.psf or science.psf
    label = PACKAGES[name][0]
    return finish_difference(data, variance, mask, psf, science, aligned, engine=label, facts={}), seconds


def _in_child(name: str, science: Image, aligned: Image, timeout_s: float) -> tuple[Produced, float]:
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.pt"
        child = context.Process(target=_work, args=(name, science, aligned, path))
        child.start()
        child.join(timeout_s)
        if child.is_alive():
            os.killpg(child.pid, signal.SIGKILL)
            child.join()
            raise PackageError(f"no result within {timeout_s:g} s")
        if not path.is_file():
            raise PackageError(f"ended with status {child.exitcode} and no result")
        made: Any = torch.load(path, weights_only=False)
        if isinstance(made, str):
            raise PackageError(made)
        return made


def _work(name: str, science: Image, aligned: Image, path: Path) -> None:
    os.setsid()
    adapter = PACKAGES[name][1]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            if name == "sfft":
                warm_sfft(science, aligned)
            started = time.process_time()
            made = adapter(science, aligned)
            torch.save((made, time.process_time() - started), path)
        except Exception as error:  # noqa: BLE001
            torch.save(f"{type(error).__name__}: {error}", path)


def _stamp(image: Image) -> NDArray[np.float64]:
    """PSF at the centre of the chip."""
    ny, nx = image.shape
    stamp = image.psf.at(np.array([nx / 2.0]), np.array([ny / 2.0]))[0].double().numpy()
    return stamp / stamp.sum()


def _at_origin(psf: Psf, place: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.float64]:
    """PSF at a place, on a plane of a shape, centred on its pixel (0, 0)."""
    stamp = psf.at(np.array([place[0]]), np.array([place[1]]))[0].double().numpy()
    plane = np.zeros(shape)
    size = stamp.shape[0]
    plane[:size, :size] = stamp / stamp.sum()
    return np.roll(plane, (-(size // 2), -(size // 2)), (0, 1))


def _cut(plane: NDArray[np.float64], science: Image) -> tuple[Psf, float]:
    """PSF from a whole plane that is centred on its pixel (0, 0), and the share of its light that is in the stamp."""
    half = science.psf.size // 2
    stamp = np.roll(plane, (half, half), (0, 1))[: 2 * half + 1, : 2 * half + 1]
    return Psf.from_stamp(stamp / stamp.sum()), float(stamp.sum() / plane.sum())


def _reach(science: Image) -> int:
    return int(np.ceil(1.5 * science.psf.fwhm))


def _near_good_stars(science: Image, aligned: Image) -> NDArray[np.bool_]:
    """True on discs around unflagged sources of S/N > 15."""
    keep = np.zeros(science.shape, bool)
    radius = int(np.ceil(3.0 * science.psf.fwhm))
    stars = science.stars[(science.stars.flags == 0) & (science.stars.snr > 15.0)]
    for x, y in zip(np.round(stars.x).astype(int), np.round(stars.y).astype(int), strict=True):
        keep[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = True
    return keep & (science.numpy("mask") == 0) & (aligned.numpy("mask") == 0)
