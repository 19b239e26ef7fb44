"""How often drift is cried where there is none, and how often it is found where it was planted.

    python benchmarks/drift.py --out docs/measured/drift.json
    python benchmarks/drift.py --data my_set --scores scores.parquet --reference 50 --trials 200

A trial deals images at random to a reference and to one night of several chips, so that nothing drifts; the images
are drawn (numbers with an effect of each image that its rows share), or are those of a data set. Then something is
changed: the seeing of the whole night by 30 %, its background twice as bright (noise 1.4 x, S/N lower by as much, faint
candidates lost), a fault of one chip (hot pixels: a third more candidates, narrow and round), or one image of all
(out of focus: twice as wide). Changed are the columns, not the pixels.

Told are, with intervals of 95 % (Clopper & Pearson) over trials: the share of tests with p <= 0.05, which is to be
0.05; of nights without drift with a certain difference, which is to be at most q, with a warning, and with an image
that is called strange; of planted nights and chips that are warned of, and of the other chips; where three images of a
chip of five are changed, how often that is warned of, and how often the first image that is named is one of them; and
how often one bad image of a night is named, and a good one beside it. `nights differ` lets images of one night share an
effect that those of the reference have each for itself: then images are not exchangeable, and warnings are right to
come although nothing broke.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from gueststar import __version__
from gueststar.datasets.drift_samples import read_sample
from gueststar.realbogus.drift.groups import find_drift
from gueststar.realbogus.drift.profile import Sample, count_all, make_profile
from gueststar.realbogus.drift.result import Drift, DriftOptions, ImageName

Columns = dict[str, NDArray[np.float64]]
#: One image: columns of its rows.
Image = Columns
NOISE = ("sky_sigma_science", "sky_sigma_reference", "sky_sigma_difference")
WIDTHS = ("fwhm", "psf_fwhm")
_PART = 3  # images of a chip that are changed where not all are


def seeing(image: Image, rng: np.random.Generator) -> Image:
    return {name: values * 1.3 if name in WIDTHS else values for name, values in image.items()}


def background(image: Image, rng: np.random.Generator) -> Image:
    made = {name: values * np.sqrt(2.0) if name in NOISE[::2] else values for name, values in image.items()}
    made["snr"] = made["snr"] / np.sqrt(2.0)
    kept = np.abs(made["snr"]) >= 5.0
    return {name: values[kept] for name, values in made.items()}


def hot_pixels(image: Image, rng: np.random.Generator) -> Image:
    n = len(image["snr"])
    extra = rng.integers(0, max(n, 1), max(n // 3, 1)) if n else np.empty(0, np.int64)
    made = {name: np.concatenate((values, values[extra])) for name, values in image.items()}
    made["fwhm"][n:], made["elongation"][n:] = rng.normal(1.0, 0.1, extra.size), rng.normal(1.0, 0.03, extra.size)
    return made


def out_of_focus(image: Image, rng: np.random.Generator) -> Image:
    return {name: values * 2.0 if name in WIDTHS else values for name, values in image.items()}


#: What is planted, and whether the whole night has it.
PLANTED: dict[str, tuple[Callable[[Image, np.random.Generator], Image], bool]] = {
    "seeing 30 % worse, whole night": (seeing, True),
    "background twice as bright, whole night": (background, True),
    "fault of one chip": (hot_pixels, False),
}
_BAD = "one image out of focus"


def drawn_image(rng: np.random.Generator, night: dict[str, float] | None = None) -> Image:
    """Rows of one image, whose seeing and sky they share."""
    n = int(rng.integers(10, 80))
    night = night or {}
    width = rng.lognormal(np.log(3.0) + night.get("seeing", 0.0), 0.08)
    sky = rng.lognormal(np.log(40.0) + night.get("sky", 0.0), 0.15)
    made = {"snr": 5.0 + rng.exponential(8.0 * rng.lognormal(0.0, 0.1), n)}
    made |= {"fwhm": width * rng.lognormal(0.0, 0.25, n), "psf_fwhm": np.full(n, width)}
    made |= {"elongation": 1.0 + rng.exponential(0.5 * rng.lognormal(0.0, 0.1), n)}
    made |= {name: sky * rng.lognormal(0.0, 0.02, n) for name in NOISE}
    return made | {"rb_score": rng.beta(0.3 * rng.lognormal(0.0, 0.2), 3.0, n)}


def images_of(sample: Sample) -> list[Image]:
    """The images of a data set, with the columns that are compared."""
    order = np.argsort(sample.image, kind="stable")
    ends = np.cumsum(np.bincount(sample.image, minlength=len(sample.images)))[:-1]
    names = ("rb_score", "snr", "elongation", *WIDTHS, *NOISE)
    parts = {name: np.split(sample.columns[name][order], ends) for name in names if name in sample.columns}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(sample.images))]


def as_sample(images: list[Image], names: list[ImageName]) -> Sample:
    sizes = [len(image["snr"]) for image in images]
    columns = {name: np.concatenate([image[name] for image in images]) for name in images[0]}
    return Sample("drawn", "", "", columns, np.repeat(np.arange(len(images)), sizes), tuple(names))


class Trial:
    """A reference, and a night without drift beside it."""

    def __init__(self, arguments: argparse.Namespace, pool: list[Image], seed: int, *, nights: bool = False) -> None:
        self.rng, self.arguments = np.random.default_rng(seed), arguments
        count = arguments.chips * arguments.images
        if pool:
            dealt = self.rng.permutation(len(pool))[: arguments.reference + count]
            images = [pool[i] for i in dealt]
            shared = {}
        else:
            own = [{"seeing": s, "sky": k} for s, k in self.rng.normal(0, 0.15, (arguments.reference, 2))]
            reference = [drawn_image(self.rng, one if nights else None) for one in own]
            shared = {"seeing": self.rng.normal(0, 0.15), "sky": self.rng.normal(0, 0.15)} if nights else {}
            images = reference + [drawn_image(self.rng, shared) for _ in range(count)]
        self.reference, self.night = images[: arguments.reference], images[arguments.reference :]
        self.chips = [f"{i // arguments.images:02d}" for i in range(count)]

    def drift(self, changed: dict[int, Callable[[Image, np.random.Generator], Image]]) -> Drift:
        """Compare, with some images changed."""
        images = [changed[i](image, self.rng) if i in changed else image for i, image in enumerate(self.night)]
        names = [ImageName(f"n{i:03d}", "night", chip) for i, chip in enumerate(self.chips)]
        options = DriftOptions(draws=self.arguments.draws, most_draws=self.arguments.most_draws)
        reference = as_sample(self.reference, [ImageName(f"r{i}", "r", "r") for i in range(len(self.reference))])
        known = make_profile(reference, options, rng=self.rng).counts
        return find_drift(count_all(as_sample(images, names), known.columns), known, options, rng=self.rng)


def share(found: list[bool] | NDArray[np.bool_]) -> dict[str, float | int]:
    """A share with its interval of Clopper & Pearson."""
    k, n = int(np.sum(found)), len(found)
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return {"value": k / max(n, 1), "low": low, "high": high, "n": n}


def quiet_nights(arguments: argparse.Namespace, pool: list[Image], *, nights: bool = False) -> dict[str, Any]:
    """Nothing was planted."""
    small, certain, warned, strange = [], [], [], []
    for number in range(arguments.trials if nights else arguments.quiet_trials):
        drift = Trial(arguments, pool, arguments.seed + number, nights=nights).drift({})
        tested = [test for test in drift.tests if not test.reason]
        # One test of each trial, so that the tests that are counted are independent.
        small.append(tested[number % len(tested)].p <= 0.05)
        certain.append(any(test.certain for test in tested))
        warned.append(bool(drift.drifting))
        strange.append(bool(drift.standouts))
    return {
        "p <= 0.05": share(small), "certain": share(certain), "warned": share(warned),
        "image called strange": share(strange),
    }  # fmt: skip


def planted(arguments: argparse.Namespace, pool: list[Image], name: str) -> dict[str, Any]:
    """One chip or the night is changed; and then some images of a chip alone."""
    change, whole = PLANTED[name]
    found, other, part_found, blamed = [], [], [], []
    for number in range(arguments.trials):
        seed = arguments.seed + 10_000 + number
        count = len(Trial(arguments, pool, seed).night)
        chosen = range(count) if whole else range(arguments.images)
        drift = Trial(arguments, pool, seed).drift(dict.fromkeys(chosen, change))
        left = {(test.night, test.chip) for test in drift.drifting}
        found.append(("night", "") in left if whole else ("night", "00") in left)
        if not whole:
            other += [("night", f"{chip:02d}") in left for chip in range(1, arguments.chips)]
        part = Trial(arguments, pool, seed).drift(dict.fromkeys(range(_PART), change))
        mine = [test for test in part.drifting if test.chip == "00"]
        part_found.append(bool(mine))
        if mine:
            blamed.append(mine[0].causes[0].image.name in {f"n{i:03d}" for i in range(_PART)})
    made = {"found": share(found), "three images": share(part_found), "of these blamed": share(blamed)}
    return made | ({"other chips": share(other)} if other else {})


def bad_image(arguments: argparse.Namespace, pool: list[Image]) -> dict[str, Any]:
    """One image of a night is changed."""
    named, other, warned = [], [], []
    for number in range(arguments.trials):
        trial = Trial(arguments, pool, arguments.seed + 20_000 + number)
        at = int(trial.rng.integers(len(trial.night)))
        drift = trial.drift({at: out_of_focus})
        names = {item.image.name for item in drift.standouts}
        named.append(f"n{at:03d}" in names)
        other.append(bool(names - {f"n{at:03d}"}))
        warned.append(any(test.chip == "" for test in drift.drifting))
    return {"named": share(named), "a good image named": share(other), "night warned of": share(warned)}


def words(item: dict[str, float | int]) -> str:
    if not item["n"]:
        return "never warned of"
    return f"{100 * item['value']:.1f} % ({100 * item['low']:.1f} to {100 * item['high']:.1f}, n = {item['n']})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set whose artifacts are dealt; else drawn")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="its scores, from `gueststar score`")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--quiet-trials", type=int, default=300, help="without drift, which need more")
    parser.add_argument("--chips", type=int, default=6)
    parser.add_argument("--images", type=int, default=5, help="of each chip")
    parser.add_argument("--reference", type=int, default=150, help="images of the reference")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--most-draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    pool = images_of(read_sample(arguments.data, scores=arguments.scores)) if arguments.data else []
    start = time.process_time()
    made: dict[str, Any] = {"no drift": quiet_nights(arguments, pool)}
    if not pool:
        made["nights differ"] = quiet_nights(arguments, pool, nights=True)
    for name, found in made.items():
        print(f"{name}: " + "; ".join(f"{key} {words(value)}" for key, value in found.items()), flush=True)
    for name in PLANTED:
        made[name] = planted(arguments, pool, name)
        print(f"{name}: " + "; ".join(f"{key} {words(value)}" for key, value in made[name].items()), flush=True)
    made[_BAD] = bad_image(arguments, pool)
    print(f"{_BAD}: " + "; ".join(f"{key} {words(value)}" for key, value in made[_BAD].items()), flush=True)
    seconds = round(time.process_time() - start, 1)
    print(f"{seconds} s of one core")
    if arguments.out:
        options = {key: value.name if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        options.pop("out")
        facts = {"version": __version__, "options": options, "cpu_s": seconds, "found": made}
        arguments.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
