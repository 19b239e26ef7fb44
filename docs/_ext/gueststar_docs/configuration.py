"""The configuration reference: every field of every options object with its bounds, default and description."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gueststar_docs.rst import escape, heading, list_table, literal

__all__ = [
    "configuration_page",
    "dataset_page",
    "describe_options",
    "fields_table",
    "models_in",
    "profile_page",
    "sections",
    "study_page",
    "survey_page",
    "training_page",
]


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each table of the configuration file and the options object it fills, outermost first."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            yield from sections(inner, f"{path}.{name}" if path else name)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the options objects that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def configuration_page() -> str:
    """Return the page of all configuration fields."""
    from gueststar.config import Config

    intro = (
        "Defaults are what runs when nothing is given. Every section below is a table of the TOML file; a key that\n"
        "is not listed is an error that names the valid ones.\n"
    )
    return "\n".join((heading("Configuration fields"), intro, *_sections_text(Config)))


def survey_page() -> str:
    """Return the page of all settings of the simulator."""
    from gueststar.simulate.survey import Survey

    return "\n".join((heading("Settings of the simulator"), *_sections_text(Survey)))


def training_page() -> str:
    """Return the page of all options of the training."""
    from gueststar.simulate.survey import Survey
    from gueststar.training import Training

    intro = "What ``gueststar train`` takes from ``--config`` and ``--set``.\n"
    return "\n".join((heading("Training options"), intro, *_sections_text(Training, elsewhere={Survey: "survey"})))


def study_page() -> str:
    """Return the page of all options of studies."""
    from gueststar.study.baselines import BaselineStudy
    from gueststar.study.channels import ChannelStudy
    from gueststar.study.chips import ChipStudy
    from gueststar.study.contamination import ContaminationStudy
    from gueststar.study.size import SizeStudy

    words = (
        "What ``gueststar study`` takes from ``--config`` and ``--set``. Fields of ``train``, ``label_noise`` and\n"
        "``finetune`` are those of :doc:`training`.\n"
    )
    parts = [heading("Options of studies"), words]
    for model in (SizeStudy, ChipStudy, ContaminationStudy, ChannelStudy, BaselineStudy):
        parts += [heading(f"gueststar study {model.name} --set", "-"), fields_table(model)]
    return "\n".join(parts)


def dataset_page() -> str:
    """Return the page of all options of data sets, of their columns and of the reasons of doubt."""
    from gueststar.datasets.audit import AuditOptions
    from gueststar.datasets.build import BuildSet
    from gueststar.datasets.importing import ImportSet
    from gueststar.datasets.simulated import SimulateSet
    from gueststar.datasets.suspects import SUSPECT_COLUMNS, FindSuspects
    from gueststar.realbogus.augment import Augment
    from gueststar.realbogus.drift.result import DriftOptions
    from gueststar.realbogus.label_noise import LabelNoise
    from gueststar.realbogus.label_versions import VERSION_COLUMNS, VersionFacts
    from gueststar.realbogus.manifest import SET_COLUMNS, Manifest, Shard
    from gueststar.realbogus.suspicion import REASONS
    from gueststar.realbogus.train import Train
    from gueststar.report.evaluation_results import EvaluateOptions
    from gueststar.simulate.survey import Survey

    parts = [heading("Fields of data sets"), heading("Columns", "-")]
    parts.append("Those of every set; measured numbers have the names of :doc:`candidates`.\n")
    parts.append(_names_table("Column", SET_COLUMNS))
    parts += [heading("Reasons of suspicion", "-"), _names_table("Reason", REASONS)]
    titles = (
        ("Manifest", Manifest), ("One shard of the manifest", Shard), ("gueststar dataset build --set", BuildSet),
        ("gueststar dataset import --set", ImportSet), ("gueststar evaluate --set", EvaluateOptions),
        ("gueststar audit", AuditOptions), ("gueststar drift", DriftOptions),
        ("JSON file of a version of the labels", VersionFacts),
    )  # fmt: skip
    for title, model in titles:
        parts += [heading(title, "-"), fields_table(model)]
    parts += [heading("Columns of a version of the labels", "-"), _names_table("Column", VERSION_COLUMNS)]
    parts += [heading("Columns of a table of suspects", "-"), _names_table("Column", SUSPECT_COLUMNS)]
    parts.append(heading("gueststar labels suspect --set", "-"))
    parts += _sections_text(FindSuspects, line="~", elsewhere=dict.fromkeys((Train, Augment, LabelNoise), "training"))
    parts.append(heading("gueststar dataset simulate --set", "-"))
    parts += _sections_text(SimulateSet, line="~", elsewhere={Survey: "survey"})
    return "\n".join(parts)


def _names_table(title: str, rows: Mapping[str, str]) -> str:
    return list_table((title, "Meaning"), [(literal(n), escape(text)) for n, text in rows.items()], widths=(26, 74))


def profile_page() -> str:
    """Return the page of the shipped instrument profiles and of everything that a profile can say."""
    from gueststar.instruments import Instrument, instrument_names, load_instrument

    rows = []
    for name in instrument_names():
        profile = load_instrument(name)
        shape = f"{profile.chip_shape[1]} x {profile.chip_shape[0]}" if profile.chip_shape else "any"
        gain = f"{profile.gain_e_adu:g}" if profile.gain_e_adu else "header"
        rows.append((literal(name), escape(profile.description), str(len(profile.chips) or 1), shape, gain))
    return "\n".join(
        (
            heading("Profile fields"),
            heading("Profiles that come with gueststar", "-"),
            list_table(("Name", "Camera", "Chips", "Pixels", "Gain, e-/ADU"), rows, widths=(14, 50, 8, 16, 12)),
            heading("Fields of a profile", "-"),
            *_sections_text(Instrument, line="~"),
        )
    )


def _sections_text(
    root: type[BaseModel], *, line: str = "-", elsewhere: Mapping[type[BaseModel], str] | None = None
) -> Iterator[str]:
    """Yield each section; an options object that comes twice is described where it is least deep.

    Those in `elsewhere` are described on the page that it names.
    """
    found = list(sections(root))
    home = {model: path for path, model in sorted(found, key=lambda item: -item[0].count("."))}
    for path, model in found:
        title = f"[{path}]" if path else "Top level"
        engine = model.model_fields.get("engine")
        if engine is not None:
            title += f' with engine = "{engine.default}"'
        yield heading(title, line)
        if model in (elsewhere or {}):
            yield f"The fields of :doc:`{(elsewhere or {})[model]}`.\n"
            continue
        if home[model] != path:
            yield f"The fields of `[{home[model]}]`_.\n"
            continue
        yield f":class:`~{model.__module__}.{model.__name__}`. {_summary(model)}\n"
        yield fields_table(model, path)


def describe_options(*event: Any) -> None:
    """Add the table of fields to the docstring of an options object (a handler of autodoc)."""
    _app, what, _name, obj, _options, lines = event
    if what == "class" and isinstance(obj, type) and issubclass(obj, BaseModel) and obj.model_fields:
        lines += ["", ".. rubric:: Fields", "", *fields_table(obj).splitlines(), ""]


def fields_table(model: type[BaseModel], path: str | None = None) -> str:
    """Return the table of the fields of one options object.

    Parameters
    ----------
    model : type
        The options object.
    path : str, optional
        Where it stands in the file; its inner tables are then linked to.
    """
    rows = [
        (literal(name), default_text(field), valid_text(field), _description(name, field, path))
        for name, field in model.model_fields.items()
    ]
    if not rows:
        return "No settings.\n"
    return list_table(("Key", "Default", "Valid", "Meaning"), rows, widths=(22, 14, 22, 42))


def default_text(field: FieldInfo) -> str:
    """Return the default of a field as it would stand in a TOML file."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        kind = getattr(value, "engine", None)
        return literal(f'engine = "{kind}"') if kind else ""
    return "none" if value is None else _break_list(_toml(value))


