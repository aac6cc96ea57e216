"""Registers that are written while the board acquires: which, when, and of which acquisition."""

import asyncio
import threading

import pytest
from pretend_board import PretendBoard

from bellrelay.relay.board import NotAcquiring
from bellrelay.relay.config import check_config
from bellrelay.relay.daemon import RelayDaemon
from bellrelay.wire.access import AccessError, RegisterValueError


@pytest.fixture
def board(tmp_path):
    made = PretendBoard(tmp_path / "port")
    yield made
    made.close()


def run(config, body):
    async def main():
        daemon = RelayDaemon(config)
        await daemon.start()
        try:
            await asyncio.to_thread(body, daemon.session)
        finally:
            await daemon.stop()

    asyncio.run(main())


def test_a_live_register_is_written_and_read_while_the_board_acquires(relay_values, board):
    def body(session):
        number = session.account.acquisition
        session.write_live(number, "trim", -123_456_789)
        assert board.trim() == -123_456_789
        assert session.read(number, "trim") == (-123_456_789,)
        assert session.account.acquisition == number

    run(check_config(relay_values), body)


def test_what_is_fixed_during_an_acquisition_is_not_sent(relay_values, board):
    def body(session):
        number = session.account.acquisition
        before, sent = dict(board.words), board.sequence
        with pytest.raises(NotAcquiring, match="slot_period_ps cannot be written while"):
            session.write_live(number, "slot_period_ps", 20_000)
        with pytest.raises(RegisterValueError):
            session.write_live(number, "trim", 1 << 40)
        assert board.words == before
        assert board.sequence >= sent

    run(check_config(relay_values), body)


def test_who_means_another_acquisition_is_told(relay_values, board):
    def body(session):
        number = session.account.acquisition
        with pytest.raises(NotAcquiring, match=f"acquisition {number - 1} is over"):
            session.write_live(number - 1, "trim", 5)
        assert board.trim() == 0

    run(check_config(relay_values), body)


def test_a_board_that_does_not_answer_is_said_to_and_the_next_write_goes_on(relay_values, board):
    def body(session):
        number = session.account.acquisition
        board.mute = True
        with pytest.raises(AccessError):
            session.write_live(number, "trim", 5)
        board.mute = False
        session.write_live(number, "trim", 6)
        assert board.trim() == 6

    run(check_config(relay_values), body)


def test_one_command_at_a_time_and_nobody_waits(relay_values, board):
    def body(session):
        number = session.account.acquisition
        begun, found = threading.Event(), []

        def other():
            begun.wait(5)
            try:
                session.write_live(number, "trim", 5)
            except NotAcquiring as error:
                found.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        with session._client(number):
            begun.set()
            thread.join(5)
        assert found == ["another command is under way"]
        session.write_live(number, "trim", 7)
        assert board.trim() == 7

    run(check_config(relay_values), body)


def test_a_session_that_has_ended_writes_nothing(relay_values, board):
    ended = []

    def body(session):
        ended.append((session, session.account.acquisition))

    run(check_config(relay_values), body)
    session, number = ended[0]
    with pytest.raises(NotAcquiring, match="the board is stopped"):
        session.write_live(number, "trim", 5)
