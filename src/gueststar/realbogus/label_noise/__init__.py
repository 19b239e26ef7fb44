"""Training that survives wrong labels: real sources among the artifacts, of which nobody knows where they are.

What was detected on a real sky and not put in counts as an artifact (class 0). Variables, asteroids and transients
among it are wrong labels. An artificial real (class 1) was put in and found, so its label is never wrong: every method
here but the last doubts class 0 alone.

- ``naive``: all labels are believed.
- ``ensemble``: two networks of different seed, believed alike; their mean logit is the model. It tells what a second
  network alone is worth.
- ``correct``: the loss counts with wrong labels, `gueststar.realbogus.label_noise.corrected`.
- ``coteach``: asymmetric co-teaching, ``label_noise.coteach``.
- ``drop-flagged``: rows that networks trained on other rows call real are left out,
  ``label_noise.flagged``.
- ``two-stage``: they lose their label instead, and the network is kept smooth around every row,
  ``label_noise.two_stage``; as published, reals that such networks contradict lose theirs, too.

The validation part has wrong labels, too: as a method leaves out rows of the training part, it leaves out rows of the
validation loss by which the best pass is chosen. The test part is never touched.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.scalars import DEFAULT_SCALARS, Scalar
from gueststar.realbogus.split import Split
from gueststar.realbogus.train import train_network
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.realbogus.watch import Watch

__all__ = ["LabelNoise", "train_robust"]


class LabelNoise(Options):
    """What is done about real sources among the artifacts that are trained on."""

    method: Literal["naive", "correct", "coteach", "ensemble", "drop-flagged", "two-stage"] = Field(
        "naive",
        description="'naive': labels are believed; 'correct': the loss counts with reals among the artifacts, as many "
        "in each interval of signal to noise as scores tell; 'coteach': two networks, each "
        "leaves out the artifacts that the other finds most like reals; 'ensemble': the mean of two networks that "
        "believe the labels; 'drop-flagged': artifacts that networks trained on other rows call real are left out; "
        "'two-stage': rows that such networks contradict lose their label, and the network is kept smooth around all "
        "rows",
    )
    forget_rate: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="coteach: share of the artifacts that is left out; correct: share that is real, with the signal to "
        "noise of class 1; none: estimated from scores after every pass",
    )
    excess: float = Field(
        0.3,
        ge=0,
        le=10,
        description="correct: wrong labels that are counted with beyond those that there are, as a share of the reals "
        "that are rightly called so; 0: the order of the highest scores is left to chance",
    )
    ramp_epochs: int = Field(
        5,
        ge=1,
        le=10000,
        description="coteach: passes over which the share left out grows from 0 to the forget rate; never more than a "
        "third of the passes, so that a short training leaves them out, too",
    )
    average: bool = Field(
        False,
        description="coteach: the model is the mean of both networks, which takes twice the time to score; else it is "
        "the one with the lower validation loss",
    )
    folds: int = Field(
        4, ge=2, le=50, description="drop-flagged, two-stage: pieces of the training part (Takahashi et al. 2022: 5)"
    )
    flag_above: float = Field(
        0.5, gt=0, lt=1, description="drop-flagged, two-stage: score above which an artifact is called real"
    )
    flag_reals: bool = Field(
        True, description="two-stage: reals that score below 1 - flag_above lose their label, too, as published"
    )
    smooth_weight: float = Field(1.0, ge=0, le=1000, description="two-stage: weight of the smoothness in the loss")
    smooth_radius: float = Field(
        1.0, gt=0, le=1000, description="two-stage: how far around a stamp, as a change of signal to noise"
    )
    rank_weight: float = Field(
        0.0, ge=0, le=1000, description="two-stage: weight of the loss on pairs of a real and an artifact out of order"
    )


def train_robust(
    dataset: LabelledStamps,
    split: Split,
    options: Train | None = None,
    noise: LabelNoise | None = None,
    *,
    scalars: tuple[Scalar, ...] = DEFAULT_SCALARS,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train as `gueststar.realbogus.train.train_network` does, with a method against wrong labels of class 0.

    Parameters
    ----------
    dataset : LabelledStamps
        In memory or on disk. Rows with label -1 are left out.
    split : Split
        Checked again.
    options : Train, optional
        Of each network; the seed decides everything.
    noise : LabelNoise, optional
        The method.
    scalars : tuple of Scalar
        Measured numbers that the network takes.
    progress : callable, optional
        Called with (stage, steps done, steps in all), stages 'train' and, for drop-flagged and two-stage, 'folds'.
    watch : Watch, optional
        As `train_network` takes it; each training of a method that takes several has its own name.

    Returns
    -------
    Trained
        One model. Its ``label_noise`` says what was done: the method, its forget rate and where that comes from, how
        many rows were left out.

    Raises
    ------
    InputError
        When a label is unknown, a part lacks one of the classes, or groups cross.
    """
    from gueststar.realbogus.label_noise import corrected, coteach, ensemble, flagged, two_stage

    options, noise = options or Train(), noise or LabelNoise()
    if noise.method == "correct":
        return corrected.train(
            dataset, split, options, forget_rate=noise.forget_rate, excess=noise.excess, scalars=scalars,
            progress=progress, watch=watch,
        )  # fmt: skip
    if noise.method == "coteach":
        return coteach.train(
            dataset, split, options, forget_rate=noise.forget_rate, ramp_epochs=noise.ramp_epochs,
            average=noise.average, scalars=scalars, progress=progress, watch=watch,
        )  # fmt: skip
    if noise.method == "ensemble":
        return ensemble.train(dataset, split, options, scalars=scalars, progress=progress, watch=watch)
    if noise.method == "drop-flagged":
        return flagged.train(
            dataset, split, options, folds=noise.folds, flag_above=noise.flag_above, scalars=scalars,
            progress=progress, watch=watch,
        )  # fmt: skip
    if noise.method == "two-stage":
        return two_stage.train(
            dataset, split, options, folds=noise.folds, flag_above=noise.flag_above, flag_reals=noise.flag_reals,
            alpha=noise.smooth_weight, epsilon=noise.smooth_radius, rank_weight=noise.rank_weight, scalars=scalars,
            progress=progress, watch=watch,
        )  # fmt: skip
    return train_network(dataset, split, options, scalars=scalars, progress=progress, watch=watch)
