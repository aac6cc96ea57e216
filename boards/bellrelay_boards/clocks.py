"""Clock domains of a board: the tagging clock, the relay's clock, the link's."""

from __future__ import annotations

from typing import Literal, get_args

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.lib.wiring import In, Out

from .pll import Ecp5Pll, pll_dividers
from .reference import ReferenceMonitor

__all__ = ["REFERENCE_HZ", "SYNC_HZ", "TAG_HZ", "BoardClocks", "Reference"]

TAG_HZ = 200_000_000
"""Domain ``tag``: delay lines are sampled and encoded."""
SYNC_HZ = 100_000_000
"""Domain ``sync``: the relay. Every edge of it is one of ``tag``."""
REFERENCE_HZ = 10_000_000
"""An external reference."""

Reference = Literal["internal", "external"]


class BoardClocks(wiring.Component):
    """Domains ``local``, ``tag``, ``sync`` and whatever else is asked for, out of one loop.

    ``local`` is the board's own oscillator. While the loop is not locked everything is in reset: a
    relay whose clock is in doubt tells nothing. ``tag`` and ``sync`` are reset by the chip's global
    net, in step with ``sync``, and have no reset of their own: one that reaches every flip-flop
    over the fabric would take longer than a clock. Further domains come out of theirs a few of
    their clocks after that.

    With an external reference the loop runs on that alone; nothing switches over by itself, since
    a switch is a phase jump that no tag would show. The pin is watched in either case.

    Parameters
    ----------
    clock_hz
        Of the oscillator.
    reference
        ``internal``: the loop follows the oscillator. ``external``: the pin ``reference``.
    extra
        Further domains of the loop, frequency in Hz by name.
    watch
        Parameters of :class:`~.reference.ReferenceMonitor` beside the frequencies.

    Members
    -------
    oscillator : In(1), reference : In(1)
    ready : In(1), asynchronous: the further domains stay in reset until it is high
    pll_locked, reference_locked : Out(1), in ``sync``
    """

    def __init__(
        self,
        *,
        clock_hz: int,
        reference: Reference = "internal",
        extra: dict[str, int] | None = None,
        watch: dict[str, int] | None = None,
    ) -> None:
        if reference not in get_args(Reference):
            raise ValueError(
                f"reference is {reference!r}; allowed: {', '.join(get_args(Reference))}"
            )
        taken = {"local", "tag", "sync"} & set(extra or ())
        if taken:
            raise ValueError(f"extra names {', '.join(sorted(taken))}: these domains are there")
        self.reference_kind = reference
        self.dividers = pll_dividers(
            clock_hz if reference == "internal" else REFERENCE_HZ,
            {"tag": TAG_HZ, "sync": SYNC_HZ, **(extra or {})},
        )
        self.domains = {
            "local": ClockDomain("local", reset_less=True),
            "tag": ClockDomain("tag", reset_less=True),
            "sync": ClockDomain("sync", reset_less=True),
            **{name: ClockDomain(name) for name in extra or ()},
        }
        """The domains, for whoever uses this to add to itself: they must stand above all users."""
        self._monitor = ReferenceMonitor(
            clock_hz=clock_hz, reference_hz=REFERENCE_HZ, **(watch or {})
        )
        super().__init__(
            {
                "oscillator": In(1),
                "reference": In(1),
                "ready": In(1, init=1),
                "pll_locked": Out(1),
                "reference_locked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.domains["local"].clk.eq(self.oscillator)
        m.submodules.pll = pll = Ecp5Pll(self.dividers)
        source = self.oscillator if self.reference_kind == "internal" else self.reference
        m.d.comb += [pll.reference.eq(source), pll.reset.eq(Const(0, 1))]
        for name in self.dividers.outputs:
            m.d.comb += self.domains[name].clk.eq(getattr(pll, f"clk_{name}"))
            if name not in ("tag", "sync"):
                m.submodules[f"reset_{name}"] = ResetSynchronizer(
                    ~pll.locked | ~self.ready, domain=name
                )
        self._add_global_reset(m, pll.locked)
        m.submodules.monitor = monitor = self._monitor
        m.d.comb += monitor.pin.eq(self.reference)
        m.submodules.lock = FFSynchronizer(pll.locked, self.pll_locked)
        m.submodules.there = FFSynchronizer(monitor.reference_locked, self.reference_locked)
        return m

    def _add_global_reset(self, m: Module, locked: Value) -> None:
        """Let go two clocks of ``sync`` after the lock; these two flip-flops are not reset."""
        clock, stages = self.domains["sync"].clk, [Signal(name=f"good_{i}") for i in range(2)]
        for i, (before, after) in enumerate(zip([locked, *stages], stages, strict=False)):
            m.submodules[f"good_{i}"] = Instance(
                "FD1S3AX", p_GSR="DISABLED", i_CK=clock, i_D=before, o_Q=after
            )
        m.submodules.global_reset = Instance("SGSR", i_CLK=clock, i_GSR=stages[-1])
