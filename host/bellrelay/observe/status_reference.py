"""The reference page of the status file, from the model that reads it.

python -m bellrelay.observe.status_reference > docs/reference/status-file.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .status_file import StatusFile

__all__ = ["reference_page"]

_HEAD = """# Status file

Whom `bellrelay status` asks, and where a report finds what it is made of. An example is
[deploy/status.example.yaml](../../deploy/status.example.yaml); what is done with it stands in
[see how it stands](../how-to/status.md). A wrong file is refused with file, key, value and what is
allowed; exit code 3. This page is made by `python -m bellrelay.observe.status_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(StatusFile)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
