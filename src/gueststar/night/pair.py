"""One science image against one reference: load, process, write the products."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from gueststar import __version__
from gueststar.config import Config, config_hash
from gueststar.errors import InputError, MissingPartError
from gueststar.ingest.calibrate import calibrate
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.night.artificial_reals import find_artificial_reals
from gueststar.night.calibration import masters_from_files
from gueststar.night.catalogs import read_catalog
from gueststar.night.folders import staged_folder, write_bytes
from gueststar.night.frames import digest, plain_name
from gueststar.night.guard import StageClock
from gueststar.night.products import (
    PRODUCT_NAMES,
    difference_bytes,
    write_cube,
    write_outcome,
    write_stamps,
    write_table,
)
from gueststar.night.records import (
    Names,
    cards,
    counts_of,
    facts_of,
    provenance,
    subtitle_of,
    threshold_of,
    with_sky_noise,
)
from gueststar.pipeline import PairResult, process_pair
from gueststar.plots import pair_figure
from gueststar.types import Image, Outcome

__all__ = ["Observe", "check_device", "process_images", "run_pair"]


class Observe(Protocol):
    """Entered around every stage."""

    def __call__(self, stage: str, /) -> AbstractContextManager[None]: ...  # noqa: D102


def run_pair(
    science: str | Path,
    reference: str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    darks: Sequence[Path] = (),
    flats: Sequence[Path] = (),
    catalog: str | Path | None = None,
    overwrite: bool = False,
    observe: Observe | None = None,
) -> Outcome:
    """Process two FITS files and write a folder of products.

    Parameters
    ----------
    science, reference : path
        FITS files.
    out : path
        Folder to make: difference.fits, candidates.parquet, stamps.npy, pair.png, outcome.json.
    config : Config, optional
    darks, flats : sequence of path
        Calibration frames; combined, and applied to both images.
    catalog : path, optional
        Stars of known magnitude for the zero point; see `gueststar.night.catalogs.read_catalog`.
    overwrite : bool
        Replace products that are there already.
    observe : callable, optional
        Entered with the name of each stage, as for `process_pair`.

    Returns
    -------
    Outcome
        With status 'ok', or 'rejected' by a quality gate; its product paths are relative to `out`.

    Raises
    ------
    GueststarError
        When a file cannot be used or a stage fails; nothing is left behind.
    OutputError
        When `out` exists, or cannot be written to.
    """
    config = config or Config()
    check_device(config.device)
    out, science, reference = Path(out), Path(science), Path(reference)
    clock = StageClock()

    def watch(stage: str) -> AbstractContextManager[None]:
        return _both(clock(stage), observe(stage) if observe is not None else nullcontext())

    with staged_folder(out, overwrite=overwrite, known=PRODUCT_NAMES) as folder:
        with watch("load"):
            dark, flat = masters_from_files(darks, flats, instrument=config.instrument)
            stars = read_catalog(Path(catalog)) if catalog is not None else None
            images = []
            for path in (science, reference):
                frame = read_frame(path, instrument=config.instrument, gain_e_adu=config.gain_e_adu)
                calibrated = calibrate(frame, dark=dark, flat=flat)
                images.append(frame_image(calibrated, ingest=config.ingest, catalog=stars, device=config.device))
        hashed = config_hash(config)
        key = digest(__version__, hashed, *(image.image_id for image in images))
        names = Names(plain_name(science), science.name, reference.name, key, hashed)
        outcome = process_images(images[0], images[1], folder, config, names, watch=watch, clock=clock)
    return outcome


@contextmanager
def _both(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Iterator[None]:
    with first, second:
        yield


def process_images(
    science: Image, reference: Image, folder: Path, config: Config, names: Names, *, watch: Observe, clock: StageClock
) -> Outcome:
    """Process two images and write all products into a folder that exists.

    With ``config.night.inject`` a second processing with artificial reals follows; it changes no other product.

    Raises
    ------
    GueststarError
        When a stage fails or a product cannot be written.
    """
    if science.image_id == reference.image_id:
        raise InputError(
            f"{names.science_file} and {names.reference_file} hold the same pixels; give another reference",
            image_id=science.image_id,
        )
    result = _process(science, reference, config, watch)
    threshold = threshold_of(result.candidates, config)
    facts = {**result.facts, **facts_of(result, threshold)}
    counts = counts_of(result.candidates, threshold)
    products = write_products(folder, result, config, names, threshold=threshold, watch=watch)
    if config.night.inject:
        with watch("inject"):
            injected = find_artificial_reals(
                result, config, names.image, threshold=threshold,
                process=lambda image: _process(image, reference, config, _unwatched),
            )  # fmt: skip
        with watch("write"):
            write_table(folder / "injected.parquet", injected.table, provenance=provenance(result, names))
            if len(injected.stamps):
                write_stamps(folder / "injected_stamps.npy", injected.stamps)
                write_cube(folder / "injected_score.npy", injected.score)
            if injected.real_stamps is not None:
                write_table(folder / "injected_reals.parquet", injected.reals, provenance=provenance(result, names))
                write_stamps(folder / "injected_reals.npy", injected.real_stamps)
        products["injected"] = f"{names.folder}injected.parquet"
        counts |= injected.counts
        if injected.error:
            # The image itself is sound; that its depth is not known is told, and no reason to drop it.
            facts["inject_error"] = injected.error
    outcome = Outcome(
        names.image, "ok" if result.quality.passed else "rejected", stage="" if result.quality.passed else "quality",
        reason=result.quality.reason, field=science.field, chip=science.chip, mjd=science.mjd_mid, facts=facts,
        seconds=dict(clock.seconds), products=products, counts=counts,
    )  # fmt: skip
    write_outcome(folder / "outcome.json", outcome, key=names.key, config_hash=names.config_hash)
    return outcome


def _process(science: Image, reference: Image, config: Config, watch: Observe) -> PairResult:
    return process_pair(
        science, reference, align=config.align, subtract=config.subtract, detect=config.detect, cut=config.stamps,
        classify=config.classify, quality=config.quality, observe=watch,
    )  # fmt: skip


def check_device(device: str) -> None:
    """Raise `MissingPartError` when planes are to live on a GPU and there is none."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise MissingPartError(
            f"device = {device!r}: torch {torch.__version__} finds no GPU; use cpu, or install a torch built for CUDA "
            "(pip install torch)",
            device=device,
        )


