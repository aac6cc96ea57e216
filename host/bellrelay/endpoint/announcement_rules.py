"""What a relay may say, and how its announcements fall into blocks.

The relay is the adversary: nothing that it says is taken on faith, and no rule is bent for it. A
breach is no fault to be mended but a reason to believe it nothing more. What it leaves out it may
leave out, as a relay may announce what it likes; what it says of its own completeness, dead time
or temperature enters no bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.messages import Announced, Event
from bellrelay.wire.payloads import are_outcomes

from .block import BlockId, Cause

__all__ = [
    "RELAY_BEGAN_NS",
    "AnnouncementBreach",
    "BlockBegun",
    "BlockCollector",
    "CollectedBlock",
]

RELAY_BEGAN_NS = "relay_began_ns"
"""Under what the record of a block has the time at which it began, as the relay says."""


MAX_SLOT = (1 << 63) - 1
"""Slots beyond have no place in the store; at 1 ns they come after 292 years."""

_MAX_BLOCKS_AT_ONCE = 10_000
"""A relay's heartbeats come every second: no honest one passes over so many blocks in silence."""


_HEARTBEATS_NS = 3_000_000_000
"""In so long a time a relay that announces says how late it is."""


def _utc_ns(event: Event, key: str) -> int:
    """A time that the relay says; 0 where it says none. Nothing rests on its truth."""
    said = event.values.get(key)
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= MAX_SLOT:
        return 0
    return said


class AnnouncementBreach(Exception):
    """The relay has said what no relay says. ``block`` : in which it happened."""

    def __init__(self, cause: Cause, block: BlockId, detail: str) -> None:
        super().__init__(f"{cause} in block {block}: {detail}")
        self.cause = cause
        self.block = block
        self.detail = detail


@dataclass(frozen=True)
class BlockBegun:
    """Announcements of a block are looked for from this record of the relay's log on.

    began_ns : UTC, before its first pulses were sent, as the relay says; 0: it has not.
    """

    block: BlockId
    sequence: int
    began_ns: int = 0


@dataclass(frozen=True, eq=False)
class CollectedBlock:
    """The complete list of a block.

    slot : (n,) uint64, strictly increasing, within the block. outcome : (n,) uint8.
    next_sequence : of the relay's record after its last. began_ns, ended_ns : UTC, between which
    its pulses were sent, as the relay says; 0 where it has not.
    """

    block: BlockId
    slot: NDArray[np.uint64] = field(repr=False)
    outcome: NDArray[np.uint8] = field(repr=False)
    next_sequence: int = 0
    began_ns: int = 0
    ended_ns: int = 0


