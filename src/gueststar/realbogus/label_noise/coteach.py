"""Asymmetric co-teaching: two networks, each leaves out the artifacts that the other finds most like reals.

Han et al. 2018 (arXiv 1804.06872) train two networks on the same batches; each learns from the rows of small loss as
the *other* sees them, so that a row one network has learnt by heart is still doubted by the other. There the rows of
largest loss of each batch are left out whatever their class. Here

- artificial reals are never wrong, and one that is hard to tell has a large loss, too: only artifacts are left out;
- how many are left out depends on the signal to noise (`label_noise.shares`), and the artifacts of an interval that are
  left weigh what all of them did;
- they are chosen before each pass from all artifacts. A batch has more wrong labels or fewer by chance, and the share
  of it would leave wrong labels in or take the hardest artifacts out.
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
from gueststar.realbogus.label_noise.forget import ramp
from gueststar.realbogus.label_noise.shares import Shares
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


@dataclass(slots=True)
class _Sums:
    """Pass and step that come next, and sums of this pass: losses times rows, and rows."""

    number: int = 0
    step: int = 0
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0])
    seen: int = 0

    def count(self, losses: Sequence[float], rows: int) -> None:
        self.step += 1
        self.totals = [total + loss * rows for total, loss in zip(self.totals, losses, strict=True)]
        self.seen += rows


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
        self.rows, self.options = rows, options
        # A training that ends before the share is reached has learnt the wrong labels.
        self.ramp_epochs = min(ramp_epochs, max(options.epochs // 3, 1))
        # The second network draws its first weights and its dropout after the first: other numbers of one generator.
        self.loops = [Loop(rows, new_network(rows, options), options) for _ in range(2)]
        self.history: list[list[Epoch]] = [[], []]
        self.best = [-1, -1]
        self.states: list[dict[str, Tensor]] = [{}, {}]
        self.logits: list[list[NDArray[np.float32]]] = [[], []]  # of both networks at the best pass of each
        self.shares = Shares(rows, forget_rate)
        self.marked = [np.zeros(len(rows.labels), bool) for _ in range(2)]  # what each network does not learn from
        self.weights = [rows.weights, rows.weights]
        self.left_out: list[float] = []
        self.stopped: Literal["", "patience", "epochs"] = ""
        self.sums = _Sums()

    def run(self, progress: Progress | None, watch: Watch, *, average: bool) -> Trained:
        pieces = Pieces(watch.say)
        for loop in self.loops:
            loop.pieces = pieces
        if (kept := watch.kept()) is not None:
            self.restore(kept)
        while not self.stopped:
            if self.sums.step == 0:
                self._choose()
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
            "forget_rate": self.shares.total,
            "forget_rate_from": "scores of both parts" if self.shares.given is None else "given",
            "snr_limits": self.shares.limits.tolist(),
            "forget_rate_of_each_interval": self.shares.values["train"].tolist(),
            "ramp_epochs": self.ramp_epochs,
            "left_out_share_of_each_epoch": self.left_out,
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

    def _choose(self) -> None:
        """Which artifacts each network leaves out of the next pass: those that the other finds most like reals."""
        part = self.rows.parts["train"]
        share = ramp(self.sums.number, 1.0, self.ramp_epochs)
        artifacts = part[self.rows.labels[part] < 0.5]
        if share > 0 and self.shares.values["train"].any():
            for own in range(2):
                logits = predict(self.loops[1 - own].network, self.rows.dataset, artifacts)
                self.marked[own][artifacts] = self.shares.most_real("train", artifacts, logits, ramp=share)
        self._weigh()
        self.left_out.append(float(np.mean([marked[artifacts].mean() for marked in self.marked])))

    def _weigh(self) -> None:
        part = self.rows.parts["train"]
        for own in range(2):
            self.weights[own] = self.rows.weights.copy()
            self.weights[own][part] = self.shares.kept_weights(part, self.marked[own][part])

    def _pass(self, progress: Progress | None, watch: Watch) -> list[float]:
        """The rest of one pass; the mean weighted loss of each network on what it learnt from."""
        first, at = self.loops[0], self.sums
        for i, batch in first.feed.batches(at.number, start=at.step):
            found = first.pieces(batch, partial(self._learn, n=len(batch)), clear=self._clear)
            for loop in self.loops:
                loop.descend()
            losses = [sum(piece[own] for piece in found) for own in range(2)]
            at.count(losses, len(batch))
            watch.say_step(sum(losses) / 2.0)
            watch.keep_if_due(self.plain)
            if progress is not None:
                progress("train", at.number * first.steps + i + 1, self.options.epochs * first.steps)
        return [value / max(at.seen, 1) for value in at.totals]

    def _learn(self, batch: Batch, n: int) -> tuple[float, ...]:
        """Add the gradients of a piece of a step of n rows to both networks; the shares of their losses."""
        shares = []
        for loop, weights in zip(self.loops, self.weights, strict=True):
            losses, _ = loop.losses(batch)
            kept = torch.from_numpy(weights[batch.rows]).to(losses.device)
            loss = (losses * kept).mean() * (len(batch) / n)
            loss.backward()  # type: ignore[no-untyped-call]
            shares.append(float(loss.detach()))
        return tuple(shares)

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
            "sums": asdict(self.sums), "best": list(self.best), "states": list(self.states),
            "rates": {name: values.tolist() for name, values in self.shares.values.items()},
            "marked": [torch.from_numpy(marked) for marked in self.marked],
            "logits": [[torch.from_numpy(x) for x in both] for both in self.logits], "left_out": list(self.left_out),
            "history": [[list(astuple(epoch)) for epoch in own] for own in self.history], "stopped": self.stopped,
        }  # fmt: skip
        if not self.stopped:
            found |= {"machinery": [machinery(loop) for loop in self.loops], "draws": draws(self.options.device)}
        return found

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a state that `plain` gave."""
        self.sums, self.best, self.states = _Sums(**kept["sums"]), list(kept["best"]), list(kept["states"])
        self.shares.values, self.left_out, self.stopped = (
            {name: np.array(values) for name, values in kept["rates"].items()},
            list(kept["left_out"]),
            kept["stopped"],
        )
        self.marked = [marked.numpy() for marked in kept["marked"]]
        self._weigh()
        self.logits = [[x.numpy() for x in both] for both in kept["logits"]]
        self.history = [epochs_of(own) for own in kept["history"]]
        if not self.stopped:
            for loop, state in zip(self.loops, kept["machinery"], strict=True):
                set_machinery(loop, state)
            set_draws(kept["draws"])

    def _judge(self, train_losses: list[float], watch: Watch) -> None:
        """Measure both networks on the validation part, estimate the rates anew, and keep what is better.

        The best pass so far is measured again with the rates as they are now: with larger ones every loss is smaller.
        """
        part, number = self.rows.parts["validation"], self.sums.number
        now = [predict(loop.network, self.rows.dataset, part) for loop in self.loops]
        if not all(np.isfinite(logits).all() for logits in now):
            return
        if self.shares.given is None:
            sample = [predict(loop.network, self.rows.dataset, self.shares.sample) for loop in self.loops]
            self.shares.estimate(np.mean(sample, axis=0), np.mean(now, axis=0))
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
        weights = self.shares.kept_weights(part, self.shares.most_real("validation", part, logits[1 - own]))
        return self.loops[own].judge(train_loss, logits[own], weights)
