"""The reference page of an endpoint's YAML, from the model that reads it.

python -m bellrelay.endpoint.config_reference > docs/reference/endpoint-config.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .config import EndpointConfig

__all__ = ["reference_page"]

_HEAD = """# Configuration of an endpoint

`bellrelay endpoint --config FILE.yaml` reads these keys, for Alice and for Bob. An unknown key is
an error, so is a value out of range: the line names file, key, value and what is allowed. An
[example](../../deploy/endpoint.example.yaml) has most of them.

Both files must agree in `alice`, `bob`, `security`, `reconcile`, `block.slots`, `relay.id` and
`key_pool.refill_share`; the endpoints compare them before the first block. What
`source`, `random_health` and `intensity_monitor` do: [sources.md](sources.md). This page is made by
`python -m bellrelay.endpoint.config_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(EndpointConfig)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
