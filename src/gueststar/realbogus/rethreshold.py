"""Another threshold for a model, chosen on one part of a data set and measured on another."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from gueststar.errors import InputError
from gueststar.realbogus.calibrate import chance
from gueststar.realbogus.card import Card
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.evaluate import SNR_STRATA, Rate, clopper_pearson
from gueststar.realbogus.loaded import LoadedModel
from gueststar.realbogus.recalibrate import Judged, next_version, rows_for
from gueststar.realbogus.thresholds import Threshold, threshold_for_fpr, threshold_for_nightly, threshold_for_tpr

__all__ = ["Chosen", "Reached", "choose_threshold"]


@dataclass(frozen=True, slots=True)
class Reached:
    """What a threshold reaches on rows that it was not chosen on, in one interval of S/N.

    Parameters
    ----------
    name : str
    threshold : Threshold or None
        What the same wish gives within this interval alone; None where it has too few rows.
    tpr, fpr : Rate
        Of the model's one threshold.
    own_tpr, own_fpr : Rate or None
        Of the interval's own threshold.
    """

    name: str
    threshold: Threshold | None
    tpr: Rate
    fpr: Rate
    own_tpr: Rate | None
    own_fpr: Rate | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Card of the new version, its threshold, and what it reaches: in all, and by signal to noise."""

    card: Card
    threshold: Threshold
    reached: tuple[Reached, ...]


def choose_threshold(
    model: LoadedModel,
    dataset: LabelledStamps,
    *,
    tpr: float | None = None,
    fpr: float | None = None,
    per_night: float | None = None,
    candidates: int | None = None,
    part: str = "validation",
    check: str | None = None,
    version: str | None = None,
    seed: int = 0,
) -> Chosen:
    """Choose a threshold by a wish; see `gueststar.realbogus.thresholds` for what each promises.

    Parameters
    ----------
    model : LoadedModel
    dataset : LabelledStamps
    tpr, fpr, per_night : float, optional
        Completeness, rate of false positives, or false positives of a night; one of them.
    candidates : int, optional
        Artifacts of a night, for `per_night`.
    part, check, seed
        As for `gueststar.realbogus.recalibrate.rows_for`.
    version : str, optional
        Of the new model; None: the old one and what was done.

    Raises
    ------
    InputError
        When not one wish is given, rows are too few for it, or parts are wrong.
    """
    if sum(value is not None for value in (tpr, fpr, per_night)) != 1:
        raise InputError(f"tpr {tpr}, fpr {fpr}, per night {per_night}: give one of them")
    if (per_night is None) != (candidates is None):
        raise InputError(
            "false positives per night need the number of artifacts of a night, and nothing else does: give "
            "--per-night and --candidates together"
        )
    card = model.card
    chosen_rows, check_rows, how = rows_for(dataset, card, part=part, check=check, seed=seed)
    known, other = (Judged.of(model, dataset, rows) for rows in (chosen_rows, check_rows))

    def scores(rows: Judged) -> np.ndarray:
        return chance(rows.logits, temperature=card.temperature, bias=card.bias, prior=card.prior).astype(np.float32)

    def wish(rows: Judged, inside: np.ndarray) -> Threshold:
        score = scores(rows)
        if tpr is not None:
            return threshold_for_tpr(score[rows.real & inside], tpr)
        if fpr is not None:
            return threshold_for_fpr(score[~rows.real & inside], fpr)
        share = float(inside[~rows.real].mean())
        count = max(round((candidates or 0) * share), 1)
        return threshold_for_nightly(score[~rows.real & inside], float(per_night or 0) * share, candidates=count)

    threshold = wish(known, np.ones(known.real.size, bool))
    reached = []
    for low, high in ((0.0, np.inf), *SNR_STRATA):
        name = "all" if (low, high) == (0.0, np.inf) else f"S/N {low:g} to {high:g}".replace(" to inf", " and more")
        within, there = ((rows.snr >= low) & (rows.snr < high) for rows in (known, other))
        try:
            own = threshold if name == "all" else wish(known, within)
        except InputError:  # too few rows for such a promise
            own = None
        score = scores(other)
        rates = [_rates(score >= t.value, other.real, there) if t else (None, None) for t in (threshold, own)]
        reached.append(Reached(name, own, rates[0][0], rates[0][1], *rates[1]))  # type: ignore[arg-type]
    facts = {
        "rows": how,
        "part": part,
        "data_hash": dataset.content_hash(),
        "choice": asdict(threshold),
        "reached": [asdict(item) for item in reached],
    }
    new = card.model_copy(
        update={
            "version": version or next_version(card.version, "thr"),
            "threshold": threshold.value,
            "threshold_meaning": f"{threshold.meaning}; {how}",
            "metrics": {**card.metrics, "threshold": facts},
        }
    )
    return Chosen(new, threshold, tuple(reached))


def _rates(called: np.ndarray, real: np.ndarray, inside: np.ndarray) -> tuple[Rate, Rate]:
    made = []
    for which in (real & inside, ~real & inside):
        hits, trials = int(called[which].sum()), int(which.sum())
        made.append(Rate(hits / trials if trials else float("nan"), *clopper_pearson(hits, trials), hits, trials))
    return made[0], made[1]
