"""Picture one patch of sky as every engine leaves it.

    python benchmarks/engine_pictures.py --out docs/images/engines.png

Three kinds of simulated fields, each with the patch that holds most light and hardly a flagged pixel; the patch is the
same for all engines. Differences run from -5 sigma (black) to +5 sigma (white) of the noise of each pixel.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import matplotlib.pyplot as plt
import numpy as np
import torch
from frontend_parts import engines as parts
from frontend_parts.fields import make_pair

from gueststar.align import Align
from gueststar.errors import MissingPartError
from gueststar.types import Image

HALF = 48
NAMES = ("kernel", "sfft", "zogy", "hotpants")


def place_of(science: Image, reference: Image) -> tuple[int, int]:
    """Where unsaturated light is brightest over a patch, away from the edges and from flagged pixels."""
    flags = torch.nn.functional.avg_pool2d(((science.mask | reference.mask) != 0).float()[None], 97, 1)[0]
    bright = torch.nn.functional.avg_pool2d((science.data / science.variance.sqrt()).clamp(0, 300)[None], 97, 1)[0]
    y, x = np.unravel_index(int((bright * (flags < 0.01)).argmax()), bright.shape)
    return int(y) + HALF, int(x) + HALF


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("engines.png"))
    parser.add_argument("--fields", nargs="+", default=["galaxy", "crowded", "undersampled"])
    parser.add_argument("--seed", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    engines = parts.engines(list(NAMES))
    columns = ["science", "reference", *NAMES]
    figure, axes = plt.subplots(
        len(options.fields), len(columns), figsize=(2.0 * len(columns), 2.1 * len(options.fields) + 0.3),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for number, (row, field) in enumerate(zip(axes, options.fields, strict=True)):
        pair = make_pair(field, options.seed, (768, 768))
        aligned = Align()(pair.science, pair.reference)
        y, x = place_of(pair.science, aligned)
        cut = np.s_[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
        for ax, name in zip(row, columns, strict=True):
            if name in engines:
                try:
                    difference = engines[name](pair.science, aligned)
                except MissingPartError:
                    ax.text(0.5, 0.5, "not installed", ha="center", transform=ax.transAxes)
                    ax.set_axis_off()
                    continue
                pull = difference.numpy()[cut] / np.sqrt(difference.numpy("variance")[cut])
                ax.imshow(pull, vmin=-5, vmax=5, cmap="gray", origin="lower", interpolation="nearest")
            else:
                image = pair.science if name == "science" else aligned
                sky = np.sqrt(np.median(image.numpy("variance")))
                ax.imshow(np.arcsinh(image.numpy()[cut] / (2 * sky)), cmap="gray", origin="lower")
            ax.set_xticks([])
            ax.set_yticks([])
            if number == 0:
                ax.set_title(name, fontsize=10)
        row[0].set_ylabel(field, fontsize=10)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=130)


if __name__ == "__main__":
    main()
