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

The shares c are those of `label_noise.shares`, estimated after every pass.

With rho as it is, nothing tells the network how sure to be among reals: rightly named and misnamed ones pull alike,
and where both are p can take any value near 1. The order of the highest scores is then chance, which is what a small
false-positive rate depends on. A larger rho, by `excess` of the rightly named reals, lets these win, so that scores
grow where artifacts are rare, as they do when all labels are right; what is lost is what a region with fewer artifacts
than that would tell.
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
from gueststar.realbogus.label_noise.shares import Shares
from gueststar.realbogus.network import StampNet
from gueststar.realbogus.predict import predict
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import Loop, new_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Epoch, Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch
from gueststar.realbogus.weights import INTERVALS

__all__ = ["CorrectedLoop", "corrected_losses", "train"]


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    forget_rate: float | None = None,
    excess: float = 0.3,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train with the corrected loss; fields of `LabelNoise`, the rest as in `train_network`."""
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        loop = CorrectedLoop(rows, new_network(rows, options), options, forget_rate, excess=excess)
        trained = loop.run(progress, watch)
    facts = {
        "method": "correct",
        "shares_from": "scores of both parts" if forget_rate is None else "given",
        "share": loop.shares.total,
        "excess": excess,
        "snr_limits": loop.shares.limits.tolist(),
        "share_of_each_interval": loop.shares.values["train"].tolist(),
    }
    return replace(trained, label_noise=facts)


class CorrectedLoop(Loop):
    """A training whose loss counts with reals among the artifacts of every interval of signal to noise."""

    def __init__(
        self, rows: TrainingRows, network: StampNet, options: Train, rate: float | None, *, excess: float = 0.3
    ) -> None:
        super().__init__(rows, network, options)
        self.excess = excess
        self.shares = Shares(rows, rate)
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
        if self.shares.given is None:
            self.shares.estimate(predict(self.network, self.rows.dataset, self.shares.sample), logits)
            self.row_weights, self.rho = self._applied()
            if self.at.best_state:
                self.at.best_loss = self._validation_loss(self.at.logits)
        return replace(super().judge(train_loss, logits), validation_loss=self._validation_loss(logits))

    def more_state(self) -> dict[str, Any]:
        """The shares as they are now."""
        return {"shares": {name: values.tolist() for name, values in self.shares.values.items()}}

    def set_more_state(self, kept: Mapping[str, Any]) -> None:
        """Take the shares from there."""
        self.shares.values = {name: np.array(values) for name, values in kept["shares"].items()}
        self.row_weights, self.rho = self._applied()

    def _validation_loss(self, logits: NDArray[np.float32]) -> float:
        part = self.rows.parts["validation"]
        losses = corrected_losses(*(torch.from_numpy(x) for x in (logits, self.rows.labels[part], self.rho[part])))
        return float(np.average(losses.numpy().astype(np.float64), weights=self.row_weights[part]))

    def _sums(self, part: NDArray[np.int64]) -> NDArray[np.float64]:
        """Summed weights of artifacts and reals in every interval, shape (2, intervals)."""
        labels, weights, interval = self.rows.labels[part] > 0.5, self.rows.weights[part], self.shares.interval[part]
        return np.stack([np.bincount(interval[own], weights[own], INTERVALS) for own in (~labels, labels)])

    def _applied(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and rho of every row of the set with the shares as they are."""
        weights, rho = self.rows.weights.astype(np.float64), np.zeros(len(self.rows.labels))
        for name in ("train", "validation"):
            part = self.rows.parts[name]
            artifacts, reals = self._sums(part)
            shares, interval = np.where(reals > 0, self.shares.values[name], 0.0), self.shares.interval[part]
            gain = 1.0 / (1.0 - shares)
            of_interval = shares * gain * artifacts / np.where(reals > 0, reals, 1.0) + self.excess
            rho[part] = of_interval[interval]
            own = np.where(self.rows.labels[part] > 0.5, 1.0, gain[interval])
            weights[part] *= own
            weights[part] /= weights[part].mean()
        return weights.astype(np.float32), rho.astype(np.float32)


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
