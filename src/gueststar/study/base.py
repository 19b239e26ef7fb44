"""What a study is: arms that differ in one thing, the same training of each, and what is said about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gueststar.errors import ConfigError
from gueststar.options import Options
from gueststar.realbogus.dataset import LabelledStamps
from gueststar.realbogus.label_noise import LabelNoise, train_robust
from gueststar.realbogus.network import MeanNet
from gueststar.realbogus.predict import predict
from gueststar.realbogus.split import Split
from gueststar.realbogus.train_options import Train
from gueststar.realbogus.trained import Progress, Trained
from gueststar.study.material import Material, open_material
from gueststar.study.results import Findings, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Arm", "Scored", "Study", "train_and_score"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the ways that are compared.

    Parameters
    ----------
    name : str
    words : str
        What is done, for people.
    cost : float
        Length of its training beside the others', for the time left.
    """

    name: str
    words: str
    cost: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What one arm with one seed gave.

    Parameters
    ----------
    scores : ndarray, shape (m,), float32
        Logits of the test rows; NaN for a row that this run does not count for.
    n_train : int
        Different rows that were trained on.
    steps : int
        Steps of the optimiser that were made in all networks of the arm.
    facts : mapping
        What else is worth to be kept, as plain values.
    """

    scores: NDArray[np.float32]
    n_train: int
    steps: int
    facts: Mapping[str, Any] = field(default_factory=dict)


class Study(Options):
    """Options that every study has; a study *is* its options."""

    #: Name of the command, and title of the page.
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    #: Fields that say what is run or shown, not how a run is made: they may differ between reruns.
    selection: ClassVar[frozenset[str]] = frozenset({"seeds", "only", "boots", "image_column"})

    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, max_length=1000, description="Seeds of every arm")
    only: tuple[str, ...] = Field((), description="Arms that are run; empty: all")
    boots: int = Field(500, ge=20, le=100000, description="Drawings of images and seeds for the intervals")
    max_train: int | None = Field(
        None, ge=4, description="About so many rows of the training part are used, in whole groups; none: all"
    )
    image_column: str = Field(
        "image",
        description="Column that names the image of a candidate, for intervals; all passes over one scene are one",
    )
    train: Train = Field(Train(), description="The training; its seed is that of each run")
    label_noise: LabelNoise = Field(LabelNoise(), description="What is done about wrong labels")

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError("seeds must be whole numbers from 0, each once")
        return value

    def open(self, data: str | Path, *, test: str | Path | None = None, exclude: Sequence[str] = ()) -> Material:
        """Open the data; see `gueststar.study.material.open_material`."""
        return open_material(data, test=test, exclude=exclude, max_train=self.max_train)

    def all_arms(self, material: Material) -> tuple[Arm, ...]:
        """Every arm that the data allow."""
        raise NotImplementedError

    def arms(self, material: Material) -> tuple[Arm, ...]:
        """The arms that are run.

        Raises
        ------
        ConfigError
            When `only` names none of them.
        """
        found = self.all_arms(material)
        names = [arm.name for arm in found]
        for name in self.only:
            if name not in names:
                raise ConfigError(f"arm {name!r} is none of {', '.join(names)}", key="only", value=name)
        return tuple(arm for arm in found if not self.only or arm.name in self.only)

    def run(self, arm: str, seed: int, material: Material, progress: Progress | None = None) -> Scored:
        """Train one arm with one seed and score the test rows."""
        raise NotImplementedError

    def other_labels(self, material: Material) -> NDArray[np.int8] | None:
        """Second labels of the test rows, where the study compares such; shape (m,)."""
        return None

    def held_fixed(self, material: Material) -> tuple[str, ...]:
        """Sentences: what is the same in every arm."""
        raise NotImplementedError

    def conclude(self, results: Results) -> Findings:
        """Say what was found, and by which comparisons."""
        raise NotImplementedError

    def draw(self, results: Results, findings: Findings) -> Figure:
        """Draw the figure of the study."""
        raise NotImplementedError

    def seeded(self, seed: int, **changes: Any) -> Train:
        """Options of one training; one thread unless more are asked for, so that every process gives the same."""
        threads = max(self.train.threads, 1)
        return self.train.model_copy(update={"seed": seed, "threads": threads, **changes})


def train_and_score(
    material: Material,
    options: Train,
    noise: LabelNoise,
    *,
    dataset: LabelledStamps | None = None,
    split: Split | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Train on the material, or on another set or split of it, and score the test rows."""
    split = material.split if split is None else split
    trained = train_robust(dataset or material.dataset, split, options, noise, progress=progress)
    scores = predict(trained.network, material.test, material.test_rows)
    return Scored(scores, np.unique(split.train).size, steps_of(trained, split, options), facts_of(trained))


def steps_of(trained: Trained, split: Split, options: Train) -> int:
    """Steps of the optimiser, of all networks of the model; those of networks that only flag rows are not counted."""
    networks = len(trained.network.members) if isinstance(trained.network, MeanNet) else 1
    networks = 2 if trained.label_noise.get("method") == "coteach" else networks
    return networks * len(trained.history) * math.ceil(split.train.size / options.batch_size)


def facts_of(trained: Trained) -> dict[str, Any]:
    """What a training tells of itself, as plain values."""
    return {
        "passes": len(trained.history),
        "best_pass": trained.best_epoch + 1,
        "validation_loss": trained.history[trained.best_epoch].validation_loss,
        "label_noise": dict(trained.label_noise),
    }
