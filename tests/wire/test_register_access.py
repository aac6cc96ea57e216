"""The register client against a board of twenty lines, and against things that are no relay."""

import pytest

from bellrelay.wire.access import (
    AccessError,
    BoardVersionMismatch,
    CommandRefused,
    ForeignBoard,
    NoAnswer,
    RegisterClient,
    RegisterValueError,
    identify,
)
from bellrelay.wire.decoder import FrameDecoder
from bellrelay.wire.frames import FrameType, Status
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.payloads import Command, Response
from bellrelay.wire.registers import PROTOCOL_VERSION, Access, RegisterMap

GEOMETRY = BoardGeometry(n_detectors=2, board="bench")


class TinyBoard:
    """Answers commands from a dictionary of words; ``deaf`` answers are lost."""

    def __init__(self, geometry=GEOMETRY, deaf=0):
        self.map = RegisterMap(geometry)
        self.words = self.map.constants(version=(0, 1, 2), git_revision=0xABCD)
        self.writable = set()
        for block in self.map.blocks:
            for r in block.registers:
                if r.access is not Access.CONSTANT:
                    span = range(block.base + r.offset, block.base + r.offset + r.count)
                    self.words.update(dict.fromkeys(span, r.reset & 0xFFFFFFFF))
                    if r.access not in (Access.STATUS, Access.READOUT):
                        self.writable.update(span)
        self.decoder = FrameDecoder()
        self.answers = []
        self.deaf = deaf
        self.commands = 0
        self.locked = False

    def write(self, data):
        for frame in self.decoder.feed(data):
            self.commands += 1
            command = Command.parse(FrameType(frame.type), frame.payload)
            span = range(command.address, command.address + command.count)
            status, values = Status.OK, ()
            if not all(a in self.words for a in span):
                status = Status.UNKNOWN_ADDRESS
            elif frame.type == FrameType.READ:
                values = tuple(self.words[a] for a in span)
            elif self.locked:
                status = Status.LOCKED
            elif not all(a in self.writable for a in span):
                status = Status.READ_ONLY
            else:
                self.words.update(zip(span, command.values, strict=True))
            answer = Response(
                command.tag, status, frame.type, command.address, command.count, values
            )
            if self.deaf:
                self.deaf -= 1
            else:
                self.answers.append(Response.parse(answer.encode()))

    def response(self, timeout_s):
        return self.answers.pop(0) if self.answers else None


def test_identity_gives_the_geometry():
    identity = identify(TinyBoard())
    assert identity.geometry == GEOMETRY
    assert identity.version_text == "0.1.2"
    assert identity.git_revision == 0xABCD


def test_what_is_no_relay_is_foreign():
    board = TinyBoard()
    board.words[0] = int.from_bytes(b"MODM", "little")
    with pytest.raises(ForeignBoard, match="'MODM'"):
        identify(board)
    board.words.clear()
    with pytest.raises(ForeignBoard):
        identify(board)


def test_another_version_is_refused_by_number():
    board = TinyBoard()
    board.words[1] = PROTOCOL_VERSION + 1
    with pytest.raises(BoardVersionMismatch, match=str(PROTOCOL_VERSION + 1)):
        identify(board)


@pytest.mark.parametrize("name", ["config_hash", "n_detectors", "ctrl_id"])
def test_an_identity_that_contradicts_itself_is_refused(name):
    board = TinyBoard()
    board.words[board.map.address(name)] ^= 1
    with pytest.raises(BoardVersionMismatch):
        identify(board)


def test_silence_is_no_answer():
    board = TinyBoard(deaf=3)
    with pytest.raises(NoAnswer):
        identify(board)
    assert board.commands == 3


def test_a_lost_answer_is_asked_for_again():
    board = TinyBoard(deaf=2)
    RegisterClient(board, GEOMETRY).write("slot_period_ps", 12500)
    assert board.words[board.map.address("slot_period_ps")] == 12500


def test_signed_arrays_and_memories_survive():
    board = TinyBoard()
    client = RegisterClient(board, GEOMETRY)
    fine = tuple(i % GEOMETRY.clock_period_ps for i in range(client.map["fine"].count))
    client.configure({"deskew_ps": (-5, 7, 0), "fine": fine})
    assert client.read("deskew_ps") == (-5, 7, 0)
    assert client.read("fine") == fine


def test_nothing_is_sent_if_one_value_is_out_of_range():
    board = TinyBoard()
    client = RegisterClient(board, GEOMETRY)
    with pytest.raises(RegisterValueError, match=r"slot_period_ps is 999; allowed: 1000 to \d+ ps"):
        client.configure({"early_start": (1,), "slot_period_ps": (999,)})
    with pytest.raises(RegisterValueError, match=r"dead_time_ps\[1\]"):
        client.write("dead_time_ps", 0, -1)
    with pytest.raises(RegisterValueError, match="2 elements"):
        client.write("dead_time_ps", 0)
    with pytest.raises(RegisterValueError, match="cannot be written"):
        client.write("state", 1)
    assert board.commands == 0


def test_a_refusal_says_why():
    board = TinyBoard()
    board.locked = True
    with pytest.raises(CommandRefused, match="locked") as refused:
        RegisterClient(board, GEOMETRY).write("slot_period_ps", 12500)
    assert refused.value.status is Status.LOCKED


def test_a_register_that_does_not_hold_is_noticed():
    board = TinyBoard()
    client = RegisterClient(board, GEOMETRY)
    address = board.map.address("phase_ps")

    class Stuck(dict):
        def update(self, *args):
            super().update(*args)
            self[address] = 0

    board.words = Stuck(board.words)
    with pytest.raises(AccessError, match="phase_ps"):
        client.configure({"phase_ps": (3,)})
