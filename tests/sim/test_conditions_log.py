"""The file that says what held: whole after a crash of who writes it, and read by any thread."""

import threading
import time

import pytest

import bellrelay_sim.conditions_log
from bellrelay_sim.conditions import Conditions, changed
from bellrelay_sim.conditions_log import ConditionsLog, ConditionsReader
from bellrelay_sim.link import SimulatedLink

LINK = SimulatedLink()
BENT = changed(Conditions(LINK), {"arm_a": {"eta": 0.05}})


def slots(held):
    return [(one.acquisition, one.slot) for one in held]


def test_a_line_that_a_crash_cut_off_is_nothing(tmp_path):
    path = tmp_path / "log"
    log = ConditionsLog(path)
    log.add(1, 0, Conditions(LINK))
    log.add(1, 500, BENT)
    whole = path.stat().st_size
    log.add(1, 900, Conditions(LINK))
    log.close()
    reader = ConditionsReader(path, LINK)
    for cut in (whole, whole + 1, path.stat().st_size - 1):
        content = path.read_bytes()
        path.write_bytes(content[:cut])
        assert slots(reader.held()) == [(1, 0), (1, 500)]
        again = ConditionsLog(path)
        assert again.last(LINK) == BENT
        again.close()
        assert path.stat().st_size == whole
        path.write_bytes(content)
    path.write_bytes(content[: whole + 40])
    again = ConditionsLog(path)
    again.add(2, 0, BENT)
    again.close()
    assert slots(reader.held()) == slots(ConditionsReader(path, LINK).held())
    assert slots(reader.held()) == [(1, 0), (1, 500), (2, 0)]


def test_what_is_whole_and_no_line_of_it_is_told(tmp_path):
    path = tmp_path / "log"
    path.write_text('{"acquisition": 1\n')
    log = ConditionsLog(path)
    with pytest.raises(ValueError, match="no line of a conditions log"):
        log.last(LINK)
    log.close()


def test_threads_that_read_at_once_see_every_line_once(tmp_path, monkeypatch):
    def slowly(*args):
        time.sleep(0.002)
        return changed(*args)

    monkeypatch.setattr(bellrelay_sim.conditions_log, "changed", slowly)
    log = ConditionsLog(tmp_path / "log")
    reader = ConditionsReader(tmp_path / "log", LINK)
    for number in range(1, 6):
        log.add(number, 0, BENT)
        log.add(number, 7, Conditions(LINK))
        threads = [threading.Thread(target=reader.held) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = [(n, slot) for n in range(1, number + 1) for slot in (0, 7)]
        assert slots(reader.held()) == wanted
    log.close()
