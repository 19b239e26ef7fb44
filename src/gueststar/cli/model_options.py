"""Options that commands about models, data sets and stamps in files share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Channels",
    "Chip",
    "Epochs",
    "Exclude",
    "JudgedOn",
    "LabelledSet",
    "ModelFolder",
    "NewModel",
    "NewVersion",
    "Sigma",
    "TrainingDevice",
]

ModelFolder = Annotated[
    str, typer.Option("--model", "-m", metavar="DIR", help="Model folder, a set or a store of models, or shipped.")
]
NewModel = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the new model.")]
NewVersion = Annotated[str | None, typer.Option("--version", metavar="TEXT", help="Of the new model.")]
LabelledSet = Annotated[Path, typer.Option("--data", metavar="SET", help="Data set with labels.")]
JudgedOn = Annotated[
    str | None, typer.Option("--check", metavar="NAME", help="Judged on. [default: test, or half of the nights]")
]
Exclude = Annotated[
    str | None,
    typer.Option("--exclude", metavar="LIST", help="Reasons of suspicion whose rows are left out, with commas."),
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Most passes over the training part.")]
TrainingDevice = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="Where networks are trained: cpu, cuda or cuda:N.")
]
Sigma = Annotated[
    str | None,
    typer.Option("--sigma", metavar="S,R,D", help="Noise of science, reference, difference; else measured."),
]
Channels = Annotated[
    str | None,
    typer.Option("--channels", metavar="LIST", help="Planes in the files, as reference,science,difference; or auto."),
]
Chip = Annotated[
    str | None,
    typer.Option("--chip", metavar="NAME", help="Detector chip of stamps whose file does not tell it."),
]
