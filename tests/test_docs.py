"""The documentation is true: its Python runs, its commands exist, and every command, option and field is in it."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from gueststar.config import Config
from gueststar.instruments import Instrument
from gueststar.simulate.survey import Survey

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.rst", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if not {"generated", "_build", "_templates"} & set(path.parts)
)
GUIDES = (
    "library",
    "simulator",
    "injection",
    "configuration",
    "realbogus",
    "evaluation",
    "explain",
    "labels",
    "missed",
    "audit",
    "drift",
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def extension() -> ModuleType:
    """The Sphinx extension that writes the reference pages."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        import gueststar_docs.commands
    finally:
        sys.path.pop(0)
    return gueststar_docs


@cache
def commands() -> dict[str, Any]:
    return {command.name: command for command in extension().commands.commands()}


def python_blocks(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, flags=re.MULTILINE)
    return ["\n".join(line[3:] for line in block.splitlines()) + "\n" for block in found]


def shell_lines(path: Path) -> Iterator[str]:
    """Command lines of a page: prompted ones, and the indented ones of the README."""
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        found = re.match(r"\s+(?:\$ )?((?:gueststar [a-z-]|make )[^#]*)", line)
        if found:
            yield found[1].strip()


def counts(rng: np.random.Generator, *, shift: float, fwhm: float, new: bool) -> np.ndarray:
    """Draw 60 stars on a sky of 900 e-, and a new one at (150, 100)."""
    yy, xx = np.mgrid[:260, :300].astype(float)
    sky = np.random.default_rng(5)
    stars = np.column_stack((sky.uniform(10, 290, 60), sky.uniform(10, 250, 60), 10 ** sky.uniform(3.6, 5.0, 60)))
    if new:
        stars = np.vstack((stars, (150.0, 100.0, 9000.0)))
    sigma = fwhm / 2.3548
    image = np.full(yy.shape, 900.0)
    for x, y, flux in stars:
        r2 = (xx - x - shift) ** 2 + (yy - y - shift) ** 2
        image += flux * np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return rng.poisson(image).astype(np.float32)


@pytest.fixture
def names(rng: np.random.Generator) -> dict[str, Any]:
    """What the examples take for granted: two frames as counts and as electrons."""
    science, reference = (
        counts(rng, shift=shift, fwhm=fwhm, new=new) for shift, fwhm, new in ((0.4, 2.9, True), (0.0, 2.4, False))
    )
    return {
        "science_adu": science / 1.3,
        "reference_adu": reference / 1.3,
        "science_e": science - 900.0,
        "reference_e": reference - 900.0,
        "science_variance": np.maximum(science, 1.0),
        "reference_variance": np.maximum(reference, 1.0),
    }


