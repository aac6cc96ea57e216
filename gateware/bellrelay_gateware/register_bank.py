"""The register map in gates: executes commands, each wholly or not at all."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bellrelay.wire.frames import COMMAND_MAX_WORDS, FrameType, Status
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import Access, Control, Register, RegisterMap, State

from .config import config_layout, config_registers
from .timing import COMMAND_CLOCKS, EXECUTE_CLOCKS

__all__ = ["RegisterBank", "response_layout", "status_registers_layout"]

_SPACE = 256
"""Words of the block that holds registers; memories lie above."""

_KINDS = {
    Access.CONSTANT: 1,
    Access.STATUS: 2,
    Access.CONFIG: 3,
    Access.LIVE: 4,
    Access.COMMAND: 5,
}
_STAGED = ("heartbeat_ticks",)
"""Registers that, as the live ones, act before an acquisition: in force from the next tick on."""


def response_layout() -> data.StructLayout:
    """Head of the answer; ``values`` words follow from the response memory."""
    return data.StructLayout(
        {"tag": 32, "status": 8, "kind": 8, "command": 32, "values": range(COMMAND_MAX_WORDS + 1)}
    )


def status_registers_layout(geometry: BoardGeometry) -> data.StructLayout:
    """One field per STATUS register beside ``state`` and ``temperature``, named as it."""
    return data.StructLayout(
        {
            r.name: 32 if r.count == 1 else data.ArrayLayout(32, r.count)
            for r in _status_registers(RegisterMap(geometry))
        }
    )


def _status_registers(registers: RegisterMap) -> list[Register]:
    return [
        r
        for block in registers.blocks
        for r in block.registers
        if r.access is Access.STATUS and r.name not in ("state", "temperature")
    ]


class RegisterBank(wiring.Component):
    """Registers of :class:`~bellrelay.wire.registers.RegisterMap`.

    A command is checked register by register in ascending order; the first fault is its status
    and nothing of it is written. Faults of one register: unknown address, read only, locked (kinds
    config and memory while not idle), out of range (memory words above their ``high``). A command
    whose length contradicts its command word is malformed. Writing ``start`` while not idle is
    locked; while idle every config register is held against its range, and the windows, the phase
    and ``hist_ticks`` against each other.

    Members
    -------
    arrived, kind, words, payload_addr, payload_data
        From the command receiver; data come two clocks after the address.
    state, temperature : In
        Current ones.
    status : In(status_registers_layout(geometry))
        The other status registers; they are read as they are when their word is looked at.
    tick_last : In(1)
        Values of completed commands come into force in the clock after.
    answered : In(1)
        Strobe: the response has left.
    busy, answer : Out(1)
        A command is unanswered; it has also completed.
    start, stop : Out(1)
        Strobes in the clock in which the command completes.
    calibrate : Out(3)
        Likewise, the bits written to ``fine_command``.
    config : Out(config_layout(geometry))
    response : Out(response_layout()), response_addr, response_data
        Latency of the data: two clocks.
    fine_*, pattern_*, counts_*
        To the stages' tables and the code density; read data come at most three clocks after the
        address.
    """

    def __init__(
        self,
        geometry: BoardGeometry,
        *,
        version: tuple[int, int, int] = (0, 1, 0),
        git_revision: int = 0,
    ) -> None:
        self._geometry = g = geometry
        self._map = RegisterMap(g)
        self._constants = self._map.constants(version=version, git_revision=git_revision)
        self._fine, self._pattern = self._map["fine"], self._map["pattern"]
        self._counts = self._map["fine_counts"]
        self._fine_width = (g.clock_period_ps - 1).bit_length()
        fine_addr = (self._fine.count - 1).bit_length()
        pattern_addr = (self._pattern.count - 1).bit_length()
        super().__init__(
            {
                "arrived": In(1),
                "kind": In(8),
                "words": In(8),
                "payload_addr": Out(8),
                "payload_data": In(32),
                "state": In(2),
                "temperature": In(32),
                "tick_last": In(1),
                "answered": In(1),
                "busy": Out(1),
                "answer": Out(1),
                "start": Out(1),
                "stop": Out(1),
                "calibrate": Out(3),
                "status": In(status_registers_layout(g)),
                "counts_read_addr": Out(range(self._counts.count)),
                "counts_read_data": In(32),
                "config": Out(config_layout(g)),
                "response": Out(response_layout()),
                "response_addr": In(7),
                "response_data": Out(32),
                "fine_write": Out(
                    data.StructLayout({"en": 1, "addr": fine_addr, "data": self._fine_width})
                ),
                "fine_read_addr": Out(fine_addr),
                "fine_read_data": In(self._fine_width),
                "pattern_write": Out(data.StructLayout({"en": 1, "addr": pattern_addr, "data": 4})),
                "pattern_read_addr": Out(pattern_addr),
                "pattern_read_data": In(4),
            }
        )

    def _attributes(self) -> list[dict[str, int]]:
        """Kind and range of every word, as numbers that compare without sign."""
        out = [{"kind": 0, "signed": 0, "low": 0, "high": 0} for _ in range(_SPACE)]
        for block in self._map.blocks:
            for r in block.registers:
                if r.access in (Access.MEMORY, Access.READOUT):
                    continue
                bias = (1 << 31) if r.signed else 0
                for i in range(r.count):
                    out[block.base + r.offset + i] = {
                        "kind": _KINDS[r.access],
                        "signed": int(r.signed),
                        "low": r.low + bias,
                        "high": r.high + bias,
                    }
        return out

    def _reset_words(self) -> list[int]:
        out = [0] * _SPACE
        for address, value in self._constants.items():
            out[address] = value
        for r in config_registers(self._geometry):
            for i in range(r.count):
                out[self._map.address(r.name, i)] = r.reset & 0xFFFF_FFFF
        return out

    def _relations(self, c: data.View) -> tuple[list[Value], list[Value], list[Value]]:
        """What must hold between registers when an acquisition starts.

        All of the first, and one of the second at least (windows that are apart, or one empty) and
        of the third (no histogram, or time enough to send one).
        """
        g = self._geometry
        least = g.n_channels * g.hist_bins // g.hist_chunk + 1
        return (
            [
                c.phase_ps < c.slot_period_ps,
                c.early_start <= c.early_end,
                c.late_start <= c.late_end,
                c.early_end <= c.slot_period_ps,
                c.late_end <= c.slot_period_ps,
            ],
            [
                c.early_end <= c.late_start,
                c.late_end <= c.early_start,
                c.early_start == c.early_end,
                c.late_start == c.late_end,
            ],
            [c.hist_ticks == 0, c.hist_ticks >= least],
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = data.StructLayout({"kind": 3, "signed": 1, "low": 32, "high": 32})
        m.submodules.attributes = rom = Memory(shape=layout, depth=_SPACE, init=self._attributes())
        m.submodules.words = ram = Memory(
            shape=32, depth=_SPACE, init=self._reset_words(), attrs={"no_rw_check": 1}
        )
        m.submodules.values = values = Memory(
            shape=32, depth=128, init=[], attrs={"no_rw_check": 1}
        )
        rom_read, ram_read, values_read = rom.read_port(), ram.read_port(), values.read_port()
        ram_write, values_write = ram.write_port(), values.write_port()
        m.d.comb += values_read.addr.eq(self.response_addr)
        m.d.sync += self.response_data.eq(values_read.data)

        resets = {
            r.name: r.reset if r.count == 1 else [r.reset] * r.count
            for r in config_registers(self._geometry)
        }
        layout_all = config_layout(self._geometry)
        config = Signal(layout_all, init=resets)
        committed = Signal(layout_all, init=resets)
        staged = [
            r.name
            for r in config_registers(self._geometry)
            if r.access is Access.LIVE or r.name in _STAGED
        ]
        in_force = {
            name: Signal(
                layout_all[name].shape, init=self._map[name].reset, name=f"{name}_in_force"
            )
            for name in staged
        }
        for name in layout_all.members:
            source = in_force[name] if name in in_force else config[name]
            m.d.comb += self.config[name].eq(source)
        with m.If(self.tick_last):
            m.d.sync += [in_force[name].eq(committed[name]) for name in staged]

        # --- the command that is being executed
        elapsed = Signal(range(COMMAND_CLOCKS + 1))
        idle_then, state_then, temperature_then = Signal(), Signal(2), Signal(32)
        command, index, step = Signal(32), Signal(8), Signal(3)
        count, base = command[16:], command[:16]
        status = Signal(8)
        starts, stops, completed, completes = Signal(), Signal(), Signal(), Signal()
        m.d.comb += self.answer.eq(completed | completes)
        writing = self.kind == FrameType.WRITE
        # Every word takes eight steps, in which what follows from its index settles, register by
        # register: 1 address, 2 where it lies and what the memories hold, 3 that in registers,
        # 4 faults and the tables' answers, 5 the value that a read gives.
        address = Signal(17)
        checking_start = Signal()
        m.d.sync += address.eq(Mux(checking_start, index, base + index))
        m.d.comb += [
            rom_read.addr.eq(address[:8]),
            ram_read.addr.eq(address[:8]),
            self.payload_addr.eq(index + 2),
        ]
        pattern_base = self._map.address("pattern")
        fine_base = self._map.address("fine")
        counts_base = self._map.address("fine_counts")
        register, in_pattern, in_fine, in_counts = Signal(), Signal(), Signal(), Signal()
        is_state, is_temperature, is_control = Signal(), Signal(), Signal()
        # Picked in two steps: eight words to a group, then the group.
        statuses: dict[int, dict[int, Value]] = {}
        for r in _status_registers(self._map):
            for i in range(r.count):
                at = self._map.address(r.name, i)
                field = self.status[r.name] if r.count == 1 else self.status[r.name][i]
                statuses.setdefault(at >> 3, {})[at & 7] = field
        status_word = Signal(32)
        groups = {group: Signal(32, name=f"status_{group}") for group in statuses}
        for group, words in statuses.items():
            with m.Switch(address[:3]):
                for at, field in words.items():
                    with m.Case(at):
                        m.d.sync += groups[group].eq(field)
        with m.Switch(address[3:8]):
            for group, chosen in groups.items():
                with m.Case(group):
                    m.d.sync += status_word.eq(chosen)
        m.d.sync += [
            register.eq(address < _SPACE),
            in_pattern.eq(
                (address >= pattern_base) & (address < pattern_base + self._pattern.count)
            ),
            in_fine.eq((address >= fine_base) & (address < fine_base + self._fine.count)),
            in_counts.eq((address >= counts_base) & (address < counts_base + self._counts.count)),
            is_control.eq(address == self._map.address("control")),
            is_state.eq(address == self._map.address("state")),
            is_temperature.eq(address == self._map.address("temperature")),
        ]
        value = self.payload_data
        m.d.comb += [
            self.pattern_read_addr.eq(address - pattern_base),
            self.fine_read_addr.eq(address - fine_base),
            self.counts_read_addr.eq(address - counts_base),
            self.pattern_write.addr.eq(address - pattern_base),
            self.fine_write.addr.eq(address - fine_base),
            self.pattern_write.data.eq(value),
            self.fine_write.data.eq(value),
            ram_write.addr.eq(address[:8]),
            ram_write.data.eq(value),
            values_write.addr.eq(index),
        ]
        attribute, held = Signal(layout), Signal(32)
        m.d.sync += [attribute.eq(rom_read.data), held.eq(ram_read.data)]
        kind = attribute.kind
        too_high = Signal()
        m.d.sync += too_high.eq(
            (in_pattern & (value > self._pattern.high)) | (in_fine & (value > self._fine.high))
        )
        fault, faulty = Signal(8), Signal()
        m.d.sync += faulty.eq(fault != 0)
        known = register | in_pattern | in_fine | in_counts
        with m.If(~known | (register & (kind == 0))):
            m.d.sync += fault.eq(Status.UNKNOWN_ADDRESS)
        with m.Elif(writing & (in_counts | (register & ((kind == 1) | (kind == 2))))):
            m.d.sync += fault.eq(Status.READ_ONLY)
        with m.Elif(writing & (~register | (kind == 3)) & ~idle_then):
            m.d.sync += fault.eq(Status.LOCKED)
        with m.Elif(writing & too_high):
            m.d.sync += fault.eq(Status.OUT_OF_RANGE)
        with m.Else():
            m.d.sync += fault.eq(0)
        read_value = Signal(32)
        with m.If(in_pattern):
            m.d.sync += read_value.eq(self.pattern_read_data)
        with m.Elif(in_fine):
            m.d.sync += read_value.eq(self.fine_read_data)
        with m.Elif(in_counts):
            m.d.sync += read_value.eq(self.counts_read_data)
        with m.Elif(is_state):
            m.d.sync += read_value.eq(state_then)
        with m.Elif(is_temperature):
            m.d.sync += read_value.eq(temperature_then)
        with m.Elif(kind == _KINDS[Access.STATUS]):
            m.d.sync += read_value.eq(status_word)
        with m.Else():
            m.d.sync += read_value.eq(Mux(kind == _KINDS[Access.COMMAND], 0, held))
        m.d.comb += values_write.data.eq(read_value)
        biased = held ^ Cat(*([0] * 31), attribute.signed)
        too_low, above, ranged = Signal(), Signal(), Signal()
        m.d.sync += [
            too_low.eq(biased < attribute.low),
            above.eq(biased > attribute.high),
            ranged.eq(kind == _KINDS[Access.CONFIG]),
        ]
        hold, apart, sendable = (Signal(len(r)) for r in self._relations(config))
        for bits, relations in zip((hold, apart, sendable), self._relations(config), strict=True):
            m.d.sync += bits.eq(Cat(relations))
        related = Signal()
        m.d.sync += related.eq(hold.all() & apart.any() & sendable.any())
        some, few, complete = Signal(), Signal(), Signal()
        m.d.sync += [
            some.eq(count != 0),
            few.eq(count <= COMMAND_MAX_WORDS),
            complete.eq(self.words == Mux(writing, count[:8] + 2, 2)),
        ]
        last_word = Signal()
        m.d.sync += last_word.eq(index + 1 == count)

        # Writes act one clock late, in step 0 of the next word: address and value still stand.
        # Which register it is, is worked out while the word is looked at.
        write_register = Signal()
        in_group, in_place = Signal(_SPACE // 8), Signal(8)
        m.d.sync += [
            in_group.eq(Const(1) << address[3:8]),
            in_place.eq(Const(1) << address[:3]),
            write_register.eq(0),
            self.pattern_write.en.eq(0),
            self.fine_write.en.eq(0),
        ]
        m.d.comb += ram_write.en.eq(write_register)
        for r in config_registers(self._geometry):
            for i in range(r.count):
                field = config[r.name] if r.count == 1 else config[r.name][i]
                at = self._map.address(r.name, i)
                with m.If(write_register & in_group[at >> 3] & in_place[at & 7]):
                    m.d.sync += field.eq(value)

        assert COMMAND_CLOCKS & (COMMAND_CLOCKS - 1) == 0, (
            "`elapsed` stays where its top bit is set"
        )
        with m.If(~elapsed[-1]):
            m.d.sync += elapsed.eq(elapsed + 1)
        good, settled = Signal(), Signal()
        m.d.sync += [
            settled.eq(elapsed == EXECUTE_CLOCKS - 1),
            completes.eq(elapsed == COMMAND_CLOCKS - 1),
            good.eq(status == Status.OK),
        ]
        # By then every command is in FINISH: COMMAND_CLOCKS is longer than the longest one.
        calibrates = Signal(3)
        m.d.comb += [
            self.start.eq(completes & good & starts),
            self.stop.eq(completes & good & stops),
            self.calibrate.eq(Mux(completes & good, calibrates, 0)),
        ]
        m.d.sync += step.eq(step + 1)
        last_step = step == 7
        with m.FSM():
            with m.State("WAIT"):
                with m.If(self.arrived):
                    m.d.sync += [
                        self.busy.eq(1),
                        elapsed.eq(1),
                        status.eq(Status.OK),
                        idle_then.eq(self.state == State.IDLE),
                        state_then.eq(self.state),
                        temperature_then.eq(self.temperature),
                        starts.eq(0),
                        stops.eq(0),
                        calibrates.eq(0),
                    ]
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(settled):
                    m.d.sync += [index.eq(0xFE), step.eq(0)]
                    m.next = "HEAD"
            with m.State("HEAD"):
                # Words 0 and 1 of the payload, at index -2 and -1.
                with m.If(last_step):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == 0xFE):
                        m.d.sync += self.response.tag.eq(value)
                    with m.Else():
                        m.d.sync += command.eq(value)
                        m.next = "SIZE"
            with m.State("SIZE"):
                m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.sync += step.eq(0)
                with m.If(~(some & few & complete)):
                    m.d.sync += status.eq(Status.MALFORMED)
                    m.next = "FINISH"
                with m.Else():
                    m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(last_step):
                    m.d.sync += index.eq(index + 1)
                    with m.If(faulty):
                        m.d.sync += status.eq(fault)
                        m.next = "FINISH"
                    with m.Elif(last_word):
                        m.d.sync += index.eq(0)
                        m.next = "EXECUTE"
            with m.State("EXECUTE"):
                with m.If(last_step):
                    m.d.sync += index.eq(index + 1)
                    with m.If(last_word):
                        m.next = "FINISH"
                    with m.If(~writing):
                        m.d.comb += values_write.en.eq(1)
                    with m.Elif(in_pattern):
                        m.d.sync += self.pattern_write.en.eq(1)
                    with m.Elif(in_fine):
                        m.d.sync += self.fine_write.en.eq(1)
                    with m.Elif((kind == _KINDS[Access.COMMAND]) & ~is_control):
                        m.d.sync += calibrates.eq(value)
                    with m.Elif(kind == _KINDS[Access.COMMAND]):
                        m.d.sync += stops.eq((value & Control.STOP.value) != 0)
                        with m.If((value & Control.START.value) != 0):
                            with m.If(~idle_then):
                                m.d.sync += [status.eq(Status.LOCKED), stops.eq(0)]
                            with m.Else():
                                m.d.sync += [starts.eq(1), index.eq(0)]
                                m.next = "RANGES"
                    with m.Else():
                        m.d.sync += write_register.eq(1)
            with m.State("RANGES"):
                m.d.comb += checking_start.eq(1)
                with m.If(step == 4):
                    m.d.sync += [index.eq(index + 1), step.eq(0)]
                    with m.If(ranged & (too_low | above)):
                        m.d.sync += status.eq(Status.OUT_OF_RANGE)
                    with m.If(index == _SPACE - 1):
                        m.next = "RELATIONS"
            with m.State("RELATIONS"):
                with m.If(~related):
                    m.d.sync += status.eq(Status.OUT_OF_RANGE)
                m.next = "FINISH"
            with m.State("FINISH"):
                with m.If(completes):
                    m.d.sync += [
                        committed.eq(config),
                        completed.eq(1),
                        self.response.status.eq(status),
                        self.response.kind.eq(self.kind),
                        self.response.command.eq(command),
                        self.response["values"].eq(Mux(good & ~writing, count, 0)),
                    ]
                    # A command that completes in the last clock of a tick belongs to that tick.
                    with m.If(self.tick_last):
                        m.d.sync += [in_force[name].eq(config[name]) for name in staged]
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.answered):
                    m.d.sync += [self.busy.eq(0), completed.eq(0)]
                    m.next = "WAIT"
        return m
