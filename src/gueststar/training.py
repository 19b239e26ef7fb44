"""From nothing to a model folder: make a training set with the whole chain, train, measure, write the card.

Reals are put into the frames *before* subtraction, two ways: transients, movers and variables drawn by the simulator
with the true point-spread function, and artificial reals injected with the measured one. Artifacts are whatever else
the chain finds. Some passes run a chain with worse settings than the default, because the default leaves few artifacts
to learn from; the column ``chain`` tells them apart, and quality is reported for the default chain alone, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import Table
from numpy.typing import NDArray
from pydantic import Field

from gueststar import __version__
from gueststar.align import Align
from gueststar.align.register import register
from gueststar.detect import Detect
from gueststar.errors import GueststarError, InputError, OutputError
from gueststar.ingest.mask import FindCosmicRays
from gueststar.ingest.prepare import Ingest
from gueststar.options import Options
from gueststar.pipeline import process_pair
from gueststar.realbogus.card import CARD_FILE, Card, write_model
from gueststar.realbogus.dataset import Dataset
from gueststar.realbogus.figure import roc_figure
from gueststar.realbogus.labels import changes_table, label_candidates
from gueststar.realbogus.package import judge, package_model, score_dataset
from gueststar.realbogus.score import load_model
from gueststar.realbogus.split import Split, split_groups
from gueststar.realbogus.train import Progress, Train, train_network
from gueststar.realbogus.writer import DatasetWriter
from gueststar.simulate.inject import draw_artificial_reals, inject
from gueststar.simulate.night import simulate_pair
from gueststar.simulate.survey import Survey
from gueststar.stamps import CutStamps
from gueststar.subtract.kernel import Kernel
from gueststar.types import Candidates, Image, Stamps
