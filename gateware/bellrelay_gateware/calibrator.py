"""When a channel is calibrated, what it is shown then, and what is known of it afterwards."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .code_density import CodeDensity, load_layout
from .front_end import hits_layout
from .skew import SkewMeter

__all__ = ["Calibrator", "control_layout", "status_layout"]


def control_layout() -> data.StructLayout:
    """What the host sets.

    ``start``
        Strobe: calibrate all channels, one after the other.
    ``deskew``
        Strobe: measure the channels' skew. Refused (``skew_failed``) until all are calibrated.
    ``external``
        With ``deskew``: the common pulse comes to the pins, not from the source on the chip.
    ``follow``
        Every run ends with a measurement of the skew, by the source on the chip: the ways from the
        pins change with the temperature too.
    ``permit``
        Runs by schedule and by temperature may begin; one that is due waits for this.
    ``period``
        Units of ``schedule_unit_clocks`` from the start of a run to the next, 0 off.
    ``threshold_mdegc``
        Change of the temperature since the last run that makes one due, 0 off.
    """
    return data.StructLayout(
        {
            "start": 1,
            "deskew": 1,
            "external": 1,
            "follow": 1,
            "permit": 1,
            "period": 16,
            "threshold_mdegc": 31,
        }
    )


def status_layout(geometry: BoardGeometry) -> data.StructLayout:
    """What the host reads.

    ``busy``
        A run or a measurement is under way; strobes that come meanwhile are kept, one of each.
    ``due``
        A run waits for ``permit``.
    ``calibrated``, ``failed``
        Per channel: a measured table is in use; the last run gave none (the one before stays).
    ``runs``
        Runs that have ended, modulo 2**32.
    ``mdegc``
        Temperature at the start of the last run.
    ``skew_valid``, ``skew_failed``
        Of the last measurement.
    ``skew_ps``
        Per channel, signed: mean time after channel 0 of the same pulse. What deskew has to take
        away from this channel.
    ``blind_clocks``
        Per channel: clocks of ``sync`` in which its pin was not looked at, modulo 2**48.
    """
    n = geometry.n_channels
    return data.StructLayout(
        {
            "busy": 1,
            "due": 1,
            "calibrated": n,
            "failed": n,
            "runs": 32,
            "mdegc": signed(32),
            "skew_valid": 1,
            "skew_failed": 1,
            "skew_ps": data.ArrayLayout(signed(32), n),
            "blind_clocks": data.ArrayLayout(48, n),
        }
    )


class Calibrator(wiring.Component):
    """Runs code density over the channels, on command, by schedule, as the temperature changes.

    One channel after the other is switched from its pin to the calibration source, counted, and
    switched back; then its new table, written into the bank not in use, is swapped in. The others
    work on. While it is switched, and until what was in the line has drained, the channel has no
    hits, whatever happens at its pin. It is *blind* from ``settle_clocks`` before that until as
    many after it, so that no deskew moves a tag out of the blind clocks: these are counted, and
    whoever judges whether a slot could have had a click takes ``blind`` into account.

    Parameters
    ----------
    geometry
        Of the cells.
    samples_log2, timeout_clocks
        As in :class:`~.code_density.CodeDensity`.
    pulses_log2
        Pulses of a skew measurement; as in :class:`~.skew.SkewMeter`.
    settle_clocks
        Before and after a switch; longer than the way from a line to ``raw`` plus the longest
        pulse, and than any deskew, from 4.
    at_reset
        Begin with a run: the tables as built fit no line.
    schedule_unit_clocks
        Unit of ``period``, from 1; 2**20 clocks are 10.5 ms at 100 MHz.

    Members
    -------
    raw : In, :func:`~.front_end.hits_layout`: all hits
    hits : Out, the same without those of switched channels, no clock later
    select : Out(n_channels), asynchronous users: channel is switched to the calibration source
    blind : Out(n_channels), of the hits of this clock
    temperature : In(signed(32)), millidegrees Celsius
    control : In, :func:`control_layout`; status : Out, :func:`status_layout`
    load : Out, load_ready : In, swap : Out(n_channels)
        To :class:`~.fine_lookup.FineLookup`.
    read_addr, read_count, read_time
        Counts and times of the last run, as in :class:`~.code_density.CodeDensity`.
    """

    def __init__(
        self,
        geometry: BoardGeometry,
        *,
        samples_log2: int = 20,
        timeout_clocks: int = 1 << 16,
        pulses_log2: int = 12,
        settle_clocks: int = 64,
        at_reset: bool = True,
        schedule_unit_clocks: int = 1 << 20,
    ) -> None:
        if settle_clocks < 4:
            raise ValueError(f"settle_clocks is {settle_clocks!r}; allowed: from 4")
        if schedule_unit_clocks < 1:
            raise ValueError(f"schedule_unit_clocks is {schedule_unit_clocks!r}; allowed: from 1")
        self.geometry = g = geometry
        self.settle_clocks = settle_clocks
        self.at_reset = at_reset
        self.schedule_unit_clocks = schedule_unit_clocks
        self._density = CodeDensity(g, samples_log2=samples_log2, timeout_clocks=timeout_clocks)
        self._skew = SkewMeter(g, pulses_log2=pulses_log2, timeout_clocks=timeout_clocks)
        members = self._density.signature.members
        super().__init__(
            {
                "raw": In(hits_layout(g)),
                "hits": Out(hits_layout(g)),
                "select": Out(g.n_channels),
                "blind": Out(g.n_channels),
                "temperature": In(signed(32)),
                "control": In(control_layout()),
                "status": Out(status_layout(g)),
                "load": Out(load_layout(g)),
                "load_ready": In(1),
                "swap": Out(g.n_channels),
                **{name: members[name] for name in ("read_addr", "read_count", "read_time")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        g, status = self.geometry, self.status
        m.submodules.density = density = self._density
        m.submodules.skew = skew = self._skew
        channel = Signal(range(g.n_channels))
        masked = Signal(g.n_channels)
        here = Signal(g.n_channels)
        m.d.comb += [here.bit_select(channel, 1).eq(1)]
        raw = Array(self.raw)[channel]
        m.d.comb += [
            density.channel.eq(channel),
            density.hit.eq(raw.hit),
            density.code.eq(raw.code),
            density.read_addr.eq(self.read_addr),
            density.look_addr.eq(skew.look_addr),
            density.load_ready.eq(self.load_ready),
            self.read_count.eq(density.read_count),
            self.read_time.eq(density.read_time),
            self.load.eq(density.load),
            skew.hits.eq(self.raw),
            skew.look_time.eq(density.look_time),
        ]
        for k in range(g.n_channels):
            m.d.comb += [
                self.hits[k].hit.eq(self.raw[k].hit & ~masked[k]),
                self.hits[k].code.eq(self.raw[k].code),
                status.skew_ps[k].eq(skew.skew_ps[k]),
            ]
            with m.If(self.blind[k]):
                m.d.sync += status.blind_clocks[k].eq(status.blind_clocks[k] + 1)

        due, due_since = self._due(m)
        asked, skew_asked, external = Signal(init=self.at_reset), Signal(), Signal()
        settled = Signal(range(self.settle_clocks))
        failed, finished = Signal(), Signal()
        # The multiplexers lie beside the pads: a clock for the way, out of `settle_clocks`.
        chosen = Signal.like(self.select)
        m.d.sync += self.select.eq(chosen)
        with m.If(self.control.start):
            m.d.sync += asked.eq(1)
        with m.If(self.control.deskew):
            m.d.sync += [skew_asked.eq(1), external.eq(self.control.external)]
        m.d.comb += [status.due.eq(due), status.busy.eq(1)]
        m.d.sync += settled.eq(settled + 1)
        is_settled = settled == self.settle_clocks - 1
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += status.busy.eq(0)
                m.d.sync += [channel.eq(0), settled.eq(0)]
                with m.If(asked | (due & self.control.permit)):
                    m.d.comb += due_since.eq(1)
                    m.d.sync += [asked.eq(0), status.mdegc.eq(self.temperature)]
                    m.next = "LEAD"
                with m.Elif(skew_asked):
                    m.d.sync += [skew_asked.eq(0), status.skew_valid.eq(0)]
                    m.d.sync += status.skew_failed.eq(~status.calibrated.all())
                    with m.If(status.calibrated.all()):
                        m.next = "SKEW_LEAD"
            with m.State("LEAD"):
                m.d.sync += self.blind.eq(here)
                with m.If(is_settled):
                    m.d.sync += settled.eq(0)
                    m.next = "SWITCH"
            with m.State("SWITCH"):
                m.d.sync += [masked.eq(here), chosen.eq(here)]
                m.d.sync += [finished.eq(0), failed.eq(0)]
                with m.If(is_settled):
                    m.d.comb += density.start.eq(1)
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += settled.eq(0)
                with m.If(density.collected):
                    m.d.sync += chosen.eq(0)
                    m.next = "RELEASE"
            with m.State("RELEASE"):
                with m.If(is_settled):
                    m.d.sync += [masked.eq(0), settled.eq(0)]
                    m.next = "TRAIL"
            with m.State("TRAIL"):
                with m.If(is_settled):
                    m.d.sync += self.blind.eq(0)
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.sync += settled.eq(0)
                with m.If(finished):
                    m.d.comb += self.swap.eq(Mux(failed, 0, here))
                    m.d.sync += [
                        status.calibrated.eq(status.calibrated | self.swap),
                        status.failed.eq(Mux(failed, status.failed | here, status.failed & ~here)),
                        channel.eq(channel + 1),
                    ]
                    m.next = "LEAD"
                    with m.If(channel == g.n_channels - 1):
                        m.d.sync += status.runs.eq(status.runs + 1)
                        with m.If(self.control.follow):
                            m.d.sync += [skew_asked.eq(1), external.eq(0)]
                        m.next = "IDLE"
            with m.State("SKEW_LEAD"):
                m.d.sync += self.blind.eq(-1)
                with m.If(is_settled):
                    m.d.sync += settled.eq(0)
                    m.next = "SKEW_SWITCH"
            with m.State("SKEW_SWITCH"):
                m.d.sync += [masked.eq(-1), chosen.eq((~external).replicate(g.n_channels))]
                with m.If(is_settled):
                    m.d.comb += skew.start.eq(1)
                    m.next = "SKEW"
            with m.State("SKEW"):
                m.d.sync += settled.eq(0)
                with m.If(skew.done):
                    m.d.sync += [
                        chosen.eq(0),
                        status.skew_valid.eq(~skew.failed),
                        status.skew_failed.eq(skew.failed),
                    ]
                    m.next = "SKEW_RELEASE"
            with m.State("SKEW_RELEASE"):
                with m.If(is_settled):
                    m.d.sync += [masked.eq(0), settled.eq(0)]
                    m.next = "SKEW_TRAIL"
            with m.State("SKEW_TRAIL"):
                with m.If(is_settled):
                    m.d.sync += self.blind.eq(0)
                    m.next = "IDLE"
        with m.If(density.done):
            m.d.sync += [finished.eq(1), failed.eq(density.failed)]
        return m

    def _due(self, m: Module) -> tuple[Signal, Signal]:
        """A run is due by schedule or temperature; and the strobe that a run has begun."""
        due, begins = Signal(), Signal()
        control, status = self.control, self.status
        unit, units = Signal(range(self.schedule_unit_clocks)), Signal(16)
        change, size = Signal(signed(33)), Signal(33)
        far = Signal()
        m.d.sync += [
            change.eq(self.temperature - status.mdegc),
            size.eq(Mux(change < 0, -change, change)),
            far.eq((size >= control.threshold_mdegc) & (control.threshold_mdegc != 0)),
            unit.eq(unit + 1),
        ]
        with m.If(unit == self.schedule_unit_clocks - 1):
            m.d.sync += [unit.eq(0), units.eq(Mux(units == 0xFFFF, units, units + 1))]
        on_time = (units >= control.period) & (control.period != 0)
        # Before the first run there is no temperature to differ from.
        with m.If(on_time | (far & (status.runs != 0) & ~status.busy)):
            m.d.sync += due.eq(1)
        with m.If(begins):
            m.d.sync += [due.eq(0), unit.eq(0), units.eq(0)]
        return due, begins
