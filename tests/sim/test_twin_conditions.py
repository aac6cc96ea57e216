"""The twin while its link is changed, what the parties' plugins make of it, a line that lies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, encode_frame
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.messages import Announced, Event
from bellrelay.wire.outcomes import Outcome
from bellrelay.wire.registers import Control, RegisterMap
from bellrelay_sim.announcement_line import AnnouncementLine
from bellrelay_sim.board_script import write_command
from bellrelay_sim.channel import Arm
from bellrelay_sim.choices import Party, acquisition_seed
from bellrelay_sim.conditions_log import ConditionsLog, ConditionsReader, replayed
from bellrelay_sim.conditions_socket import ConditionsSocket, tell_conditions
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.sender_plugin import sender_plugin
from bellrelay_sim.source_plugin import simulation_plugin
from bellrelay_sim.twin import Twin, make_board
from bellrelay_sim.twin_port import TwinPort

G = BoardGeometry(n_detectors=4, tick_clocks=8192)
MAP = RegisterMap(G)
LINK = SimulatedLink(arm_a=Arm(eta=0.3), arm_b=Arm(eta=0.3), seed=9)
SLOTS = 2_000_000


def run_acquisition(twin: Twin, told: list[dict[str, Any]], acquisition: int, changes: Any) -> int:
    """Start, change meanwhile, stop after the last photon; how many clicks the board was given."""
    for name, value in (("acquisition", acquisition), ("control", Control.START)):
        command = write_command(MAP.address(name), [value])
        twin.board.write(command)
        twin._answer(len(command))
    for change in changes:
        for one in change:
            tell_conditions(*one)
        twin._change()
        twin._advance(100)
    while told[-1]["event"] != "done":
        twin._advance(20)
    clicks = twin._stimulus.clicks
    twin.board.write(write_command(MAP.address("control"), [Control.STOP]))
    while told[-1]["event"] != "stopped":
        twin._advance(4)
    return clicks


def test_each_acquisition_has_its_light_and_what_held_is_told_and_written(tmp_path: Path) -> None:
    socket, log = tmp_path / "conditions", tmp_path / "log"
    told: list[dict[str, Any]] = []
    conditions, writer = ConditionsSocket(socket), ConditionsLog(log)
    twin = Twin(
        LINK, SLOTS, lambda: make_board("event", G, 1), TwinPort(tmp_path / "p"),
        conditions=conditions, log=writer, acquisition_seeds=True, tell=told.append,
    )  # fmt: skip
    alice = sender_plugin({"relays": {"one": str(socket), "two": str(tmp_path / "none")}}, "alice")
    try:
        changes = (
            [(socket, {"arm_a": {"eta": 0.1}})],
            [(socket, {"sender": "bob", "halted": True}), (socket, {"nonsense": 1})],
            [(socket, {"sender": "bob", "halted": False, "factors": {"mu": 1.25}})],
        )
        first = run_acquisition(twin, told, 5, changes)
        alice.direct("two")  # away from here; and the other twin is not there
        pytest.fail("a relay that is not there cannot get the light")
    except OSError:
        twin._change()
        second = run_acquisition(twin, told, 6, ())
        third = run_acquisition(twin, told, 7, ())
    finally:
        twin.close()
        conditions.close()
        writer.close()
    events = [e for e in told if e["event"] == "conditions"]
    assert [e["acquisition"] for e in events] == [5, 5, 5, 5, 6, 7]
    assert [e["reason"] for e in told if e["event"] == "conditions-refused"] == [
        "nonsense is nothing that changes"
    ]
    reader = ConditionsReader(log, LINK)
    held = {a: reader.of(a) for a in (5, 6, 7)}
    assert [h.slot for h in held[5]] == [e["slot"] for e in events if e["acquisition"] == 5]
    # The same clicks again, from what was written alone.
    for acquisition, clicks in ((5, first), (6, second), (7, third)):
        link = replace(LINK, seed=acquisition_seed(LINK.seed, acquisition))
        assert len(replayed(link, SLOTS, held[acquisition]).t) == clicks
    # Conditions outlast an acquisition: Alice is elsewhere in both.
    assert all(h.conditions.alice.halted for a in (6, 7) for h in held[a])
    assert second != third
    # A twin that starts again begins with what held.
    again = ConditionsLog(log)
    assert again.last(LINK) == held[7][-1].conditions
    again.close()

    # Each side's records: own choices, and where nothing was sent.
    options = {"link": {"seed": 9}, "acquisition": "each", "conditions": str(log)}
    bob = {a: simulation_plugin(options, "bob")(a) for a in (5, 6)}
    begin, end = held[5][2].slot, held[5][3].slot
    assert bob[5].removed(0, SLOTS).tolist() == [[begin, end]]
    assert bob[5].sent(0, SLOTS) == SLOTS - (end - begin)
    with pytest.raises(LookupError, match="dropped"):
        bob[5].choices(np.array([begin], np.uint64))
    sent = np.array([0, end], np.uint64)
    own = replace(LINK, seed=acquisition_seed(9, 5)).source_log(Party.BOB).choices_at(sent)
    np.testing.assert_array_equal(bob[5].choices(sent).bit, own.bit)
    assert not len(bob[6].removed(0, SLOTS))
    assert simulation_plugin(options, "alice")(6).removed(0, 10).tolist() == [[0, 10]]
    with pytest.raises(LookupError, match="nothing"):
        simulation_plugin(options, "bob")(99).removed(0, 10)
    both = simulation_plugin({**options, "removed": [[begin - 5, begin + 5], [end, end]]}, "bob")(5)
    assert both.removed(0, SLOTS).tolist() == [[begin - 5, end]]


def test_a_power_monitor_sees_factors_from_when_they_held_and_no_attenuator(tmp_path: Path) -> None:
    from bellrelay_sim.conditions import Conditions, changed

    log = ConditionsLog(tmp_path / "log")
    now = Conditions(LINK)
    log.add(1, 0, now)
    log.add(1, 700, changed(now, {"sender": "alice", "factors": {"mu": 1.5}, "attenuation_db": 9}))
    log.close()
    text = (tmp_path / "log").read_text()
    # As if it had held for two minutes.
    stamp = str(ConditionsReader(tmp_path / "log", LINK).held()[1].utc_ns)
    (tmp_path / "log").write_text(text.replace(stamp, str(time.time_ns() - 120 * 10**9)))
    options = {"acquisition": "each", "conditions": str(tmp_path / "log"), "reading_noise": 1e-4}
    readings = simulation_plugin(options, "alice")(1).readings()
    mu = np.array([r.mean for r in readings if r.setting == 1])
    assert mu[:10] == pytest.approx(0.3, rel=1e-3)
    assert mu[-10:] == pytest.approx(0.45, rel=1e-3)
    assert 118 <= int(np.sum(mu > 0.4)) <= 121
    assert [r.mean for r in readings if r.setting == 0] == pytest.approx([0.4] * 900, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "relays must give"),
        ({"relays": {"a": 1}}, "every socket"),
        ({"relays": {"a": "b"}, "speed": 1}, "speed is no option"),
    ],
)
def test_wrong_options_of_a_sender_are_named(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        sender_plugin(options, "alice")


def test_light_is_at_one_relay_at_a_time(tmp_path: Path) -> None:
    from bellrelay_sim.conditions import Conditions

    paths = {"one": tmp_path / "one", "two": tmp_path / "two"}
    sockets = {name: ConditionsSocket(path) for name, path in paths.items()}
    now = {name: Conditions(LINK) for name in paths}

    def halted() -> dict[str, bool]:
        for name, one in sockets.items():
            now[name], refused = one.receive(now[name])
            assert not refused
        return {name: c.bob.halted for name, c in now.items()}

    sender = sender_plugin({"relays": {n: str(p) for n, p in paths.items()}}, "bob")
    sender.direct("one")
    assert halted() == {"one": False, "two": True}
    sender.direct("two")
    assert halted() == {"one": True, "two": False}
    sender.halt()
    assert halted() == {"one": True, "two": True}
    sender.direct("one")
    assert halted() == {"one": True, "two": True}
    sender.resume()
    assert halted() == {"one": False, "two": True}
    sender.set_delay_ps(25.0)
    sender.set_attenuation_db(3.0)
    sender.set_rate(0.5)
    halted()
    assert [c.bob.delay_ps for c in now.values()] == [25.0, 0.0]
    assert [(c.bob.attenuation_db, c.bob.rate) for c in now.values()] == [(3.0, 0.5)] * 2
    assert all(c.alice == Conditions(LINK).alice for c in now.values())
    with pytest.raises(ValueError, match="none of one, two"):
        sender.direct("three")
    for one in sockets.values():
        one.close()


def test_a_line_passes_everything_on_and_lies_when_told_to(tmp_path: Path) -> None:
    slots = [np.array(s, np.uint64) for s in ([1, 5], [9, 12], [20, 30])]
    outcome = np.array([Outcome.PSI_MINUS, Outcome.PSI_PLUS], np.uint8)
    frames = [Event(0, 4, {"kind": "start"})]
    frames += [Announced(1 + 2 * n, 4, slot, outcome) for n, slot in enumerate(slots)]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(5) == b"hello"
        for n, one in enumerate(frames):
            kind = FrameType.EVENT if isinstance(one, Event) else FrameType.ANNOUNCED
            writer.write(encode_frame(kind, n, 4, one.encode()))
        await writer.drain()
        writer.close()

    async def ask(line: AnnouncementLine) -> list[Any]:
        server = await asyncio.start_unix_server(line.serve, tmp_path / "line")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "line")
        writer.write(b"hello")
        decoder, out = FrameDecoder(), []
        while data := await asyncio.wait_for(reader.read(1 << 16), 5.0):
            out += decoder.feed(data)
        writer.close()
        server.close()
        return out

    async def whole() -> tuple[list[Any], list[Any]]:
        with contextlib.suppress(ConnectionResetError):
            assert await ask(AnnouncementLine(tmp_path / "relay")) == []
        server = await asyncio.start_unix_server(relay, tmp_path / "relay")
        honest = await ask(line := AnnouncementLine(tmp_path / "relay"))
        line.lies = True
        lying = await ask(line)
        server.close()
        return honest, lying

    honest, lying = asyncio.run(whole())
    assert [f.payload for f in honest] == [one.encode() for one in frames]
    told = [Announced.parse(f.payload, 4).slot.tolist() for f in lying[1:]]
    assert told == [[1, 5], [5, 12], [12, 30]]
    assert not any(f.missing for f in [*honest, *lying])


def test_without_light_time_passes_as_slowly_as_is_wanted_and_with_it_at_once_as_fast_as_it_can(
    tmp_path: Path,
) -> None:
    told: list[dict[str, Any]] = []
    socket = tmp_path / "conditions"
    conditions = ConditionsSocket(socket)
    pace = 4.0 * G.tick_ps * 1e-12
    twin = Twin(
        LINK, 10**9, lambda: make_board("event", G, 1), TwinPort(tmp_path / "p"),
        dark_pace=pace, conditions=conditions, tell=told.append,
    )  # fmt: skip
    try:
        for name, value in (("acquisition", 5), ("control", Control.START)):
            command = write_command(MAP.address(name), [value])
            twin.board.write(command)
            twin._answer(len(command))
        while not twin._acquiring:
            twin._advance(1)

        def passed(seconds: float) -> int:
            """Ticks in so many seconds in which a host takes all, looked at a hundred times."""
            before = twin.board.clock
            for _ in range(100):
                twin._out = memoryview(b"")
                twin._pass_time(seconds / 100, True)
            return (twin.board.clock - before) // G.tick_clocks

        assert passed(0.1) > 100
        for role in ("alice", "bob"):
            tell_conditions(socket, {"sender": role, "halted": True})
        twin._change()
        assert passed(10.0) == pytest.approx(40, abs=1)
        # What was not looked at for long is not made up for.
        assert passed(1000.0) <= 4 * 100
        tell_conditions(socket, {"sender": "bob", "halted": False})
        twin._change()
        assert passed(0.1) > 100
    finally:
        twin.close()
        conditions.close()
