"""What a model was trained on, so that an evaluation can tell whether it has seen the test before.

The card of a model keeps the hash of its data set, and for each column that holds rows together short hashes of the
values of train and validation part: enough to recognise a night or a reference, without their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.card import Card
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.split import GROUP_COLUMNS
from gueststar.realbogus.stored import StoredDataset

__all__ = [
    "MOST_GROUPS",
    "fitted_here",
    "group_hash",
    "joined_training",
    "seen_groups",
    "training_groups",
    "training_span",
    "was_trained_on",
]

MOST_GROUPS = 20_000  #: of one column; a card does not grow beyond this


def group_hash(value: str) -> str:
    """Ten hexadecimal digits that stand for a value."""
    return hashlib.blake2b(value.encode(), digest_size=5).hexdigest()


def training_groups(
    columns: Mapping[str, NDArray[Any]], rows: NDArray[np.integer[Any]], by: Sequence[str] = GROUP_COLUMNS
) -> dict[str, list[str]]:
    """Hashes of the values of each column on some rows; columns with too many of them, or empty ones, are left out."""
    found = {}
    for name in by:
        values = np.unique(np.asarray(columns[name])[rows])
        hashes = sorted(group_hash(str(value)) for value in values if str(value))
        if 0 < len(hashes) <= MOST_GROUPS:
            found[name] = hashes
    return found


def training_span(mjd: NDArray[Any]) -> list[float] | None:
    """First and last time of the training, UTC MJD; None when no row tells one."""
    times = np.asarray(mjd, np.float64)
    times = times[np.isfinite(times) & (times > 0)]
    return [float(times.min()), float(times.max())] if times.size else None


def joined_training(data: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several models were trained on, those of a set or one after the other, in the form of one card.

    Parameters
    ----------
    data : mapping
        ``training_data`` of the set, or of the model that was trained further.
    cards : sequence of mapping
        ``training_data`` of all that were trained.

    Returns
    -------
    dict
        `data` with the groups that any of the models has seen, with the first and last time of them all, and under
        ``other_hashes`` the other data sets.
    """
    groups: dict[str, set[str]] = {}
    for card in cards:
        for name, hashes in dict(card.get("groups") or {}).items():
            groups.setdefault(name, set()).update(hashes)
    times = [time for card in cards for time in card.get("mjd") or ()]
    hashes = set[str]().union(*(_trained_hashes(card) for card in cards))
    return {
        **data, "groups": {name: sorted(found) for name, found in groups.items()},
        "mjd": [min(times), max(times)] if times else None, "other_hashes": sorted(hashes - {data.get("hash")}),
    }  # fmt: skip


def was_trained_on(card_data: Mapping[str, Any], dataset: LabelledStamps) -> bool:
    """Whether a model, or one that it was trained further from, was trained on a data set, with whatever labels.

    Parameters
    ----------
    card_data : mapping
        ``training_data`` of a card.
    dataset : LabelledStamps
    """
    return bool(_own_hashes(dataset) & _trained_hashes(card_data))


def fitted_here(card: Card, dataset: LabelledStamps, part: str) -> dict[str, str]:
    """What of a model was fitted on some rows of a data set after the training: calibration, threshold.

    Parameters
    ----------
    card : Card
    dataset : LabelledStamps
    part : str
        Part of the set that is asked about; parts of a set share no group, so what another part gave does not count.

    Returns
    -------
    dict
        ``calibration`` and ``threshold``, where they were, to the rows in words.
    """
    told = (
        ("calibration", card.calibration, "fitted"),
        ("threshold", card.metrics.get("threshold"), "rows"),
    )
    found = {}
    for what, facts, rows in told:
        if isinstance(facts, Mapping) and facts.get("data_hash") in _own_hashes(dataset):
            fitted = str(facts.get("part") or "all")  # earlier cards tell the part in words only
            if part == fitted or "all" in (part, fitted):
                found[what] = str(facts.get(rows) or "rows of it")
    return found


def _own_hashes(dataset: LabelledStamps) -> set[str]:
    """Hash of a set, and of the set without its version of the labels: the rows are the same ones."""
    return {dataset.content_hash()} | ({dataset.manifest.content_hash} if isinstance(dataset, StoredDataset) else set())


def _trained_hashes(card_data: Mapping[str, Any]) -> set[str]:
    """Hashes of the sets that a model was trained on."""
    labels = dict(card_data.get("labels") or {})
    found = {card_data.get("hash"), labels.get("data_hash"), *(card_data.get("other_hashes") or ())}
    return {str(value) for value in found if value}


def seen_groups(card_data: Mapping[str, Any], values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Values of each column that a model was trained or validated on.

    Parameters
    ----------
    card_data : mapping
        ``training_data`` of a card; cards of earlier versions hold no groups, and nothing is found.
    values : mapping of str to sequence of str
        Column to the values of the rows that are to be evaluated.

    Returns
    -------
    dict
        Columns with at least one such value.
    """
    known = card_data.get("groups")
    known = known if isinstance(known, Mapping) else {}
    seen = {}
    for name, there in values.items():
        hashes = set(known.get(name) or ())
        shared = [value for value in there if value and group_hash(value) in hashes]
        if shared:
            seen[name] = shared
    return seen
