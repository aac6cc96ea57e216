"""What autodoc and napoleon do not know of our docstrings and signatures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains import Domain

_ENTRY = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*) ?: (?=\S)")
_COLON = "\ue000"
_ARRAY = re.compile(
    r"~?numpy\.ndarray\[~?(?:typing\.)?tuple\[~?(?:typing\.)?Any, \.\.\.\], "
    r"~?numpy\.dtype\[(~?[\w.]+)\]\]"
)


def listed(lines: Sequence[str]) -> list[str]:
    """Paragraphs of ``name: what it is``, a line or more each, as lists.

    So are fields and arguments told where a NumPy section would be longer than what it says; as
    reStructuredText they would run together.
    """
    text: list[str] = []
    inside = False
    for line in lines:
        entry = _ENTRY.match(line)
        if entry and (inside or not text or not text[-1].strip()):
            text.append(f"* ``{entry[1]}``: {line[entry.end() :]}")
            inside = True
        elif inside and line.strip():
            text.append(f"  {line.strip()}")
        else:
            text.append(line)
            inside = False
    return text


def _before_napoleon(
    app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]
) -> None:
    if what in ("attribute", "data", "property"):
        # It takes what stands before a colon in an attribute's first line for its type.
        lines[:1] = [line.replace(":", _COLON) for line in lines[:1]]
    else:
        lines[:] = listed(lines)


def _after_napoleon(
    app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]
) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def _as_written(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: Any,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """``NDArray[...]``, not what it is short for."""
    return (_short(signature), _short(returned))


def _no_aliases(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: Any
) -> bool | None:
    """Fields of a named tuple say `Alias for field number 0`; its docstring says more."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def _short(text: str | None) -> str | None:
    return text and _ARRAY.sub(r"NDArray[\1]", text)


def _no_page_for_a_type(
    app: Sphinx, domain: Domain | None, node: addnodes.pending_xref
) -> bool | None:
    """Types of others, and of ours that have no page, are no broken links in a signature."""
    above = node.parent
    while above is not None and not isinstance(above, addnodes.desc_signature):
        above = above.parent
    return None if above is None else True


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to autodoc before and after napoleon does, at 500; Sphinx calls this."""
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-process-signature", _as_written)
    app.connect("autodoc-skip-member", _no_aliases)
    app.connect("warn-missing-reference", _no_page_for_a_type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
