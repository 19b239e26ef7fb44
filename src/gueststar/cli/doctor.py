"""`gueststar doctor`: what is installed, what is missing and how to get it, whether it all works."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from gueststar import __version__
from gueststar.cli.common import ConfigFile, Overrides, errors, output, resolve

__all__ = ["Check", "doctor", "examine"]

_REQUIRED = (
    "astropy", "jinja2", "matplotlib", "numpy", "onnx", "onnxruntime", "pillow", "pyarrow", "pydantic", "rich",
    "scikit-learn", "scipy", "sep", "torch", "typer",
)  # fmt: skip
#: Package, what it is for.
_OPTIONAL_PACKAGES = (
    ("galsim", "cross-checks of the simulator"),
    ("reproject", "cross-checks of the registration"),
)
#: Program, other names, what it is for, how to get it.
_PROGRAMS = (
    ("hotpants", ("hotpants",), "--engine hotpants", "build it from github.com/acbecker/hotpants (needs cfitsio)"),
    (
        "solve-field", ("solve-field",), "gueststar solve without a reference",
        "apt install astrometry.net astrometry-data-tycho2",
    ),
    ("source-extractor", ("source-extractor", "sex"), "benchmark peer", "apt install source-extractor"),
    ("SWarp", ("SWarp", "swarp"), "benchmark peer", "apt install swarp"),
    ("fpack", ("fpack",), "compressing your own frames", "apt install libcfitsio-bin"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: `status` 'bad' is something required that does not work."""

    group: str
    name: str
    found: str
    status: Literal["good", "absent", "bad"]
    advice: str = ""


def doctor(
    config: ConfigFile = None,
    set_: Overrides = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is wrong.")] = False,
) -> None:
    """Say what is installed, what is missing and how to get it, and whether it works.

    Ends with exit code 1 when something required is broken, 2 when the
    configuration is not sound.

    \b
    gueststar doctor
    gueststar doctor --config my_run.toml
    """  # noqa: D301
    with errors().status("looking around"):
        checks = examine()
        settings = resolve(config, set_)
        checks += [*_configuration(config, settings.instrument), *_model(settings.classify.model)]
    _show([check for check in checks if not quiet or check.status == "bad"])
    bad = [check for check in checks if check.status == "bad"]
    if bad:
        output().print(f"[bold red]{len(bad)} broken:[/] {', '.join(check.name for check in bad)}")
        raise typer.Exit(1)
    if not quiet:
        absent = sum(check.status == "absent" for check in checks)
        output().print(f"[bold green]All that is required works.[/] [dim]{absent} optional parts are not installed.[/]")


def examine() -> list[Check]:
    """Look at the machine, the packages and the programs."""
    return [*_machine(), *_packages(), *_programs()]


def _machine() -> Iterable[Check]:
    from gueststar.night.pool import available_cores

    version = platform.python_version()
    status: Literal["good", "bad"] = "good" if sys.version_info >= (3, 11) else "bad"
    yield Check("machine", "gueststar", __version__, "good")
    yield Check("machine", "Python", version, status, "Python 3.11 or later is needed")
    yield Check("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}", "good")
    yield Check("machine", "cores", f"{available_cores()} of {os.cpu_count()}", "good")
    free, total = _memory_gb()
    if total:
        enough = free >= 1.0 * available_cores()
        advice = "" if enough else "an image takes up to 1 GB: use fewer --workers"
        yield Check("machine", "memory", f"{total:.1f} GB, {free:.1f} GB free", "good", advice)
    disk = shutil.disk_usage(Path.cwd())
    yield Check("machine", "disk here", f"{disk.free / 1e9:.1f} GB free", "good")
    yield _gpu()


def _memory_gb() -> tuple[float, float]:
    """Free and whole memory of the machine; zeros where it does not tell."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return 0.0, 0.0
    rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    values = [
        float(rows[name].split()[0]) * 1024 / 1e9 if name in rows else 0.0 for name in ("MemAvailable", "MemTotal")
    ]
    return values[0], values[1]


def _gpu() -> Check:
    try:
        import torch
    except ImportError:
        return Check("machine", "GPU", "torch is missing", "absent")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "this torch is built for the CPU" if built is None else f"torch for CUDA {built} finds none"
        return Check("machine", "GPU", "none", "absent", f"{why}; everything works without one")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("machine", "GPU", f"{', '.join(names)}; CUDA {torch.version.cuda}", "good")


def _packages() -> Iterable[Check]:
    for name in _REQUIRED:
        version = _version(name)
        yield Check("packages", name, version or "missing", "good" if version else "bad", f"pip install {name}")
    for name, use in _OPTIONAL_PACKAGES:
        version = _version(name)
        yield Check("optional", name, version or "–", "good" if version else "absent", f"{use}: pip install {name}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _programs() -> Iterable[Check]:
    for name, names, use, advice in _PROGRAMS:
        path = next((found for found in map(shutil.which, names) if found), None)
        yield Check("optional", name, path or "–", "good" if path else "absent", f"{use}: {advice}")


def _configuration(file: Path | None, instrument: str) -> Iterable[Check]:
    yield Check("setup", "configuration", str(file) if file else "defaults", "good")
    yield _tried("setup", "instrument", lambda: _profile(instrument))


def _profile(name: str) -> str:
    from gueststar.instruments import instrument_names, load_instrument

    others = ", ".join(instrument_names())
    return f"{load_instrument(name).name} (profiles: {others})"


def _model(model: str) -> Iterable[Check]:
    yield _tried("setup", "real/bogus model", lambda: _score_one(model))


def _score_one(model: str) -> str:
    """Load the model, which checks it against its card, and score one empty stamp."""
    import numpy as np

    from gueststar.realbogus.loaded import load_model
    from gueststar.realbogus.score import score_stamps

    loaded = load_model(model)
    size = max(loaded.card.stamp_size, 63)
    stamps = np.zeros((1, len(loaded.card.channels), size, size), np.float32)
    score_stamps(stamps, np.ones((1, 3), np.float32), np.zeros((1, len(loaded.card.scalars)), np.float32), loaded)
    card = loaded.card
    return f"{card.name} {card.version}, {card.parameters} parameters, threshold {card.threshold:.3f}, verified"


def _tried(group: str, name: str, work: Callable[[], str]) -> Check:
    from gueststar.errors import GueststarError

    try:
        return Check(group, name, work(), "good")
    except GueststarError as error:
        return Check(group, name, "broken", "bad", error.message)
    except ImportError as error:
        return Check(group, name, "broken", "bad", f"{error}; install the package again")


def _show(checks: list[Check]) -> None:
    from rich.markup import escape
    from rich.table import Table

    marks = {"good": "[green]✓[/]", "absent": "[dim]–[/]", "bad": "[bold red]✗[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            table.add_row("", f"[bold]{group}[/]", "", "")
        advice = check.advice if check.status != "good" or check.name == "memory" else ""
        table.add_row(marks[check.status], check.name, escape(check.found), f"[dim]{escape(advice)}[/]")
    if checks:
        output().print(table)
