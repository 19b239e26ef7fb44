"""Every row of a set judged by a network that has seen neither it nor anything of its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import ConfigError, InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.label_noise.ensemble import other_seed
from gueststar.realbogus.label_noise.flagged import deal_groups, of_fold
from gueststar.realbogus.predict import predict
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import GROUP_COLUMNS, Split, connected_groups
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress
from gueststar.realbogus.watch import Watch

__all__ = ["out_of_fold_logits"]

_FEWEST = 3  # one fold is judged, one chooses the best pass, one is trained on


def out_of_fold_logits(
    dataset: LabelledStamps,
    options: Train | None = None,
    noise: LabelNoise | None = None,
    *,
    folds: int = 5,
    by: Sequence[str] = GROUP_COLUMNS,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> NDArray[np.float64]:
    """Logits of all rows, each from the one network that has not seen its group of images.

    The groups are dealt to the folds. For each fold a network is trained on the others, but for the next one, which
    chooses the best pass: the rows that are judged have had no part in it at all. How the set itself is divided does
    not matter.

    Parameters
    ----------
    dataset : LabelledStamps
        Rows with label -1 are neither trained on nor judged.
    options : Train, optional
        Of each network; the seed decides everything.
    noise : LabelNoise, optional
        What each training does about wrong labels; None: it believes them.
    folds : int
        At least 3.
    by : sequence of str
        Rows that share a value in any of these columns are in one fold; none: each row is a group.
    scalars : tuple of Scalar
        Measured numbers that the networks take.
    progress : callable, optional
        Called with ('folds', steps done, steps in all).
    watch : Watch, optional
        Told what each training reaches.

    Returns
    -------
    ndarray, shape (n,), float64
        NaN where the label is -1.

    Raises
    ------
    ConfigError
        For fewer than 3 folds.
    InputError
        When there are fewer groups than folds, or a fold lacks one of the classes.
    """
    if folds < _FEWEST:
        raise ConfigError(
            f"folds = {folds}: at least {_FEWEST} are needed: to judge, to choose the best pass, to train on",
            key="folds",
            value=folds,
        )
    options = options or Train()
    rows = np.flatnonzero(dataset.labels >= 0)
    group = connected_groups({name: np.asarray(dataset[name])[rows] for name in by}, by) if by else np.arange(rows.size)
    found = int(group.max(initial=-1)) + 1
    if found < folds:
        raise InputError(
            f"{found} group(s) of rows linked by {', '.join(by)} cannot fill {folds} folds; take fewer folds, or give "
            "scores of a model that has not seen the set",
            groups=found,
        )
    fold = deal_groups(group, folds, np.random.default_rng(options.seed))
    logits = np.full(len(dataset), np.nan)
    for number in range(folds):
        judged, choosing = fold == number, fold == (number + 1) % folds
        split = Split(rows[~judged & ~choosing], rows[choosing], np.empty(0, np.int64))
        own = options.model_copy(update={"seed": other_seed(options.seed, number + 1)})
        note = None if progress is None else of_fold(progress, number, folds)
        seen = None if watch is None else watch.of(f"fold {number + 1} of {folds}")
        trained = train_robust(dataset, split, own, noise, scalars=scalars, progress=note, watch=seen)
        logits[rows[judged]] = predict(trained.network, dataset, rows[judged])
    return logits