def write_products(
    folder: Path, result: PairResult, config: Config, names: Names, *, threshold: float, watch: Observe
) -> dict[str, str]:
    """Write difference.fits, candidates.parquet, stamps.npy and pair.png; returns product name to file name."""
    notes = provenance(result, names)
    table = with_sky_noise(result)
    products = {"candidates": "candidates.parquet", "stamps": "stamps.npy", "outcome": "outcome.json"}

    with watch("write"):
        write_table(folder / "candidates.parquet", table, provenance=notes)
        write_stamps(folder / "stamps.npy", result.stamps)
        if config.night.keep_difference:
            data = difference_bytes(
                result.difference, result.science, result.reference, provenance=cards(result, names)
            )
            write_bytes(folder / "difference.fits", data)
            products["difference"] = "difference.fits"
    if config.night.pictures:
        with watch("picture"):
            figure = pair_figure(
                result.science, result.reference, result.difference, result.candidates, result.stamps,
                threshold=threshold,
                title=names.science_file, subtitle=subtitle_of(result, names),
            )  # fmt: skip
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
            write_bytes(folder / "pair.png", buffer.getbuffer())
        products["picture"] = "pair.png"
    return {name: names.folder + file for name, file in products.items()}


def _unwatched(_stage: str, /) -> AbstractContextManager[None]:
    return nullcontext()
