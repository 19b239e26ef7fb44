"""Data sets from the products of runs: artificial reals that were found against everything else that was detected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar import __version__
from gueststar.datasets.known import read_known, read_truth
from gueststar.datasets.products import ProductImage, Products, nights_of, read_products, read_rows, read_stamps
from gueststar.datasets.survey_rows import Doubts, SurveyRows, survey_rows
from gueststar.errors import ConfigError, InputError
from gueststar.options import Options
from gueststar.realbogus.manifest import PARTS, SIGMA_COLUMNS
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.stored import StoredDataset, open_dataset
from gueststar.realbogus.suspicion import check_reasons, has_reason
from gueststar.realbogus.thinning import parse_balance, thin_classes
from gueststar.types import CANDIDATE_COLUMNS

__all__ = ["BuildSet", "build_dataset"]

GroupColumn = Literal["tile", "night", "reference"]
Progress = Callable[[str, int, int], None]


class BuildSet(Options):
    """How a data set is chosen from products."""

    balance: str = Field("all", description="Reals to artifacts in every part, as in 1:1; or 'all' rows")
    strata: tuple[float, ...] = Field((), description="Limits of |S/N| between intervals that each have the balance")
    split: tuple[float, float, float] = Field((2.0, 1.0, 1.0), description="Sizes of train, validation and test")
    group_by: tuple[GroupColumn, ...] = Field(
        ("tile", "night", "reference"), min_length=1, description="What may not be in two parts of the split"
    )
    tile: Literal["field_chip", "field"] = Field("field_chip", description="What counts as one part of the sky")
    sign: Literal["both", "positive"] = Field(
        "both", description="Artifacts that are taken: of both signs, or only those brighter in the science image"
    )
    exclude: tuple[str, ...] = Field((), description="Reasons of suspicion whose rows are left out")
    repeat_visits: int = Field(
        2, ge=2, le=100_000, description="Images with an artifact at one place from which on it is suspicious"
    )
    repeat_radius_arcsec: float = Field(2.0, gt=0, le=60, description="Within this two artifacts are at one place")
    known_radius_arcsec: float = Field(5.0, gt=0, le=600, description="A known object explains artifacts within this")
    bright_radius_px: float = Field(
        15.0, ge=0, le=200, description="Saturated and halo pixels within this make a bright star near; px"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="Type of the stored pixels")
    rows_per_shard: int = Field(4096, ge=1, le=1_000_000, description="Most rows of a shard")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the split and of the rows that balance leaves out")

    @field_validator("split")
    @classmethod
    def _sizes(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or value[0] <= 0:
            raise ValueError("three sizes are needed, none negative, the first larger than 0")
        return value


def build_dataset(
    runs: Sequence[str | Path],
    out: str | Path,
    options: BuildSet | None = None,
    *,
    truth: Sequence[str | Path] = (),
    known: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> StoredDataset:
    """Make a data set from the folders of runs; memory does not grow with the stamps.

    Parameters
    ----------
    runs : sequence of path
        Folders that `gueststar run --inject N` wrote.
    out : path
        New folder of the set.
    options : BuildSet, optional
    truth : sequence of path
        truth.parquet of the simulated nights that were run: fills ``true_kind``.
    known : sequence of path
        Catalogues of asteroids, variables and transients; see `gueststar.datasets.known.read_known`.
    progress : callable, optional
        Called as progress(stage, done, total), stages 'look' and 'write'.

    Returns
    -------
    StoredDataset

    Raises
    ------
    InputError
        When products cannot be used, a class is missing, or groups cannot be divided.
    OutputError
        When `out` holds a set already or cannot be written.
    """
    options = options or BuildSet()
    ratio, reasons = parse_balance(options.balance), check_reasons(options.exclude)
    if options.strata and ratio is None:
        raise ConfigError("strata without a balance change nothing; give the balance, too, as 1:1", key="strata")
    writer = ShardWriter(out, dtype=options.dtype, rows_per_shard=options.rows_per_shard, group_by=options.group_by)
    products = read_products([Path(run) for run in runs], tile=options.tile)
    doubts = Doubts(
        truth=read_truth([Path(path) for path in truth]) if truth else None,
        known=read_known([Path(path) for path in known]) if known else None,
        known_radius_arcsec=options.known_radius_arcsec, repeat_visits=options.repeat_visits,
        repeat_radius_arcsec=options.repeat_radius_arcsec, bright_radius_px=options.bright_radius_px,
    )  # fmt: skip
    rows = survey_rows(products, doubts, progress=_stage(progress, "look"))
    _check_classes(rows, products, "found")
    rng = np.random.default_rng(options.seed)
    keep = _wanted(rows, reasons, options.sign)
    _check_classes(rows, products, "left after the choice", keep)
    groups = _groups(products)
    part = _parts(rows, keep, groups, options, rng)
    chosen = keep & thin_classes(rows.label, part, rows.snr, ratio=ratio, strata=options.strata, rng=rng)
    _check_classes(rows, products, "left after the choice", chosen)
    with writer:
        _write(writer, products, rows, chosen, part, groups, progress=_stage(progress, "write"))
        writer.provenance = _provenance(products, rows, chosen, options, truths=truth, catalogues=known)
    return open_dataset(out)


def _wanted(rows: SurveyRows, reasons: Sequence[str], sign: str) -> NDArray[np.bool_]:
    """Rows that no reason excludes, and whose sign is wanted."""
    texts, number = np.unique(rows.suspicion, return_inverse=True)
    excluded: NDArray[np.bool_] = np.array([has_reason(str(text), reasons) for text in texts], bool)[number]
    wanted: NDArray[np.bool_] = ~excluded & ((rows.label == 1) | (rows.snr > 0) | (sign == "both"))
    return wanted


def _groups(products: Products) -> dict[str, list[str]]:
    """Values of the group columns, one for each image."""
    mjd = np.array([np.nan if image.outcome.mjd is None else image.outcome.mjd for image in products.images])
    return {
        "tile": [image.tile for image in products.images],
        "night": nights_of(mjd),
        "reference": [image.reference for image in products.images],
    }


def _parts(
    rows: SurveyRows,
    keep: NDArray[np.bool_],
    groups: Mapping[str, list[str]],
    options: BuildSet,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Part of the split of each row; by groups of images that share what may not be in two parts."""
    images = rows.image[keep]
    columns = {str(name): np.unique(groups[name], return_inverse=True)[1][images] for name in options.group_by}
    try:
        split = split_groups(columns, rng=rng, fractions=options.split, by=options.group_by)
    except InputError as error:
        numbers = ", ".join(f"{len(set(groups[name]))} {name}s" for name in options.group_by)
        raise InputError(
            f"{error.message}; the products have {numbers}: with a single night, hold rows together by tile and "
            "reference alone (--group-by tile,reference)",
            **error.facts,
        ) from error
    part = np.full(len(rows), -1, np.int8)
    for number, mine in enumerate(split.parts().values()):
        part[np.flatnonzero(keep)[mine]] = number
    return part


