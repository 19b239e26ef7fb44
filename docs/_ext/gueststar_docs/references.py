"""References to names that have no page of their own."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import gueststar

__all__ = ["keep_bars", "resolve"]


def keep_bars(*event: Any) -> None:
    """Keep reStructuredText from reading the bars of absolute values as substitutions (a handler of autodoc)."""
    lines = event[-1]
    lines[:] = [re.sub(r"(?<![`\\|])\|([^\s|`][^|`]*)\|(?![`|])", r"\\|\1\\|", line) for line in lines]


def resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link names of the package itself to where they are described; leave names that exist unlinked.

    What is left without an answer does not exist, and Sphinx warns about it. A handler of ``missing-reference``.
    """
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith("gueststar."):
        return None
    module = gueststar._WHERE.get(target.removeprefix("gueststar."))
    if module is not None:
        kind = node.get("reftype", "obj")
        full = f"{module}.{target.removeprefix('gueststar.')}"
        return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, kind, full, node, contnode)
    return contnode if _exists(target) else None


def _exists(target: str) -> bool:
    """Whether a dotted name can be reached, as a module or as an attribute of one."""
    parts = target.split(".")
    for i in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:i]))
        except ImportError:
            continue
        for name in parts[i:]:
            if not hasattr(thing, name):
                return False
            thing = getattr(thing, name)
        return True
    return False
