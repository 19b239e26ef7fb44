"""Everything about the making of a model, as options."""

from __future__ import annotations

from pydantic import Field

from gueststar.options import Options
from gueststar.realbogus.chips.finetune import FineTune
from gueststar.realbogus.label_noise import LabelNoise
from gueststar.realbogus.train_options import Train
from gueststar.training.chip_plan import PerChip
from gueststar.training.passes import TrainingSet

__all__ = ["Training"]


class Training(Options):
    """Everything about the making of a model."""

    name: str = Field("gueststar", min_length=1, max_length=60, description="Name of the model")
    version: str = Field("1", min_length=1, max_length=30, description="Version of the model")
    data: TrainingSet = Field(default_factory=TrainingSet, description="The training set")
    train: Train = Field(Train(), description="The training")
    label_noise: LabelNoise = Field(LabelNoise(), description="What is done about real sources among the artifacts")
    finetune: FineTune = Field(FineTune(), description="How a trained network goes on with other rows")
    chips: PerChip = Field(PerChip(), description="When a chip gets a model of its own")
