"""A small model, and a data set on disk with all parts that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gueststar.realbogus.card import write_model
from gueststar.realbogus.manifest import SIGMA_COLUMNS
from gueststar.realbogus.package import describe_model
from gueststar.realbogus.shard_writer import ShardWriter
from gueststar.realbogus.split import split_groups
from gueststar.realbogus.train import Train, train_network
from realbogus_stamps import dataset


def model_and_set(root: Path, *, n: int = 700) -> Path:
    """Write `root`/model and `root`/set, of stamps of 21 px."""
    rng = np.random.default_rng(3)
    train = dataset(400, rng, size=21)
    split = split_groups(train.columns, rng=rng)
    options = Train(epochs=3, batch_size=32, stamp_size=21, patience=3)
    trained = train_network(train, split, options)
    caveats = ("Scores are not calibrated to the rates of any survey.", "drawn")
    card, weights = describe_model(trained, train, split, options=options, name="tiny", version="1", caveats=caveats)
    write_model(root / "model", card, weights)
    other = dataset(n, rng, size=21)
    columns = {name: np.asarray(values) for name, values in other.columns.items()}
    columns |= {name: np.ones(n, np.float32) for name in SIGMA_COLUMNS}
    columns |= {"suspicion": np.full(n, ""), "true_kind": np.full(n, "")}
    columns["split"] = np.array(["train", "validation", "test"])[np.arange(n) * 24 // n // 8]
    with ShardWriter(root / "set", rows_per_shard=300) as writer:
        writer.add(other.cube, columns)
    return root
