"""Orders to a running endpoint."""

import asyncio
import stat

import pytest

from bellrelay.endpoint.control_socket import ControlSocket, NotRunning, Refused, ask, socket_path


def play(folder, *asks, orders):
    async def main():
        path = socket_path(folder)
        server = ControlSocket(path, orders)
        await server.start()
        mode = stat.S_IMODE(path.stat().st_mode)
        answers = []
        for order, values, timeout_s in asks:
            try:
                answer = await asyncio.to_thread(ask, path, order, timeout_s, **values)
            except (Refused, TimeoutError, NotRunning) as error:
                answer = error
            answers.append(answer)
        await server.stop()
        assert not path.exists()
        return mode, answers

    return asyncio.run(main())


def test_orders_are_done_and_refused(tmp_path):
    async def move(wanted):
        if wanted["relay"] == "b":
            return {"relay": "b", "number": 3}
        if wanted["relay"] == "slow":
            await asyncio.sleep(10.0)
        raise Refused("nothing heard of it")

    (tmp_path / "control").write_text("left by one that was killed")
    mode, answers = play(
        tmp_path,
        ("move", {"relay": "b"}, 5.0),
        ("move", {"relay": "c"}, 5.0),
        ("dance", {}, 5.0),
        ("move", {"relay": "slow"}, 0.2),
        orders={"move": move},
    )
    assert mode == 0o600
    assert answers[0] == {"relay": "b", "number": 3}
    assert str(answers[1]) == "nothing heard of it"
    assert "move" in str(answers[2])
    assert isinstance(answers[3], TimeoutError)


def test_an_endpoint_that_does_not_run_takes_no_orders(tmp_path):
    with pytest.raises(NotRunning, match="control"):
        ask(tmp_path / "control", "move", 1.0)
