"""One pass with the second injector: test rows of sources that the training never saw.

A classifier that was trained on artificial reals of the measured point-spread function is tested on sources of other
shapes and places (`gueststar.simulate.inject.second_injector`). The rows are for tests only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.table import Table, vstack

from gueststar.errors import InputError
from gueststar.realbogus.dataset import Dataset
from gueststar.simulate.inject import Injected
from gueststar.simulate.inject.light import Light, Patch
from gueststar.simulate.inject.second_injector import KINDS, second_light
from gueststar.training.chains import Chain
from gueststar.training.passes import Origin, TrainingSet, labelled_rows
from gueststar.types import Image

__all__ = ["SECOND_CLASSES", "second_injector_pass"]

#: Classes of the second injector.
SECOND_CLASSES: tuple[str, ...] = tuple(kind for kind in KINDS if kind != "mixed")
_APART_PX = 25.0


def second_injector_pass(
    options: TrainingSet,
    science: Image,
    reference: Image,
    truth: Table,
    *,
    chain: Chain,
    origin: Origin,
    rng: np.random.Generator,
    artifacts: bool = False,
) -> Dataset:
    """Put sources of every class of the second injector into a pair, run the chain up to the stamps, label.

    Parameters
    ----------
    options : TrainingSet
        `injected`, `injected_snr`, `faded_share`, `stamp_size` and `artifacts_most` hold here, too; as many sources of
        each class. Trails and other new sources in the reference look like ones that went away.
    science, reference, truth, chain, origin, rng
        As for `gueststar.training.passes.labelled_pass`.
    artifacts : bool
        Keep the artifacts, too. Those of `labelled_pass` on the same pair are much the same ones, and count once.

    Returns
    -------
    Dataset
        Found sources have the kind 'second_<class>', class of `SECOND_CLASSES`. ``facts["second_left_out"]`` lists the
        classes that one of the frames could not have, as it has too few bright lone stars to copy.

    Raises
    ------
    GueststarError
        As `labelled_pass`.
    """
    n_faded = int(rng.binomial(options.injected, options.faded_share))
    appeared, missing = _inject(options, science, options.injected - n_faded, rng)
    faded, missing_there = _inject(options, reference, n_faded, rng)
    rows = labelled_rows(
        options, appeared, faded, truth, before=(science, reference), chain=chain, origin=origin, rng=rng
    )
    rows = rows if artifacts else rows.select(rows.labels != 0)
    return replace(rows, facts={**rows.facts, "second_left_out": sorted({*missing, *missing_there})})


def _inject(options: TrainingSet, image: Image, n: int, rng: np.random.Generator) -> tuple[Injected, list[str]]:
    """Put `n` sources of all classes into an image; what is in it, and the classes that could not be made."""
    lights, left_out = [], []
    order = rng.permutation(SECOND_CLASSES)
    for i, name in enumerate(order.tolist()):
        count = n // len(order) + (i < n % len(order))
        try:
            light = second_light(image, count, kind=name, rng=rng, snr=options.injected_snr)
        except InputError as error:
            if "stars" not in error.facts:
                raise
            left_out.append(name)
            continue
        light.sources["kind"] = np.full(len(light.sources), f"second_{name}", "U16")
        lights.append(light)
    done = Injected.of(image, _apart(lights), rng=rng)
    return Injected(done.image, done.sources[done.sources["status"] == "injected"]), left_out


def _apart(lights: list[Light]) -> Light:
    """All the light, without sources that lie close to one of a class before: they would be blends."""
    sources = vstack([light.sources for light in lights], metadata_conflicts="silent")
    patches = iter([patch for light in lights for patch in light.patches])
    x, y = (np.asarray(sources[name], np.float64) for name in ("x", "y"))
    kept: list[int] = []
    kept_patches: list[Patch] = []
    for i, status in enumerate(sources["status"]):
        patch = next(patches) if status == "injected" else None
        if (np.hypot(x[kept] - x[i], y[kept] - y[i]) >= _APART_PX).all():
            kept.append(i)
            kept_patches += [] if patch is None else [patch]
    return Light(sources[kept], tuple(kept_patches))
