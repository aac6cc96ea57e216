"""An observation in three parts, each of which a watch of its own follows.

*Services*: endpoints, their sessions and key for tags, random numbers, KMEs: of no relay, so that
they go on wherever light is sent. *Presence*: whether a relay is there, the ways to it, and whether
it keeps the rules; of every relay, lit or not. *Light*: all that rests on counts and settings, of
the relay that is lit.
"""

from __future__ import annotations

from dataclasses import replace

from .fault_observation import BlockReading, EndpointReading, Observation, RelayReading

__all__ = ["light_of", "presence_of", "services_of", "without_blocks_before", "without_light"]

_NO_KMES = (None, None)


def services_of(seen: Observation, time_s: float) -> Observation:
    """What belongs to no relay, at a time that goes on across moves."""
    a, b = (
        None
        if end is None
        else EndpointReading(
            relay_connected=True,
            peer_connected=end.peer_connected,
            tag_failures=end.tag_failures,
            pool_blocks=end.pool_blocks,
            random_alarm=end.random_alarm,
        )
        for end in seen.endpoints
    )
    return Observation(time_s, seen.span_s, endpoints=(a, b), kmes=seen.kmes)


def presence_of(seen: Observation) -> Observation:
    """Whether the relay is there."""
    relay = seen.relay
    if relay is not None:
        relay = RelayReading(relay.running, relay.heartbeat_age_s, 0, 0, (), 0, 0)
    a, b = (
        None
        if end is None
        else EndpointReading(end.relay_connected, peer_connected=True, breaches=end.breaches)
        for end in seen.endpoints
    )
    return Observation(
        seen.time_s, seen.span_s, relay, seen.relay_reachable, endpoints=(a, b), kmes=_NO_KMES
    )


def light_of(seen: Observation) -> Observation:
    """What is left."""
    relay = seen.relay
    if relay is not None:
        relay = replace(relay, running=True, heartbeat_age_s=0.0)
    a, b = (
        None
        if end is None
        else replace(
            end,
            relay_connected=True,
            peer_connected=True,
            breaches=0,
            tag_failures=0,
            pool_blocks=None,
            random_alarm=None,
        )
        for end in seen.endpoints
    )
    return replace(seen, relay=relay, relay_reachable=None, endpoints=(a, b), kmes=_NO_KMES)


def without_light(seen: Observation) -> Observation:
    """The part *light* while none is there, or not for long, or it is moved on purpose."""
    a, b = (
        None
        if end is None
        else replace(end, intensities=(None, None, None), vacuum_excess=None, laser_ghz=None)
        if seen.calibrating
        else end
        for end in seen.endpoints
    )
    return replace(seen, relay=None, endpoints=(a, b))


def without_blocks_before(seen: Observation, time_s: float) -> Observation:
    """The same; of blocks that began before, no more than whether lists differed."""
    return replace(
        seen,
        blocks=tuple(
            b if b.begin_s >= time_s else BlockReading(b.begin_s, lists_differ=b.lists_differ)
            for b in seen.blocks
        ),
    )
