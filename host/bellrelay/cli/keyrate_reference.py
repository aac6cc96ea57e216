"""The reference page of the files that `bellrelay keyrate` reads, from the models that read them.

python -m bellrelay.cli.keyrate_reference > docs/reference/keyrate-files.md
"""

from __future__ import annotations

import sys

from bellrelay.cli.counts_file import CountsFile
from bellrelay.cli.link_file import LinkFile
from bellrelay.settings.reference import key_table

__all__ = ["reference_page"]

_HEAD = """# Files of `bellrelay keyrate`

What the figures mean: [keyrate](keyrate.md). An unknown key is an error, so is a value out of
range: the line names file, key, value and what is allowed. Write small numbers with a point,
`1.0e-7`: YAML takes `1e-7` for text, which is read as the number nevertheless. This page is made by
`python -m bellrelay.cli.keyrate_reference`.

## A link

`bellrelay keyrate LINK.yaml`; an [example](../../deploy/link.example.yaml).

"""

_COUNTS = """
## Counts of a block

`bellrelay keyrate --counts COUNTS.yaml`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(LinkFile) + _COUNTS + key_table(CountsFile)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
