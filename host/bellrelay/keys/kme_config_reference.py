"""The reference page of a KME's YAML, from the model that reads it.

python -m bellrelay.keys.kme_config_reference > docs/reference/kme-config.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .kme_config import KmeConfig

__all__ = ["reference_page"]

_HEAD = """# Configuration of a KME

`bellrelay kme --config FILE.yaml` and `bellrelay keys ... --config FILE.yaml` read these keys. An
unknown key is an error, so is a value out of range: the line names file, key, value and what is
allowed. An [example](../../deploy/kme.example.yaml) has most of them.

Both KMEs' files must agree in `pairs`, `groups` and `unit_bits`; the KMEs compare them whenever
they connect, and give out no key while they differ. What applications see of it:
[fetch-keys.md](../how-to/fetch-keys.md); what becomes of key inside:
[key-store.md](key-store.md). This page is made by
`python -m bellrelay.keys.kme_config_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(KmeConfig)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
