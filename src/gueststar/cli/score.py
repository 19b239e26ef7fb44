"""`gueststar score`: real/bogus scores of stamps in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gueststar.cli.common import Overwrite, Quiet, counting_bar, errors, output, override_list, resolve_options
from gueststar.cli.model_options import Channels, Chip, ModelFolder, Sigma

if TYPE_CHECKING:
    from gueststar.datasets.scoring import ScoreSummary

__all__ = ["score"]


def score(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Stamps: .npy, .npz or .avro files, or data sets.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="TABLE", help="Table to write: .parquet, .csv or .json.")],
    model: ModelFolder = "shipped",
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", help="Stamps at once. [default: 64]")] = None,
    sigma: Sigma = None,
    channels: Channels = None,
    chip: Chip = None,
    keep_sky: Annotated[bool, typer.Option("--keep-sky", help="The stamps are free of sky; leave them so.")] = False,
    fwhm: Annotated[
        float | None, typer.Option("--fwhm", metavar="PX", help="PSF, where the file gives no S/N. [default: 2.5]")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", help="Threads. [default: 1]")] = None,
    prior: Annotated[
        float | None,
        typer.Option("--prior", metavar="SHARE", help="Share of reals that scores hold for. [default: the card's]"),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", metavar="NAME", help="onnxruntime or openvino. [default: onnxruntime]")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score stamps with a real/bogus model.

    Takes .npy files of shape (n, 3, k, k): science, reference, difference;
    .npz files with these three; ZTF triplets with their .csv, and alert
    packets; data sets of `gueststar dataset`. The centre of each stamp is
    scored. A stamp without a usable pixel gets no score, and the reason.

    \b
    gueststar score stamps.npy --out scores.parquet
    gueststar score alerts/*.avro --out scores.csv --model my_model
    gueststar score my_set --out scores.parquet --model my_models
    gueststar score stamps.npz --out scores.json --sigma 10,8,12.8 --channels reference,science,difference
    """  # noqa: D301
    from gueststar.datasets.prepared_stamps import ScoreFiles
    from gueststar.datasets.scoring import score_files

    given = {
        "batch_size": batch, "fwhm_px": fwhm, "prior": prior, "runtime": runtime, "threads": threads,
        "keep_sky": keep_sky or None, "chip": chip, "sigma": None if sigma is None else sigma.split(","),
        "channels": channels,
    }  # fmt: skip
    options = resolve_options(ScoreFiles, None, override_list(given))
    with counting_bar("stamps scored", quiet=quiet) as progress:
        summary = score_files(files, out, options, model=model, overwrite=overwrite, progress=progress, tell=_tell)
    if not quiet:
        _print(summary, out)


def _tell(text: str) -> None:
    errors().print(text, style="yellow", markup=False, soft_wrap=True)


def _print(summary: ScoreSummary, out: Path) -> None:
    for path, planes in summary.planes.items():
        words = f"{path}: planes {planes}; noise {summary.noise[path]}"
        output().print(words, markup=False, soft_wrap=True)
    limit = "the threshold of its model" if summary.models else f"{summary.threshold:.3f}"
    words = f"{summary.n} stamps in {out}, {summary.real} of them real: score at or above {limit}"
    output().print(f"{words}; model {summary.model}, {summary.model_hash}", markup=False, soft_wrap=True)
    for name, count in summary.models.items():
        output().print(f"{count} by {name}", markup=False, soft_wrap=True)
    for reason, count in summary.unscored.items():
        output().print(f"{count} without a score: {reason}", markup=False, soft_wrap=True)
