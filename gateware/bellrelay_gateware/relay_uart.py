"""The relay with a serial line at its link."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .relay import Relay
from .uart import UartReceiver, UartTransmitter, phase_step

__all__ = ["RelayUart"]


class RelayUart(wiring.Component):
    """All members of :class:`~bellrelay_gateware.relay.Relay`, with ``rx`` and ``tx`` for its link.

    Parameters
    ----------
    relay
        Becomes a submodule.
    clock_hz, baud
        Of the line, see :mod:`bellrelay_gateware.uart`.
    """

    def __init__(self, relay: Relay, *, clock_hz: int, baud: int) -> None:
        self._relay = relay
        self._line = {"clock_hz": clock_hz, "baud": baud}
        phase_step(clock_hz, baud, 4)  # says what is wrong with the rate before anything is built
        members = {
            name: member
            for name, member in relay.signature.members.items()
            if name not in ("link_in", "link_out")
        }
        super().__init__({**members, "rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.relay = relay = self._relay
        m.submodules.receiver = receiver = UartReceiver(**self._line)
        m.submodules.transmitter = transmitter = UartTransmitter(**self._line)
        wiring.connect(m, receiver.data, relay.link_in)
        wiring.connect(m, relay.link_out, transmitter.data)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        for name, member in relay.signature.members.items():
            if name in ("link_in", "link_out"):
                continue
            inner, outer = getattr(relay, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m
