"""A loss that counts with reals among the artifacts: no row is left out, and none is believed more than it deserves.

Forward correction of the loss (Patrini et al. 2017, CVPR; arXiv 1609.03683): a network p(x) that is right about what a
row *is* predicts what it is *called* once the chance of a wrong name is put between both, and is trained on that.
Here only a real is ever misnamed, and how often depends on the signal to noise. In an interval of it, let a share c of
class 0 be real, let W1 and W0 be the summed weights of both classes, and let the rows of class 0 weigh 1 / (1 - c) of
what they did, so that the true artifacts among them weigh W0. Then real and misnamed rows are as

    rho = c / (1 - c) W0 / W1

to real and rightly named ones, and the chance that a row is called real or artifact is

    q1 = p / (1 + rho p),    q0 = (1 - p + rho p) / (1 + rho p).

The losses are -log q1 and -log q0. A misnamed real that the network is sure of has a loss of log(1 + 1 / rho) at most,
and no pull on the weights; an artifact that is hard to tell, which a method that leaves out the largest losses leaves
out, too, keeps all the pull that its chance of being one deserves. With rho = 0 it is the usual cross-entropy.

The shares c are estimated after every pass from the scores of the validation part. In an interval the scores of class 0
are a mixture of those of true artifacts and of reals, f1 / f0 = p / (1 - p) W0 / W1, and c has the largest likelihood
where it is the mean chance of being real of its rows (expectation and maximisation; Saerens et al. 2002, Neural
Computation 14, 21). A network that has learnt wrong labels is too cautious for that, so after the first pass the share
is bounded by ratios of shares above thresholds instead (`forget.estimate_contamination`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.feed import Batch
from gueststar.realbogus.label_noise.forget import estimate_contamination
from gueststar.realbogus.network import StampNet
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import Loop, new_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Epoch, Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch
from gueststar.realbogus.weights import INTERVALS, snr_intervals

__all__ = ["CorrectedLoop", "corrected_losses", "share_of_reals", "train"]

LARGEST_SHARE = 0.9  #: no interval counts with more reals among its artifacts
_FEWEST = 30  # rows of each class from which an interval has a share of its own


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    forget_rate: float | None = None,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train with the corrected loss; `forget_rate` of `LabelNoise`, the rest as in `train_network`."""
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        loop = CorrectedLoop(rows, new_network(rows, options), options, forget_rate)
        trained = loop.run(progress, watch)
    facts = {
        "method": "correct",
        "shares_from": "the scores of the validation part" if forget_rate is None else "given",
        "snr_limits": [float(limit) for limit in loop.limits],
        "share_of_each_interval": [float(share) for share in loop.shares],
    }
    return replace(trained, label_noise=facts)


