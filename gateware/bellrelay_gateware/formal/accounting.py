"""Nothing is dropped without a count: capture banks and link buffer."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Cover, Mux, Signal, Value

from bellrelay.wire.frames import OUTCOME_SHIFT

from ..announcement_capture import AnnouncementCapture
from ..delay_line import delayed
from ..link_buffer import LinkBuffer
from ..tag_capture import TagCapture
from .proof import Proof, Top, begin, free, held

__all__ = ["PROOFS", "conserved"]


def conserved(
    m: Top,
    *,
    entered: Value,
    lost: Value,
    flush: Value,
    count: Value,
    name: str,
    late: int = 1,
) -> None:
    """What entered since the last flush is in the bank that the flush hands over, or was counted.

    ``entered`` and ``lost`` are amounts per clock, this clock's included in a flush; ``count`` is
    the bank's content ``late`` clocks after a flush.
    """
    width = 8
    balance = Signal(width, name=f"{name}_balance")
    now = Signal(width, name=f"{name}_now")
    owed = Signal(width, name=f"{name}_owed")
    flushed = Signal(name=f"{name}_flushed")
    m.d.comb += [now.eq(balance + entered - lost), Assert(lost <= entered)]
    m.d.sync += balance.eq(Mux(flush, 0, now))
    m.d.comb += [
        owed.eq(delayed(m, now, late, f"{name}_owed")),
        flushed.eq(delayed(m, flush, late, f"{name}_flushed")),
        Assert(Mux(flushed, count == owed, 1)),
    ]


def _tags(fault: bool) -> Top:
    depth = 2
    m = Top()
    first = begin(m)
    m.submodules.dut = dut = TagCapture(depth)
    valid, time = free(m, 1, "valid"), free(m, 56, "time")
    cut, flush, address = free(m, 1, "cut"), free(m, 1, "flush"), free(m, 1, "address")
    swap = cut & flush
    m.d.comb += [
        dut.tag.valid.eq(valid),
        dut.tag.time.eq(time),
        dut.start.eq(cut),
        dut.flush.eq(flush),
        dut.read_addr.eq(address),
    ]
    lost = Signal()
    m.d.comb += lost.eq(dut.lost & ~delayed(m, cut, 2, "soon") if fault else dut.lost)
    # The tag of the clock of the flush is the first one of the next bank.
    before = delayed(m, Cat(valid, lost), 1, "before")
    conserved(m, entered=before[0], lost=before[1], flush=swap, count=dut.count, name="tags")
    # The tag of any one place of a bank reads back after the flush, until the next one.
    place = held(m, first, 1, "place")
    index, keep, shown = Signal(4), Signal(56), Signal(56)
    taken = valid & ~dut.lost
    mine = taken & (Mux(swap, 0, index) == place)
    keep_now = Mux(mine, time, keep)
    there, asked = Signal(), Signal()
    m.d.sync += [
        index.eq(Mux(swap, 0, index) + taken),
        keep.eq(keep_now),
        asked.eq(there & (address == place) & ~swap),
    ]
    with m.If(swap):
        m.d.sync += [shown.eq(keep), there.eq(index > place)]
    answered = delayed(m, asked, 1, "answered")
    then = delayed(m, shown, 1, "then")
    m.d.comb += [
        Assert(Mux(answered, dut.read_data == then, 1)),
        Cover(answered & (place == depth - 1) & (then == 0x123456789ABCDE)),
        Cover(dut.lost & cut & ~flush),
    ]
    return m


def _announcements(fault: bool) -> Top:
    depths = (2, 2)
    m = Top()
    begin(m)
    m.submodules.dut = dut = AnnouncementCapture(depths)
    cut, flush = free(m, 1, "cut"), free(m, 1, "flush")
    entered: dict[int, Value] = {1: 0, 2: 0}
    for port in range(len(depths)):
        valid, which = free(m, 1, f"valid_{port}"), free(m, 1, f"plus_{port}")
        m.d.comb += [
            dut.announce[port].valid.eq(valid),
            dut.announce[port].outcome.eq(which + 1),
            dut.announce[port].slot.eq(free(m, 64, f"slot_{port}")),
        ]
        entered[1] = entered[1] + (valid & ~which)
        entered[2] = entered[2] + (valid & which)
    m.d.comb += [dut.cut.eq(cut), dut.flush.eq(flush)]
    swap = cut & flush
    minus = dut.lost_psi_minus
    conserved(
        m,
        entered=entered[1],
        lost=minus & ~swap if fault else minus,
        flush=swap,
        count=dut.psi_minus,
        late=2,
        name="minus",
    )
    conserved(
        m,
        entered=entered[2],
        lost=dut.lost_psi_plus,
        flush=swap,
        count=dut.psi_plus,
        late=2,
        name="plus",
    )
    both = Signal.like(dut.count)
    m.d.sync += both.eq(dut.psi_minus + dut.psi_plus)
    m.d.comb += [
        Assert(dut.count == both),
        Cover(swap & (dut.lost_psi_minus != 0) & (dut.lost_psi_plus != 0)),
        Cover((dut.psi_minus != 0) & (dut.psi_plus != 0) & (both == sum(depths))),
    ]
    return m


def _readout(fault: bool) -> Top:
    depths = (2, 2)
    m = Top()
    m.submodules.dut = dut = AnnouncementCapture(depths)
    # Slots enter in increasing order, ports within a clock, and clock by clock.
    newest, any_before = Signal(5), Signal()
    upto, some = newest, any_before
    for port in range(len(depths)):
        valid, slot = free(m, 1, f"valid_{port}"), free(m, 5, f"slot_{port}")
        if not fault:
            m.d.comb += Assume(Mux(valid & some, slot > upto, 1))
        m.d.comb += [
            dut.announce[port].valid.eq(valid),
            dut.announce[port].outcome.eq(1),
            dut.announce[port].slot.eq(slot),
        ]
        upto, some = Mux(valid, slot, upto), some | valid
    m.d.sync += [newest.eq(upto), any_before.eq(some)]
    # One flush, then one readout without a pause.
    at, cut_at = Signal(5), 3  # clocks enough to fill every port and lose a record
    m.d.sync += at.eq(at + 1)
    cut = at == cut_at
    m.d.comb += [dut.cut.eq(cut), dut.flush.eq(1)]
    reading = Signal()
    asked, came, last = Signal(4), Signal(4), Signal(OUTCOME_SHIFT)
    here = dut.record[:OUTCOME_SHIFT]
    with m.If(at == cut_at + 9):
        m.d.sync += reading.eq(1)
    m.d.comb += dut.take.eq(reading & (asked != dut.count))
    m.d.sync += asked.eq(asked + dut.take)
    comes = delayed(m, dut.take, 2, "comes")
    with m.If(comes):
        m.d.sync += [came.eq(came + 1), last.eq(here)]
    m.d.comb += [
        Assert(~(comes & (came != 0) & (here <= last))),
        Cover(reading & (came == sum(depths)) & (came == dut.count)),
    ]
    return m


def _link(fault: bool) -> Top:
    depth = 2
    m = Top()
    first = begin(m)
    m.submodules.dut = dut = LinkBuffer(depth)
    push, word, ready = free(m, 1, "push"), free(m, 32, "word"), free(m, 1, "ready")
    number = held(m, first, 2, "number")  # any one of the words pushed
    m.d.comb += [dut.push.eq(push), dut.word.eq(word), dut.link_out.ready.eq(ready)]
    full = dut.level == depth
    accepted, mine = Signal(5), Signal(32)
    take = push if fault else push & ~full
    sent = Signal(8)
    with m.If(take):
        m.d.sync += accepted.eq(accepted + 1)
        with m.If(accepted == number):
            m.d.sync += mine.eq(word)
    out = dut.link_out
    with m.If(out.valid & out.ready):
        m.d.sync += sent.eq(sent + 1)
    refused = Signal()
    with m.If(push & full):
        m.d.sync += refused.eq(1)
    m.d.comb += [
        Assert(
            Mux(
                out.valid & (sent[2:] == number),
                out.payload == mine.word_select(sent[:2], 8),
                1,
            )
        ),
        Assert(Mux(out.valid, sent[2:] < accepted, 1)),
        # nothing is stuck: what was accepted is in the memory, in the serializer, or sent
        Assert(dut.level + out.valid + sent[2:] == accepted),
        Assert(dut.overrun == refused),
        Cover((sent == 8) & (number == 1) & (mine == 0xDEADBEEF)),
        Cover(dut.overrun),
        Cover(Cat(full, push, ready).all()),
    ]
    return m


PROOFS = (
    Proof("tag-capture", "every raw tag is in the bank that is read, or counted", _tags, 10),
    Proof(
        "announcement-capture",
        "every announcement is in the bank that is read, or counted",
        _announcements,
        10,
    ),
    Proof("announcement-readout", "the merge of the ports gives increasing slots", _readout, 20),
    Proof("link-buffer", "every word leaves whole and in order, or sets overrun", _link, 17),
)
