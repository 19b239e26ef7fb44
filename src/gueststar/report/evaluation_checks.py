"""What a reader of an evaluation has to be warned of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gueststar.errors import ConfigError
from gueststar.realbogus.evaluate import auc, rate
from gueststar.realbogus.evaluation.drawn_images import FEW_IMAGES
from gueststar.realbogus.lineage import seen_groups, was_trained_on
from gueststar.report.evaluation_models import Contender, threshold_text
from gueststar.report.evaluation_sample import EvaluatedRows

__all__ = ["check_sample", "check_training", "contamination", "time_note"]

_FEW_GROUPS = 20
_FPR = 2e-4


def check_training(chosen: EvaluatedRows, contender: Contender) -> list[str]:
    """Refuse a model on the rows that it was trained on; warn of everything else that it may have seen.

    Raises
    ------
    ConfigError
        When the rows are those that the model was trained on.
    """
    known, data = contender.training, chosen.data
    name, part = contender.name, chosen.part
    fitted = [
        f"{name}: its {what} comes from rows that are here ({rows} of this set); "
        f"{'the calibration error' if what == 'calibration' else 'what the threshold keeps'} is too good on them."
        for what, rows in contender.fitted.items()
    ]
    if was_trained_on(known, data):
        if part in ("train", "all"):
            raise ConfigError(
                f"{data.folder} is the set that {name} was trained on, and the part {part} holds the rows that were "
                "trained on: such figures say nothing; take --part test",
                key="part",
                value=part,
            )
        if part == "validation":
            return [
                f"{name}: the validation part chose its best pass and its threshold; figures on it are too good. Take "
                "the test part.",
                *fitted,
            ]
        return fitted  # the test part of a set whose parts share no group
    seen = seen_groups(known, _values_of_groups(chosen))
    found = fitted
    for column, values in seen.items():
        found.append(
            f"{name} was trained or validated on {len(values)} {column} value(s) that are here, too ({values[0]} "
            "first): rows of one "
            f"{column} share stars and conditions, so figures may be too good. Sets that name their {column}s alike "
            "without sharing them give this warning, too."
        )
    return found


def _values_of_groups(chosen: EvaluatedRows) -> dict[str, list[str]]:
    found = {}
    for column in dict.fromkeys(("tile", "night", "reference", *chosen.data.manifest.group_by)):
        codes, names = chosen.text(column)
        found[column] = [names[code] for code in np.unique(codes)]
    return found


def check_sample(chosen: EvaluatedRows, contenders: Sequence[Contender]) -> list[str]:
    """Warnings about the sample itself, as sentences."""
    real = chosen.real
    n_real, n_bogus = int(real.sum()), int((~real).sum())
    found = []
    if not n_real or not n_bogus:
        there, missing = ("reals", "artifacts") if n_real else ("artifacts", "reals")
        found.append(f"The sample holds {there} only. All that compares them with {missing} is left out.")
    if n_bogus and n_bogus * _FPR < 10:
        found.append(
            f"{n_bogus:,} artifacts do not resolve a false-positive rate of 2e-4: 15,000 without a single one "
            "certify it, 50,000 measure it roughly, 150,000 to a third."
        )
    if n_real and n_real < 500:
        found.append(f"{n_real:,} reals do not resolve a completeness of 98 %: fewer than ten are beyond it.")
    found += _few_groups(chosen)
    found += _checks_of_columns(chosen)
    missing_snr = ~np.isfinite(chosen.snr)
    if missing_snr.any():
        found.append(f"{int(missing_snr.sum()):,} rows have no S/N and are in no interval of it.")
    strength = chosen.snr[~missing_snr]
    alone = auc(real[~missing_snr], strength)
    if abs(alone - 0.5) > 0.35:
        found.append(
            f"S/N alone has an AUC of {alone:.3f}: the classes differ in strength, and part of every figure is that. "
            "Look at the intervals of S/N."
        )
    for item in chosen.data.damaged:
        found.append(f"Shard {item.shard} was left out with {item.rows:,} rows: {item.reason}")
    for contender in contenders:
        if contender.unscored:
            found.append(f"{contender.name}: {contender.unscored:,} rows have no score and count as 0.")
        found += _promise(chosen, contender)
    return found


def _few_groups(chosen: EvaluatedRows) -> list[str]:
    """Whether images are too few for intervals that draw them: those of a class decide what needs that class."""
    counts = [np.unique(chosen.image[rows]).size for rows in (chosen.real, ~chosen.real) if rows.any()]
    least = min(counts, default=0)
    if not counts or least >= _FEW_GROUPS:
        return []
    verdict = "are not to be trusted" if least < FEW_IMAGES else "are somewhat too narrow"
    whose = "" if len(counts) < 2 else " with reals" if counts[0] == least else " with artifacts"
    return [
        f"There are {least} groups by {chosen.group_by}{whose}: intervals that draw whole groups {verdict}; those that "
        "count rows as independent are narrower still."
    ]


def _checks_of_columns(chosen: EvaluatedRows) -> list[str]:
    """What columns tell of the artifacts: changed chains, and reals among them."""
    found: list[str] = []
    bogus = ~chosen.real
    if not bogus.any():
        return found
    codes, names = chosen.text("chain")
    usual = np.array([name in ("", "default") for name in names], bool)[codes[bogus]]
    if not usual.all():
        found.append(
            f"{100 * (1 - usual.mean()):.1f} % of the artifacts come from chains whose settings were changed to have "
            "more of them; their mixture is not that of a night. The parts by chain tell the default one apart."
        )
    share = contamination(chosen)
    if share > 0:
        found.append(
            f"{100 * share:.2f} % of the artifacts whose truth is known are real by it. Such rows count as false "
            "positives here; --labels-column true_kind shows the same scores without them."
        )
    return found


def contamination(chosen: EvaluatedRows) -> float:
    """Share of the artifacts with a known truth that is real by it; 0 without a truth."""
    if not chosen.has("true_kind"):
        return 0.0
    from gueststar.simulate.causes import REAL_KINDS

    codes, names = chosen.text("true_kind")
    mine = codes[~chosen.real]
    known = np.array([bool(name) for name in names], bool)[mine]
    wrong = np.array([name in REAL_KINDS for name in names], bool)[mine]
    return float(wrong[known].mean()) if known.any() else 0.0


def _promise(chosen: EvaluatedRows, contender: Contender) -> list[str]:
    """Whether a threshold that was to keep 98 % of the reals does so here."""
    called = (contender.scores >= np.asarray(contender.threshold, np.float32))[chosen.real]
    if not called.size or not contender.threshold_meaning.startswith("98 %"):
        return []
    kept = rate(int(called.sum()), called.size)
    if kept.low <= 0.99 and kept.high >= 0.96:
        return []
    limit, span = threshold_text(contender.threshold, 4), f"{100 * kept.low:.2f} to {100 * kept.high:.2f}"
    return [
        f"{contender.name}: its threshold {limit} was to keep 98 % of the reals; here it keeps "
        f"{100 * kept.value:.2f} % ({span}). These candidates are not like those it was chosen on: choose it anew for "
        "them."
    ]


def time_note(chosen: EvaluatedRows, contender: Contender) -> str:
    """Whether the evaluated nights come after those of the training, as in a survey they would."""
    if not chosen.has("mjd"):
        return "The set tells no times, so whether the test is later than the training cannot be said."
    mjd = np.asarray(chosen.data["mjd"], np.float64)
    own = mjd[chosen.rows]
    own = own[np.isfinite(own) & (own > 0)]
    if not own.size:
        return "The set tells no times, so whether the test is later than the training cannot be said."
    words = f"The evaluated rows are from MJD {own.min():.2f} to {own.max():.2f}"
    span = contender.training.get("mjd")
    known = contender.training.get("hash") == chosen.data.content_hash()
    if not span and known:
        train = mjd[chosen.data.split().train]
        train = train[np.isfinite(train) & (train > 0)]
        span = [float(train.min()), float(train.max())] if train.size else None
    if not span:
        return f"{words}; the card of {contender.name} does not tell the times of its training."
    first, last = span
    if own.min() > last:
        order = "all after it: a time-forward split"
    elif own.max() < first:
        order = "all before it: no time-forward split"
    else:
        order = "overlapping it: no time-forward split, so how a model ages is not measured"
    return f"{words}, the training of {contender.name} from {first:.2f} to {last:.2f}: {order}."
