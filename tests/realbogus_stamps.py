"""A small world of stamps for the tests of the classifier: points, dipoles, cosmic rays and failed subtractions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gueststar.realbogus.dataset import Dataset
from gueststar.types import CANDIDATE_COLUMNS, Candidates, Stamps

KINDS = ("point", "dipole", "cosmic", "ring")


def gaussian(k: int, x: float, y: float, sigma: float) -> NDArray[np.float64]:
    """Draw a unit-sum Gaussian off the centre by (x, y)."""
    yy, xx = np.mgrid[:k, :k] - (k - 1) / 2.0
    profile = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))
    return profile / profile.sum()


def draw(kind: str, snr: float, k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """One noisy triplet (3, k, k) with sky noise 10 e- in science and reference."""
    width, noise = rng.uniform(1.0, 1.5), 10.0
    x, y = rng.uniform(-0.5, 0.5, 2)
    flux = snr * noise * np.sqrt(2.0) * np.sqrt(4 * np.pi) * width
    science, reference = np.zeros((k, k)), np.zeros((k, k))
    if kind == "point":
        science += flux * gaussian(k, x, y, width)
        host = rng.uniform(0, 20) * flux * gaussian(k, *rng.uniform(-4, 4, 2), 3.0) * (rng.random() < 0.4)
        science, reference = science + host, reference + host
    elif kind == "dipole":
        angle, shift, star = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0), flux * rng.uniform(2, 5)
        dx, dy = shift * np.cos(angle), shift * np.sin(angle)
        science += star * gaussian(k, x + dx, y + dy, width)
        reference += star * gaussian(k, x - dx, y - dy, width)
    elif kind == "cosmic":
        science += flux * gaussian(k, x, y, 0.35)
    else:
        star = flux * rng.uniform(4, 10)
        science += star * gaussian(k, x, y, width * 0.85)
        reference += star * gaussian(k, x, y, width)
    planes = [plane + rng.normal(0, noise, plane.shape) for plane in (science, reference)]
    return np.stack([*planes, planes[0] - planes[1]]).astype(np.float32)


def columns(n: int, **given: Any) -> dict[str, Any]:
    """Columns of a candidate table; numbers that are not given are 0, texts empty."""
    made: dict[str, Any] = {
        column.name: np.zeros(n, column.dtype) for column in CANDIDATE_COLUMNS if column.name not in given
    }
    made["candidate_id"] = np.array([f"c{i:06d}" for i in range(n)])
    return made | given


def sample(
    n: int, rng: np.random.Generator, *, size: int = 33, pairs: int = 24
) -> tuple[Candidates, Stamps, NDArray[np.int8], NDArray[np.str_]]:
    """Candidates of both signs, their stamps, labels (half of them real) and kinds."""
    kinds = np.where(rng.random(n) < 0.5, "point", rng.choice(KINDS[1:], n))
    snr = 10 ** rng.uniform(np.log10(5), np.log10(60), n)
    cube = np.stack([draw(str(kind), float(s), size, rng) for kind, s in zip(kinds, snr, strict=True)])
    faded = rng.random(n) < 0.2
    cube[faded] = np.stack([cube[faded, 1], cube[faded, 0], -cube[faded, 2]], axis=1)
    candidates = Candidates.from_columns(columns(n, snr=np.where(faded, -snr, snr)))
    sigma = np.broadcast_to(np.float32([10.0, 10.0, 14.142]), (n, 3)).copy()
    stamps = Stamps(cube, sigma, candidates["candidate_id"])
    return candidates, stamps, (kinds == "point").astype(np.int8), kinds


def dataset(n: int, rng: np.random.Generator, *, size: int = 33, pairs: int = 24) -> Dataset:
    """The same as a training set whose rows come from `pairs` frame pairs."""
    candidates, stamps, labels, kinds = sample(n, rng, size=size)
    pair = np.arange(n) * pairs // n
    names = np.array([f"pair{number:03d}" for number in pair])
    rows = {"label": labels, "kind": kinds, "true_snr": np.abs(candidates["snr"])}
    rows |= {"tile": names, "night": names, "reference": names, "source": "drawn", "chain": "default"}
    return Dataset.from_candidates(candidates, stamps, rows, facts={"maker": "test"})
