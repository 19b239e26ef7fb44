"""Measured numbers of a run or a data set, and the image of each, as tests of drift compare them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gueststar.datasets.products import FILES, ProductImage, nights_of, read_products
from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.drift.columns import CANDIDATE_COLUMNS, IMAGE_FACTS
from gueststar.realbogus.drift.profile import Sample, named_images, text_of_rows
from gueststar.realbogus.drift.result import ImageName
from gueststar.realbogus.stored import open_dataset
from gueststar.report.evaluation_models import read_scores
from gueststar.report.evaluation_sample import choose_rows

__all__ = ["is_run", "read_sample"]

_KINDS = ("artifacts", "reals", "all")


def is_run(path: str | Path) -> bool:
    """Whether it is the folder of a run."""
    return (Path(path) / "run.json").is_file()


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
        Empty: those of `gueststar.realbogus.drift.columns` that are there.
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
    if is_run(path):
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
    own = np.asarray(chosen.image_names)[chosen.image][keep]
    places = (text_of_rows(chosen.data, name, chosen.rows[keep]) for name in ("night", "chip"))
    images, image = named_images(own, *places)
    return Sample(path.resolve().name, chosen.data.content_hash(), model, taken, image, images, rows)


def _run(path: Path, columns: Sequence[str]) -> Sample:
    products = read_products([path], stamps=False)
    used = [image for image in products.images if not image.rejected]
    notes = [f"left out: {text}" for text in products.skipped]
    if len(used) < len(products.images):
        notes.append(f"rejected by a quality gate, and not compared: {_some(products.images, rejected=True)}")
    facts = [name for name in IMAGE_FACTS if any(isinstance(i.outcome.facts.get(name), float | int) for i in used)]
    wanted = _wanted(path, columns, {name for image in used for name in image.columns} | set(facts))
    parts: list[dict[str, NDArray[np.float64]]] = []
    kept: list[ProductImage] = []
    for image in used:
        try:
            parts.append(_columns_of(path, image, wanted, facts))
            kept.append(image)
        except (OSError, pa.ArrowInvalid) as error:
            notes.append(f"left out: {image.outcome.image}: {error}")
    if not any(image.n[0] for image in kept):
        raise InputError(
            f"{path}: none of its {len(products.images)} images passed the gates and has a candidate that can be read; "
            "there is nothing to compare" + (f" ({notes[0]})" if notes else ""), path=str(path),
        )  # fmt: skip
    if any(not image.n[0] for image in kept):
        notes.append(f"without a candidate, and not compared: {_some([image for image in kept if not image.n[0]])}")
    models = {str(image.outcome.facts.get("rb_model_hash", "")) for image in kept if image.n[0]}
    if len(models) > 1 and "rb_score" in wanted:
        wanted = [name for name in wanted if name != "rb_score"]
        notes.append(f"scores are not compared: {len(models)} models made them ({', '.join(sorted(models))})")
    taken = {name: np.concatenate([part[name] for part in parts]) for name in wanted}
    image_of = np.repeat(np.arange(len(kept)), [image.n[0] for image in kept])
    nights = nights_of(np.array([np.nan if i.outcome.mjd is None else i.outcome.mjd for i in kept]))
    images = tuple(ImageName(i.outcome.image, night, i.outcome.chip or "unknown")
                   for i, night in zip(kept, nights, strict=True))  # fmt: skip
    model = models.pop() if len(models) == 1 else ""
    limit = np.array([_number(image.outcome.facts.get("rb_threshold")) for image in kept])[image_of]
    real = float((taken["rb_score"] >= limit).mean()) if "rb_score" in taken else 0.0
    return Sample(path.resolve().name, "", model, taken, image_of, images, "candidates", real, tuple(notes))


def _some(images: Sequence[ProductImage], *, rejected: bool = False) -> str:
    """How many images, and the first of them."""
    names = [image.outcome.image for image in images if image.rejected or not rejected]
    return f"{names[0]} alone" if len(names) == 1 else f"{len(names)} images, such as {names[0]}"


def _columns_of(
    path: Path, image: ProductImage, wanted: Sequence[str], facts: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """Columns of one image; what it lacks is missing (NaN)."""
    there = [name for name in wanted if name in image.columns and name not in facts]
    table = pq.read_table(image.folder / FILES[0][0], columns=there)
    found = {name: _numbers(path, name, table[name].to_numpy(zero_copy_only=False)) for name in there}
    for name in set(wanted) - set(there):
        found[name] = np.full(image.n[0], _number(image.outcome.facts.get(name)) if name in facts else np.nan)
    return found


def _number(value: Any) -> float:
    return float(value) if isinstance(value, float | int) else float("nan")


def _wanted(path: Path, columns: Sequence[str], there: Collection[str]) -> list[str]:
    lacking = [name for name in columns if name not in there]
    if lacking:
        raise ConfigError(f"--columns {lacking[0]}: {path} has {', '.join(sorted(there))}", key="columns",
                          value=lacking[0])  # fmt: skip
    return list(dict.fromkeys(columns)) or [name for name in (*CANDIDATE_COLUMNS, *IMAGE_FACTS) if name in there]


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind not in "iufb":
        raise ConfigError(f"--columns {name}: {path} has texts in it, and numbers are compared", key="columns",
                          value=name)  # fmt: skip
    return values.astype(np.float64)
