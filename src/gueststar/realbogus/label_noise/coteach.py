"""Asymmetric co-teaching: two networks, each leaves out the artifacts that the other finds most like reals.

Han et al. 2018 (arXiv 1804.06872) train two networks on the same batches; each learns from the rows of small loss as
the *other* sees them, so that a row one network has learnt by heart is still doubted by the other. There the rows of
largest loss are left out whatever their class. Here artificial reals are never wrong, and one that is hard to tell has
a large loss, too: only artifacts are left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.label_noise.forget import estimate_contamination, forgotten, kept_weights, ramp
from gueststar.realbogus.network import MeanNet
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import (
    Epoch,
    Loop,
    Progress,
    Train,
    Trained,
    TrainingRows,
    new_network,
    predict,
    prepare,
    went_astray,
)

__all__ = ["train"]


def train(
    dataset: LabelledStamps,
    split: Split,
    options: Train,
    *,
    forget_rate: float | None = None,
    ramp_epochs: int = 5,
    average: bool = False,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
) -> Trained:
    """Train two networks that teach each other; fields of `LabelNoise`, the rest as in `train_network`."""
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        pair = _Pair(rows, options, forget_rate, ramp_epochs)
        return pair.run(progress, average=average)


class _Pair:
    """Two trainings on the same batches, and the best of each so far."""

    def __init__(self, rows: TrainingRows, options: Train, forget_rate: float | None, ramp_epochs: int) -> None:
        self.rows, self.options, self.given, self.ramp_epochs = rows, options, forget_rate, ramp_epochs
        # The second network draws its first weights and its dropout after the first: other numbers of one generator.
        self.loops = [Loop(rows, new_network(rows, options), options) for _ in range(2)]
        self.history: list[list[Epoch]] = [[], []]
        self.best = [-1, -1]
        self.states: list[dict[str, Tensor]] = [{}, {}]
        self.logits: list[list[NDArray[np.float32]]] = [[], []]  # of both networks at the best pass of each
        self.rate = forget_rate or 0.0
        self.shares: list[float] = []

    def run(self, progress: Progress | None, *, average: bool) -> Trained:
        for number in range(self.options.epochs):
            losses = self._pass(number, progress)
            self._judge(number, losses)
            if number - max(*self.best, self.ramp_epochs) >= self.options.patience:
                break
        if not all(self.states):
            raise went_astray(self.options)
        for loop, state in zip(self.loops, self.states, strict=True):
            loop.network.cpu().load_state_dict(state)
            loop.network.eval()
        final = [self._validation(self.logits[i], i).validation_loss for i in range(2)]
        chosen = int(np.argmin(final))
        facts = {
            "method": "coteach",
            "forget_rate": self.rate,
            "forget_rate_from": "the scores of the validation part" if self.given is None else "given",
            "ramp_epochs": self.ramp_epochs,
            "left_out_share_of_each_epoch": self.shares,
            "network": "mean of both" if average else f"{chosen + 1} of 2, the one with the lower validation loss",
            "validation_losses": final,
        }
        network, logits = self.loops[chosen].network, self.logits[chosen][chosen]
        history, best = tuple(self.history[chosen]), self.best[chosen]
        if not average:
            return Trained(network, history, best, logits, facts)
        mean = MeanNet([loop.network for loop in self.loops]).eval()
        return Trained(mean, history, best, predict(mean, self.rows.dataset, self.rows.parts["validation"]), facts)

    def _pass(self, number: int, progress: Progress | None) -> list[float]:
        """One pass over the training part; the mean weighted loss of each network on what it learnt from."""
        first, share = self.loops[0], ramp(number, self.rate, self.ramp_epochs)
        total, seen, left_out, artifacts = np.zeros(2), 0, 0, 0
        for i, rows in enumerate(first.batches()):
            turn = first.rng.integers(0, 8, rows.size)
            labels = self.rows.labels[rows]
            found = [loop.losses(rows, turn) for loop in self.loops]
            marked = [forgotten(losses.detach().cpu().numpy(), labels, share) for losses, _ in found]
            for own, (losses, _) in enumerate(found):
                weights = kept_weights(self.rows.weights[rows], labels, marked[1 - own])
                loss = (losses * torch.from_numpy(weights).to(losses.device)).mean()
                self.loops[own].descend(loss)
                total[own] += float(loss.detach()) * rows.size
            seen += rows.size
            left_out += int(marked[0].sum())
            artifacts += int((labels < 0.5).sum())
            if progress is not None:
                progress("train", number * first.steps + i + 1, self.options.epochs * first.steps)
        self.shares.append(left_out / max(artifacts, 1))
        return [float(value) / max(seen, 1) for value in total]

    def _judge(self, number: int, train_losses: list[float]) -> None:
        """Measure both networks on the validation part, estimate the rate anew, and keep what is better.

        The best pass so far is measured again with the rate as it is now: with a larger one every loss is smaller.
        """
        part = self.rows.parts["validation"]
        now = [predict(loop.network, self.rows.dataset, part) for loop in self.loops]
        if not all(np.isfinite(logits).all() for logits in now):
            return
        if self.given is None:
            self.rate = estimate_contamination(self.rows.labels[part], np.mean(now, axis=0))
        for i in range(2):
            epoch = self._validation(now, i, train_losses[i])
            self.history[i].append(epoch)
            before = self._validation(self.logits[i], i).validation_loss if self.states[i] else math.inf
            if epoch.validation_loss < before:
                self.best[i], self.states[i], self.logits[i] = number, self.loops[i].state(), now

    def _validation(self, logits: list[NDArray[np.float32]], own: int, train_loss: float = math.nan) -> Epoch:
        """Loss of one network on the validation part, without the artifacts that the other doubts."""
        part = self.rows.parts["validation"]
        labels = self.rows.labels[part]
        peer = logits[1 - own]  # of an artifact the loss grows with the logit
        weights: NDArray[Any] = kept_weights(self.rows.weights[part], labels, forgotten(peer, labels, self.rate))
        return self.loops[own].judge(train_loss, logits[own], weights)
