"""Ticks, and the states that change at their boundaries."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import State

from .timing import START_CLOCKS

__all__ = ["Sequencer", "ended_layout"]


def ended_layout() -> data.StructLayout:
    """What is known about a tick once it has ended.

    ``state`` in its last clock, ``active``: it ran or drained, ``first``, ``final``: the first and
    the draining tick of an acquisition, ``due``: it ends with a heartbeat, ``answer``: a command
    completed in it or before and is unanswered, ``cut_tick``: ticks of the acquisition up to and
    with this one, ``uptime_ticks``: of the board, ``acquisition``: id, 0 unless active.
    """
    return data.StructLayout(
        {
            "state": 2,
            "active": 1,
            "first": 1,
            "final": 1,
            "due": 1,
            "answer": 1,
            "cut_tick": 64,
            "uptime_ticks": 64,
            "acquisition": 32,
            "trim": 32,
        }
    )


class Sequencer(wiring.Component):
    """Counts clocks into ticks and steps ``idle -> armed -> running -> draining -> idle``.

    Members
    -------
    command : In(1)
        Strobe: a command arrives in this clock. Since it,
        ``START_CLOCKS`` pass at least before cell 0.
    start, stop : In(1)
        Strobes of completed commands. ``start`` is ignored unless idle; ``stop`` in ``armed`` (or
        with ``start``) goes back to ``idle`` at the boundary, in ``idle`` and ``draining`` it does
        nothing.
    ready : In(1)
        Nothing that the acquisition before left behind is in the way; cell 0 waits for it.
    answer : In(1)
        A completed command is unanswered.
    heartbeat_ticks, acquisition, trim : In
        In force.
    state : Out(2)
    acquire, active, cell_start, tick_last : Out(1)
        To the stages, in the clock of the cell itself. ``tick_last`` while idle, too.
    ended : Out(ended_layout())
        Of the last tick that ended; changes in the clock after ``tick_last``.
    """

    def __init__(self, geometry: BoardGeometry) -> None:
        self._geometry = geometry
        super().__init__(
            {
                "command": In(1),
                "start": In(1),
                "stop": In(1),
                "ready": In(1),
                "answer": In(1),
                "heartbeat_ticks": In(32),
                "acquisition": In(32),
                "trim": In(32),
                "state": Out(State),
                "acquire": Out(1),
                "active": Out(1),
                "cell_start": Out(1),
                "tick_last": Out(1),
                "ended": Out(ended_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase = Signal(range(self._geometry.tick_clocks))
        since = Signal(range(START_CLOCKS + 1), init=START_CLOCKS)
        long_since = Signal(init=1)  # `since` is START_CLOCKS - 1 at least
        stopping = Signal()
        beat = Signal(32)
        first = Signal()
        draining = Signal()
        m.d.sync += [
            phase.eq(phase + 1),
            self.tick_last.eq(phase == self._geometry.tick_clocks - 2),
            self.cell_start.eq(0),
        ]
        m.d.comb += [
            draining.eq(self.state == State.DRAINING),
            self.acquire.eq(self.state == State.RUNNING),
            self.active.eq(self.acquire | draining),
        ]
        m.d.sync += long_since.eq(~self.command & (since >= START_CLOCKS - 2))
        with m.If(self.command):
            m.d.sync += since.eq(1)
        with m.Elif(since != START_CLOCKS):
            m.d.sync += since.eq(since + 1)

        with m.If(self.start & (self.state == State.IDLE)):
            m.d.sync += [self.state.eq(State.ARMED), stopping.eq(self.stop)]
        with m.If(self.stop & ((self.state == State.ARMED) | self.acquire)):
            m.d.sync += stopping.eq(1)

        # What it follows from changes only at a tick's boundary.
        due = Signal()
        m.d.sync += due.eq(draining | (beat + 1 >= self.heartbeat_ticks))
        with m.If(self.tick_last):
            ended = self.ended
            m.d.sync += [
                beat.eq(Mux(due, 0, beat + 1)),
                # A start that completes in the last clock arms in it.
                ended.state.eq(
                    Mux(self.start & (self.state == State.IDLE), State.ARMED.value, self.state)
                ),
                ended.active.eq(self.active),
                ended.first.eq(first),
                ended.final.eq(draining),
                ended.due.eq(due),
                ended.answer.eq(self.answer),
                ended.uptime_ticks.eq(ended.uptime_ticks + 1),
                ended.acquisition.eq(Mux(self.active, self.acquisition, 0)),
                ended.trim.eq(self.trim),
            ]
            with m.If(self.active):
                m.d.sync += ended.cut_tick.eq(Mux(first, 1, ended.cut_tick + 1))
                m.d.sync += first.eq(0)
            with m.Switch(self.state):
                with m.Case(State.ARMED):
                    # The boundary is the clock after this one.
                    with m.If(stopping | self.stop):
                        m.d.sync += [self.state.eq(State.IDLE), stopping.eq(0)]
                    with m.Elif(long_since & self.ready):
                        m.d.sync += [
                            self.state.eq(State.RUNNING),
                            self.cell_start.eq(1),
                            first.eq(1),
                            beat.eq(0),
                        ]
                with m.Case(State.RUNNING):
                    with m.If(stopping | self.stop):
                        m.d.sync += [self.state.eq(State.DRAINING), stopping.eq(0)]
                with m.Case(State.DRAINING):
                    m.d.sync += [self.state.eq(State.IDLE), beat.eq(0)]
        return m
