"""A session that is ended on purpose: another begins, no alarm, and no key of one side alone."""

import asyncio

import pytest
from synthetic_blocks import synthetic_run
from two_endpoints import play, same_verdict


@pytest.mark.parametrize("who", [0, 1])
def test_a_new_session_begins_and_no_alarm(tmp_path, bounds_once, who):
    names = []

    def prepare(alice, bob, _network):
        async def renew():
            channel = (alice, bob)[who].channel
            while not channel.connected:
                await asyncio.sleep(0.001)
            names.append(channel.session_name)
            channel.renew_session("tags-refused of link")
            while not channel.connected or channel.session_name in names:
                await asyncio.sleep(0.001)
            names.append(channel.session_name)

        return renew()

    alice, bob = play(tmp_path, synthetic_run(), prepare=lambda a, b, n: _started(a, b, n, prepare))
    assert len(set(names)) == 2
    assert same_verdict(alice, bob)
    assert alice.channel.alarms == bob.channel.alarms == 0
    assert alice.pipeline.alarms == bob.pipeline.alarms == 0


def _started(alice, bob, network, prepare):
    for party in (alice, bob):
        party.start()
    return prepare(alice, bob, network)