class CorrectedLoop(Loop):
    """A training whose loss counts with reals among the artifacts of every interval of signal to noise."""

    def __init__(self, rows: TrainingRows, network: StampNet, options: Train, rate: float | None) -> None:
        super().__init__(rows, network, options)
        self.given = rate
        strength = np.abs(np.asarray(rows.dataset["snr"], np.float64))
        self.limits = snr_intervals(strength[rows.parts["train"]])
        self.interval = np.searchsorted(self.limits, strength, side="right")
        self.shares = np.zeros(INTERVALS)
        if rate is not None:
            self.shares = self._as_reals(rate)
        self.row_weights, self.rho = self._applied()

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of each row of what it is called, in training mode, and its weight; shape (n,) both."""
        self.network.train()
        logits = self.logits(batch)
        labels, weights, rho = (
            torch.from_numpy(values[batch.rows]).to(logits.device)
            for values in (self.rows.labels, self.row_weights, self.rho)
        )
        return corrected_losses(logits, labels, rho), weights

    def judge(
        self, train_loss: float, logits: NDArray[np.float32], weights: NDArray[np.floating[Any]] | None = None
    ) -> Epoch:
        """Estimate the shares anew, and measure this pass and the best so far with them."""
        if self.given is None:
            self.shares = self._estimated(logits, first=not self.at.history)
            self.row_weights, self.rho = self._applied()
            if self.at.best_state:
                self.at.best_loss = self._validation_loss(self.at.logits)
        return replace(super().judge(train_loss, logits), validation_loss=self._validation_loss(logits))

    def more_state(self) -> dict[str, Any]:
        """The shares as they are now."""
        return {"shares": [float(share) for share in self.shares]}

    def set_more_state(self, kept: Mapping[str, Any]) -> None:
        """Take the shares from there."""
        self.shares = np.asarray(kept["shares"])
        self.row_weights, self.rho = self._applied()

    def _validation_loss(self, logits: NDArray[np.float32]) -> float:
        part = self.rows.parts["validation"]
        losses = corrected_losses(*(torch.from_numpy(x) for x in (logits, self.rows.labels[part], self.rho[part])))
        return float(np.average(losses.numpy().astype(np.float64), weights=self.row_weights[part]))

    def _sums(self, part: NDArray[np.int64]) -> NDArray[np.float64]:
        """Summed weights of artifacts and reals in every interval, shape (2, intervals)."""
        labels, weights, interval = self.rows.labels[part] > 0.5, self.rows.weights[part], self.interval[part]
        return np.stack([np.bincount(interval[own], weights[own], INTERVALS) for own in (~labels, labels)])

    def _applied(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and rho of every row of the set with the shares as they are."""
        weights, rho = self.rows.weights.astype(np.float64), np.zeros(len(self.rows.labels))
        for name in ("train", "validation"):
            part = self.rows.parts[name]
            artifacts, reals = self._sums(part)
            shares = np.where(reals > 0, self.shares, 0.0)
            gain = 1.0 / (1.0 - shares)
            of_interval = shares * gain * artifacts / np.where(reals > 0, reals, 1.0)
            rho[part] = of_interval[self.interval[part]]
            own = np.where(self.rows.labels[part] > 0.5, 1.0, gain[self.interval[part]])
            weights[part] *= own
            weights[part] /= weights[part].mean()
        return weights.astype(np.float32), rho.astype(np.float32)

    def _as_reals(self, rate: float) -> NDArray[np.float64]:
        """Shares by interval when a share of all artifacts is real, with the signal to noise of class 1."""
        part = self.rows.parts["train"]
        labels, interval = self.rows.labels[part] > 0.5, self.interval[part]
        reals, artifacts = (np.bincount(interval[own], minlength=INTERVALS) for own in (labels, ~labels))
        expected = rate * artifacts.sum() * reals / max(int(reals.sum()), 1)
        return np.asarray(np.clip(expected / np.maximum(artifacts, 1), 0.0, LARGEST_SHARE))

    def _estimated(self, logits: NDArray[np.float32], *, first: bool) -> NDArray[np.float64]:
        """Shares by interval from the scores of the validation part."""
        part = self.rows.parts["validation"]
        labels, interval = self.rows.labels[part] > 0.5, self.interval[part]
        general = self._as_reals(estimate_contamination(labels, logits))
        artifacts, reals = self._sums(part)
        shares = general.copy()
        for number in range(INTERVALS):
            inside = interval == number
            if min((inside & labels).sum(), (inside & ~labels).sum()) < _FEWEST:
                continue
            if first:
                shares[number] = estimate_contamination(labels[inside], logits[inside])
            else:
                ratio = logits[inside & ~labels] - np.log(reals[number] / artifacts[number])
                shares[number] = share_of_reals(ratio, start=max(self.shares[number], 0.01))
        return np.clip(shares, 0.0, LARGEST_SHARE)


def corrected_losses(logits: Tensor, labels: Tensor, rho: Tensor) -> Tensor:
    """Minus the logarithm of the chance that a row has the label it has.

    Parameters
    ----------
    logits : Tensor, shape (n,)
        Of being real.
    labels : Tensor, shape (n,)
        1 called real, 0 called artifact.
    rho : Tensor, shape (n,)
        Weight of reals called artifacts over that of reals called so, at least 0.

    Returns
    -------
    Tensor, shape (n,)
    """
    # With z the logit both chances have the denominator 1 + (1 + rho) exp(z).
    denominator = softplus(logits + torch.log1p(rho))
    called_artifact = torch.where(rho > 0, softplus(logits + torch.log(rho.clamp_min(1e-12))), torch.zeros_like(rho))
    return denominator - torch.where(labels > 0.5, logits, called_artifact)


def share_of_reals(ratios: NDArray[np.floating[Any]], *, start: float = 0.1, steps: int = 200) -> float:
    """Share of reals in a mixture that has the largest likelihood.

    Parameters
    ----------
    ratios : ndarray, shape (n,)
        Logarithm of how much more often a real is as a row is than an artifact.
    start : float
        A first share, above 0.
    steps : int
        At most.

    Returns
    -------
    float
        Between 0 and 1.
    """
    share, ratio = start, np.asarray(ratios, np.float64)
    for _ in range(steps):
        odds = ratio + np.log(share / (1.0 - share))
        after = float(np.clip(np.mean(1.0 / (1.0 + np.exp(-np.clip(odds, -50, 50)))), 1e-6, 1.0 - 1e-6))
        if abs(after - share) < 1e-6:
            break
        share = after
    return after
