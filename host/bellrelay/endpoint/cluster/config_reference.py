"""The reference page of a cluster's YAML, from the model that reads it.

python -m bellrelay.endpoint.cluster.config_reference > docs/reference/cluster-config.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .config import ClusterConfig

__all__ = ["reference_page"]

_HEAD = """# Configuration of a cluster

`bellrelay cluster scheduler --config FILE.yaml` and `bellrelay cluster worker --config FILE.yaml`
read these keys; one file serves both. An unknown key is an error, so is a value out of range: the
line names file, key, value and what is allowed. An
[example](../../deploy/cluster.example.yaml) has most of them; what a cluster is for stands in
[a cluster for an endpoint](../how-to/cluster.md). This page is made by
`python -m bellrelay.endpoint.cluster.config_reference`.

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(ClusterConfig)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