def test_readme_python_runs_and_finds_the_new_star(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = python_blocks(ROOT / "README.md")
    assert len([line for line in first.splitlines() if line]) == 5
    exec(first, names)
    table = names["result"].candidates.table
    near = np.hypot(table["x"] - 150.4, table["y"] - 100.4) < 1.0
    assert near.sum() == 1
    assert table["snr"][near][0] > 10
    assert "rb_score" in capsys.readouterr().out
    for block in others:
        exec(block, names)
        table = names["result"].candidates.table
        assert (np.hypot(table["x"] - 150.4, table["y"] - 100.4) < 1.0).sum() == 1


@pytest.mark.parametrize("page", GUIDES)
def test_python_of_the_guides_runs(page: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = python_blocks(ROOT / "docs" / "guide" / f"{page}.rst")
    assert blocks
    for block in blocks:
        exec(compile(block, f"{page}.rst", "exec"), names)


def test_python_that_reads_products_runs(toros: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gueststar.config import load_config
    from gueststar.night.pair import run_pair

    config = load_config(None, [f"instrument={str(toros / 'instrument.toml')!r}", "night.pictures=false"])
    science, reference = (toros / f"aligned_eso085-030-00{n}.fits.fz" for n in (5, 4))
    run_pair(science, reference, tmp_path / "pair", config)
    monkeypatch.chdir(tmp_path)
    for page in ("pair", "products"):
        blocks = python_blocks(ROOT / "docs" / "guide" / f"{page}.rst")
        assert blocks
        for block in blocks:
            exec(compile(block, f"{page}.rst", "exec"), {})


def test_python_of_data_sets_writes_one_and_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read, write = python_blocks(ROOT / "docs" / "guide" / "datasets.rst")
    exec(compile(write, "datasets.rst", "exec"), {})
    Path("written_set").rename("my_set")
    scope: dict[str, Any] = {}
    exec(compile(read, "datasets.rst", "exec"), scope)
    assert len(scope["data"]) == 60
    assert scope["pixels"].shape == (60, 3, 31, 31)


def test_every_option_of_data_sets_has_a_description() -> None:
    from gueststar.datasets.audit import AuditOptions
    from gueststar.datasets.build import BuildSet
    from gueststar.datasets.importing import ImportSet
    from gueststar.datasets.suspects import FindSuspects
    from gueststar.realbogus.drift.result import DriftOptions
    from gueststar.realbogus.label_cleaning.physics import PhysicsWeights
    from gueststar.realbogus.label_cleaning.ranking import SuspectRules
    from gueststar.report.evaluation_results import EvaluateOptions

    page = extension().configuration.dataset_page()
    for model in (
        AuditOptions,
        DriftOptions,
        BuildSet,
        ImportSet,
        EvaluateOptions,
        FindSuspects,
        SuspectRules,
        PhysicsWeights,
    ):
        for name, field in model.model_fields.items():
            assert field.description
            assert f"``{name}``" in page


def test_every_option_of_studies_has_a_description() -> None:
    from gueststar.study.chips import ChipStudy
    from gueststar.study.contamination import ContaminationStudy

    page = extension().configuration.study_page()
    for model in (ChipStudy, ContaminationStudy):
        for name, field in model.model_fields.items():
            assert field.description
            assert f"``{name}``" in page


def test_python_of_the_tutorial_runs_on_a_small_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gueststar.config import load_config
    from gueststar.night.run import run_night
    from gueststar.simulate.night import write_night

    monkeypatch.chdir(tmp_path)
    survey = Survey(supernovae_per_chip=60.0, galactic_latitude_deg=(20.0, 40.0))
    write_night("demo/night", survey, visits=4, seed=1, shape=(400, 500))
    config = load_config(None, ["instrument=tomoe", "night.workers=1", "night.pictures=false"])
    assert run_night("demo/night", "demo/night_products", config).totals["ok"] >= 1
    scope: dict[str, Any] = {}
    for block in python_blocks(ROOT / "docs" / "tutorial.rst"):
        exec(compile(block, "tutorial.rst", "exec"), scope)
    printed = capsys.readouterr().out
    assert re.search(r"\d+ rows, [1-9]\d* supernovae", printed)
    assert "supernova\n" in printed


def test_example_finds_the_supernovae(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "arrays.py"), run_name="__main__")
    found, there = re.search(r"(\d+) of (\d+) supernovae", capsys.readouterr().out).groups()
    assert int(there) >= 3
    assert found == there


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_the_pages_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[0] == "make":
            target = next((word for word in words[1:] if "=" not in word), "help")
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{name_of(page)}: no target {line!r}"
            continue
        name = max((n for n in commands() if words[: len(n.split())] == n.split()), key=len)
        command = commands()[name]
        assert not command.is_group, f"{name_of(page)}: {line!r} names a group; one of {sorted(command.click.commands)}"
        known = {flag for option in command.options for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.split("=")[0] for word in words if word.startswith("-")}
        assert given <= known, f"{name_of(page)}: {line!r} has {sorted(given - known)}, {name} has {sorted(known)}"


def test_every_command_and_option_is_documented_and_described() -> None:
    pages = extension().commands.command_pages()
    assert len(pages) > 5
    for command in commands().values():
        if command.is_group:
            continue
        page = pages[f"command_{'_'.join(command.path[1:])}.rst"]
        assert page.startswith(command.name)
        for option in command.options:
            assert option.help, f"{command.name} {option.opts[0]} has no help"
            assert re.search(rf"^\.\. option:: .*{re.escape(option.opts[0])}\b", page, flags=re.MULTILINE)


def test_every_command_has_an_example_that_parses() -> None:
    for command in commands().values():
        if command.is_group:
            assert command.help, f"{command.name} has no help"
            continue
        examples = re.findall(
            rf"^\s*(?:\$ )?({re.escape(command.name)} .*|{re.escape(command.name)})$", command.help, re.M
        )
        assert examples, f"the help of {command.name} has no example"
        known = {flag for option in command.options for flag in (*option.opts, *option.secondary_opts)}
        for example in examples:
            given = {word.split("=")[0] for word in shlex.split(example) if word.startswith("-")}
            assert given <= known, f"{command.name}: the example {example!r} has {sorted(given - known)}"


@pytest.mark.parametrize("root", [Config, Instrument, Survey], ids=lambda model: model.__name__)
def test_every_field_has_a_description_and_a_sound_default(root: type[BaseModel]) -> None:
    for path, model in extension().configuration.sections(root):
        for name, field in model.model_fields.items():
            assert field.description, f"[{path}] {name} of {model.__name__} has no description"
        if not any(field.is_required() for field in model.model_fields.values()):
            assert model.model_validate(model().model_dump()) == model()


def test_every_field_is_on_the_configuration_page() -> None:
    page = extension().configuration.configuration_page()
    for path, model in extension().configuration.sections(Config):
        assert f"[{path}]" in page or not path
        for name in model.model_fields:
            assert f"* - ``{name}``" in page


def test_every_number_of_the_configuration_has_bounds() -> None:
    configuration = extension().configuration
    for path, model in configuration.sections(Config):
        for name, field in model.model_fields.items():
            if field.annotation in (int, float):
                assert field.metadata, f"[{path}] {name} has no bounds"


def test_generated_pages_are_the_same_every_time() -> None:
    assert extension().generated_pages() == extension().generated_pages()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)\)", text) if page.suffix == ".md" else []
    targets += re.findall(r"(?:literalinclude|image|figure|include):: (\S+)", text)
    for target in targets:
        if "://" not in target and "generated/" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which is not there"


