"""What the benchmarks of wrong labels share: stamps that are drawn, options, the file of results."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np

from gueststar import __version__
from gueststar.realbogus.dataset import Dataset, LabelledStamps
from gueststar.realbogus.split import Split, split_groups
from gueststar.realbogus.train import Train
from gueststar.types import Candidates, Stamps
from realbogus_stamps import columns, gaussian


def stamp(kind: str, snr: float, k: int, rng: np.random.Generator) -> np.ndarray:
    """One noisy triplet; artifacts are close to points, so that a small training set leaves something to miss."""
    width, noise, (x, y) = rng.uniform(1.0, 1.5), 10.0, rng.uniform(-0.5, 0.5, 2)
    flux = snr * noise * np.sqrt(2.0) * np.sqrt(4 * np.pi) * width
    science = reference = flux * rng.uniform(0, 4) * (rng.random() < 0.5) * gaussian(k, *rng.normal(0, 2, 2), width)
    if kind == "point":
        science = science + flux * gaussian(k, x, y, width)
    elif kind == "sharp":
        science = science + 0.7 * flux * gaussian(k, x, y, width * rng.uniform(0.4, 0.7))
    elif kind == "dipole":
        angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
        dx, dy = shift * np.cos(angle), shift * np.sin(angle)
        science = science + 1.5 * flux * gaussian(k, x + dx, y + dy, width)
        reference = reference + 1.5 * flux * gaussian(k, x - dx, y - dy, width) * rng.uniform(0.3, 1.0)
    else:
        star = flux * rng.uniform(2, 5)
        science = science + star * gaussian(k, x, y, width * rng.uniform(0.7, 0.9))
        reference = reference + star * gaussian(k, x, y, width)
    planes = [plane + rng.normal(0, noise, (k, k)) for plane in (science, reference)]
    return np.stack([*planes, planes[0] - planes[1]]).astype(np.float32)


def drawn(arguments: argparse.Namespace, rng: np.random.Generator) -> tuple[LabelledStamps, Split]:
    """Stamps in groups of 100, dealt to the parts."""
    sizes = (arguments.train, arguments.train // 2, arguments.test)
    n = sum(sizes) // 100 * 100
    kinds = np.where(rng.random(n) < 0.5, "point", rng.choice(("dipole", "sharp", "width"), n))
    snr = 10 ** rng.uniform(*np.log10(arguments.snr), n)
    size = arguments.stamp_size
    cube = np.stack([stamp(str(kind), float(s), size, rng) for kind, s in zip(kinds, snr, strict=True)])
    sigma = np.tile(np.float32([10.0, 10.0, 14.142]), (n, 1))
    names = np.array([f"pair{number:04d}" for number in np.arange(n) // 100])
    rows = {"label": (kinds == "point").astype(np.int8), "kind": kinds, "true_snr": snr, "source": "drawn"}
    rows |= {"tile": names, "night": names, "reference": names, "chain": "default"}
    table = Candidates.from_columns(columns(n, snr=snr))
    data = Dataset.from_candidates(table, Stamps(cube, sigma, table["candidate_id"]), rows)
    return data, split_groups(data.columns, rng=rng, fractions=sizes)


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """Options that every benchmark of wrong labels takes; `text` says what it is."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data set to plant wrong labels in; else stamps are drawn"
    )
    parser.add_argument("--share", type=float, default=0.15, help="of class 0 that is real")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--stamp-size", type=int, default=21)
    parser.add_argument("--snr", type=float, nargs=2, default=(5.0, 25.0), help="least and largest, of drawn stamps")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="of the trainings: float32 or bfloat16")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser


def training_of(arguments: argparse.Namespace, seed: int) -> Train:
    """The training that the options ask for."""
    return Train(
        epochs=arguments.epochs, batch_size=arguments.batch_size, stamp_size=arguments.stamp_size, seed=seed,
        device=arguments.device, precision=arguments.precision,
    )  # fmt: skip


def write_figures(arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    """Write the figures with the options that gave them, where a file is wanted."""
    if arguments.out is None:
        return
    options = {name: value.name if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    text = json.dumps({"version": __version__, "options": options, **figures}, indent=1)
    arguments.out.write_text(text + "\n")
