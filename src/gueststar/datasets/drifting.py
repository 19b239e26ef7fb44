"""Drift of a run or a data set: compare with a reference, write a page and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gueststar import __version__
from gueststar.datasets.drift_profile import write_profile
from gueststar.errors import InputError, OutputError
from gueststar.night.folders import replace_file
from gueststar.realbogus.drift.columns import IMAGE_FACTS
from gueststar.realbogus.drift.groups import find_drift
from gueststar.realbogus.drift.model_profile import read_model_profile
from gueststar.realbogus.drift.profile import Profile, Sample, count_all, make_profile, read_profile
from gueststar.realbogus.drift.result import Drift, DriftOptions, ImageCounts
from gueststar.realbogus.files import CARD_FILE, SET_FILE, STORE_FILE
from gueststar.report.drift_page import drift_page
from gueststar.report.evaluation_tables import json_text, parquet_bytes

__all__ = ["DriftReport", "is_model", "read_known", "write_drift"]

_FACTS = "drift.json"
_MANY_REAL = 0.2  # share of a run's candidates that score as real; on a survey it is far below 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DriftReport:
    """What was found, and where it is written; `page` is None without a folder."""

    drift: Drift
    warnings: tuple[str, ...]
    page: Path | None


def is_model(path: str | Path) -> bool:
    """Whether it is a model: 'shipped', a model folder, a set or a store of models."""
    path = Path(path)
    return str(path) == "shipped" or any((path / name).is_file() for name in (CARD_FILE, SET_FILE, STORE_FILE))


def read_known(path: str | Path) -> Profile | None:
    """The profile that is a file or that a model keeps; None for anything else.

    Raises
    ------
    InputError
        When the file is no profile, or the model keeps none.
    ModelError
        When the model cannot be used.
    """
    path = Path(path)
    if path.suffix == ".json" and not path.is_dir():
        return read_profile(path)
    return read_model_profile(path) if is_model(path) else None


def write_drift(
    data: Sample, reference: Sample | Profile, out: str | Path | None = None, options: DriftOptions | None = None, *,
    profile: str | Path | None = None, overwrite: bool = False, progress: Callable[[int, int], None] | None = None,
) -> DriftReport:  # fmt: skip
    """Compare, and write drift.html, drift.json, drift.parquet and drift_images.parquet.

    Parameters
    ----------
    data : Sample
    reference : Sample or Profile
    out : path, optional
        Folder; None writes none.
    options : DriftOptions, optional
    profile : path, optional
        File for the profile of the reference.
    overwrite : bool
    progress : callable, optional
        Called as progress(groups done, groups in all).

    Raises
    ------
    InputError
        When nothing can be compared.
    OutputError
        When something is there already or cannot be written.
    """
    options = options or DriftOptions()
    rng = np.random.default_rng(options.seed)
    if out is not None and (Path(out) / _FACTS).exists() and not overwrite:
        raise OutputError(f"{out} holds a drift report already; choose another --out, or give --overwrite",
                          path=str(out))  # fmt: skip
    known = reference if isinstance(reference, Profile) else make_profile(reference, options, rng=rng)
    if profile is not None:
        write_profile(profile, known, overwrite=overwrite)
    shared, notes = _shared(data, known)
    counts = count_all(data, shared.columns)
    drift = find_drift(counts, shared, options, rng=rng, progress=progress)
    warnings = (*notes, *drift.notes)
    if out is None:
        return DriftReport(drift, warnings, None)
    folder = Path(out)
    facts = {
        "data": data.name, "data_hash": data.digest, "reference": known.name, "reference_hash": known.digest,
        "images": len(data.images), "rows": len(data.image), "reference_images": len(shared.images),
        "reference_images_in_all": known.images_in_all, "options": options.model_dump(), "code_version": __version__,
        "warnings": list(warnings),
    }  # fmt: skip
    rows = [{key: value for key, value in asdict(test).items() if key != "causes"} for test in drift.tests]
    replace_file(folder / "drift.parquet", parquet_bytes(pa.Table.from_pylist(rows)))
    replace_file(folder / "drift_images.parquet", parquet_bytes(_causes(drift)))
    replace_file(folder / "drift.html", drift_page(drift, counts, shared, facts).encode())
    found = {
        "drift": [asdict(test) for test in drift.drifting],
        "standing_out": [asdict(item) for item in drift.standouts],
    }
    replace_file(folder / _FACTS, json_text({**facts, **found}).encode())
    return DriftReport(drift, warnings, folder / "drift.html")


def _shared(data: Sample, known: Profile) -> tuple[ImageCounts, list[str]]:
    """The reference in the columns that both have, and what should be known."""
    notes = list(data.notes)
    there = {name for name, values in data.columns.items() if np.isfinite(values).any()}
    if "rb_score" in there and data.model and known.model and data.model != known.model:
        there.discard("rb_score")
        notes.append(f"scores are not compared: those of {data.name} are of model {data.model}, those of {known.name} "
                     f"of {known.model}")  # fmt: skip
    if data.rows == "candidates" and data.real > _MANY_REAL and known.rows == "artifacts":
        notes.append(
            f"{100 * data.real:.0f} % of the candidates score as real, and {known.name} holds artifacts alone: that by "
            "itself looks like drift; compare with nights that are known to be good"
        )
    elif data.rows != known.rows and {data.rows, known.rows} != {"candidates", "artifacts"}:
        notes.append(
            f"{data.name} holds {data.rows}, {known.name} {known.rows}: unlike rows differ; choose with --rows"
        )
    counts = known.counts
    numbers = [i for i, column in enumerate(counts.columns) if column.name in there]
    if not numbers:
        names = ", ".join(column.name for column in counts.columns)
        raise InputError(f"{data.name} and the reference {known.name} share no column with numbers; the reference has "
                         f"{names}")  # fmt: skip
    known_names = {column.name for column in counts.columns}
    # Facts of images are those of runs alone: a data set that lacks all of them lacks nothing.
    apart = set(IMAGE_FACTS) if not known_names & set(IMAGE_FACTS) or not there & set(IMAGE_FACTS) else set()
    left = sorted((known_names ^ there) - {"rb_score"} - apart)
    if ("rb_score" in known_names) != ("rb_score" in there) and not any("scores are not" in text for text in notes):
        lacking = known.name if "rb_score" in there else data.name
        notes.append(f"scores are not compared: {lacking} has none; give a data set its own by --scores")
    if left:
        notes.append(f"not compared, for one side lacks them: {', '.join(left)}")
    both = {image.name for image in data.images} & {image.name for image in counts.images}
    if both:
        notes.append(f"images with the same name on both sides: {len(both)}, such as {min(both)}; an image does not "
                     "drift against itself")  # fmt: skip
    chips, known_chips = ({image.chip for image in side} - {"unknown"} for side in (data.images, counts.images))
    if known_chips and chips - known_chips:
        names = _some(sorted(chips - known_chips))
        notes.append(f"the reference has no image of chip {names}: compared with its other chips")
    return counts.some(slice(None), numbers), notes


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _causes(drift: Drift) -> pa.Table:
    """Influence of every image on every group that left."""
    text, number, real = pa.string(), pa.int64(), pa.float64()
    schema = pa.schema({
        "night": text, "chip": text, "column": text, "rank": number, "image": text, "image_night": text,
        "image_chip": text, "rows": number, "influence": real, "psi": real, "guilty": pa.bool_(),
    })  # fmt: skip
    rows = []
    for test in drift.drifting:
        for rank, cause in enumerate(test.causes, start=1):
            image = cause.image
            values = (test.night, test.chip, test.column, rank, image.name, image.night, image.chip, cause.rows,
                      cause.influence, cause.psi, rank <= test.guilty)  # fmt: skip
            rows.append(dict(zip(schema.names, values, strict=True)))
    return pa.Table.from_pylist(rows, schema=schema)
