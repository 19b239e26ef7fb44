"""What the runs of a study gave: a tidy table, means over seeds with their intervals, and what is concluded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.evaluate import auc_error
from gueststar.study.paired import METRICS, Interval, Measured, Ranked, bootstrap, mean_over_seeds

__all__ = ["Comparison", "Findings", "Results", "Run", "Table", "percent"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One arm with one seed; `scores` (m,) are logits of the test rows, NaN where the run does not count."""

    arm: str
    seed: int
    n_train: int
    steps: int
    seconds: float
    scores: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against another in one measure; `kind` is 'difference', 'ratio' or 'gap closed'."""

    arm: str
    base: str
    metric: str
    kind: str
    interval: Interval
    part: str = "all"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = {name: getattr(self, name) for name in ("arm", "base", "metric", "kind", "part")}
        return {**names, **self.interval.as_dict()}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page, texts only; the first column is aligned to the left."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a study concludes: sentences, the comparisons they rest on, further tables, and what to beware of.

    The first `leading` tables answer the question, and stand before that of every arm.
    """

    sentences: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    leading: int = 0


@dataclass(frozen=True, eq=False)
class Results:
    """The runs that are there.

    Parameters
    ----------
    arms : tuple of str
        Those with a run, in the order of the study.
    words : mapping of str to str
        What each arm is.
    runs : sequence of Run
    labels : ndarray of int, shape (m,)
        Of the test rows: 1 real, 0 artifact; those with -1 have an old label only.
    snr : ndarray, shape (m,)
        Their signal to noise.
    image : ndarray of int, shape (m,)
        Number of the image of each.
    chip : ndarray of str, shape (m,)
        Empty where unknown.
    boots : int
    other_labels : ndarray of int, optional, shape (m,)
        Second labels of the test rows, where the study has such.
    """

    arms: tuple[str, ...]
    words: Mapping[str, str]
    runs: Sequence[Run]
    labels: NDArray[np.int8]
    snr: NDArray[np.floating[Any]]
    image: NDArray[np.int64]
    chip: NDArray[Any]
    boots: int
    other_labels: NDArray[np.int8] | None = None
    _kept: dict[str, Measured] = field(default_factory=dict)

    @property
    def n_real(self) -> int:
        """Reals among the test rows."""
        return int((self.labels == 1).sum())

    @property
    def n_bogus(self) -> int:
        """Artifacts among the test rows."""
        return int((self.labels == 0).sum())

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that every arm has."""
        common = [{run.seed for run in self.runs if run.arm == arm} for arm in self.arms]
        return tuple(sorted(set.intersection(*common))) if common else ()

    def has(self, *arms: str) -> bool:
        """Whether all of these were run."""
        return set(arms) <= set(self.arms)

    def of(self, arm: str) -> list[Run]:
        """Runs of one arm with a seed that every arm has."""
        return sorted((run for run in self.runs if run.arm == arm and run.seed in self.seeds), key=lambda r: r.seed)

    def mean_n_train(self, arm: str) -> float:
        """Rows that were trained on, mean over seeds."""
        return float(np.mean([run.n_train for run in self.of(arm)]))

    def measured(self) -> Measured:
        """Means over seeds of every arm on all test rows."""
        if "all" not in self._kept:
            self._kept["all"] = self.measure(self.arms)
        return self._kept["all"]

    def measure(
        self,
        arms: Sequence[str],
        *,
        labels: NDArray[np.int8] | None = None,
        keep: Callable[[Run], NDArray[np.bool_]] | None = None,
    ) -> Measured:
        """The same with other labels, or on some rows only.

        Images and seeds are drawn alike in every call: what two calls give can be compared drawing by drawing.

        Parameters
        ----------
        arms : sequence of str
        labels : ndarray of int, shape (m,), optional
            Other labels; rows with -1 do not count.
        keep : callable, optional
            Gives the rows that count for a run, (m,) bool.
        """
        ranked = [self.ranked(run, labels=labels, keep=keep) for arm in arms for run in self.of(arm)]
        images = int(self.image.max(initial=0)) + 1
        table = bootstrap(ranked, images, boots=self.boots, rng=np.random.default_rng(0))
        table = table.reshape(len(table), len(arms), len(self.seeds), len(METRICS))
        return Measured(tuple(arms), mean_over_seeds(table, np.random.default_rng(1)))

    def ranked(
        self,
        run: Run,
        *,
        labels: NDArray[np.int8] | None = None,
        keep: Callable[[Run], NDArray[np.bool_]] | None = None,
    ) -> Ranked:
        """Scores of one run, sorted; see `measure`."""
        truth = self.labels if labels is None else labels
        used = (truth >= 0) if keep is None else (truth >= 0) & keep(run)
        return Ranked(truth == 1, np.where(used, run.scores, np.nan), self.image)

    def rows(self, study: str) -> list[dict[str, Any]]:
        """The tidy table: one row for each run."""
        return [self._row(study, run, np.ones(self.labels.size, bool)) for run in self.runs]

    def chip_rows(self, study: str) -> list[dict[str, Any]]:
        """The tidy table by chip; empty where no chip is known."""
        found = []
        for chip in np.unique(self.chip):
            if chip == "":
                continue
            inside = self.chip == chip
            for run in self.runs:
                row = self._row(study, run, inside)
                unseen = chip in run.facts.get("unseen_chips", ())
                found.append({**row, "chip": str(chip), "seen": not unseen})
        return found

    def _row(self, study: str, run: Run, inside: NDArray[np.bool_]) -> dict[str, Any]:
        used = inside & np.isfinite(run.scores) & (self.labels >= 0)
        real, scores = self.labels[used] == 1, np.asarray(run.scores)[used]
        ranked = Ranked(real, scores, self.image[used])
        row: dict[str, Any] = {"study": study, "arm": run.arm, "seed": run.seed, "n_train": run.n_train}
        row |= {"steps": run.steps, "seconds": run.seconds, "n_real": ranked.n_real, "n_bogus": ranked.n_bogus}
        values = dict(zip(METRICS, (float(value) for value in ranked.measure()), strict=True))
        row |= {"auc": values.pop("auc"), "auc_err": auc_error(real, scores)}
        return row | values


def percent(interval: Interval, digits: int = 2) -> str:
    """A share with its interval, in per cent."""
    if not math.isfinite(interval.value):
        return "–"
    value, low, high = (f"{100 * part:.{digits}f}" for part in (interval.value, interval.low, interval.high))
    return f"{value} % ({low} to {high})"