def valid_text(field: FieldInfo) -> str:
    """Return type and bounds of a field in words."""
    names = [name for name in _type_names(field.annotation) if name != "none"]
    text = " or ".join(names)
    if bounds := _bounds(field):
        text = f"{text} {bounds}" if bounds[0] in "<>≤≥" else f"{text}, {bounds}"
    return f"{text}, or none" if "none" in _type_names(field.annotation) else text


def _bounds(field: FieldInfo) -> str:
    low: Any = None
    high: Any = None
    extra = []
    for item in field.metadata:
        for part in item if isinstance(item, Interval) else (item,):
            if isinstance(part, Ge | Gt):
                low = part
            elif isinstance(part, Le | Lt):
                high = part
            elif isinstance(part, MinLen):
                extra.append(f"at least {part.min_length} long")
            elif isinstance(part, MaxLen):
                extra.append(f"at most {part.max_length} long")
            elif getattr(part, "pattern", None):
                extra.append(f"matching ``{part.pattern}``")
    if isinstance(low, Ge) and isinstance(high, Le):
        return ", ".join([f"{_number(low.ge)} to {_number(high.le)}", *extra])
    ends = []
    if low is not None:
        ends.append(f"≥ {_number(low.ge)}" if isinstance(low, Ge) else f"> {_number(low.gt)}")
    if high is not None:
        ends.append(f"≤ {_number(high.le)}" if isinstance(high, Le) else f"< {_number(high.lt)}")
    return ", ".join(([" and ".join(ends)] if ends else []) + extra)


def _number(value: Any) -> str:
    return "2\\ :sup:`63`" if value == 2**63 else f"{value:g}" if isinstance(value, float) else str(value)


def _type_names(annotation: Any) -> list[str]:
    """Names of the types of a union, each once, in order."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [literal(_toml(value)) for value in inner]
    if origin in (Union, types.UnionType):
        return list(dict.fromkeys(name for part in inner for name in _type_names(part)))
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        return ["[" + ", ".join(" or ".join(_type_names(part)) for part in inner) + "]"]
    if origin in (tuple, list, set, frozenset):
        return [f"list of {' or '.join(_type_names(inner[0]))}"]
    if hasattr(annotation, "__metadata__"):
        return _type_names(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ["table"]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [literal(_toml(member.value)) for member in annotation]
    names = {bool: "true or false", int: "integer", float: "number", str: "text", type(None): "none"}
    return [names.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return _toml(value.value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _break_list(text: str) -> str:
    """Let long lists break between their items."""
    return literal(text) if len(text) < 24 else ", ".join(literal(part) for part in text.strip("[]").split(", "))


def _description(name: str, field: FieldInfo, path: str | None) -> str:
    text = escape(field.description or "")
    inner = models_in(field.annotation)
    if path is not None and len(inner) == 1:
        text += f": `[{path}.{name}]`_" if path else f": `[{name}]`_"
    return text


def _summary(model: type[BaseModel]) -> str:
    return escape(" ".join((model.__doc__ or "").strip().split("\n\n")[0].split()))
