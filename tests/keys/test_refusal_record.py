"""Refused requests on record: summed up, bounded, kept while the log cannot be written."""

import pytest

from bellrelay.keys.refusal_record import RefusalRecord


class Log:
    def __init__(self):
        self.events = []
        self.full = False

    def record(self, *events):
        if self.full:
            raise OSError(28, "No space left on device")
        self.events += events


@pytest.fixture
def log():
    return Log()


def test_requests_of_one_kind_are_one_record(log):
    record = RefusalRecord(log, "kme-a")
    record.flush()
    assert log.events == []
    for _ in range(5):
        record.add("sae-mallory", "127.0.0.1", "not authorized")
    record.add("", "127.0.0.1", "not of this KME")
    record.flush()
    record.flush()
    first, second = log.events
    assert (first.action, first.actor, first.outcome) == (
        "request-refused",
        "sae:sae-mallory",
        "failure",
    )
    assert first.details["requests"] == 5
    assert second.actor == "sae:-"


def test_many_kinds_are_one_record_together(log):
    record = RefusalRecord(log, "kme-a")
    for number in range(1000):
        record.add(f"sae-{number}" + "x" * 2000, "127.0.0.1", "no")
    record.flush()
    assert len(log.events) == 257
    assert sum(event.details["requests"] for event in log.events) == 1000


def test_nothing_is_forgotten_while_the_disk_is_full(log):
    record = RefusalRecord(log, "kme-a")
    log.full = True
    record.add("sae-mallory", "127.0.0.1", "no")
    record.flush()
    log.full = False
    record.add("sae-mallory", "127.0.0.1", "no")
    record.flush()
    assert [event.details["requests"] for event in log.events] == [2]
    assert record.total == 2