def _write(
    writer: ShardWriter,
    products: Products,
    rows: SurveyRows,
    chosen: NDArray[np.bool_],
    part: NDArray[np.int8],
    groups: Mapping[str, list[str]],
    *,
    progress: Callable[[int, int], None] | None,
) -> None:
    common = frozenset.intersection(*(image.columns for image in products.images))
    starts = np.searchsorted(rows.image, np.arange(len(products.images) + 1))
    for number, image in enumerate(products.images):
        mine = np.arange(starts[number], starts[number + 1])
        mine = mine[chosen[mine]]
        for label in (0, 1):
            there = mine[rows.label[mine] == label]
            if there.size:
                columns = {
                    "suspicion": rows.suspicion[there], "true_kind": rows.true_kind[there],
                    "visits": rows.visits[there], "split": np.asarray(PARTS)[part[there]],
                    "label": rows.label[there], "source": products.names[image.run],
                    **{name: groups[name][number] for name in groups},
                }  # fmt: skip
                _write_piece(writer, image, label, rows.row[there], columns, common)
        if progress is not None:
            progress(number + 1, len(products.images))


def _write_piece(
    writer: ShardWriter,
    image: ProductImage,
    label: int,
    rows: NDArray[np.int32],
    columns: Mapping[str, Any],
    common: frozenset[str],
) -> None:
    """Rows of one class of one image, with the columns that all products have."""
    table, stamps = read_rows(image, label)[rows], read_stamps(image, label)
    types = {column.name: column.dtype for column in CANDIDATE_COLUMNS}
    measured = {name: np.asarray(table[name], types.get(name)) for name in sorted(common)}
    sigma = np.stack([np.asarray(table[name], np.float32) for name in SIGMA_COLUMNS], axis=1)
    scale = np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan)[:, :, None, None]
    more = {
        "kind": "injected" if label else "artifact", "chain": "default", "image": image.outcome.image,
        "field": image.outcome.field, "chip": image.outcome.chip,
        "true_snr": np.asarray(table["true_snr"], np.float32) if label else np.full(len(rows), np.nan, np.float32),
        "placement": np.asarray(table["placement"]) if label else "",
    }  # fmt: skip
    writer.add(np.asarray(stamps[rows]) / scale, {**measured, **more, **columns})


def _check_classes(rows: SurveyRows, products: Products, words: str, chosen: NDArray[np.bool_] | None = None) -> None:
    labels = rows.label if chosen is None else rows.label[chosen]
    n_real, n_artifact = int((labels == 1).sum()), int((labels == 0).sum())
    if n_real and n_artifact:
        return
    advice = "run the night with artificial reals: gueststar run NIGHT --out OTHER --inject 200"
    if n_real or chosen is not None:
        advice = "take products of more images, or exclude less"
    skipped = f" ({len(products.skipped)} images could not be read: {products.skipped[0]})" if products.skipped else ""
    raise InputError(
        f"{n_real} artificial reals and {n_artifact} artifacts were {words}{skipped}; both are needed: {advice}",
        reals=n_real,
        artifacts=n_artifact,
    )


def _provenance(
    products: Products,
    rows: SurveyRows,
    chosen: NDArray[np.bool_],
    options: BuildSet,
    *,
    truths: Sequence[str | Path],
    catalogues: Sequence[str | Path],
) -> dict[str, Any]:
    runs = []
    for name, record in zip(products.names, products.records, strict=True):
        night = record.get("config", {}).get("night", {})
        injector = {key: value for key, value in night.items() if key.startswith("inject") or key == "seed"}
        runs.append(
            {
                "run": name,
                "version": record.get("gueststar"),
                "config_hash": record.get("config_hash"),
                "started": record.get("started"),
                "instrument": record.get("config", {}).get("instrument"),
                "injector": {"name": "measured PSF, before the subtraction", **injector},
            }
        )
    return {
        "made_by": "gueststar dataset build", "code_version": __version__, "runs": runs,
        "options": options.model_dump(mode="json"), "images": len(products.images), "skipped": products.skipped,
        "detected": {"reals": int((rows.label == 1).sum()), "artifacts": int((rows.label == 0).sum())},
        "left_out": int((~chosen).sum()), "truth": [Path(path).name for path in truths],
        "known": [Path(path).name for path in catalogues],
    }  # fmt: skip


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)
