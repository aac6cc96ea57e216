"""The reference page of traces, from the tables that spans are made by.

python -m bellrelay.observe.trace_reference > docs/reference/traces.md
"""

from __future__ import annotations

import sys

from .block_spans import ATTRIBUTES, PREFIX, SPANS

__all__ = ["reference_page"]

_HEAD = """# Traces of blocks

A block has one trace. Relay, both endpoints and both KMEs write their spans into it, and nothing
is added to what they say to each other: the trace's id is derived by each of them from the block's
name, the first 128 bits of SHA-256 of `bellrelay trace, block: RELAY ACQUISITION BLOCK`. What a
party says in a trace is its own word, unauthenticated, and no daemon ever reads one.

Spans carry counts, rates, lengths and causes that `/health` and `/metrics` say, too; no key, bit,
choice, seed, digest or name of a key. A test reads every attribute of a run and holds it against
this page.

The span `block` is the parent of all others; Alice emits it when the block has ended. A block that
is aborted has the status *error* on `block` and on the step in which it ended, with its cause; one
that a standby relay announced, and that was never meant to become key, has not. How to get traces
to Jaeger or Tempo: [traces.md](../how-to/traces.md). This page is made by
`python -m bellrelay.observe.trace_reference`.

## Spans

Times are those of the machine that emits the span; clocks of several machines are as alike as NTP
makes them.

| Span | Emitted by | Begins when | Ends when | Says |
|---|---|---|---|---|
"""

_RESOURCE = """
Every span also says `bellrelay.relay`, `bellrelay.acquisition` and `bellrelay.block`.

| Resource | Value |
|---|---|
| `service.name` | `bellrelay-relay`, `bellrelay-endpoint`, `bellrelay-kme` |
| `service.instance.id` | `relay_id`, `endpoint_id`, `kme_id` of its configuration |

## Attributes

| Attribute | Meaning |
|---|---|
"""

_END = """
## What has no span

- Steps that began before a daemon was started anew: the block's next step has one, and `block`.
- Blocks that a stream of announcements passed over without a word; what the relay wrote before
  `traces` was configured.
- Keys beyond 50 answers a second at one KME, and keys of blocks that were purged there; the first
  are counted in `bellrelay_trace_spans_dropped_total`.
- Blocks outside of `traces.share`. The share is decided by the trace's id, so that parties with the
  same share trace the same blocks.
- Two pairs of endpoints at one relay with the same length of blocks have the same names for their
  blocks, and so share traces; `service.instance.id` tells their spans apart.
"""


def reference_page() -> str:
    """The whole page, Markdown."""
    spans = [
        f"| `{kind.name}` | {kind.party} | {kind.begins} | {kind.ends} "
        f"| {', '.join(f'`{PREFIX}{key}`' for key in kind.says)} |"
        for kind in SPANS
    ]
    meanings = [f"| `{PREFIX}{key}` | {text} |" for key, text in ATTRIBUTES.items()]
    return _HEAD + "\n".join(spans) + "\n" + _RESOURCE + "\n".join(meanings) + "\n" + _END


if __name__ == "__main__":
    sys.stdout.write(reference_page())
