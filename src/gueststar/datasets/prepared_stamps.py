"""Stamps of files brought to what a model takes: order of the planes, sky, noise, width, measured numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar.datasets.stamp_sources import StampPiece, StampSource
from gueststar.errors import InputError
from gueststar.options import Options
from gueststar.realbogus.borders import border_noise
from gueststar.realbogus.channels import PLANES, check_channels, checked_order, guess_channels, parse_order
from gueststar.realbogus.foreign import matched_snr
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.runtime import Runtime
from gueststar.realbogus.scalars import scalars_of

__all__ = ["PreparedPiece", "ScoreFiles", "prepared_pieces"]

_SAMPLE = 400  # stamps that the order of the planes is looked for in
_HOW = "give the right order with --channels (auto takes what the pixels say); whatever is given there is not checked"


class ScoreFiles(Options):
    """How stamps in files are scored."""

    channels: str = Field("", description="Planes as they lie in the files; 'auto': told by the pixels; empty: checked")
    batch_size: int = Field(64, ge=1, le=65536, description="Stamps scored at once")
    threads: int = Field(1, ge=1, le=256, description="Threads of the scoring")
    prior: float | None = Field(None, gt=0, lt=1, description="Share of reals that scores hold for; None: the card's")
    runtime: Runtime = Field("onnxruntime", description="What runs the network: onnxruntime or openvino")
    sigma: tuple[float, float, float] | None = Field(
        None, description="Noise of science, reference and difference in the units of the files; None: measured"
    )
    chip: str = Field("", description="Chip that stamps come from whose file does not tell it")
    keep_sky: bool = Field(False, description="The stamps are free of sky: leave them as they are")
    fwhm_px: float = Field(2.5, gt=0.5, le=30, description="PSF for the S/N of files that do not give one, px")

    @field_validator("channels")
    @classmethod
    def _known(cls, value: str) -> str:
        return checked_order(value)

    @field_validator("sigma")
    @classmethod
    def _positive(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not all(0 < item < float("inf") for item in value):
            raise ValueError("expected three positive numbers: of science, reference and difference")
        return value


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPiece:
    """Some stamps of a source, as a model takes them.

    Parameters
    ----------
    piece : StampPiece
        As they were read.
    cube : ndarray, shape (n, 3, size, size), float32
        Science, reference, difference as wide as the model sees, free of sky.
    sigma : ndarray, shape (n, 3), float32
    scalars : ndarray, shape (n, m), float32
    chips : ndarray of str, shape (n,)
        Empty where not known.
    planes, noise : str
        How the planes were taken, and where the noise comes from.
    """

    piece: StampPiece
    cube: NDArray[np.float32]
    sigma: NDArray[np.float32]
    scalars: NDArray[np.float32]
    chips: NDArray[np.str_]
    planes: str
    noise: str


def prepared_pieces(source: StampSource, model: LoadedModel, options: ScoreFiles) -> Iterator[PreparedPiece]:
    """Bring the stamps of a source to what a model takes, piece by piece.

    Parameters
    ----------
    source : StampSource
    model : LoadedModel
    options : ScoreFiles

    Raises
    ------
    InputError
        When stamps are too small, or their planes are plainly in another order.
    """
    order: tuple[str, ...] | None = None
    told = ""
    for piece in source.pieces():
        if order is None:
            _check_size(piece.cube, source.path, model)
            order, told = _settle(piece, source, options)
        cube, sigma, scalars = _prepared(piece, order, model, options)
        chips = np.full(len(cube), options.chip) if piece.chips is None else piece.chips
        chips = np.where(chips == "", options.chip, chips)
        yield PreparedPiece(piece, cube, sigma, scalars, chips, told, _noise_source(piece, options))


def _check_size(cube: NDArray[Any], path: Path, model: LoadedModel) -> None:
    k, size = cube.shape[-1], model.card.stamp_size
    if k < size or k % 2 == 0:
        fault = f"smaller than the {size} px that it sees" if k < size else "even, so they have no central pixel"
        raise InputError(
            f"{path}: stamps of {k} px do not fit model {model.card.name!r}: {fault}; cut them with an odd width of "
            f"{size} px or more, around the candidate",
            path=str(path),
            width=k,
        )


def _settle(piece: StampPiece, source: StampSource, options: ScoreFiles) -> tuple[tuple[str, ...], str]:
    """Order of the planes, and how it was found."""
    if options.channels not in ("", "auto"):
        order = parse_order(options.channels)
        return order, f"{','.join(order)}, as told"
    if source.known_planes:
        return PLANES, f"{','.join(PLANES)}, as data sets are"
    sample = np.asarray(piece.cube[:_SAMPLE], np.float32)
    turned = None if piece.turned is None else piece.turned[:_SAMPLE]
    if options.channels == "auto":
        found = guess_channels(sample, turned=turned).order
        if found is None:
            raise InputError(
                f"{source.path}: the order of the planes cannot be told by the pixels of {len(sample)} stamps; give it "
                "with --channels",
                path=str(source.path),
            )
        return found, f"{','.join(found)}, by the pixels"
    try:
        guess = check_channels(sample, PLANES, turned=turned, how=_HOW)
    except InputError as error:
        raise InputError(f"{source.path}: {error.message}", path=str(source.path), **_others(error)) from None
    seen = "and so say the pixels" if guess.order == PLANES else "the pixels do not tell"
    return PLANES, f"{','.join(PLANES)}, {seen}"


def _others(error: InputError) -> dict[str, Any]:
    return {key: value for key, value in error.facts.items() if key != "path"}


def _noise_source(piece: StampPiece, options: ScoreFiles) -> str:
    if options.sigma is not None:
        return "as told"
    return "from the file" if piece.sigma is not None else "measured in the borders of the stamps"


def _prepared(
    piece: StampPiece, order: tuple[str, ...], model: LoadedModel, options: ScoreFiles
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Centres as the model sees them, noise of their planes, and measured numbers."""
    n, size = len(piece.cube), model.card.stamp_size
    planes = [order.index(name) for name in PLANES]
    margin = (piece.cube.shape[-1] - size) // 2
    seen = slice(margin, margin + size)
    cube = np.array(piece.cube[:, planes, seen, seen], np.float32)
    own = piece.sigma is not None
    sky = np.zeros((n, 3), np.float32)
    sigma = np.ones((n, 3), np.float32)
    if not own:
        measured, sigma = border_noise(piece.cube)
        sky, sigma = (sky if options.keep_sky else measured[:, planes]), sigma[:, planes]
    if options.sigma is not None:
        sigma = np.tile(np.asarray(options.sigma, np.float32), (n, 1))
    elif piece.sigma is not None:
        sigma = np.asarray(piece.sigma, np.float32)[:, planes]
    # Without a known sky there is nothing to subtract; such planes have no noise, either.
    cube -= np.where(np.isfinite(sky), sky, 0.0)[:, :, None, None]
    if piece.turned is not None:
        cube[piece.turned, 2] *= -1.0
    return cube, sigma, _numbers(piece, cube, sigma, model, options)


def _numbers(
    piece: StampPiece, cube: NDArray[np.float32], sigma: NDArray[np.float32], model: LoadedModel, options: ScoreFiles
) -> NDArray[np.float32]:
    """What was measured, and the S/N by a matched filter where it was not; NaN for all else."""
    n, names = len(cube), [item.name for item in model.card.scalars]
    wanted = {part for name in names for part in name.split("/")}
    columns = {part: np.asarray(piece.columns.get(part, np.full(n, np.nan)), np.float64) for part in wanted}
    if "snr" in columns and not np.isfinite(columns["snr"]).all():
        noise = np.where(sigma[:, 2] > 0, sigma[:, 2], np.nan).astype(np.float32)
        found = matched_snr(cube[:, 2] / noise[:, None, None], options.fwhm_px)
        columns["snr"] = np.where(np.isfinite(columns["snr"]), columns["snr"], found)
    return scalars_of(columns, names, n=n)
