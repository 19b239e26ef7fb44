from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import gueststar

project = "gueststar"
author = "The gueststar developers"
copyright = "2026, the gueststar developers"
version = release = gueststar.__version__

extensions = [
    "gueststar_docs",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = True
# Names from other packages have no inventory here: the build must not need a network. Docstrings also use
# single back quotes for parameters and columns, which are no targets. Names of gueststar must exist.
nitpick_ignore_regex = [("py:.*", r"(?!gueststar\.).*")]

autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "none"  # the docstrings give type, shape and unit
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
highlight_language = "python"
pygments_style = "friendly"
pygments_dark_style = "monokai"

html_theme = "furo"
html_title = f"gueststar {version}"
html_static_path = ["_static"]
html_css_files = ["gueststar.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e79", "color-brand-content": "#1f5f99"},
    "dark_css_variables": {"color-brand-primary": "#8fc1ec", "color-brand-content": "#8fc1ec"},
}
