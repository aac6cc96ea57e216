"""Pages that are written to be read on a plain git host, made ready for Sphinx while it reads them.

So nothing of Sphinx's need stand in them where a reader of the Markdown would stumble over it.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

_CONTENTS = "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"
_MARKDOWN_ABOVE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+\.md)\)")


def _prepare(app: Sphinx, page: str, text: list[str]) -> None:
    if page.rpartition("/")[2] == "README":
        # Every page must be in a table of contents: those of a folder are below its README.
        text[0] += _CONTENTS
    folder = (Path(app.srcdir) / page).parent
    text[0] = _MARKDOWN_ABOVE.sub(lambda found: _as_file(Path(app.srcdir), folder, found), text[0])


def _as_file(site: Path, folder: Path, found: re.Match[str]) -> str:
    """A Markdown file of the repository that is no page of the site is linked to as a file."""
    if (folder / found[1]).resolve().is_relative_to(site.resolve()):
        return found[0]
    return f"](path:{found[1]})"


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to the pages being read; Sphinx calls this."""
    app.connect("source-read", _prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