class BlockCollector:
    """Sorts one relay's records into blocks, and holds it to the rules.

    A block is complete when the relay's stream has passed its end: by an announcement beyond it,
    by a heartbeat that says so, or by the end of the acquisition.

    Parameters
    ----------
    block_slots
        Slots of a block.
    begin
        First block to collect and the sequence of the record where it begins, if that is known:
        earlier blocks and acquisitions are passed over. Otherwise collecting begins with the
        acquisition that starts next, or with the first whole block of the one that runs.
    relay
        Number of the relay.
    """

    def __init__(self, block_slots: int, begin: BlockBegun | None = None, relay: int = 0) -> None:
        self._slots = block_slots
        self._relay = relay
        self._said_ns = 0
        self._began_ns = 0 if begin is None else begin.began_ns
        self._sequence = None if begin is None else begin.sequence
        self._block = None if begin is None else begin.block
        self._acquisition = None if begin is None else begin.block.acquisition
        self._last = -1 if begin is None else begin.block.first(block_slots) - 1
        self._closed = False
        self._joined: int | None = None
        """The first block that is whole, to those who came in the middle of one."""
        self._parts: list[Announced] = []

    @property
    def block(self) -> BlockId | None:
        """The block that is being collected."""
        return self._block

    @property
    def acquisition(self) -> int | None:
        """Of the relay, as far as it has said."""
        return self._acquisition

    @property
    def sequence(self) -> int | None:
        """Of the record that must come next; None before the first."""
        return self._sequence

    def take(self, record: Announced | Event) -> Iterator[BlockBegun | CollectedBlock]:
        """The blocks that this record begins and completes, in order.

        Raises
        ------
        AnnouncementBreach
        """
        if self._sequence is not None and record.sequence != self._sequence:
            raise self._breach(
                Cause.MISSING_RECORDS, f"record {record.sequence} instead of {self._sequence}"
            )
        self._sequence = record.end
        if isinstance(record, Announced):
            yield from self._announced(record)
        else:
            yield from self._event(record)

    def missing(self, records: int) -> AnnouncementBreach:
        """The breach that the relay's log has lost records."""
        return self._breach(Cause.MISSING_RECORDS, f"{records} records")

    def malformed(self, detail: str) -> AnnouncementBreach:
        """The breach that a record is none."""
        return self._breach(Cause.MALFORMED, detail)

    def _breach(self, cause: Cause, detail: str) -> AnnouncementBreach:
        block = self._block or BlockId(self._acquisition or 0, 0, self._relay)
        return AnnouncementBreach(cause, block, detail)

    def _event(self, event: Event) -> Iterator[BlockBegun | CollectedBlock]:
        if event.kind == "start":
            if self._acquisition is not None and event.acquisition <= self._acquisition:
                if event.acquisition == self._acquisition and self._last < 0:
                    return  # the start of the very acquisition that we were told to begin with
                raise self._breach(
                    Cause.WRONG_ACQUISITION,
                    f"{event.acquisition} starts after {self._acquisition}",
                )
            yield from self._end_acquisition(event.sequence, 0)
            self._acquisition, self._last, self._closed = event.acquisition, -1, False
            self._joined = None
            self._said_ns = _utc_ns(event, "start_utc_ns")
            yield self._begin(0, event.end)
            return
        if event.acquisition != self._acquisition:
            return
        if event.kind == "stop":
            yield from self._end_acquisition(event.sequence, _utc_ns(event, "utc_ns"))
        elif event.kind == "heartbeat":
            cut = event.values.get("cut_slot")
            if isinstance(cut, int) and not isinstance(cut, bool) and 0 <= cut <= MAX_SLOT:
                said_ns = _utc_ns(event, "utc_ns")
                yield from self._pass(cut, event.sequence, said_ns)
                self._said_ns = said_ns

    def _announced(self, record: Announced) -> Iterator[BlockBegun | CollectedBlock]:
        slot, outcome = record.slot, record.outcome
        if self._acquisition is None:
            # We came in the middle: this acquisition it is, from its next whole block on.
            self._acquisition = record.acquisition
        if record.acquisition != self._acquisition or self._closed:
            raise self._breach(
                Cause.WRONG_ACQUISITION,
                f"announcements of {record.acquisition}"
                + (" after its end" if self._closed else f", not of {self._acquisition}"),
            )
        if not slot.size:
            return
        self._check(slot, outcome)
        done = 0
        while done < slot.size:
            block = self._block
            if block is None:
                # Not before the next whole block; what comes before it belongs to none.
                if self._joined is None:
                    self._joined = int(slot[done]) // self._slots + 1
                skip = int(np.searchsorted(slot, np.uint64(self._joined * self._slots)))
                self._last = int(slot[skip - 1]) if skip else self._last
                if skip == slot.size:
                    return
                yield self._begin(self._joined, record.sequence + skip)
                done = skip
                continue
            end = block.end(self._slots)
            upto = int(np.searchsorted(slot, np.uint64(min(end, MAX_SLOT))))
            if upto > done:
                self._parts.append(
                    Announced(
                        record.sequence + done,
                        record.acquisition,
                        slot[done:upto],
                        outcome[done:upto],
                    )
                )
                self._last = int(slot[upto - 1])
            done = upto
            if done < slot.size:
                # A heartbeat comes soon: what is announced before was sent before.
                ended_ns = self._said_ns + _HEARTBEATS_NS if self._said_ns else 0
                yield from self._pass(int(slot[done]), record.sequence + done, ended_ns)

    def _check(self, slot: NDArray[np.uint64], outcome: NDArray[np.uint8]) -> None:
        if not are_outcomes(outcome):
            raise self._breach(Cause.UNKNOWN_OUTCOME, "neither psi-minus nor psi-plus")
        if int(slot.max()) > MAX_SLOT:
            raise self._breach(Cause.OUT_OF_RANGE, "beyond 2**63")
        steps = slot[1:] > slot[:-1]
        same, at = False, 0
        if not steps.all():
            at = int(np.argmin(steps)) + 1
            same = bool(slot[at] == slot[at - 1])
            two = bool(outcome[at] != outcome[at - 1])
        elif int(slot[0]) <= self._last:
            same = int(slot[0]) == self._last
            two = bool(self._parts) and bool(self._parts[-1].outcome[-1] != outcome[0])
        else:
            return
        if same:
            cause = Cause.TWO_OUTCOMES if two else Cause.DUPLICATE_SLOT
            raise self._breach(cause, f"slot {int(slot[at])} twice")
        first = 0 if self._block is None else self._block.first(self._slots)
        cause = Cause.OUT_OF_RANGE if int(slot[at]) < first else Cause.NOT_INCREASING
        raise self._breach(cause, f"slot {int(slot[at])} after a later one")

    def _pass(
        self, slot: int, sequence: int, ended_ns: int
    ) -> Iterator[BlockBegun | CollectedBlock]:
        """The stream stands at this slot: end every block that ends at or before it."""
        if self._block is None:
            return
        blocks = slot // self._slots - self._block.index
        if blocks > _MAX_BLOCKS_AT_ONCE:
            raise self._breach(Cause.OUT_OF_RANGE, f"slot {slot} passes over {blocks} blocks")
        while self._block is not None and self._block.end(self._slots) <= slot:
            yield self._finish(sequence, ended_ns)
            yield self._begin(self._block.index + 1, sequence)

    def _begin(self, index: int, sequence: int) -> BlockBegun:
        assert self._acquisition is not None
        self._block = BlockId(self._acquisition, index, self._relay)
        # Nothing may come any more for what lies before, whether it was announced or not.
        self._last = max(self._last, self._block.first(self._slots) - 1)
        self._began_ns = self._said_ns
        return BlockBegun(self._block, sequence, self._began_ns)

    def _finish(self, sequence: int, ended_ns: int) -> CollectedBlock:
        assert self._block is not None
        parts, self._parts = self._parts, []
        slot = np.concatenate([np.empty(0, np.uint64), *(p.slot for p in parts)])
        outcome = np.concatenate([np.empty(0, np.uint8), *(p.outcome for p in parts)])
        return CollectedBlock(self._block, slot, outcome, sequence, self._began_ns, ended_ns)

    def _end_acquisition(self, sequence: int, ended_ns: int) -> Iterator[CollectedBlock]:
        if self._block is not None:
            yield self._finish(sequence, ended_ns)
            self._block = None
        self._closed = self._acquisition is not None
