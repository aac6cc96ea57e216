"""The reference page of the relay's YAML, from the model that reads it.

python -m bellrelay.relay.config_reference > docs/reference/relay-config.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .config import RelayConfig

__all__ = ["reference_page"]

_HEAD = """# Configuration of a relay

`bellrelay relay --config FILE.yaml` reads these keys; `--check` says whether a file can be used,
and asks the board. An unknown key is an error, so is a value out of range: the line names file,
key, value and what is allowed. An [example](../../deploy/relay.example.yaml) has most of them.

Times in a slot are whole picoseconds, windows are half open. This page is made by
`python -m bellrelay.relay.config_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(RelayConfig)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
