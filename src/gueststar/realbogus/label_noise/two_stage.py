"""Two stages: rows that networks contradict which have not seen them lose their label, and are learnt from without it.

Takahashi et al. 2022 (PASJ 74, 946; arXiv 2206.12478): the first stage finds rows whose label is wrong out of fold; the
second trains on all rows, on the labels of the others, and on the smoothness of the network around every row, virtual
adversarial training (Miyato et al. 2018, IEEE TPAMI 41, 1979; arXiv 1704.03976):

    LDS(x) = D(p(x), p(x + r)),  r = argmax over |r| <= epsilon of D(p(x), p(x + r))    (eqs. 5, 6)
    loss = cross-entropy of labelled rows + alpha * mean of LDS over labelled and unlabelled rows    (eqs. 7, 8)

with D the Kullback-Leibler divergence and p(x) held fixed. To second order D = r H r / 2, and r is along the first
eigenvector of H, which the paper finds by power iteration (eqs. 9 to 12). With one logit z, H = p (1 - p) g g' where g
is the gradient of z: the eigenvector is g / |g|, without iteration, and stays exact where p is so close to 0 or 1 that
differences of probabilities are lost. Its sign, which H leaves open, is drawn, as a random start of the iteration does.

r is added to the stamps in units of the sky noise: a difference of length epsilon changes no matched-filter signal to
noise by more than epsilon, so that alpha asks for scores that such a change leaves alone. Both outputs are those of
evaluation mode, as in the program that the authors released.

Not as published: the network, the optimiser and the weights of rows are those of the training options. A third term of
the released program, a loss on pairs of a real and an artifact whose logits are out of order, has no weight unless it
is given one (`rank_weight`). There, reals lose their label as well as artifacts (`flag_reals`); the other methods
here never doubt a real.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.feed import Batch
from gueststar.realbogus.label_noise.flagged import flag, without
from gueststar.realbogus.network import StampNet
from gueststar.realbogus.predict import predict
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import Loop, new_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch

__all__ = ["SmoothLoop", "ranking", "smoothness", "train"]

_MARGIN = 0.25  # by which the logit of a real shall be above that of an artifact; of the released program


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    folds: int = 4,
    flag_above: float = 0.5,
    flag_reals: bool = True,
    alpha: float = 1.0,
    epsilon: float = 1.0,
    rank_weight: float = 0.0,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train without the labels of the flagged rows; fields of `LabelNoise`, the rest as in `train_network`."""
    flagged = flag(
        dataset, split, options, folds=folds, flag_above=flag_above, reals=flag_reals, scalars=scalars,
        progress=progress, watch=watch,
    )  # fmt: skip
    rows = prepare(dataset, without(split, flagged), options, scalars)
    unlabelled = np.intersect1d(split.train, flagged)
    # Rows that have no part in the labelled training have weight 0 already.
    mixed = replace(rows, parts={**rows.parts, "train": np.union1d(rows.parts["train"], unlabelled)})
    with deterministic(options.seed, device=options.device, threads=options.threads):
        loop = SmoothLoop(
            mixed, new_network(rows, options), options, unlabelled, alpha=alpha, epsilon=epsilon,
            rank_weight=rank_weight,
        )  # fmt: skip
        trained = loop.run(progress, watch)
    shares = {
        name: {
            word: float((dataset.labels[np.intersect1d(part, flagged)] == label).sum())
            / max(int((dataset.labels[part] == label).sum()), 1)
            for word, label in (("artifacts", 0), ("reals", 1))
        }
        for name, part in (("train", split.train), ("validation", split.validation))
    }
    facts = {
        "method": "two-stage", "folds": folds, "flag_above": flag_above, "flag_reals": flag_reals,
        "smooth_weight": alpha, "smooth_radius": epsilon, "rank_weight": rank_weight,
        "unlabelled_share": shares,
    }  # fmt: skip
    validation = split.validation[dataset.labels[split.validation] >= 0]
    return replace(trained, validation_logits=predict(trained.network, dataset, validation), label_noise=facts)


class SmoothLoop(Loop):
    """A training some of whose rows have no label."""

    def __init__(
        self,
        rows: TrainingRows,
        network: StampNet,
        options: Train,
        unlabelled: NDArray[np.int64],
        *,
        alpha: float,
        epsilon: float,
        rank_weight: float = 0.0,
    ) -> None:
        super().__init__(rows, network, options)
        self.labelled = np.ones(len(rows.dataset), bool)
        self.labelled[unlabelled] = False
        self.alpha, self.epsilon, self.rank_weight = alpha, epsilon, rank_weight

    def loss(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy of the labelled rows and, of all rows, how far from smooth the network is."""
        rows = batch.rows
        self.network.train()
        logits = self.logits(batch)
        device = logits.device
        labels = torch.from_numpy(self.rows.labels[rows]).to(device)
        weights = torch.from_numpy(np.where(self.labelled[rows], self.rows.weights[rows], 0)).to(device)
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        total = (losses * weights).sum() / max(int(self.labelled[rows].sum()), 1)
        if self.rank_weight > 0:
            total = total + self.rank_weight * ranking(logits, labels, weights)
        signs = (2.0 * torch.randint(0, 2, (rows.size,)) - 1.0).to(device)
        return total + self.alpha * smoothness(self.network, batch.on(device), signs, epsilon=self.epsilon).mean()


def ranking(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean of exp(artifact's logit - real's logit + 0.25) - 1 over pairs; exponents are cut to 0 and 6.

    Parameters
    ----------
    logits, labels, weights : Tensor, shape (n,)
        Labels are 1 real, 0 artifact; a row of weight 0 is in no pair, a pair weighs the product of its weights.

    Returns
    -------
    Tensor
        One number, at least 0; 0 when there is no pair.
    """
    real, artifact = (labels > 0.5) & (weights > 0), (labels < 0.5) & (weights > 0)
    difference = logits[artifact] - logits[real][:, None]
    weight = weights[artifact] * weights[real][:, None]
    losses = torch.expm1((difference + _MARGIN).clamp(0.0, 6.0))
    return (losses * weight).sum() / weight.sum().clamp_min(1e-12)


def smoothness(network: StampNet, inputs: tuple[Tensor, ...], signs: Tensor, *, epsilon: float) -> Tensor:
    """Divergence of each row's output from that of its most different neighbour, eqs. 5 and 6 of Miyato et al. 2018.

    Parameters
    ----------
    network : StampNet
        In any mode; left in evaluation mode, in which it is asked.
    inputs : tuple of Tensor
        As the network takes them, the stamps (n, 3, k, k) first and in units of their noise.
    signs : Tensor, shape (n,)
        -1 or 1: to which of the two sides, alike to second order.
    epsilon : float
        Length of the change of a stamp, in units of the noise.

    Returns
    -------
    Tensor, shape (n,)
        Kullback-Leibler divergence, at least 0; its gradient reaches the weights through the neighbour alone.
    """
    network.eval()
    cube, *others = inputs
    cube = cube.detach().requires_grad_(True)
    logits = network(cube, *others)
    (gradient,) = torch.autograd.grad(logits.sum(), cube)
    centre = logits.detach()
    length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
    step = gradient * (signs * epsilon / length)[:, None, None, None]
    beside = network(cube.detach() + step, *others)
    chance = torch.sigmoid(centre)
    # The entropy of p(x) makes a divergence of the cross-entropy; it has no gradient.
    crossed = binary_cross_entropy_with_logits(beside, chance, reduction="none")
    return crossed - binary_cross_entropy_with_logits(centre, chance, reduction="none")
