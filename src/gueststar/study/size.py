"""How much a larger training set is worth: the same training on parts of it, by whole groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar.realbogus.split import Split
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, train_and_score
from gueststar.study.figures import COLOURS, drawn_value, lowest, new_figure, percent_axis, seed_values, tidy, words_of
from gueststar.study.material import Material, some_groups
from gueststar.study.results import Comparison, Findings, Results, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SizeStudy"]


class SizeStudy(Study):
    """Training-set size: the founding slides compare all rows with half of them."""

    name: ClassVar[str] = "size"
    title: ClassVar[str] = "Size of the training set"
    selection: ClassVar[frozenset[str]] = Study.selection | {"fractions"}

    fractions: tuple[float, ...] = Field(
        (0.125, 0.25, 0.5, 0.75, 1.0), min_length=1, description="Shares of the training part, each above 0, at most 1"
    )
    equal: Literal["steps", "epochs"] = Field(
        "steps",
        description="What is the same for every size: 'steps': the rows are repeated until a pass has as many steps as "
        "with all of them; 'epochs': passes, so that a smaller set is trained for fewer steps",
    )

    @field_validator("fractions")
    @classmethod
    def _sound(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or len(set(value)) < len(value):
            raise ValueError("fractions must be above 0 and at most 1, each once")
        return tuple(sorted(value))

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """One for each fraction."""
        words = f"{{:.4g}} % of the training part, equal {self.equal}"
        return tuple(
            Arm(_arm(share), words.format(100 * share), 1.0 if self.equal == "steps" else share)
            for share in self.fractions
        )

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train on a part; with the same seed a smaller part lies inside a larger one."""
        whole = material.split.train
        share = next(value for value in self.fractions if _arm(value) == arm)
        rng = np.random.default_rng([seed, 1])
        rows = some_groups(material.group, material.dataset.labels, whole, share * whole.size, rng)
        if self.equal == "steps":
            rows = repeated(rows, whole.size, rng)
        split = Split(rows, material.split.validation, material.split.test)
        return train_and_score(material, self.seeded(seed), self.label_noise, split=split, progress=progress)

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What is the same for every size."""
        steps = (
            "Equal steps: the rows of a smaller part are repeated until a pass has as many steps as one over all of "
            "them. Schedule, number of validations and patience are so the same; a smaller part is seen more often."
            if self.equal == "steps"
            else "Equal epochs: every part is passed over equally often, so a smaller one is trained for fewer steps. "
            "Less data and less training are not told apart."
        )
        return (
            "Parts consist of whole groups (frames that share stars, night or reference); with one seed a smaller part "
            "lies inside each larger one.",
            steps,
            "Network, augmentation, learning rate, validation part and test rows are the same.",
        )

    def conclude(self, results: Results) -> Findings:
        """Compare each size with the largest."""
        measured, largest = results.measured(), results.arms[-1]
        comparisons = [
            Comparison(arm, largest, metric, "difference", measured.difference(arm, largest, metric))
            for arm in results.arms[:-1]
            for metric in ("auc", "fpr_at_tpr_0.98")
        ]
        numbers = f"{results.mean_n_train(largest):,.0f} rows"
        auc, rate = (measured.value(largest, metric) for metric in ("auc", "fpr_at_tpr_0.98"))
        sentences = [
            f"With {numbers}: AUC {auc.value:.5f} ({auc.low:.5f} to {auc.high:.5f}), {percent(rate)} of the artifacts "
            "pass at TPR 98 %."
        ]
        for arm in reversed(results.arms[:-1]):
            gain, less = (measured.difference(arm, largest, metric) for metric in ("auc", "fpr_at_tpr_0.98"))
            clear = "clear of zero" if gain.low > 0 or gain.high < 0 else "zero is inside the interval"
            sentences.append(
                f"With {arm} of them ({results.mean_n_train(arm):,.0f}) the AUC changes by {gain.value:+.5f} "
                f"({gain.low:+.5f} to {gain.high:+.5f}; {clear}), the false positives at TPR 98 % by "
                f"{100 * less.value:+.3f} points ({100 * less.low:+.3f} to {100 * less.high:+.3f})."
            )
        if len(results.arms) > 1:
            sentences.append(_more(results))
        return Findings(tuple(sentences), tuple(comparisons))

    def draw(self, results: Results, findings: Findings) -> Figure:
        """AUC and false positives at TPR 98 % against the number of rows."""
        figure = new_figure(9.2, 3.9)
        measured = results.measured()
        n = [results.mean_n_train(arm) for arm in results.arms]
        for axes, metric, colour in zip(figure.subplots(1, 2), ("auc", "fpr_at_tpr_0.98"), COLOURS, strict=False):
            found = [measured.value(arm, metric) for arm in results.arms]
            floor = lowest(results, metric)
            ends = np.array([[drawn_value(metric, part) for part in (v.value, v.low, v.high)] for v in found])
            ends = np.maximum(np.column_stack((ends[:, 0], ends[:, 1:].min(axis=1), ends[:, 1:].max(axis=1))), floor)
            axes.fill_between(n, ends[:, 1], ends[:, 2], color=colour, alpha=0.15, lw=0)
            axes.plot(n, ends[:, 0], "o-", color=colour, ms=5, lw=1.6, label="mean over seeds")
            for arm in results.arms:
                values = [max(drawn_value(metric, value), floor) for value in seed_values(results, arm, metric)]
                axes.plot([run.n_train for run in results.of(arm)], values, "x", color="#8a939e", ms=5)
            axes.set_xscale("log", base=2)
            axes.set_xticks(n, [f"{value:,.0f}" for value in n])
            axes.set_yscale("log")
            percent_axis(axes, metric, which="y")
            axes.minorticks_off()
            axes.set_xlabel("training rows")
            axes.set_title(words_of(metric), loc="left", fontsize=9.5)
            tidy(axes)
        return figure


def repeated(rows: NDArray[np.int64], wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows repeated to the number that is wanted: each as often as any other, give or take once."""
    times = math.ceil(wanted / rows.size)
    return np.concatenate([rng.permutation(rows) for _ in range(times)])[: max(wanted, rows.size)]


def _arm(share: float) -> str:
    return f"{share:.4g}"


def _more(results: Results) -> str:
    """Whether the curve still falls at its end."""
    before, last = results.arms[-2:]
    ratio = results.measured().ratio(last, before, "fpr_at_tpr_0.98")
    step = f"The last step, from {results.mean_n_train(before):,.0f} to {results.mean_n_train(last):,.0f} rows,"
    if not math.isfinite(ratio.value):
        return f"{step} cannot be told in false positives: there are none."
    interval = f"{ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.high < 1:
        return f"{step} leaves {interval} the false positives at TPR 98 %: more data would still help."
    return f"{step} leaves {interval} the false positives at TPR 98 %: that more data help is not shown by it."
