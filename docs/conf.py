"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_scripts"))

import command_page
import environment_pages

project = "RELO"
author = "The RELO maintainers"
release = metadata.version("relo")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
autodoc_mock_imports = ["minari", "ray"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Sphinx links the names of an ``Attributes`` section, and some are attributes of two classes.
suppress_warnings = ["ref.python"]
# Docstrings put code between single backquotes, as Markdown does.
default_role = "code"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "RELO"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["relo.css"]


def setup(app: Any) -> None:
    """Write the generated pages, and keep Markdown docstrings out of the API reference."""
    app.connect("builder-inited", _generate)
    app.connect("autodoc-process-docstring", _shorten_markdown)


def _generate(app: Any) -> None:
    environment_pages.write(Path(app.srcdir))
    command_page.write(Path(app.srcdir))


def _shorten_markdown(app: Any, what: str, name: str, obj: Any, options: Any, lines: list) -> None:
    """Of a docstring in Markdown, which Gymnasium wants of an environment, keep the first line."""
    if any(line.startswith("## ") for line in lines):
        lines[:] = [lines[0], "", "Its whole description is on the page on environments."]
