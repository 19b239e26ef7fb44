"""Asymmetric co-teaching: two networks, each leaves out the artifacts that the other finds most like reals.

Han et al. 2018 (arXiv 1804.06872) train two networks on the same batches; each learns from the rows of small loss as
the *other* sees them, so that a row one network has learnt by heart is still doubted by the other. There the rows of
largest loss are left out whatever their class. Here artificial reals are never wrong, and one that is hard to tell has
a large loss, too: only artifacts are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.deterministic import deterministic
from gueststar.realbogus.feed import Batch
from gueststar.realbogus.label_noise.forget import estimate_contamination, forgotten, kept_weights, ramp
from gueststar.realbogus.network import MeanNet
from gueststar.realbogus.pieces import Pieces
from gueststar.realbogus.predict import predict
from gueststar.realbogus.resume import draws, epochs_of, machinery, set_draws, set_machinery
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import Loop, new_network, went_astray
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Epoch, Progress, Trained
from gueststar.realbogus.training_rows import TrainingRows, prepare
from gueststar.realbogus.watch import Watch

__all__ = ["train"]

_REAL = 0.5  # labels above are reals


@dataclass(slots=True)
class _Sums:
    """Pass and step that come next, and sums of this pass: losses times rows, rows, artifacts and those left out."""

    number: int = 0
    step: int = 0
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0])
    seen: int = 0
    left_out: int = 0
    artifacts: int = 0

    def count(self, losses: Sequence[float], rows: int, left_out: int, artifacts: int) -> None:
        self.step += 1
        self.totals = [total + loss * rows for total, loss in zip(self.totals, losses, strict=True)]
        self.seen, self.left_out, self.artifacts = (
            self.seen + rows,
            self.left_out + left_out,
            self.artifacts + artifacts,
        )


@dataclass(frozen=True, slots=True)
class _Learnt:
    """Shares of the losses of both networks that a piece gave, its artifacts, and how many the second left out."""

    losses: tuple[float, float]
    left_out: int
    artifacts: int


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
    watch: Watch | None = None,
) -> Trained:
    """Train two networks that teach each other; fields of `LabelNoise`, the rest as in `train_network`."""
    rows = prepare(dataset, split, options, scalars)
    with deterministic(options.seed, device=options.device, threads=options.threads):
        pair = _Pair(rows, options, forget_rate, ramp_epochs)
        return pair.run(progress, watch or Watch(), average=average)


class _Pair:
    """Two trainings on the same batches, and the best of each so far."""

    def __init__(self, rows: TrainingRows, options: Train, forget_rate: float | None, ramp_epochs: int) -> None:
        self.rows, self.options, self.given = rows, options, forget_rate
        # A training that ends before the share is reached has learnt the wrong labels.
        self.ramp_epochs = min(ramp_epochs, max(options.epochs // 3, 1))
        # The second network draws its first weights and its dropout after the first: other numbers of one generator.
        self.loops = [Loop(rows, new_network(rows, options), options) for _ in range(2)]
        self.history: list[list[Epoch]] = [[], []]
        self.best = [-1, -1]
        self.states: list[dict[str, Tensor]] = [{}, {}]
        self.logits: list[list[NDArray[np.float32]]] = [[], []]  # of both networks at the best pass of each
        self.rate = forget_rate or 0.0
        self.shares: list[float] = []
        self.stopped: Literal["", "patience", "epochs"] = ""
        self.sums = _Sums()

    def run(self, progress: Progress | None, watch: Watch, *, average: bool) -> Trained:
        pieces = Pieces(watch.say)
        for loop in self.loops:
            loop.pieces = pieces
        if (kept := watch.kept()) is not None:
            self.restore(kept)
        while not self.stopped:
            self._judge(self._pass(progress, watch), watch)
            self._close_pass()
            watch.keep(self.plain)
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
        found = Trained(network, history, best, logits, facts, self.stopped, pieces.n)
        if not average:
            return found
        mean = MeanNet([loop.network for loop in self.loops]).eval()
        of_both = predict(mean, self.rows.dataset, self.rows.parts["validation"])
        return replace(found, network=mean, validation_logits=of_both)

    def _pass(self, progress: Progress | None, watch: Watch) -> list[float]:
        """The rest of one pass; the mean weighted loss of each network on what it learnt from."""
        first, at = self.loops[0], self.sums
        share = ramp(at.number, self.rate, self.ramp_epochs)
        for i, batch in first.feed.batches(at.number, start=at.step):
            found = first.pieces(batch, partial(self._learn, n=len(batch), share=share), clear=self._clear)
            for loop in self.loops:
                loop.descend()
            losses = [sum(piece.losses[own] for piece in found) for own in range(2)]
            at.count(losses, len(batch), sum(piece.left_out for piece in found), sum(p.artifacts for p in found))
            watch.say_step(sum(losses) / 2.0)
            watch.keep_if_due(self.plain)
            if progress is not None:
                progress("train", at.number * first.steps + i + 1, self.options.epochs * first.steps)
        self.shares.append(at.left_out / max(at.artifacts, 1))
        return [value / max(at.seen, 1) for value in at.totals]

    def _learn(self, batch: Batch, n: int, share: float) -> _Learnt:
        """Add the gradients of a piece of a step of n rows to both networks."""
        labels, weights = self.rows.labels[batch.rows], self.rows.weights[batch.rows]
        found = [loop.losses(batch)[0] for loop in self.loops]
        marked = [forgotten(losses.detach().cpu().numpy(), labels, share) for losses in found]
        shares = []
        for own, losses in enumerate(found):
            kept = torch.from_numpy(kept_weights(weights, labels, marked[1 - own])).to(losses.device)
            loss = (losses * kept).mean() * (len(batch) / n)
            loss.backward()  # type: ignore[no-untyped-call]
            shares.append(float(loss.detach()))
        return _Learnt((shares[0], shares[1]), int(marked[0].sum()), int((labels < _REAL).sum()))

    def _clear(self) -> None:
        for loop in self.loops:
            loop.clear()

    def _close_pass(self) -> None:
        number = self.sums.number
        if number - max(*self.best, self.ramp_epochs) >= self.options.patience:
            self.stopped = "patience"
        elif number + 1 >= self.options.epochs:
            self.stopped = "epochs"
        self.sums = _Sums(number + 1)

    def plain(self) -> dict[str, Any]:
        """Tensors and plain values that `restore` takes."""
        found: dict[str, Any] = {
            "sums": asdict(self.sums), "best": list(self.best), "states": list(self.states), "rate": self.rate,
            "logits": [[torch.from_numpy(x) for x in both] for both in self.logits], "shares": list(self.shares),
            "history": [[list(astuple(epoch)) for epoch in own] for own in self.history], "stopped": self.stopped,
        }  # fmt: skip
        if not self.stopped:
            found |= {"machinery": [machinery(loop) for loop in self.loops], "draws": draws(self.options.device)}
        return found

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a state that `plain` gave."""
        self.sums, self.best, self.states = _Sums(**kept["sums"]), list(kept["best"]), list(kept["states"])
        self.rate, self.shares, self.stopped = kept["rate"], list(kept["shares"]), kept["stopped"]
        self.logits = [[x.numpy() for x in both] for both in kept["logits"]]
        self.history = [epochs_of(own) for own in kept["history"]]
        if not self.stopped:
            for loop, state in zip(self.loops, kept["machinery"], strict=True):
                set_machinery(loop, state)
            set_draws(kept["draws"])

    def _judge(self, train_losses: list[float], watch: Watch) -> None:
        """Measure both networks on the validation part, estimate the rate anew, and keep what is better.

        The best pass so far is measured again with the rate as it is now: with a larger one every loss is smaller.
        """
        part, number = self.rows.parts["validation"], self.sums.number
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
            watch.of(f"network {i + 1} of 2").say_epoch(number, epoch, best=self.best[i] == number)

    def _validation(self, logits: list[NDArray[np.float32]], own: int, train_loss: float = math.nan) -> Epoch:
        """Loss of one network on the validation part, without the artifacts that the other doubts."""
        part = self.rows.parts["validation"]
        labels = self.rows.labels[part]
        peer = logits[1 - own]  # of an artifact the loss grows with the logit
        weights: NDArray[Any] = kept_weights(self.rows.weights[part], labels, forgotten(peer, labels, self.rate))
        return self.loops[own].judge(train_loss, logits[own], weights)
