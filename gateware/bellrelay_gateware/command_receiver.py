"""Bytes of the link to commands: finds frames again after any damage."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.frames import COMMAND_MAX_WORDS, MAGIC, FrameType
from bellrelay.wire.registers import PROTOCOL_VERSION

from .timing import RECEIVE_TIMEOUT_CLOCKS
from .word_crc import frame_crc

__all__ = ["CommandReceiver"]


class CommandReceiver(wiring.Component):
    """Looks for the magic at any byte, then checks header and payload.

    A header whose CRC fails, or that is no READ or WRITE of this protocol version with 2 to
    ``COMMAND_MAX_WORDS + 2`` words, a payload whose CRC fails, and a pause of
    ``RECEIVE_TIMEOUT_CLOCKS`` within a frame are each one bad command; the search goes on with the
    next byte. Payloads alternate between two banks, so that the one that is executed stays while
    the next one arrives.

    Members
    -------
    link_in : In(stream of bytes), always ready.
    busy : In(1)
        A command is unanswered: what arrives now is dropped.
    arrived, bad, dropped : Out(1)
        Strobes, one clock after the byte that decides.
    kind : Out(8), words : Out(8)
        Frame type and payload words of the last command that arrived.
    read_addr : In(8), read_data : Out(32)
        Its payload; latency two clocks.
    """

    def __init__(self, timeout: int = RECEIVE_TIMEOUT_CLOCKS) -> None:
        if timeout < 1:
            raise ValueError(f"timeout is {timeout}; allowed: at least 1")
        self._timeout = timeout
        super().__init__(
            {
                "link_in": In(stream.Signature(8, always_ready=True)),
                "busy": In(1),
                "arrived": Out(1),
                "bad": Out(1),
                "dropped": Out(1),
                "kind": Out(8),
                "words": Out(8),
                "read_addr": In(8),
                "read_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.payload = payload = Memory(
            shape=32, depth=512, init=[], attrs={"no_rw_check": 1}
        )
        write, read = payload.write_port(), payload.read_port()
        bank = Signal()
        m.d.comb += read.addr.eq(Cat(self.read_addr, ~bank))
        m.d.sync += self.read_data.eq(read.data)
        m.submodules.crc = crc = frame_crc(8, MAGIC.to_bytes(4, "little"))

        byte, valid = self.link_in.payload, self.link_in.valid
        shift = Signal(24)
        word = Cat(shift, byte)
        position = Signal(2)
        index = Signal(8)
        expected = Signal(32)
        kind, words = Signal(8), Signal(8)
        header_good = Signal()
        quiet, too_quiet = Signal(range(self._timeout + 1)), Signal()
        primed = Signal()  # the last three bytes are the first ones of the magic word
        hold, begins = Signal(32), Signal(init=1)  # before the first byte of a word
        m.d.comb += [crc.data.eq(byte), hold.eq(Mux(begins, crc.crc, expected))]
        m.d.comb += [write.addr.eq(Cat(index, bank)), write.data.eq(word)]
        m.d.sync += [self.arrived.eq(0), self.bad.eq(0), self.dropped.eq(0)]
        m.d.sync += too_quiet.eq(~valid & (quiet == self._timeout - 1))
        with m.If(valid):
            m.d.sync += [
                shift.eq(Cat(shift, byte)[8:]),
                position.eq(position + 1),
                expected.eq(hold >> 8),
                begins.eq(position == 3),
                quiet.eq(0),
                primed.eq(word[8:] == MAGIC & 0xFF_FFFF),
            ]
            m.d.comb += crc.valid.eq(1)
        word_done = valid & (position == 3)
        # Held against the CRC byte by byte: the last byte of a word decides alone.
        same, same_so_far = Signal(), Signal()
        m.d.comb += same.eq((byte == hold[:8]) & (begins | same_so_far))
        with m.If(valid):
            m.d.sync += same_so_far.eq(same)

        with m.FSM():
            with m.State("HUNT"):
                with m.If(valid & primed & (byte == MAGIC >> 24)):
                    m.d.comb += [crc.valid.eq(0), crc.start.eq(1)]
                    m.d.sync += [position.eq(0), begins.eq(1), index.eq(1)]
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(~valid):
                    m.d.sync += quiet.eq(quiet + 1)
                    with m.If(too_quiet):
                        m.d.sync += [self.bad.eq(1), shift.eq(0), primed.eq(0)]
                        m.next = "HUNT"
                with m.If(word_done):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == 1):
                        m.d.sync += [
                            kind.eq(word[:8]),
                            words.eq(word[16:24]),
                            header_good.eq(
                                ((word[:8] == FrameType.READ) | (word[:8] == FrameType.WRITE))
                                & (word[8:16] == PROTOCOL_VERSION)
                                & (word[16:] >= 2)
                                & (word[16:] <= COMMAND_MAX_WORDS + 2)
                            ),
                        ]
                    with m.Elif(index == 4):
                        m.d.sync += index.eq(0)
                        with m.If(same & header_good):
                            m.next = "PAYLOAD"
                        with m.Else():
                            m.d.sync += [self.bad.eq(1), shift.eq(0), primed.eq(0)]
                            m.next = "HUNT"
            with m.State("PAYLOAD"):
                with m.If(~valid):
                    m.d.sync += quiet.eq(quiet + 1)
                    with m.If(too_quiet):
                        m.d.sync += [self.bad.eq(1), shift.eq(0), primed.eq(0)]
                        m.next = "HUNT"
                with m.If(word_done):
                    m.d.sync += index.eq(index + 1)
                    m.d.comb += write.en.eq(1)
                    with m.If(index + 1 == words):
                        m.next = "TRAILER"
            with m.State("TRAILER"):
                with m.If(~valid):
                    m.d.sync += quiet.eq(quiet + 1)
                    with m.If(too_quiet):
                        m.d.sync += [self.bad.eq(1), shift.eq(0), primed.eq(0)]
                        m.next = "HUNT"
                with m.If(word_done):
                    m.d.sync += [shift.eq(0), primed.eq(0)]
                    m.next = "HUNT"
                    with m.If(~same):
                        m.d.sync += self.bad.eq(1)
                    with m.Elif(self.busy):
                        m.d.sync += self.dropped.eq(1)
                    with m.Else():
                        m.d.sync += [
                            self.arrived.eq(1),
                            self.kind.eq(kind),
                            self.words.eq(words),
                            bank.eq(~bank),
                        ]
        return m
