"""The public names: sorted, documented, and cheap to import."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest
from numpydoc.docscrape import FunctionDoc
from numpydoc.validate import validate

import gueststar

MODULES = sorted(
    info.name for info in pkgutil.walk_packages(gueststar.__path__, "gueststar.") if not info.name.endswith("__main__")
)
# Faults of a docstring that leave a reader without what is needed to call a function.
FAULTS = {
    "GL03": "double blank lines",
    "GL06": "unknown section",
    "GL07": "sections out of order",
    "GL08": "no docstring",
    "PR01": "a parameter is not documented",
    "PR02": "a documented parameter does not exist",
    "PR03": "parameters out of order",
    "PR04": "a parameter has no type",
    "SS01": "no summary",
}


def public_functions() -> list[str]:
    return [name for name in gueststar.__all__ if inspect.isfunction(getattr(gueststar, name))]


def own_names(module: ModuleType) -> list[str]:
    return [
        name
        for name in getattr(module, "__all__", ())
        if getattr(getattr(module, name), "__module__", module.__name__) == module.__name__
    ]


def test_all_is_sorted_and_complete() -> None:
    assert gueststar.__all__ == sorted(gueststar.__all__)
    assert set(gueststar._WHERE) == set(gueststar.__all__) - {"__version__"}
    assert dir(gueststar) == gueststar.__all__


def test_every_public_name_resolves() -> None:
    for name in gueststar.__all__:
        assert getattr(gueststar, name) is not None


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'proces_pair'; it has .*process_pair"):
        _ = gueststar.proces_pair


@pytest.mark.parametrize("name", MODULES)
def test_module_says_what_it_is_and_what_it_exports(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    for public in own_names(module):
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
            assert own, f"{name}.{public} has no docstring"
            assert not own.startswith(f"{public}("), f"{name}.{public} has only the signature that dataclass writes"


@pytest.mark.parametrize("name", public_functions())
def test_public_function_has_a_whole_numpydoc_docstring(name: str) -> None:
    target = getattr(gueststar, name)
    report = validate(f"{target.__module__}.{target.__name__}")
    faults = [f"{code}: {text}" for code, text in report["errors"] if code in FAULTS]
    assert not faults, f"{name}: {faults}"
    sections = FunctionDoc(target)
    assert sections["Parameters"]
    assert sections["Returns"]
    assert sections["Raises"]


@pytest.mark.parametrize("name", public_functions())
def test_public_function_takes_data_by_position_and_options_by_keyword(name: str) -> None:
    parameters = inspect.signature(getattr(gueststar, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert 1 <= len(positional) <= 2
    assert all(p.default is p.empty for p in positional), f"{name} takes options by position"


@pytest.mark.parametrize(
    "code",
    [
        "import gueststar",
        "import gueststar.cli.main",
        "import sys; from gueststar.cli.main import main; sys.argv = ['gueststar', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code",
    ],
    ids=["package", "commands", "help"],
)
def test_start_loads_no_heavy_package(code: str) -> None:
    heavy = ("torch", "matplotlib", "scipy", "sklearn", "onnxruntime", "onnx", "pandas", "galsim")
    code += f"\nimport sys\nfound = [name for name in {heavy!r} if name in sys.modules]\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
