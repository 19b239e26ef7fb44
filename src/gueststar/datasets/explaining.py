"""Explanations of candidates in files: read, explained, drawn, and told in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gueststar.datasets.explain_examples import Examples, ExamplesSample, nearest_examples, read_sample
from gueststar.datasets.explain_inputs import ExplainedRow, read_explained
from gueststar.datasets.prepared_stamps import ScoreFiles
from gueststar.errors import InputError, OutputError
from gueststar.night.folders import write_bytes
from gueststar.realbogus.explain.candidate import PLANES
from gueststar.realbogus.explain.explanation import NO_GRADIENTS, ExplainedModel, Explanation, explain, open_explained
from gueststar.realbogus.loaded import load_model
from gueststar.realbogus.stored import open_dataset
from gueststar.report.evaluation_style import png_of
from gueststar.report.explain_figure import Example, explain_figure
from gueststar.report.explain_numbers import number_rows, number_text

__all__ = ["Explained", "explain_rows"]

_SHARE = 0.05  # of the pixels, that the table tells of


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """What is told about one candidate.

    Parameters
    ----------
    row : ExplainedRow
    explanation : Explanation
    headline : str
        Score and decision.
    parts : tuple of (str, str, str)
        Name of a part, fall of the logit without it, and its integrated gradients.
    lines : tuple of str
        Measures of how far the maps can be believed.
    figure : Path, optional
        Where it was written.
    warnings : tuple of str
    """

    row: ExplainedRow
    explanation: Explanation
    headline: str
    parts: tuple[tuple[str, str, str], ...]
    lines: tuple[str, ...]
    figure: Path | None
    warnings: tuple[str, ...] = ()

    @property
    def has_gradients(self) -> bool:
        """Whether there are integrated gradients."""
        return self.explanation.gradients is not None


def explain_rows(
    source: str | Path,
    out: str | Path | None = None,
    *,
    rows: Sequence[int] = (),
    ids: Sequence[str] = (),
    model: str | Path = "shipped",
    data: str | Path | None = None,
    sample: int = 2000,
    seed: int = 0,
    options: ScoreFiles | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Explained]:
    """Explain candidates, and draw a figure of each.

    Parameters
    ----------
    source : path
        As `gueststar.datasets.explain_inputs.read_explained` takes it.
    out : path, optional
        Figure to write, ``.png``, of one candidate, or a folder; None: no figure.
    rows, ids : sequence
        Which candidates, by row or by identifier.
    model : str or path
    data : path, optional
        Data set whose training part is searched for the nearest examples.
    sample : int
        Rows of it that are looked at.
    seed : int
    options : ScoreFiles, optional
        How files of stamps are read.
    overwrite : bool
        Replace figures that are there.
    progress : callable, optional
        Called with the candidates done and all there are.

    Raises
    ------
    InputError
        When there is no such candidate, or it has no score.
    OutputError
        When a figure is there already or cannot be written.
    ModelError
        When the model is missing or damaged.
    """
    options = options or ScoreFiles()
    found = read_explained(source, load_model(model), rows=rows, ids=ids, options=options)
    places = _places(out, found, overwrite=overwrite)
    examples = None if data is None else open_dataset(data)
    # Candidates of one chip share the model, and those of one model the sample, which is the same for the same seed.
    models: dict[str, ExplainedModel] = {}
    samples: dict[bytes, ExamplesSample] = {}
    made = []
    for i, (row, place) in enumerate(zip(found, places, strict=True)):
        chip = row.chip or options.chip
        if chip not in models:
            models[chip] = open_explained(model, chip=chip)
        opened = models[chip]
        explanation = explain(opened, row.candidate, rng=np.random.default_rng(seed), chip=chip)
        near = None
        if examples is not None:
            if opened.weights not in samples:
                samples[opened.weights] = read_sample(examples, opened, rng=np.random.default_rng(seed), sample=sample)
            near = nearest_examples(samples[opened.weights], row)
        told = _lines(explanation)
        warnings = () if explanation.gradients is not None else (NO_GRADIENTS,)
        if place is not None:
            figure = explain_figure(
                explanation, number_rows(explanation, opened.standard, dict(row.columns)),
                title=f"Candidate {row.name}", model=f"{opened.card.name} {opened.card.version}",
                notes=_notes(row, chip, told, warnings), examples=_drawn(near),
                looked_at=0 if near is None else near.neighbours.looked_at,
            )  # fmt: skip
            write_bytes(place, png_of(figure))
        made.append(
            Explained(row, explanation, _headline(row, explanation), _parts(explanation),
                      (*told, *_neighbour_line(near)), place, warnings)
        )  # fmt: skip
        if progress is not None:
            progress(i + 1, len(found))
    return made


def _places(out: str | Path | None, rows: Sequence[ExplainedRow], *, overwrite: bool) -> list[Path | None]:
    """File of each figure."""
    if out is None:
        return [None] * len(rows)
    out = Path(out)
    if out.suffix.lower() == ".png":
        if len(rows) > 1:
            raise InputError(f"{out} is one figure, and {len(rows)} candidates are to be explained; give a folder")
        places = [out]
    elif out.suffix and not out.is_dir():
        raise InputError(f"{out}: figures are written as .png, not as {out.suffix}", path=str(out))
    else:
        places = [out / f"explain_{re.sub(r'[^A-Za-z0-9._-]+', '_', row.name)}.png" for row in rows]
    for place in places:
        if place.exists() and not overwrite:
            raise OutputError(f"{place} is there already; give another name, or --overwrite", path=str(place))
    try:
        for folder in {place.parent for place in places}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror}", path=str(out)) from error
    return list(places)


def _headline(row: ExplainedRow, explanation: Explanation) -> str:
    called = "real" if explanation.is_real else "artifact"
    words = f"{row.name}: score {explanation.score:.4f}, {called} (threshold {explanation.threshold:.3f})"
    return f"{words}, {explanation.logit_text}; {row.source}" + (f"; label {row.kind}" if row.kind else "")


def _parts(explanation: Explanation) -> tuple[tuple[str, str, str], ...]:
    gradients, ablation = explanation.gradients, explanation.ablation
    names = [*PLANES, "all numbers", *(f"  {name}" for name in explanation.candidate.names)]
    falls = [*ablation.planes, ablation.all_numbers, *ablation.numbers]
    shares: list[float] = [float("nan")] * len(names)
    if gradients is not None:
        shares = [*gradients.planes, float(gradients.numbers.sum()), *gradients.numbers]
        names, falls, shares = [*names, "missing pixels"], [*falls, float("nan")], [*shares, gradients.missing.sum()]
    return tuple((name, _signed(a), _signed(b)) for name, a, b in zip(names, falls, shares, strict=True))


def _signed(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "–"


def _lines(explanation: Explanation) -> tuple[str, ...]:
    """How far the map can be believed."""
    lines = []
    gradients = explanation.gradients
    if gradients is not None:
        lines.append(
            f"integrated gradients: sum {gradients.total:+.2f} for a logit difference of "
            f"{gradients.logit - gradients.baseline:+.2f} from empty sky ({gradients.baseline:+.2f}), error "
            f"{100 * gradients.completeness_share:.2g} % with {gradients.steps} steps; rank correlation with occlusion "
            f"{explanation.agreement:.2f}"
        )
    mine, other = explanation.deletion.fall(_SHARE), explanation.random_deletion.fall(_SHARE)
    lines.append(
        f"without the {100 * _SHARE:g} % of the pixels that speak most for this decision the logit moves by {mine:.2f} "
        f"against it, without as many at random by {number_text(other) if abs(other) < 0.01 else f'{other:.2f}'}"
    )
    return tuple(lines)


def _notes(row: ExplainedRow, chip: str, told: Sequence[str], warnings: Sequence[str]) -> list[str]:
    parts = [row.source, f"chip {chip}" if chip else "", f"label {row.kind}" if row.kind else ""]
    notes = ["   ".join(part for part in parts if part)]
    if row.candidate.faded:
        notes.append(
            "fainter than in the reference: the model sees it turned over, the epochs exchanged and the difference "
            "with its other sign; shown here as it is"
        )
    return [*notes, *told, *(f"Note: {text}" for text in warnings)]


def _drawn(near: Examples | None) -> list[Example]:
    if near is None:
        return []
    words = {1: "real", 0: "artifact", -1: "no label"}
    return [
        Example(
            cube, f"{words[int(label)]}: {kind}, S/N {snr:.1f}" if str(kind) not in words.values() else
            f"{words[int(label)]}, S/N {snr:.1f}", None if label < 0 else bool(label), float(distance),
        )
        for cube, label, kind, snr, distance in zip(
            near.cube, near.labels, near.kinds, near.snr, near.neighbours.distance, strict=True
        )
    ]  # fmt: skip


def _neighbour_line(near: Examples | None) -> list[str]:
    if near is None:
        return []
    real = int((near.labels == 1).sum())
    kinds = ", ".join(near.kinds.tolist())
    return (
        [
            f"nearest of {near.neighbours.looked_at} training examples: {real} of {near.labels.size} real ({kinds}); "
            f"distance {near.neighbours.distance.min():.2f} of the median"
        ]
        if near.labels.size
        else []
    )
