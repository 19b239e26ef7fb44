"""Options that the commands of data sets share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gueststar.cli.common import comma_names

__all__ = ["DataFolder", "SplitSizes", "listed", "sizes"]

DataFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")]
SplitSizes = Annotated[
    str | None,
    typer.Option("--split", metavar="A:B:C", help="Sizes of train, validation and test. [default: 2:1:1]"),
]


def listed(text: str | None) -> list[str] | None:
    """Items of a list with commas; None where it was not given."""
    return None if text is None else comma_names(text)


def sizes(text: str | None) -> list[str] | None:
    """Items of `SplitSizes`."""
    return None if text is None else listed(text.replace(":", ","))
