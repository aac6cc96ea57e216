"""How the site is built from these pages: `make docs`, with every warning an error."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

project = "bellrelay"
author = "the authors of bellrelay"
project_copyright = author
html_title = "bellrelay"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_sphinx.automodules",
    "_sphinx.docstrings",
    "_sphinx.mathml",
    "_sphinx.plain_pages",
]
# A name that is referred to must be on these pages, unless it is another project's or private.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(amaranth|enum|numpy|pydantic)\..*"),
    ("py:.*", r"(.*\.)?_\w+"),
    ("py:exc", "SealerError"),
]
exclude_patterns = ["_sphinx"]

# The same pages are read on a plain git host: GitHub's anchors and its dollar signs.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = False

# Nothing is fetched by a reader's browser from elsewhere.
html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_sphinx/static"]
html_css_files = ["formulae.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

# Docstrings are NumPy's in form; what stands in single backquotes is code.
default_role = "code"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Members", "params_style"), ("Attributes", "params_style")]
autodoc_default_options = {"members": True, "show-inheritance": True}
toc_object_entries = False  # modules, not every method: a navigation for every page is costly
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "numpy.typing.ArrayLike"}
