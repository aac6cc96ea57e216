"""Which spans the trace of a block has, and what each may say: counts, rates, lengths, causes.

The reference page is made of these tables, and nothing that is not in them leaves a daemon. Keys,
bits, seeds, choices, digests and names of keys are in none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ATTRIBUTES",
    "ENDPOINT_STEPS",
    "PREFIX",
    "SPANS",
    "BlockName",
    "SpanKind",
    "attributes_of",
]

PREFIX = "bellrelay."

ATTRIBUTES: Mapping[str, str] = {
    "relay": "relay ID",
    "acquisition": "number of the relay's acquisition",
    "block": "number of the block in the acquisition",
    "role": "`alice` or `bob`",
    "consumer": "common name in the consumer's certificate",
    "state": "in which the block ended: `stored` or `aborted`",
    "cause": "why there is no key; the words of `bellrelay_endpoint_blocks_ended_total`",
    "announced": "announcements of the block",
    "announcements": "of them, those that this relay wrote, or that the consumer got",
    "pulses": "pulse pairs that count",
    "sifted_bits": "bits of the sifted key",
    "method": "how bounds were found",
    "phase_error_upper": "bound on the phase error",
    "n11_lower": "bound on the number of single-photon pairs",
    "reconciliation": "`ldpc` or `cascade`",
    "frames": "of reconciliation",
    "frames_failed": "that could not be corrected",
    "disclosed_bits": "parities and syndromes disclosed",
    "leak_ec": "bits that the key is shortened by for reconciliation",
    "errors_corrected": "bits that differed",
    "error_rate_z": "QBER in Z, as corrected",
    "length": "secret bits, before the pool took its share",
    "key_bits": "bits of the key",
    "pool_bits": "bits that went into the pool for tags",
    "length_bits": "bits of the block of key",
    "units": "units of the block in the keys",
    "keys": "keys given in this answer",
    "request": "`enc_keys` for the master, `dec_keys` for a slave",
}


@dataclass(frozen=True)
class SpanKind:
    """One sort of span.

    party : who emits it. begins, ends : in words. says : attributes beside those that name the
    block.
    """

    name: str
    party: str
    begins: str
    ends: str
    says: tuple[str, ...] = ()


ENDPOINT_STEPS: Mapping[str, tuple[str, str]] = {
    "collect": ("begun", "complete"),
    "wait": ("complete", "opened"),
    "admit": ("opened", "admitted"),
    "commit": ("admitted", "committed"),
    "sift": ("committed", "sifted"),
    "estimate": ("sifted", "estimated"),
    "reconcile": ("estimated", "reconciled"),
    "verify": ("reconciled", "verified"),
    "amplify": ("verified", "amplified"),
    "store": ("amplified", "stored"),
}
"""Spans of an endpoint: between which steps of :class:`.endpoint.block_trace.BlockTrace`."""

_SAYS = {
    "collect": ("announced",),
    "commit": ("announced", "pulses"),
    "sift": ("sifted_bits",),
    "estimate": ("method", "phase_error_upper", "n11_lower"),
    "reconcile": ("reconciliation", "frames", "frames_failed", "disclosed_bits"),
    "verify": ("errors_corrected", "error_rate_z", "leak_ec", "length"),
    "amplify": ("key_bits", "pool_bits"),
}
_WORDS = {
    "begun": "the block's first slot is reached",
    "complete": "its list of announcements is complete",
    "opened": "an endpoint has room for it",
    "admitted": "source, monitors and pool allow it",
    "committed": "both endpoints hold the same list",
    "sifted": "settings are known, both count the same",
    "estimated": "the bounds are known",
    "reconciled": "Bob's bits are corrected",
    "verified": "both hold the same bits",
    "amplified": "the key is on disk, not to be used",
    "stored": "both know that it may be used",
}

SPANS: tuple[SpanKind, ...] = (
    SpanKind(
        "block",
        "Alice",
        "the block's first slot is reached",
        "the key is stored, or the block aborted",
        ("state", "cause", "announced", "pulses", "sifted_bits", "error_rate_z", "key_bits"),
    ),
    SpanKind(
        "write",
        "relay",
        "the first announcement of the block, or word that it has begun, is in the log",
        "one of a later block, or word that it is over, is on disk",
        ("announcements",),
    ),
    SpanKind(
        "serve",
        "relay, for each consumer",
        "the same, on its way to the consumer",
        "the same, on its way to the consumer",
        ("consumer", "announcements"),
    ),
    *(
        SpanKind(name, "each endpoint", _WORDS[a], _WORDS[b], ("role", *_SAYS.get(name, ())))
        for name, (a, b) in ENDPOINT_STEPS.items()
    ),
    SpanKind(
        "hand-over", "each KME", "the key is made", "its KME reads it from the endpoint's store"
    ),
    SpanKind(
        "intake",
        "each KME",
        "the KME reads it",
        "it is in the KME's store, sealed",
        ("length_bits",),
    ),
    SpanKind("agree", "each KME", "it is in the store", "the other KME has it, too"),
    SpanKind(
        "issue",
        "each KME, for each request",
        "an application asks",
        "it gets keys that were cut from the block",
        ("request", "keys", "units"),
    ),
)

_SAID = {kind.name: frozenset(kind.says) for kind in SPANS}


def attributes_of(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a span of this name may say of these facts."""
    said = _SAID[name]
    return {
        PREFIX + key: value
        for key, value in facts.items()
        if key in said and isinstance(value, bool | int | float | str)
    }


@dataclass(frozen=True)
class BlockName:
    """A block, as relay, endpoints and KMEs all know it.

    Its trace has the same id at all of them because each derives it from this name alone: nothing
    is told for it, so nothing can be forged but the trace itself, which nobody acts upon.
    """

    relay: str
    acquisition: int
    index: int

    @property
    def trace_id(self) -> int:
        """128 bits, not 0."""
        return int.from_bytes(self._digest("block")[:16], "big") or 1

    @property
    def root_id(self) -> int:
        """Of the span that all others are children of: 64 bits, not 0."""
        return int.from_bytes(self._digest("span block")[:8], "big") or 1

    def _digest(self, what: str) -> bytes:
        text = f"bellrelay trace, {what}: {self.relay} {self.acquisition} {self.index}"
        return hashlib.sha256(text.encode()).digest()

    def in_share(self, share: float) -> bool:
        """Whether it is one of the blocks that are traced; the same everywhere."""
        return (self.trace_id & ((1 << 64) - 1)) < share * 2.0**64

    @property
    def attributes(self) -> dict[str, Any]:
        """That name it."""
        return {
            PREFIX + "relay": self.relay,
            PREFIX + "acquisition": self.acquisition,
            PREFIX + "block": self.index,
        }
