"""`gueststar dataset join`: one data set of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.common import OutFolder, Quiet, counting_bar
from gueststar.cli.dataset.shown import print_dataset

__all__ = ["join"]


def join(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of the data sets.")],
    out: OutFolder,
    quiet: Quiet = False,
) -> None:
    """Make one data set of several, each row in the part it was in.

    The sets need the same stamps and columns. Files are linked where the file
    system allows it, so that no room is needed; the sets stay as they are.
    Groups that would be in two parts are refused by name.

    \b
    gueststar dataset join spring_set autumn_set --out year_set
    """  # noqa: D301
    from gueststar.datasets.joining import join_datasets

    with counting_bar("shards", quiet=quiet) as progress:
        made = join_datasets(folders, out, progress=progress)
    if not quiet:
        print_dataset(made)
