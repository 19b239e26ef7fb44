"""The network against published ones, re-implemented, on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.networks import NetworkName, seen_size
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, train_and_score
from gueststar.study.figures import arm_panels
from gueststar.study.material import Material
from gueststar.study.results import Comparison, Findings, Results, Table, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BaselineStudy"]

_OURS: NetworkName = "gueststar"
_WORDS: dict[NetworkName, tuple[str, float]] = {
    "seed": ("a plain network on the difference alone, as in the founding slides", 1.0),
    "braai": ("Duev et al. 2019, the ZTF network", 2.2),
    "takahashi-simple": ("Takahashi et al. 2022, the small network, their training in two stages", 6.0),
    "takahashi-complex": ("Takahashi et al. 2022, the large network, their training in two stages", 90.0),
}
_RATES = ("fpr_at_tpr_0.9", "fpr_at_tpr_0.98")
_GOAL = 0.7


class BaselineStudy(Study):
    """Comparison with published networks."""

    name: ClassVar[str] = "baselines"
    title: ClassVar[str] = "Against published networks on the same data"
    selection: ClassVar[frozenset[str]] = Study.selection | {"networks"}

    networks: tuple[NetworkName, ...] = Field(
        ("seed", "braai", "takahashi-simple"), min_length=1, description="Networks to compare with"
    )

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """Ours, and those whose stamps the data can give."""
        width = min(material.dataset.stamp_size, material.test.stamp_size)
        others = [name for name in self.networks if name != _OURS and seen_size(self._options(name, 0)) <= width]
        ours = Arm(_OURS, f"the network of this program, labels: {self.label_noise.method}")
        return (ours, *(Arm(name, *_WORDS[name]) for name in others))

    def _options(self, arm: str, seed: int) -> Train:
        if arm == _OURS:
            return self.seeded(seed)
        return self.seeded(seed, network=arm, stamp_size=None)

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train a network as this program trains its own; that of Takahashi et al. in their two stages."""
        method = "two-stage" if arm.startswith("takahashi") else "naive"
        noise = self.label_noise if arm == _OURS else LabelNoise(method=method)
        return train_and_score(material, self._options(arm, seed), noise, progress=progress)

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What is the same for every network."""
        return (
            "Rows of every part, passes, batch, learning rate and its schedule, augmentation, class weights "
            "and the rule that chooses the best pass are the same.",
            "Each network sees what its publication says: planes, width, scaling. Ours sees the triplet and measured "
            "numbers, the others no numbers: networks and inputs are compared together.",
            "They are re-implementations trained by this program's recipe, not the authors' models.",
        )

    def conclude(self, results: Results) -> Findings:
        """Ratio of false positives of ours to those of each other network."""
        measured = results.measured()
        if not results.has(_OURS):
            return Findings(("The arm 'gueststar' was not run: nothing to compare with.",))
        comparisons, sentences, rows = [], [], []
        won = []
        for arm in results.arms:
            if arm == _OURS:
                continue
            ratios = [measured.ratio(_OURS, arm, metric) for metric in _RATES]
            for metric, ratio in zip(_RATES, ratios, strict=True):
                comparisons.append(Comparison(_OURS, arm, metric, "ratio", ratio))
                item = measured.difference(_OURS, arm, metric)
                comparisons.append(Comparison(_OURS, arm, metric, "difference", item))
            comparisons.append(Comparison(_OURS, arm, "auc", "difference", measured.difference(_OURS, arm, "auc")))
            words = [f"{r.value:.2f} times ({r.low:.2f} to {r.high:.2f})" for r in ratios]
            sentences.append(
                f"gueststar leaves {words[0]} the false positives of {arm} at TPR 90 %, {words[1]} at TPR 98 %."
            )
            rows.append([arm, *(percent(measured.value(arm, metric)) for metric in _RATES),
                         *(f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f})" for r in ratios)])  # fmt: skip
            won.append(all(ratio.value <= _GOAL and ratio.high < 1 for ratio in ratios))
        if won:
            verdict = "is reached" if all(won) else "is not reached"
            sentences.insert(
                0,
                "At least 30 % fewer false positives than every network compared with, at TPR 90 and 98 %, with "
                f"intervals clear of no difference: {verdict}.",
            )
        if not won:
            sentences.append("No network to compare with was run.")
        header = ("network", "FPR at TPR 90 %", "FPR at TPR 98 %", "ours / theirs at 90 %", "ours / theirs at 98 %")
        absent = [name for name in self.networks if name not in results.words]
        notes = (f"The stamps are too small for {', '.join(absent)}.",) if absent else ()
        return Findings(tuple(sentences), tuple(comparisons), (Table("Ratio of false positives", header, rows),), notes)

    def draw(self, results: Results, findings: Findings) -> Figure:
        """AUC and false positives of every network."""
        return arm_panels(results, ("auc", *_RATES))
