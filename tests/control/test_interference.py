"""Visibility of interference, from the records of blocks that have ended."""

from types import SimpleNamespace

import numpy as np
import pytest

from bellrelay.control.interference import Interference


def row(number, outcomes, errors, relay="charles", **record):
    """Half of the outcomes with both mu, half with both nu, in two kinds of outcome."""
    n, m = np.zeros((2, 4, 4), np.int64)
    n[1, 1], n[2, 2], n[0, 0], n[1, 2] = outcomes // 2, outcomes - outcomes // 2, 999, 77
    m[1, 1], m[2, 2], m[1, 2] = errors // 2, errors - errors // 2, 70
    empty = {"n": np.zeros((4, 4), int).tolist(), "m": np.zeros((4, 4), int).tolist()}
    tallies = {"psi_minus": {"n": n.tolist(), "m": m.tolist()}, "psi_plus": empty}
    return SimpleNamespace(
        block=f"1/{number}", record={"relay_id": relay, "tallies": tallies, **record}, changed_ns=1
    )


def test_what_x_shows_is_told_with_its_error():
    link = Interference()
    assert link.status()["value"] is None
    assert [m.name for m in link.metrics(link.status())] == ["bellrelay_endpoint_visibility_blocks"]
    for number in range(3):
        link.take(row(number, 1000, 260))
    status = link.status()
    assert status["value"] == pytest.approx(1 - 2 * 0.26)
    assert status["sigma"] == pytest.approx(2 * (0.26 * 0.74 / 3000) ** 0.5, rel=0.01)
    assert (status["outcomes"], status["errors"], status["blocks"]) == (3000, 780, 3)
    assert status["last"]["block"] == "1/2"
    assert status["last"]["sigma"] > status["sigma"]
    names = {m.name for m in link.metrics(status)}
    assert "bellrelay_endpoint_visibility" in names


def test_it_follows_what_happens_and_forgets_what_was():
    link = Interference()
    for number in range(20):
        link.take(row(number, 1000, 250))
    assert link.status()["blocks"] == 4
    for number in range(20, 23):
        link.take(row(number, 1000, 400))
    assert link.status()["value"] == pytest.approx(1 - 2 * (250 + 3 * 400) / 4000)
    link.take(row(24, 1000, 400))
    assert link.status()["value"] == pytest.approx(0.2)


def test_blocks_without_x_and_blocks_that_were_not_sifted_say_nothing():
    link = Interference()
    link.take(row(0, 0, 0))
    link.take(SimpleNamespace(block="1/1", record={}, changed_ns=1))
    assert link.status()["measured"] == 0


def test_another_relay_is_another_interference():
    link = Interference()
    link.take(row(0, 500, 125))
    link.take(row(1, 500, 200, relay="carol"))
    assert link.status()["relay_id"] == "carol"
    assert link.status()["outcomes"] == 500