def test_pages_speak_of_the_project_only() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for word in ("../shared", "/work/", "/home/", "/tmp/", "TODO", "FIXME"):
            assert word not in text, f"{name_of(page)} mentions {word}"


def test_tutorial_runs_what_the_demo_runs() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    lines = recipe.replace("\\\n", " ").splitlines()
    ran = {" ".join(shlex.split(line)) for line in lines if line.startswith("gueststar ")}
    told = {" ".join(shlex.split(line)) for line in shell_lines(ROOT / "docs" / "tutorial.rst")}
    told = {line for line in told if line.startswith("gueststar ")}
    assert ran
    assert ran <= told, f"the tutorial does not show {sorted(ran - told)}"


def test_version_is_the_same_everywhere() -> None:
    import gueststar

    assert f"version: {gueststar.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{gueststar.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_are_exact_and_cover_what_is_required() -> None:
    import tomllib

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in pins), "only name==version"
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", item)[0]).lower() for item in required}
    assert wanted <= pinned, f"not pinned: {sorted(wanted - pinned)}"


def test_the_card_says_after_which_pass_and_from_which_sets():
    extension()
    from gueststar_docs.model_card import card_text

    card = json.loads((ROOT / "src/gueststar/realbogus/shipped/card.json").read_text(encoding="utf-8"))
    made = {"options": {"n_pairs": 45, "seed": 7, "chips": []}, "real_passes": {"a field": 60}}
    card["training_data"] |= {"sets": [{"name": "spring_nights", "provenance": made}, {"name": "autumn"}]}
    card["training"] |= {"best_epoch": len(card["training"]["history"]) - 1}
    text = card_text(card)
    last = len(card["training"]["history"])
    assert f"{last} passes over the training part; the weights are those after pass {last}." in text
    assert "These sets were joined:" in text
    assert re.search(r"spring\\?_nights\s+- 45\s+- 7\s+- –\s+- 60 passes over a field", text)
    card["training_data"].pop("sets")
    card["training"].pop("finetune", None)
    text = card_text(card)
    assert "joined" not in text
    assert "Before that" not in text
    first = {"part": "head", "from": "mine 1", "from_hash": "a" * 64}
    data = {"parts": {"train": {"real": 1234, "artifact": 9, "left_out": 0}}, "sets": [{"name": "winter"}]}
    card["training"]["finetune"] = {
        "part": "all", "from": "mine 2", "from_hash": "b" * 64, "from_data": data, "from_finetune": first,
    }  # fmt: skip
    text = card_text(card)
    assert (
        text.index("Before that: mine 2")
        < text.index("1234")
        < text.index("winter")
        < text.index("Before that: mine 1")
    )
    assert "Every layer of mine 2 (weights ``bbbbbbbbbbbb``)" in text


def test_goals_tell_each_training_and_what_was_before():
    extension()
    from gueststar_docs.goals import part

    told = {"mean": 0.004, "interval_95": [0.003, 0.006], "each": [0.003, 0.005]}
    none = {"mean": 0.0, "interval_95": [0.0, 0.0], "each": [0.0, 0.0]}
    area = {"mean": 0.9991, "interval_95": [0.999, 0.9992], "each": [0.9992, 0.999]}
    own = {"model": "gueststar 9", "hash": "0123456789ab", "threshold": 0.9, "kept": 0.98, "false": 0.005, "ece": None}
    own["chips"] = {"n": 9, "worst": 0.94, "median": 0.98, "gap_by_chance": 0.05, "gap_by_chance_95": [0.03, 0.09]}
    step = {"snr_from": 5.0, "artifacts": 3000, "auc": area, "fpr_at_0.9": none}
    step["fpr_at_0.98"] = {**told, "before": 0.005, "ratio": 0.8, "ratio_95": [0.6, 0.99]}
    found = {"name": "nights", "reals": 900, "artifacts": 3000, "images": 20, "rates": [step], "own_threshold": [own]}
    text = part({**found, "before": {**own, "model": "gueststar 8"}}, 2, "0.1")
    assert "0.400 % (0.300 to 0.600) [0.300, 0.500]; 0.80 (0.60 to 0.99)" in text
    assert "none; below 0.100 %" in text
    assert text.count("gueststar 8") == 2
    assert re.search(r"94\.0 and 98\.0 % of 9\s+- 5\.0 \(3\.0 to 9\.0\) points", text)
    assert "ratio" not in part({**found, "before": None, "rates": []}, 1, "0.1")
