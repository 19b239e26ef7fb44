"""Sphinx extension: reference pages that are written from the code, so that nothing is typed twice.

Before Sphinx lists its sources, one page each for the commands, the configuration, the candidate columns, the errors,
the mask bits, the instrument profiles and the shipped model is written to ``docs/reference/generated``. Docstrings of
options objects get a table of their fields.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gueststar_docs.commands import command_pages
from gueststar_docs.configuration import (
    configuration_page,
    dataset_page,
    describe_options,
    profile_page,
    study_page,
    survey_page,
    training_page,
)
from gueststar_docs.crowds import crowds
from gueststar_docs.detection import detection_page
from gueststar_docs.drift import drift_figures
from gueststar_docs.frontend import frontend_page
from gueststar_docs.goals import goals
from gueststar_docs.label_suspects import label_suspects
from gueststar_docs.measured import chain_page, real_frames_page
from gueststar_docs.missed import missed_steps
from gueststar_docs.model_card import model_card_page
from gueststar_docs.nebulae import nebulae
from gueststar_docs.noise_peaks import noise_peaks
from gueststar_docs.references import keep_bars, resolve
from gueststar_docs.scoring import chip_cost, network_speed, scoring_speed
from gueststar_docs.simulated import simulated_night_page, simulator_page
from gueststar_docs.studies import finetune_table, study_results
from gueststar_docs.tables import column_page, error_page, mask_page
from gueststar_docs.views import views

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["generated_pages", "setup"]

_PICTURE = """
.. figure:: /images/pair.png
   :alt: Science image, reference, difference, and the stamps of the best candidates with their scores
   :width: 100%

   What ``pair/pair.png`` looks like: two real frames of ESO 085-030 (TOROS collaboration), 74 seconds apart, and what
   was found above 5 sigma.
"""


def generated_pages() -> dict[str, str]:
    """Return every generated page: file name to reStructuredText."""
    return {
        **command_pages(),
        "configuration.rst": configuration_page(),
        "candidates.rst": column_page(),
        "errors.rst": error_page(),
        "mask.rst": mask_page(),
        "profiles.rst": profile_page(),
        "survey.rst": survey_page(),
        "training.rst": training_page(),
        "datasets.rst": dataset_page(),
        "studies.rst": study_page(),
        "model_card.rst": model_card_page(),
        "real_frames.rst": real_frames_page(),
        "chain.rst": chain_page(),
        "frontend.rst": frontend_page(),
        "detection.rst": detection_page(),
        "crowds.inc": crowds(),
        "drift_measured.inc": drift_figures(),
        "label_suspects.inc": label_suspects(),
        "goals.inc": goals(),
        "goals_seeds.inc": goals("goals_seeds.json"),
        "missed_steps.inc": missed_steps(),
        "nebulae.inc": nebulae(),
        "noise_peaks.inc": noise_peaks(),
        "views.inc": views(),
        "scoring.inc": scoring_speed(),
        "network_speed.inc": network_speed(),
        "chip_cost.inc": chip_cost(),
        "study_results.inc": study_results(),
        "finetune.inc": finetune_table(),
        "simulator.rst": simulator_page(),
        "simulated_night.rst": simulated_night_page(),
    }


def _write_pages(app: Sphinx, _config: object) -> None:
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    picture = (Path(app.srcdir) / "images" / "pair.png").is_file()
    for name, text in {**generated_pages(), "picture.inc": _PICTURE if picture else "\n"}.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # unchanged pages are not read again
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", _write_pages)  # before the list of sources is made
    app.connect("autodoc-process-docstring", describe_options, priority=900)  # after numpydoc
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
