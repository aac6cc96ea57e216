"""`bellrelay doctor` of a relay: its board, and who may change settings on its page."""

import pytest
import yaml
from found_states import contents, only
from pretend_board import PretendBoard

from bellrelay.observe.doctor.examine import examine
from bellrelay.observe.doctor.relay_board import check_relay_board
from bellrelay.observe.doctor.running import Running
from bellrelay.relay.config import load_config
from bellrelay.relay.link import PortBusy, PortMissing
from bellrelay.relay.link import SerialLink as Link
from bellrelay.wire.geometry import BoardGeometry


@pytest.fixture
def written(tmp_path):
    """Call it with sections that differ: the YAML of a relay of two detectors."""

    def write(**changes):
        values = {
            "relay_id": "charlie",
            "port": str(tmp_path / "port"),
            "slot_period_ps": 10_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
            "log": {"directory": str(tmp_path / "log")},
            "fan_out": {"listen": "127.0.0.1:0", "plain": True},
        }
        path = tmp_path / "relay.yaml"
        path.write_text(yaml.safe_dump({**values, **changes}))
        return path

    return write


def of_board(path):
    (found,) = check_relay_board(load_config(path), None)
    return found


def test_who_answers_on_the_port_and_nothing_is_written(written, tmp_path):
    path = written()
    found = of_board(path)
    assert isinstance(found.error, PortMissing)
    assert "70-bellrelay.rules" in found.remedy
    board = PretendBoard(tmp_path / "port")
    try:
        before = contents(tmp_path)
        examination = examine(path)
        assert contents(tmp_path) == before
        assert only(examination.findings, "board 'pretend', gateware 0.1.2").state == "passed"
        assert [f.detail for f in examination.of("failed")] == []
        held = Link(tmp_path / "port", 3_000_000)
        found = of_board(path)
        assert (isinstance(found.error, PortBusy), "fuser" in found.remedy) == (True, True)
        held.close()
    finally:
        board.close()


def test_a_board_that_the_configuration_does_not_fit(written, tmp_path):
    board = PretendBoard(tmp_path / "port", geometry=BoardGeometry(n_detectors=4, board="pretend"))
    try:
        found = of_board(written())
    finally:
        board.close()
    assert (found.state, "detectors" in found.detail) == ("failed", True)


def test_a_board_that_the_daemon_has_is_the_daemon_s_to_tell(written):
    config = load_config(written())
    for health, state in (
        ({"board": {"name": "ecpix5-85f"}}, "passed"),
        ({"board": None}, "failed"),
        (None, "passed"),
    ):
        (found,) = check_relay_board(config, Running(health))
        assert found.state == state


def test_tokens_of_the_page_are_counted_and_not_told(written, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("jane a-token-that-is-long-enough-for-anybody\n")
    tokens.chmod(0o600)
    path = written(view={"listen": "127.0.0.1:0", "token_file": str(tokens)})
    found = examine(path).findings
    assert only(found, "1 may change settings").state == "passed"
    assert "long-enough" not in str([finding.as_json() for finding in found])
    tokens.chmod(0o644)
    assert only(examine(path).findings, "0644 lets others in").state == "failed"
