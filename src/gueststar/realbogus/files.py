"""Names of the files of models, of sets of models and of stores of models."""

from __future__ import annotations

__all__ = ["CARD_FILE", "PROFILE_FILE", "SET_FILE", "STORE_FILE", "TRAINABLE_FILE", "WEIGHTS_FILE"]

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.onnx"
TRAINABLE_FILE = "weights.npz"  #: the same weights as plain arrays, from which a training can start
SET_FILE = "models.json"  #: of a set of models, one for each chip, see `gueststar.realbogus.chips.model_set`
STORE_FILE = "store.json"  #: of a folder of models, see `gueststar.realbogus.store`
PROFILE_FILE = "profile.json"  #: what the model was made with, in counts, see `gueststar.realbogus.drift.profile`
