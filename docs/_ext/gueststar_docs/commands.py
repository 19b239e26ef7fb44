"""The command reference: walks the command tree of the application and writes one page per command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gueststar_docs.rst import escape, heading

__all__ = ["Command", "command_pages", "commands"]


@dataclass(frozen=True)
class Command:
    """One command of the tree; `click` is the object of the command-line parser."""

    path: tuple[str, ...]
    click: Any

    @property
    def name(self) -> str:
        """As typed, such as 'gueststar pair'."""
        return " ".join(self.path)

    @property
    def is_group(self) -> bool:
        """Whether it holds further commands."""
        return hasattr(self.click, "commands")

    @property
    def options(self) -> list[Any]:
        """Options that are not hidden, without --help."""
        return [p for p in self.click.params if p.param_type_name == "option" and not getattr(p, "hidden", False)]

    @property
    def arguments(self) -> list[Any]:
        """Positional arguments."""
        return [p for p in self.click.params if p.param_type_name == "argument"]

    @property
    def types(self) -> dict[str, Any]:
        """Type of each parameter, by name, as the command's function declares it."""
        callback = self.click.callback
        return get_type_hints(inspect.unwrap(callback)) if callback is not None else {}

    @property
    def help(self) -> str:
        """Help text as written."""
        return inspect.cleandoc(self.click.help or "")


def commands() -> list[Command]:
    """Every command and group that is not hidden, depth first, the application itself first."""
    import typer.main

    from gueststar.cli.main import app

    return list(_walk(("gueststar",), typer.main.get_command(app)))


def _walk(path: tuple[str, ...], click: Any) -> Iterator[Command]:
    command = Command(path, click)
    yield command
    for name, child in getattr(click, "commands", {}).items():
        if not child.hidden:
            yield from _walk((*path, name), child)


def command_pages() -> dict[str, str]:
    """Return one page per command that does something, and an index of them."""
    found = commands()
    leaves = [command for command in found if not command.is_group]
    pages = {f"command_{'_'.join(c.path[1:])}.rst": _page(c) for c in leaves}
    lines = [heading("Commands"), _help_text(found[0]), "\n.. toctree::\n   :maxdepth: 1\n"]
    lines += [f"   {page[:-4]}" for page in pages]
    if found[0].options:
        lines += ["", heading("Options of every call", "-"), ".. program:: gueststar\n"]
        lines += [_option(option, found[0].types) for option in found[0].options]
    return {"commands.rst": "\n".join(lines) + "\n", **pages}


def _page(command: Command) -> str:
    lines = [heading(command.name), _help_text(command), ".. rubric:: Usage\n", ".. code-block:: console\n"]
    lines.append(f"   $ {_usage(command)}\n")
    lines.append(f".. program:: {command.name}\n")
    for title, params in (("Arguments", command.arguments), ("Options", command.options)):
        if params:
            lines += [f".. rubric:: {title}\n", *(_option(param, command.types) for param in params)]
    return "\n".join(lines)


def _usage(command: Command) -> str:
    words = [command.name]
    for argument in command.arguments:
        word = _metavar(argument, command.types.get(argument.name))
        words.append(word if argument.required else f"[{word}]")
    for option in command.options:
        if option.required:
            words.append(f"{option.opts[0]} {_metavar(option, command.types.get(option.name))}")
    return " ".join([*words, "[OPTIONS]"] if command.options else words)


def _option(param: Any, types: dict[str, Any]) -> str:
    kind = types.get(param.name)
    is_flag = bool(getattr(param, "is_flag", False))
    flags = [*param.opts, *param.secondary_opts]
    if param.param_type_name == "argument":
        flags = [_metavar(param, kind)]
    elif not is_flag:
        flags = [f"{flag} {_metavar(param, kind)}" for flag in flags]
    facts = [_valid(param, kind)]
    default = param.default() if callable(param.default) else param.default
    if default not in (None, (), [], "") and not (is_flag and not default):
        facts.append(f"Default: ``{getattr(default, 'value', default)}``.")
    if param.param_type_name == "option" and param.required:
        facts.append("Required.")
    text = " ".join((getattr(param, "help", None) or "").split())
    if getattr(param, "multiple", False) and "again" not in text:
        facts.append("May be given more than once.")
    body = " ".join(part for part in (escape(text), *facts) if part)
    return f".. option:: {', '.join(flags)}\n\n   {body}\n"


def _metavar(param: Any, kind: Any) -> str:
    if param.metavar:
        return str(param.metavar).strip("<>[]").upper()
    if param.param_type_name == "argument":
        name = param.name.upper()
        return f"{name}..." if param.nargs == -1 else name
    simple = [part for part in _flat(kind) if part is not type(None)]
    names = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
    return names.get(simple[0], "NAME") if simple else "VALUE"


def _flat(kind: Any) -> list[Any]:
    """Members of a union or of a list, or the type itself."""
    inner = get_args(kind)
    if get_origin(kind) is Literal or not inner:
        return [] if kind is None else [kind]
    return [member for part in inner for member in _flat(part)]


def _valid(param: Any, kind: Any) -> str:
    choices: list[Any] = []
    for part in _flat(kind):
        if get_origin(part) is Literal:
            choices += get_args(part)
        elif isinstance(part, type) and issubclass(part, Enum):
            choices += [member.value for member in part]
    if choices:
        return "One of " + ", ".join(f"``{choice}``" for choice in choices) + "."
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    if low is None and high is None:
        return ""
    if low is None:
        return f"At most {high}."
    return f"At least {low}." if high is None else f"From {low} to {high}."


def _help_text(command: Command) -> str:
    """Prose as prose; paragraphs of command lines as console blocks without the marks of the terminal's markup."""
    text = re.sub(r"\[/?(?:bold|dim|italic|green|cyan|yellow|red)[^\]]*\]", "", command.help)
    out = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\b\n", "").replace("\b", "").replace("\f", "")):
        prose, shell = [], []
        for line in paragraph.splitlines():
            is_shell = bool(shell) or re.match(r"\s*(\$ )?gueststar [a-z-]", line) is not None
            (shell if is_shell else prose).append(line.strip())
        if prose:
            out.append(escape("\n".join(prose)) + "\n")
        if shell:
            block = [f"   {'$ ' if line.startswith('gueststar') else ''}{line}" for line in shell]
            out.append("\n".join([".. code-block:: console", "", *block, ""]))
    return "\n".join(out)
