"""Formulae as MathML, made while the site is built: no script, no network, no LaTeX.

LaTeX that cannot be shown is a warning, and `make docs` lets none pass. The converter passes on
commands that it does not know, and fractions without a denominator; they are found here.
"""

from __future__ import annotations

from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_log = logging.getLogger(__name__)
_CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2}
_CHILDREN |= {"munderover": 3, "mroot": 2}


def mathml(latex: str, display: str) -> str:
    """Convert a formula.

    latex: without dollar signs. display: `inline` or `block`.

    Raises
    ------
    ValueError
        It is incomplete, or there is a command in it that is not known.
    """
    try:
        text: str = convert(latex, display=display)
        parsed = ElementTree.fromstring(text)
    except Exception as error:  # the converter's own have no common base
        raise ValueError(str(error) or type(error).__name__) from None
    for element in parsed.iter():
        name = element.tag.rpartition("}")[2]
        if len(element) != _CHILDREN.get(name, len(element)):
            raise ValueError(f"{name} is incomplete")
        if "\\" in (element.text or ""):
            raise ValueError(f"{element.text} is not known")
    return text


def _shown(node: nodes.Element, display: str) -> str:
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        _log.warning("formula cannot be shown: %s", error, location=node)
        return ""


def _inline(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.body.append(_shown(node, "inline"))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.Element) -> None:
    translator.body.append(f'<div class="math">{_shown(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; Sphinx calls this."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
