"""Can a classifier tell simulated stamps from real ones? The area under its ROC curve, with an interval.

Cross-validation holds out whole pairs of frames, so that no frame is on both sides. All real pairs of a camera show one
field; so the frame is cut in halves as well, and what is trained on the stars of one half is tested on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import nn

__all__ = ["Samples", "separability"]

F8 = NDArray[np.float64]
B1 = NDArray[np.bool_]
_MOST = 800  # of each side
_EPOCHS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Stamps or rows of one side: `cube` (n, 3, k, k), `features` (n, m), `pair`, `half` and `cell` (n,)."""

    cube: NDArray[np.float32]
    features: F8
    names: tuple[str, ...]
    pair: NDArray[np.int64]
    half: NDArray[np.int64]
    cell: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.pair.size)

    def take(self, index: NDArray[np.int64]) -> Samples:
        """Some of the rows."""
        return Samples(
            self.cube[index], self.features[index], self.names, self.pair[index], self.half[index], self.cell[index]
        )


def separability(
    real: Samples, simulated: Samples, *, rng: np.random.Generator, cnn: bool = True, importance: bool = True
) -> dict[str, Any]:
    """AUC of a small CNN on the stamps and of boosted trees on the features; 1 is real.

    Returns
    -------
    dict
        Samples of each side, `cnn` and `trees` as (AUC, low, high; 95 %), and the AUC lost when a feature is shuffled.
    """
    real, simulated = (_at_most(side, _MOST, rng) for side in (real, simulated))
    out: dict[str, Any] = {"real": len(real), "simulated": len(simulated)}
    if min(len(real), len(simulated)) < 20:
        return out | {"reason": "fewer than 20 on one side"}
    label = np.concatenate([np.ones(len(real)), np.zeros(len(simulated))])
    both = _joined(real, simulated)
    splits = list(_splits(real, simulated))
    cluster = np.concatenate([real.cell, simulated.cell + 1_000_000])
    x = both.features
    trees, scores = [], np.full(label.size, np.nan)
    for train, test in splits:
        model = HistGradientBoostingClassifier(
            max_iter=80, max_leaf_nodes=8, learning_rate=0.08, min_samples_leaf=8, l2_regularization=1.0, random_state=0
        )
        trees.append((model.fit(x[train], label[train], sample_weight=_balanced(label[train])), test))
        scores[test] = model.predict_proba(x[test])[:, 1]
    if not trees or np.unique(label[np.isfinite(scores)]).size < 2:
        return out | {"reason": "too few in one half of the frame"}
    out["trees"] = _auc(label, scores, cluster, rng)
    if importance:
        out["importance"] = _importance(trees, x, label, scores, both.names, rng)
    if cnn:
        scores = np.full(label.size, np.nan)
        for number, (train, test) in enumerate(splits):
            scores[test] = _cnn_scores(both.cube, label, train, test, seed=number)
        out["cnn"] = _auc(label, scores, cluster, rng)
    return out


def _at_most(side: Samples, most: int, rng: np.random.Generator) -> Samples:
    return side if len(side) <= most else side.take(np.sort(rng.choice(len(side), most, replace=False)))


def _joined(a: Samples, b: Samples) -> Samples:
    columns = ("cube", "features", "pair", "half", "cell")
    joined = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in columns}
    return Samples(names=a.names, **joined)


def _splits(real: Samples, simulated: Samples) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of training and test rows; with a single real pair only the halves of the frame are held apart."""
    pairs = np.unique(real.pair)
    folds = min(3, pairs.size)
    half = np.concatenate([real.half, simulated.half])
    rank = np.searchsorted(pairs, real.pair)
    for h in (0, 1):
        for f in range(folds):
            if folds == 1:
                several = np.unique(simulated.pair).size > 1
                fold = np.concatenate(
                    [np.full(len(real), -1), simulated.pair % 2 if several else simulated.pair * 0 - 1]
                )
                train, test = (half != h) & (fold != h), (half == h) & ((fold == h) | (fold < 0))
            else:
                fold = np.concatenate([rank % folds, simulated.pair % folds])
                train, test = (half != h) & (fold != f), (half == h) & (fold == f)
            is_real = np.arange(half.size) < len(real)
            if min((train & is_real).sum(), (train & ~is_real).sum()) >= 5 and test.any():
                yield np.flatnonzero(train), np.flatnonzero(test)


def _balanced(label: F8) -> F8:
    share = label.mean()
    return np.asarray(np.where(label == 1, 0.5 / share, 0.5 / (1.0 - share)))


def _auc(label: F8, scores: F8, cluster: NDArray[np.int64], rng: np.random.Generator) -> list[float]:
    """AUC and its 95 % interval from 400 bootstraps over parts of frames, not over single stamps."""
    use = np.isfinite(scores)
    label, scores, cluster = label[use], scores[use], cluster[use]
    members = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    draws = []
    for _ in range(400):
        index = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        if np.unique(label[index]).size == 2:
            draws.append(roc_auc_score(label[index], scores[index]))
    low, high = np.quantile(draws, (0.025, 0.975))
    return [round(float(v), 4) for v in (roc_auc_score(label, scores), low, high)]


def _importance(
    trees: list[Any], x: F8, label: F8, scores: F8, names: tuple[str, ...], rng: np.random.Generator
) -> dict[str, float]:
    """AUC lost when one feature is shuffled among the test rows; the six largest."""
    use = np.isfinite(scores)
    best = roc_auc_score(label[use], scores[use])
    lost = {}
    for j, name in enumerate(names):
        shuffled = np.full(label.size, np.nan)
        for model, test in trees:
            changed = x[test].copy()
            changed[:, j] = rng.permutation(changed[:, j])
            shuffled[test] = model.predict_proba(changed)[:, 1]
        lost[name] = round(float(best - roc_auc_score(label[use], shuffled[use])), 4)
    return dict(sorted(lost.items(), key=lambda item: -item[1])[:6])


def _network() -> nn.Module:
    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]

    return nn.Sequential(
        *block(3, 12), *block(12, 12), nn.MaxPool2d(2), *block(12, 24), nn.MaxPool2d(2), *block(24, 32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 1),
    )  # fmt: skip


def _cnn_scores(
    cube: NDArray[np.float32], label: F8, train: NDArray[np.int64], test: NDArray[np.int64], *, seed: int
) -> F8:
    """Logits of the test stamps after training on the others; mirrored at random along rows and columns."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    net = _network()
    data, target = torch.from_numpy(cube[train]), torch.from_numpy(label[train].astype(np.float32))
    weight = torch.from_numpy(_balanced(label[train]).astype(np.float32))
    epochs = _EPOCHS if len(train) > 400 else 3 * _EPOCHS
    best = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    plan = torch.optim.lr_scheduler.OneCycleLR(best, 4e-3, total_steps=epochs * max(1, -(-len(train) // 64)))
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(train), generator=draw), 64):
            if len(rows) < 2:
                plan.step()
                continue
            stamps = data[rows]
            axes = [axis for axis in (2, 3) if float(torch.rand(1, generator=draw)) < 0.5]
            logits = net(torch.flip(stamps, axes) if axes else stamps)[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target[rows], weight=weight[rows])
            best.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            best.step()
            plan.step()
    net.eval()
    with torch.no_grad():
        return np.asarray(net(torch.from_numpy(cube[test]))[:, 0].numpy(), np.float64)
