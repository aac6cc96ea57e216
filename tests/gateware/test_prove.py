"""A fast proof runs, and fails where it must."""

from __future__ import annotations

import pytest

from bellrelay_gateware import prove as runner

_BY_NAME = {proof.name: proof for proof in runner.PROOFS}


def test_dead_time_is_proved():
    outcome = runner.prove(_BY_NAME["dead-time"])
    assert outcome.proved, outcome.log


@pytest.mark.parametrize("name", _BY_NAME)
def test_broken_part_is_found(name):
    assert not runner.prove(_BY_NAME[name], fault=True, cover=False).proved


def test_list_names_every_proof(capsys):
    assert runner.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in _BY_NAME)
