"""The most that waited lately."""

from bellrelay.service.recent_peak import RecentPeak


def test_a_peak_is_there_for_a_minute_at_least_and_two_at_most():
    for begin in (10.0, 59.0, 500.0):
        now = [0.0]
        peak = RecentPeak(lambda now=now: now[0])
        assert peak.value == 0.0
        now[0] = begin
        peak.note(7.0)
        peak.note(3.0)
        for after, value in ((0.0, 7.0), (60.0, 7.0), (121.0, 0.0)):
            now[0] = begin + after
            assert peak.value == value
