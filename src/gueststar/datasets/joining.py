"""One data set of several: nights that came one after the other, a simulated survey with real frames.

No stamp is read: the shards of each set are taken as they are. Where the file system allows it they are linked, not
copied, so that the joined set needs no room; shards are never changed, so that neither set can spoil the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gueststar.errors import InputError, OutputError
from gueststar.realbogus.manifest import MANIFEST_FILE, Manifest, Shard
from gueststar.realbogus.stored import StoredDataset, open_dataset

__all__ = ["join_datasets"]


def join_datasets(
    folders: Sequence[str | Path], out: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> StoredDataset:
    """Write a data set that has the rows of several, set after set, each in the part it was in.

    Parameters
    ----------
    folders : sequence of path
        At least two data sets of one stamp size and the same columns, none damaged. Versions of their labels are not
        taken over.
    out : path
        New folder.
    progress : callable, optional
        Called as progress(done, total) after each shard.

    Raises
    ------
    InputError
        When a set cannot be read or is damaged, is given twice, lacks a column of the others, has other stamps, or
        shares a tile, night or reference with another part of another set.
    OutputError
        When `out` holds a data set already or cannot be written.
    """
    if len(folders) < 2:
        raise InputError("two data sets or more are needed to join them")
    target = Path(out)
    if (target / MANIFEST_FILE).exists():
        raise OutputError(f"{out} holds a data set already; remove it or choose another folder", path=str(out))
    opened = [open_dataset(folder) for folder in folders]
    sets = [(data.folder, data.manifest) for data in opened]
    _check_alike(opened)
    _check_parts(opened)
    shards: list[Shard] = []
    total = sum(len(manifest.shards) for _, manifest in sets)
    try:
        (target / "shards").mkdir(parents=True, exist_ok=True)
        for folder, manifest in sets:
            for shard in manifest.shards:
                named = shard.model_copy(update={"name": f"{len(shards):05d}"})
                for source, made in zip(shard.files(folder), named.files(target), strict=True):
                    _take(source, made)
                shards.append(named)
                if progress is not None:
                    progress(len(shards), total)
        first = sets[0][1]
        joined = Manifest(
            stamp_size=first.stamp_size, dtype=first.dtype, n=sum(shard.n for shard in shards),
            group_by=first.group_by, shards=tuple(shards),
            provenance={
                "made_by": "gueststar dataset join",
                "sets": [
                    {"name": folder.resolve().name, "hash": manifest.content_hash, "provenance": manifest.provenance}
                    for folder, manifest in sets
                ],
            },
        )  # fmt: skip
        joined.write(target)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}", path=str(out)) from error
    return open_dataset(target)


def _check_alike(sets: Sequence[StoredDataset]) -> None:
    """Refuse sets that are damaged, the same, or of other stamps or columns than the first."""
    first, seen = sets[0], dict[str, Path]()
    kinds = _columns(first)
    for data in sets:
        where = {"path": str(data.folder)}
        if data.damaged:
            raise InputError(
                f"{data.folder} is damaged: {data.damaged[0]}; look with `gueststar dataset verify`", **where
            )
        for shard in data.manifest.shards:
            if shard.stamps_hash in seen:
                raise InputError(
                    f"{data.folder} holds stamps of {seen[shard.stamps_hash]}; every row can be there once only",
                    **where,
                )
            seen[shard.stamps_hash] = data.folder
        own, wanted = data.manifest, first.manifest
        for name in ("stamp_size", "dtype", "group_by"):
            if getattr(own, name) != getattr(wanted, name):
                raise InputError(
                    f"{data.folder} has {name} {getattr(own, name)}, {first.folder} has {getattr(wanted, name)}; make "
                    "both with the same options",
                    **where,
                )
        differ = sorted(name for name, _ in set(_columns(data).items()) ^ set(kinds.items()))
        if differ:
            raise InputError(
                f"{data.folder} and {first.folder} differ in the columns {', '.join(dict.fromkeys(differ))}; make both "
                "with one version of the program, in the same way",
                **where,
            )


def _columns(data: StoredDataset) -> dict[str, str]:
    """Columns of a set with their types."""
    schema = pq.read_schema(data.manifest.shards[0].files(data.folder)[1])
    return {field.name: str(field.type) for field in schema}


def _check_parts(sets: Sequence[StoredDataset]) -> None:
    """Refuse values of the group columns that are in one part of one set, and in another of another."""
    for column in sets[0].manifest.group_by:
        places: dict[str, tuple[str, Path]] = {}
        for data in sets:
            codes, texts = data.codes(column)
            part, names = data.codes("split")
            for code, number in np.unique(np.stack([codes, part]), axis=1).T:
                value, place = texts[code], names[number]
                before, folder = places.setdefault(value, (place, data.folder)) if place else (place, data.folder)
                if before != place:
                    raise InputError(
                        f"{column} {value!r} is in {before} of {folder} and in {place} of {data.folder}; the test "
                        "would see what was trained on",
                        column=column,
                        example=value,
                    )


def _take(source: Path, made: Path) -> None:
    """Link a file, or copy it where that cannot be."""
    made.unlink(missing_ok=True)
    try:
        os.link(source, made)
    except OSError:
        shutil.copyfile(source, made)
