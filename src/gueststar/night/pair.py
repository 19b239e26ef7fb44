"""One science image against one reference: load, process, write the products."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from astropy.table import Table

from gueststar import __version__
from gueststar.config import Config, config_hash
from gueststar.errors import GueststarError, InputError, MissingPartError
from gueststar.ingest.calibrate import calibrate
from gueststar.ingest.fits import frame_image, read_frame
from gueststar.ingest.prepare import measure_image
from gueststar.night.calibration import masters_from_files
from gueststar.night.catalogs import read_catalog
from gueststar.night.folders import staged_folder, write_bytes
from gueststar.night.frames import digest, plain_name
from gueststar.night.guard import StageClock
from gueststar.night.injection import (
    image_rng,
    lost_artificial_reals,
    match_artificial_reals,
    with_flagged_places,
)
from gueststar.night.products import (
    PRODUCT_NAMES,
    difference_bytes,
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
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Image, Outcome, Stamps

__all__ = ["Observe", "check_device", "process_images", "run_pair"]


#: Stamps of lost artificial reals that are kept for each image.
_MOST_EXAMPLES = 6


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
        With status 'ok'; its product paths are relative to `out`.

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
        injected = find_artificial_reals(result, reference, config, names.image, threshold=threshold, watch=watch)
        with watch("write"):
            write_table(folder / "injected.parquet", injected.table, provenance=provenance(result, names))
            if len(injected.stamps.cube):
                write_stamps(folder / "injected_stamps.npy", injected.stamps)
        products["injected"] = f"{names.folder}injected.parquet"
        counts |= injected.counts
        if injected.error:
            # The image itself is sound; that its depth is not known is told, and no reason to drop it.
            facts["inject_error"] = injected.error
    outcome = Outcome(
        names.image, "ok", field=science.field, chip=science.chip, mjd=science.mjd_mid, facts=facts,
        seconds=dict(clock.seconds), products=products, counts=counts,
    )  # fmt: skip
    write_outcome(folder / "outcome.json", outcome, key=names.key, config_hash=names.config_hash)
    return outcome


def _process(science: Image, reference: Image, config: Config, watch: Observe) -> PairResult:
    return process_pair(
        science, reference, align=config.align, subtract=config.subtract, detect=config.detect, cut=config.stamps,
        classify=config.classify, observe=watch,
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


@dataclass(frozen=True, slots=True, eq=False)
class ArtificialReals:
    """Artificial reals of one image.

    Parameters
    ----------
    table : Table
        See `match_artificial_reals`; and stamp, the row of those in `stamps`, -1 for the others.
    stamps : Stamps
        Of the most significant ones that were lost.
    not_placed : int
        Wanted, but there was no room on the image.
    error : str
        Why the image with the sources in it could not be processed; else empty.
    """

    table: Table
    stamps: Stamps
    not_placed: int = 0
    error: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Numbers for the outcome; 'injected' are all rows, those on flagged pixels among them."""
        numbers = {
            "injected": len(self.table), "found": int(self.table["found"].sum()),
            "found_real": int(self.table["real"].sum()),
            "injected_flagged": int((self.table["status"] == "masked").sum()),
        }  # fmt: skip
        return numbers | ({"not_placed": self.not_placed} if self.not_placed else {})


def find_artificial_reals(
    result: PairResult, reference: Image, config: Config, name: str, *, threshold: float, watch: Observe
) -> ArtificialReals:
    """Put artificial reals into the science image, process it again, and say which were found.

    The star list stays the one measured before: so many injected sources at once would spoil it in a way that the few
    real transients of an image do not. PSF and cosmic rays are measured again, for a source that is taken for a cosmic
    ray is lost.
    """
    from gueststar.simulate.inject import draw_artificial_reals, inject

    night = config.night
    rng = image_rng(night.seed, name)
    with watch("inject"):
        placed = draw_artificial_reals(
            result.science, night.inject, rng=rng, snr=night.inject_snr, placement=night.inject_placement
        )
        missing = night.inject - len(placed)
        sources = with_flagged_places(result.science, placed, snr=night.inject_snr, rng=rng)
        injected = inject(result.science, sources, rng=rng)
        try:
            science = measure_image(replace(injected.image, psf=None), options=config.ingest)
            again = _process(science, reference, config, _unwatched)
        except GueststarError as error:
            lost = lost_artificial_reals(injected.sources)
            lost["stamp"] = np.full(len(lost), -1)
            return ArtificialReals(lost, _no_stamps(config), missing, error.message)
        table = match_artificial_reals(
            injected.sources, again.candidates, again.difference, result.candidates,
            radius_px=night.match_radius_px, threshold=threshold, edge_px=config.detect.edge_px,
        )  # fmt: skip
        return ArtificialReals(*_with_examples(table, again, config), missing)


def _with_examples(table: Table, again: PairResult, config: Config) -> tuple[Table, Stamps]:
    """Stamps of the most significant sources that were lost, and the table with their rows."""
    lost = np.flatnonzero((table["lost_at"] != "") & (table["status"] == "injected") & ~table["occupied"])
    rows = lost[np.argsort(-table["snr_difference"][lost], kind="stable")][:_MOST_EXAMPLES]
    shown = table.copy()
    shown["stamp"] = np.full(len(table), -1)
    shown["stamp"][rows] = np.arange(len(rows))
    if len(rows) == 0:
        return shown, _no_stamps(config)
    columns = {column.name: np.zeros(len(rows), column.dtype) for column in CANDIDATE_COLUMNS}
    columns |= {"x": np.asarray(table["x"][rows]), "y": np.asarray(table["y"][rows])}
    return shown, config.stamps(Candidates.from_columns(columns), again.science, again.reference, again.difference)


def _no_stamps(config: Config) -> Stamps:
    size = config.stamps.size
    return Stamps(np.empty((0, 3, size, size), np.float32), np.empty((0, 3), np.float32), np.empty(0, "U1"))


def _unwatched(_stage: str, /) -> AbstractContextManager[None]:
    return nullcontext()
