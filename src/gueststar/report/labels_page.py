"""The page on which a person decides about likely wrong labels: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gueststar import __version__
from gueststar.errors import InputError
from gueststar.realbogus.stored import StoredDataset
from gueststar.report.evaluation_pictures import triplet_uri

__all__ = ["labels_page"]

_BATCH = 256
_NAMES = {1: "real", 0: "artifact", -1: "neither"}


def labels_page(
    data: StoredDataset,
    table: pa.Table,
    facts: Mapping[str, Any],
    *,
    most: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The page as text.

    Parameters
    ----------
    data : StoredDataset
        The set that the table is about.
    table : Table
        Suspects, most suspicious first, with the columns of `gueststar.datasets.suspects.SUSPECT_COLUMNS`.
    facts : mapping
        Of the table.
    most : int
        Rows that are shown.
    progress : callable, optional
        Called as progress(stamps drawn, stamps in all).

    Raises
    ------
    InputError
        When the table is about another set, or a row of it cannot be read.
    """
    from jinja2 import Environment, PackageLoader

    if facts.get("data_hash") != data.manifest.content_hash:
        raise InputError(
            f"the suspects are those of {facts.get('data')} ({str(facts.get('data_hash'))[:12]}), {data.folder} is "
            f"{data.manifest.content_hash[:12]}: another set, or it was changed since; look for suspects again"
        )
    shown = table.slice(0, most).to_pylist()
    places = _places(data, np.array([row["row"] for row in shown], np.int64))
    snr = np.asarray(data["snr"][places], np.float64) if "snr" in data.column_names else np.full(places.size, np.nan)
    uris = _uris(data, places, progress)
    items = [
        {
            **row,
            "uri": uri,
            "snr": float(s),
            "label_name": _NAMES[row["label"]],
            "proposed": _NAMES[row["proposed_label"]],
        }
        for row, uri, s in zip(shown, uris, snr, strict=True)
    ]
    environment = Environment(
        loader=PackageLoader("gueststar.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    header = {
        "format": "gueststar-label-decisions", "data": facts.get("data"), "data_hash": facts.get("data_hash"),
        "labels": facts.get("labels") or "",
    }  # fmt: skip
    suspect = np.asarray(table["suspect"].to_pylist(), bool)
    return environment.get_template("labels.html.j2").render(
        version=__version__, facts=facts, items=items, header=header, n=len(table), n_suspects=int(suspect.sum()),
        chips=sorted({item["chip"] for item in items if item["chip"]}),
    )  # fmt: skip


def _places(data: StoredDataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of the whole set are among those that can be read."""
    numbers = data.numbers()
    places = np.minimum(np.searchsorted(numbers, rows), numbers.size - 1)
    missing = rows[numbers[places] != rows]
    if missing.size:
        raise InputError(f"row {missing[0]} of the suspects cannot be read from {data.folder}; look with `gueststar "
                         "dataset verify`", row=int(missing[0]))  # fmt: skip
    return places


def _uris(data: StoredDataset, places: NDArray[np.int64], progress: Callable[[int, int], None] | None) -> list[str]:
    """Triplets as data URIs, in units that the three planes share."""
    made = []
    for start in range(0, places.size, _BATCH):
        part = places[start : start + _BATCH]
        sigma = data.sigma(part)
        scale = np.where(np.isfinite(sigma) & (sigma > 0), sigma, 1.0)
        made += [triplet_uri(stamp) for stamp in data.stamps(part) * scale[:, :, None, None]]
        if progress is not None:
            progress(len(made), places.size)
    return made
