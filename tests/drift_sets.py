"""Images with an effect that their rows share, and folders of runs made of them, for the tests of drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gueststar.night.products import write_outcome
from gueststar.realbogus.drift.profile import Sample
from gueststar.realbogus.drift.result import ImageName
from gueststar.types import Outcome


def drawn(
    rng: np.random.Generator,
    images: int,
    *,
    shift: dict[int, float] | None = None,
    names: list[ImageName] | None = None,
    effect: float = 0.3,
    rows: tuple[int, int] = (20, 80),
) -> Sample:
    """Rows of images: column `a` has an effect of the image and a planted shift by image, `b` has not."""
    sizes = rng.integers(*rows, images)
    image = np.repeat(np.arange(images), sizes)
    moved = rng.normal(0, effect, images)
    for number, value in (shift or {}).items():
        moved[number] += value
    columns = {"a": moved[image] + rng.normal(size=image.size), "b": rng.normal(size=image.size)}
    names = names or [ImageName(f"image{i:03d}", "night", "11") for i in range(images)]
    return Sample("drawn", "", "", columns, image, tuple(names))


def write_run(
    folder: Path,
    *,
    images: int = 30,
    chips: int = 2,
    seed: int = 1,
    bad_chip: str = "",
    name: str = "s",
    model: str = "m",
) -> Path:
    """The folder of a run of one night, as far as drift reads it; a bad chip has wide candidates."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    entries: dict[str, Any] = {}
    for number in range(images):
        chip, image, n = f"{11 + number % chips}", f"{name}{number:03d}", int(rng.integers(10, 40))
        width = rng.lognormal(1.1, 0.05) * (1.6 if chip == bad_chip else 1.0)
        place = folder / "images" / image
        place.mkdir(parents=True)
        columns = {"snr": 5 + rng.exponential(8, n), "fwhm": width * rng.lognormal(0, 0.1, n)}
        columns |= {"psf_fwhm": np.full(n, width), "rb_score": rng.beta(0.5, 3, n)}
        pq.write_table(pa.table(columns), place / "candidates.parquet")
        facts = {"seeing_px": float(width), "rb_model_hash": model}
        outcome = Outcome(image=image, status="ok", chip=chip, mjd=60000.5 + 1e-3 * number, facts=facts)
        write_outcome(place / "outcome.json", outcome, key="k", config_hash="c")
        entries[image] = {"status": "ok"}
    (folder / "run.json").write_text(json.dumps({"images": entries}))
    return folder
