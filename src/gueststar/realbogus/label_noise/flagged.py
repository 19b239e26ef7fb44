"""Leave out artifacts that networks call real which have not seen them (out of fold), then train on what is left.

The two stages of Takahashi et al. 2022 (PASJ 74, 946), who find the wrong labels of a sky survey by the scores of first
models; there the flagged rows become unlabelled rows of a semi-supervised training, here they are left out, as in
confident learning (Northcutt et al. 2021, JAIR 70, 1373).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import InputError
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.label_noise.ensemble import other_seed
from gueststar.realbogus.label_noise.forget import LARGEST_RATE
from gueststar.realbogus.predict import predict
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import GROUP_COLUMNS, Split, connected_groups
from gueststar.realbogus.train import train_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch

__all__ = ["deal_groups", "flag", "folds_of", "of_fold", "train", "without"]


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    folds: int = 4,
    flag_above: float = 0.5,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train without the flagged rows; fields of `LabelNoise`, the rest as in `train_network`."""
    rows = flag(
        dataset, split, options, folds=folds, flag_above=flag_above, scalars=scalars, progress=progress, watch=watch
    )
    trained = train_network(dataset, without(split, rows), options, scalars=scalars, progress=progress, watch=watch)
    shares = {
        name: float(np.isin(part, rows).sum() / max(int((dataset.labels[part] == 0).sum()), 1))
        for name, part in split.parts().items()
        if name != "test"
    }
    facts = {"method": "drop-flagged", "folds": folds, "flag_above": flag_above, "left_out_share": shares}
    validation = split.validation[dataset.labels[split.validation] >= 0]
    return replace(trained, validation_logits=predict(trained.network, dataset, validation), label_noise=facts)


def flag(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    folds: int = 4,
    flag_above: float = 0.5,
    reals: bool = False,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> NDArray[np.int64]:
    """Rows of class 0, of the training and validation parts, that networks call real which have not seen them.

    With `reals` also rows of class 1 that score below 1 - `flag_above`.

    A row of the training part is judged by the one network trained without its fold, a row of the validation part by
    the mean logit of all.

    Returns
    -------
    ndarray of int64
        Sorted.

    Raises
    ------
    InputError
        When more than half of a class of a part is flagged: then the networks tell too little.
    """
    rows = prepare(dataset, split, options, scalars)
    part, validation = rows.parts["train"], rows.parts["validation"]
    fold = folds_of(rows, folds, np.random.default_rng(options.seed))
    inside, outside = np.empty(part.size), np.zeros(validation.size)
    for number in range(folds):
        own = options.model_copy(update={"seed": other_seed(options.seed, number + 1)})
        kept = Split(part[fold != number], validation, np.empty(0, np.int64))
        note = None if progress is None else of_fold(progress, number, folds)
        seen = None if watch is None else watch.of(f"fold {number + 1} of {folds}")
        trained = train_network(dataset, kept, own, scalars=scalars, progress=note, watch=seen)
        inside[fold == number] = predict(trained.network, dataset, part[fold == number])
        outside += trained.validation_logits / folds
    cut = np.log(flag_above / (1.0 - flag_above))
    found = []
    for name, rows_of, scores in (("train", part, inside), ("validation", validation, outside)):
        labels = dataset.labels[rows_of]
        words = f"artifacts of the {name} part score above"
        found.append(_flagged(rows_of, labels == 0, scores > cut, words, flag_above))
        if reals:
            words = f"reals of the {name} part score below"
            found.append(_flagged(rows_of, labels == 1, scores < -cut, words, 1.0 - flag_above))
    return np.sort(np.concatenate(found))


def _flagged(
    rows: NDArray[np.int64], own: NDArray[np.bool_], wrong: NDArray[np.bool_], words: str, limit: float
) -> NDArray[np.int64]:
    """Rows of one class that networks contradict, unless they are too many."""
    share = float((own & wrong).sum() / own.sum())
    if share > LARGEST_RATE:
        raise InputError(
            f"{100 * share:.0f} % of the {words} {limit:g} in networks that have not seen them; these tell too little: "
            "train on more rows, for more epochs, or raise flag_above",
            share=share,
        )
    return rows[own & wrong]


def folds_of(rows: TrainingRows, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of each row of the training part: whole groups, or single rows where there are fewer groups than folds."""
    part = rows.parts["train"]
    group = connected_groups({name: np.asarray(rows.dataset[name])[part] for name in GROUP_COLUMNS})
    if int(group.max(initial=-1)) + 1 < folds:
        return np.asarray(rng.permutation(np.arange(part.size) % folds), np.int64)
    return deal_groups(group, folds, rng)


def deal_groups(group: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Fold of each row, shape (n,), from the number of its group: largest groups first, each to the emptiest fold."""
    sizes = np.bincount(group)
    order = rng.permutation(sizes.size)
    filled, fold = np.zeros(folds), np.empty(sizes.size, np.int64)
    for number in order[np.argsort(-sizes[order], kind="stable")]:
        fold[number] = int(np.argmin(filled))
        filled[fold[number]] += sizes[number]
    return fold[group]


def without(split: Split, rows: NDArray[np.int64]) -> Split:
    """The split without some rows of its training and validation parts; the test part stays whole."""
    return Split(np.setdiff1d(split.train, rows), np.setdiff1d(split.validation, rows), split.test)


def of_fold(progress: Progress, number: int, folds: int) -> Progress:
    """Report one fold as a part of all."""
    return lambda _, done, total: progress("folds", number * total + done, folds * total)
