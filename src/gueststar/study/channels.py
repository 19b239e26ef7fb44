"""What a network gains from each plane, from the measured numbers, and from a wider stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from gueststar.realbogus.preprocess import SEEN_SIZE
from gueststar.realbogus.trained import Progress
from gueststar.study.base import Arm, Scored, Study, train_and_score
from gueststar.study.figures import arm_panels
from gueststar.study.material import Material
from gueststar.study.results import Comparison, Findings, Results, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ChannelStudy"]

_WHOLE = "triplet"
_TRIPLET = ("science", "reference", "difference")
#: Planes and numbers that each arm sees.
_SEEN: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "difference only": (("difference",), False, "the difference alone, as in the founding slides"),
    "science + difference": (("science", "difference"), False, "no reference, no numbers"),
    "triplet, no numbers": (_TRIPLET, False, "all planes, no measured numbers"),
    _WHOLE: (_TRIPLET, True, "all planes and the measured numbers: the default"),
    "numbers only": ((), True, "the measured numbers, no pixel"),
}


class ChannelStudy(Study):
    """Planes, measured numbers and stamp widths that the network sees."""

    name: ClassVar[str] = "channels"
    title: ClassVar[str] = "Planes, numbers and stamp widths"
    selection: ClassVar[frozenset[str]] = Study.selection | {"sizes"}

    sizes: tuple[int, ...] = Field(
        (15, 21, 31, 41, 63), description="Stamp widths beside that of the training, px, odd"
    )

    @field_validator("sizes")
    @classmethod
    def _odd(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 == 0 or not 15 <= size <= 255 for size in value):
            raise ValueError("stamp widths must be odd, 15 to 255")
        return tuple(sorted(set(value)))

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """What is seen, then how wide, as far as the stamps of both sets go."""
        width = min(material.dataset.stamp_size, material.test.stamp_size)
        arms = [Arm(name, words) for name, (_, _, words) in _SEEN.items()]
        return (*arms, *(self._sized(size) for size in self.sizes if size <= width and size != self._width))

    @property
    def _width(self) -> int:
        return self.train.stamp_size or SEEN_SIZE

    def _sized(self, size: int) -> Arm:
        words = f"as the triplet, {size} px instead of {self._width} px"
        return Arm(f"{size} px", words, (size / self._width) ** 2)

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train on what the arm sees."""
        changes: dict[str, Any] = {}
        if arm in _SEEN:
            planes, numbers, _ = _SEEN[arm]
            changes = {"planes": planes, "numbers": numbers}
            if not planes:  # without pixels a candidate whose numbers are hidden teaches nothing
                changes["scalar_dropout"] = 0.0
        else:
            changes["stamp_size"] = int(arm.split(maxsplit=1)[0])
        return train_and_score(material, self.seeded(seed, **changes), self.label_noise, progress=progress)

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """What is the same in every arm."""
        return (
            "Rows, steps, schedule, augmentation and the layers of the network are the same; what is not seen "
            "is 0 inside "
            "the network, so the number of weights is the same, too.",
            "The sign of the S/N turns candidates over in every arm: science is the image in which the source "
            "is bright.",
            "Weights of the loss are matched in S/N, which is as if every arm knew how the classes are spread in it.",
            f"Planes are compared at {self._width} px, widths with all planes and numbers.",
        )

    def conclude(self, results: Results) -> Findings:
        """Compare every arm with the whole triplet."""
        measured = results.measured()
        if not results.has(_WHOLE):
            return Findings(("The arm 'triplet' was not run: nothing to compare with.",))
        comparisons, sentences = [], []
        best = min(results.arms, key=lambda arm: measured.value(arm, "fpr_at_tpr_0.98").value)
        rate = measured.value(_WHOLE, "fpr_at_tpr_0.98")
        sentences.append(
            f"Triplet with numbers at {self._width} px: {percent(rate)} false positives at TPR 98 %; the arm with "
            f"the fewest is {best!r}."
        )
        for arm in results.arms:
            if arm == _WHOLE:
                continue
            for metric in ("auc", "fpr_at_tpr_0.98", "fnr_at_fpr_0.001"):
                item = measured.difference(arm, _WHOLE, metric)
                comparisons.append(Comparison(arm, _WHOLE, metric, "difference", item))
            ratio = measured.ratio(arm, _WHOLE, "fpr_at_tpr_0.98")
            comparisons.append(Comparison(arm, _WHOLE, "fpr_at_tpr_0.98", "ratio", ratio))
            more = "more" if ratio.low > 1 else "fewer" if ratio.high < 1 else "not to be told apart"
            sentences.append(
                f"{arm}: {ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f}) the false positives of "
                f"the triplet "
                f"at TPR 98 %: {more}."
            )
        width = min(self.sizes, default=0)
        absent = [str(size) for size in self.sizes if f"{size} px" not in results.words and size != self._width]
        notes = (f"The stamps are too small for {', '.join(absent)} px.",) if absent and width else ()
        return Findings(tuple(sentences), tuple(comparisons), notes=notes)

    def draw(self, results: Results, findings: Findings) -> Figure:
        """AUC, false positives and missed reals of every arm."""
        return arm_panels(results, ("auc", "fpr_at_tpr_0.98", "fnr_at_fpr_0.001"))
