"""Drift of a run or a data set: read measured numbers, compare with a reference, write a page and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.datasets.drift_profile import write_profile
from gueststar.datasets.products import nights_of
from gueststar.errors import ConfigError, InputError, OutputError
from gueststar.night.folders import replace_file
from gueststar.night.products import read_outcome
from gueststar.realbogus.drift_groups import Drift, DriftOptions, ImageCounts, ImageName, find_drift
from gueststar.realbogus.drift_profile import (
    COLUMNS,
    Profile,
    Sample,
    count_all,
    make_profile,
    named_images,
    read_profile,
)
from gueststar.realbogus.files import CARD_FILE, SET_FILE, STORE_FILE
from gueststar.realbogus.model_profile import read_model_profile
from gueststar.realbogus.stored import open_dataset
from gueststar.report.collect import read_run
from gueststar.report.drift_page import drift_page
from gueststar.report.evaluation_models import read_scores
from gueststar.report.evaluation_sample import choose_rows
from gueststar.report.evaluation_tables import json_text, parquet_bytes

__all__ = ["IMAGE_FACTS", "DriftReport", "is_model", "read_known", "read_sample", "write_drift"]

#: Facts of the images of a run that are compared with those of another run, every candidate having that of its image.
IMAGE_FACTS = (
    "seeing_px", "ellipticity", "sky_noise_e", "quality_astrometric_rms_px", "quality_unmatched", "quality_width_ratio",
    "quality_transparency_mag", "quality_crowding", "quality_noise_ratio", "quality_background", "quality_masked",
    "quality_misfit", "quality_candidates",
)  # fmt: skip
_FACTS = "drift.json"
_KINDS = ("artifacts", "reals", "all")


@dataclass(frozen=True, slots=True, eq=False)
class DriftReport:
    """What was found, and where it is written; `page` is None without a folder."""

    drift: Drift
    warnings: tuple[str, ...]
    page: Path | None


def read_sample(
    path: str | Path, *, part: str = "all", rows: str = "artifacts", columns: Sequence[str] = (),
    scores: str | Path | None = None, group_by: str = "",
) -> Sample:  # fmt: skip
    """Read the columns of a data set or of the folder of a run.

    Parameters
    ----------
    path : path
    part : str
        'train', 'validation', 'test' or 'all' of a data set.
    rows : {'artifacts', 'reals', 'all'}
        Labels of a data set whose rows are taken. All candidates of a run are taken, nearly all of which are artifacts.
    columns : sequence of str
        Empty: those of `COLUMNS` that are there.
    scores : path, optional
        Scores of a data set, as `gueststar score` writes them.
    group_by : str
        Column of a data set that tells images apart; empty: the first of `gueststar.realbogus.split.IMAGE_COLUMNS`.

    Raises
    ------
    ConfigError
        For an unknown column, part or kind of rows, or an option that a run does not have.
    InputError
        When it is neither a data set nor a run, or has no such row.
    """
    path = Path(path)
    if rows not in _KINDS:
        raise ConfigError(f"--rows {rows}: one of {', '.join(_KINDS)}", key="rows", value=rows)
    if (path / "run.json").is_file():
        if scores is not None or group_by or part != "all" or rows == "reals":
            raise ConfigError(
                f"{path} is a run: its candidates have scores and images of their own, and neither parts nor labels; "
                "leave out the options of data sets", key="data", value=str(path),
            )  # fmt: skip
        return _run(path, columns)
    if not (path / "manifest.json").is_file():
        raise InputError(
            f"{path} is neither a data set (manifest.json) nor the folder of a run (run.json)", path=str(path)
        )
    return _dataset(path, part, rows, columns, scores, group_by)


def _dataset(
    path: Path, part: str, rows: str, columns: Sequence[str], scores: str | Path | None, group_by: str
) -> Sample:
    chosen = choose_rows(open_dataset(path), part, group_by=group_by)
    keep = {"artifacts": ~chosen.real, "reals": chosen.real, "all": np.ones(len(chosen), bool)}[rows]
    if not keep.any():
        raise InputError(f"{path}: the part {part} has no {rows}; choose others with --rows or --part", path=str(path))
    there = set(chosen.data.column_names)
    wanted = _wanted(path, columns, there | ({"rb_score"} if scores is not None else set()))
    model = ""
    taken: dict[str, NDArray[np.float64]] = {}
    for name in wanted:
        if name == "rb_score" and scores is not None:
            made = read_scores(chosen, scores, unscored=float("nan"))
            model, taken[name] = made.facts["hash"], made.scores[keep].astype(np.float64)
        else:
            taken[name] = _numbers(path, name, np.asarray(chosen.data[name][chosen.rows][keep]))
    texts = [np.asarray(chosen.image_names)[chosen.image]]
    for name in ("night", "chip"):
        if chosen.has(name):
            codes, names = chosen.text(name)
            texts.append(np.array([text or "unknown" for text in names])[codes])
        else:
            texts.append(np.full(len(chosen), "unknown"))
    images, image = named_images(*(text[keep] for text in texts))
    return Sample(path.resolve().name, chosen.data.content_hash(), model, taken, image, images)


def _run(path: Path, columns: Sequence[str]) -> Sample:
    outcomes, tables, skipped = [], [], []
    for name in sorted(read_run(path)["images"]):
        stored = read_outcome(path / "images" / name / "outcome.json")
        if stored is None or stored[0].status != "ok":
            continue
        file = path / "images" / name / "candidates.parquet"
        try:
            names = set(pq.read_schema(file).names)
            table = pq.read_table(file, columns=sorted(names & {*COLUMNS, *columns}))
        except (OSError, pa.ArrowInvalid) as error:
            skipped.append(f"{name} is left out: {error}")
            continue
        outcomes.append(stored[0])
        tables.append(table)
    if not any(table.num_rows for table in tables):
        raise InputError(f"{path}: no processed image has a candidate that can be read", path=str(path))
    facts = [name for name in IMAGE_FACTS if any(isinstance(item.facts.get(name), float | int) for item in outcomes)]
    there = {name for table in tables for name in table.column_names} | set(facts)
    wanted = _wanted(path, columns, there)
    nights = nights_of(np.array([np.nan if item.mjd is None else item.mjd for item in outcomes]))
    image = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    taken = {}
    for name in wanted:
        if name in facts:
            taken[name] = np.array([_fact(item.facts.get(name)) for item in outcomes])[image]
            continue
        parts = [
            _numbers(path, name, table[name].to_numpy(zero_copy_only=False))
            if name in table.column_names
            else np.full(table.num_rows, np.nan)
            for table in tables
        ]
        taken[name] = np.concatenate(parts)
    images = tuple(ImageName(item.image, night, item.chip or "unknown")
                   for item, night in zip(outcomes, nights, strict=True))  # fmt: skip
    models = {str(item.facts.get("rb_model_hash", "")) for item in outcomes}
    model = models.pop() if len(models) == 1 else ""
    return Sample(path.resolve().name, "", model, taken, image, images, tuple(skipped))


def _wanted(path: Path, columns: Sequence[str], there: set[str]) -> list[str]:
    lacking = [name for name in columns if name not in there]
    if lacking:
        raise ConfigError(f"--columns {lacking[0]}: {path} has {', '.join(sorted(there))}", key="columns",
                          value=lacking[0])  # fmt: skip
    return list(dict.fromkeys(columns)) or [name for name in (*COLUMNS, *IMAGE_FACTS) if name in there]


def _fact(value: Any) -> float:
    return float(value) if isinstance(value, float | int) else float("nan")


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind not in "iufb":
        raise ConfigError(f"--columns {name}: {path} has texts in it, and numbers are compared", key="columns",
                          value=name)  # fmt: skip
    return values.astype(np.float64)


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
    replace_file(folder / _FACTS, json_text({**facts, "drift": [asdict(test) for test in drift.drifting]}).encode())
    return DriftReport(drift, warnings, folder / "drift.html")


def _shared(data: Sample, known: Profile) -> tuple[ImageCounts, list[str]]:
    """The reference in the columns that both have, and what should be known."""
    notes = list(data.notes)
    there = {name for name, values in data.columns.items() if np.isfinite(values).any()}
    if "rb_score" in there and data.model and known.model and data.model != known.model:
        there.discard("rb_score")
        notes.append(f"scores are not compared: those of {data.name} are of model {data.model}, those of {known.name} "
                     f"of {known.model}")  # fmt: skip
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
    if left:
        notes.append(f"not compared, for one side lacks them: {', '.join(left)}")
    both = {image.name for image in data.images} & {image.name for image in counts.images}
    if both:
        notes.append(f"{len(both)} images are in both, such as {min(both)}: against itself nothing drifts")
    shared = np.concatenate([counts.of(i) for i in numbers], axis=1)
    return ImageCounts(tuple(counts.columns[i] for i in numbers), shared, counts.images), notes


def _causes(drift: Drift) -> pa.Table:
    names = (
        "night",
        "chip",
        "column",
        "rank",
        "image",
        "image_night",
        "image_chip",
        "rows",
        "influence",
        "psi",
        "guilty",
    )
    rows = []
    for test in drift.drifting:
        for rank, cause in enumerate(test.causes, start=1):
            image = cause.image
            values = (test.night, test.chip, test.column, rank, image.name, image.night, image.chip, cause.rows,
                      cause.influence, cause.psi, rank <= test.guilty)  # fmt: skip
            rows.append(dict(zip(names, values, strict=True)))
    types = (
        (pa.string(),) * 3 + (pa.int64(),) + (pa.string(),) * 3 + (pa.int64(), pa.float64(), pa.float64(), pa.bool_())
    )
    return pa.Table.from_pylist(rows, schema=pa.schema(list(zip(names, types, strict=True))))
