"""From nothing to a model folder: make a training set with the whole chain, train, measure, write the card.

Reals are put into the frames *before* subtraction, two ways: transients, movers and variables drawn by the simulator
with the true point-spread function, and artificial reals injected with the measured one. Artifacts are whatever else
the chain finds. Some passes run a chain with worse settings than the default, because the default leaves few artifacts
to learn from; the column ``chain`` tells them apart, and quality is reported for the default chain alone, too.
"""

from __future__ import annotations

from gueststar.training.make import RealPair, make_training_set, real_pairs, simulated_rows
from gueststar.training.options import Training
from gueststar.training.passes import TrainingSet
from gueststar.training.second_pass import second_injector_pass
from gueststar.training.simulated import make_and_train, split_set, train_model
from gueststar.training.stored import train_stored

__all__ = [
    "RealPair",
    "Training",
    "TrainingSet",
    "make_and_train",
    "make_training_set",
    "real_pairs",
    "second_injector_pass",
    "simulated_rows",
    "split_set",
    "train_model",
    "train_stored",
]
