"""The command reference: walks the command tree of the application and writes one page per command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        lines += [_option(option) for option in found[0].options]
    return {"commands.rst": "\n".join(lines) + "\n", **pages}


def _page(command: Command) -> str:
    lines = [heading(command.name), _help_text(command), "\n.. rubric:: Usage\n", ".. code-block:: console\n"]
    lines.append(f"   $ {_usage(command)}\n")
    lines.append(f".. program:: {command.name}\n")
    for title, params in (("Arguments", command.arguments), ("Options", command.options)):
        if params:
            lines += [f".. rubric:: {title}\n", *(_option(param) for param in params)]
    return "\n".join(lines)


def _usage(command: Command) -> str:
    words = [command.name]
    words += [_metavar(argument) if argument.required else f"[{_metavar(argument)}]" for argument in command.arguments]
    words += [f"{option.opts[0]} {_metavar(option)}" for option in command.options if option.required]
    return " ".join([*words, "[OPTIONS]"] if command.options else words)


def _option(param: Any) -> str:
    flags = [*param.opts, *param.secondary_opts]
    if param.param_type_name == "argument":
        flags = [_metavar(param)]
    elif not getattr(param, "is_flag", False):
        flags = [f"{flag} {_metavar(param)}" for flag in flags]
    text = escape(" ".join((getattr(param, "help", None) or "").split()))
    facts = []
    if valid := _valid(param):
        facts.append(valid)
    default = param.default() if callable(param.default) else param.default
    if default is not None and default not in ((), [], "") and not (getattr(param, "is_flag", False) and not default):
        facts.append(f"Default: ``{getattr(default, 'value', default)}``.")
    if param.param_type_name == "option" and param.required:
        facts.append("Required.")
    if getattr(param, "multiple", False):
        facts.append("May be given more than once.")
    body = "\n\n".join(part for part in (text, " ".join(facts)) if part)
    body = "\n".join(f"   {line}".rstrip() for line in body.splitlines())
    return f".. option:: {', '.join(flags)}\n\n{body}\n"


def _metavar(param: Any) -> str:
    if param.param_type_name == "argument":
        name = str(param.metavar or param.name).strip("[]").upper()
        return f"{name}..." if param.nargs == -1 and not name.endswith("...") else name
    kind = str(getattr(param.type, "name", "value"))
    kind = {"choice": "name", "integer range": "integer", "float range": "number", "float": "number"}.get(kind, kind)
    return str(param.metavar or kind).strip("<>[]").upper()


def _valid(param: Any) -> str:
    choices = getattr(param.type, "choices", None)
    if choices:
        return "One of " + ", ".join(f"``{getattr(choice, 'value', choice)}``" for choice in choices) + "."
    low, high = getattr(param.type, "min", None), getattr(param.type, "max", None)
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
