"""From the fair shares of a network to a timetable: windows in a frame that repeats for ever.

Shares say how much of its time a relay gives to each hop (:mod:`.network_schedule`); a timetable
says when, so that no relay serves two hops at once and no sender sends to two relays. It is made by
placing the longest window first, each at the earliest time at which relay and both senders are
free; one that fits nowhere whole is divided, and every part settles anew. Where senders are shared
among relays that may leave windows over. Then all are shortened alike, so that what is fair stays
fair, until they fit: :attr:`TimetablePlan.scale` says how far. With one relay, or with senders that
send to one each, nothing is ever left over. Where that way leaves something over, relays are tried
side by side: who can be served at once is, for the least time in all that serves everybody.

What relays have left serves as standby: windows of pairs that come to a relay only when one before
it is lost. They take nothing from anybody. Everything here is deterministic: the same network gives
the same timetable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
from scipy.optimize import linprog

from bellrelay.endpoint.timetable import Timetable, Window
from bellrelay.settings.load import check

from .network_file import NetworkFile
from .network_links import Hop
from .network_schedule import Schedule

__all__ = ["TimetablePlan", "make_timetable"]

_STEPS = 12
_MOST_GROUPS = 20_000
_STEP_S = 0.001
"""Everything begins and ends at whole steps."""
_SHORTEST_S = 1.0
"""Of key, in a part of a window that was divided."""


@dataclass(frozen=True)
class TimetablePlan:
    """A timetable. scale : share of the planned time that every hop has in it, at most 1.

    without_standby : pair and relay, where a relay has no time left for a pair that would come to
    it if another were lost.
    """

    timetable: Timetable
    scale: float
    without_standby: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Wanted:
    """Key time that a hop wants within a part of the frame. All in steps."""

    hop: Hop
    key: int
    settle: int
    first: int
    end: int


class _Board:
    """Who is busy when: the frame in steps, and what was placed in it."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, int, int, Hop, bool]] = []
        self._busy: dict[tuple[str, str], list[tuple[int, int, Hop]]] = {}

    def place(self, wanted: _Wanted, standby: bool = False) -> int:
        """Place as much of it as goes; returns the key time that was left over."""
        hop, left = wanted.hop, wanted.key
        whole = self._gap(wanted, wanted.settle + left, standby)
        if whole is not None:
            self.take(whole, wanted.settle, left, hop, standby)
            return 0
        shortest = min(left, round(_SHORTEST_S / _STEP_S))
        for begin, end in self._gaps(hop, wanted.first, wanted.end, standby):
            part = min(left, end - begin - wanted.settle)
            if part < min(shortest, left):
                continue
            self.take(begin, wanted.settle, part, hop, standby)
            left -= part
            if left <= 0:
                return 0
        return left

    def take(self, at: int, settle: int, key: int, hop: Hop, standby: bool) -> None:
        """Light from ``at`` on, ``key`` after settling."""
        end = at + settle + key
        self.windows.append((at, at + settle, end, hop, standby))
        for name in (("relay", hop.relay), ("site", hop.a), ("site", hop.b)):
            self._busy.setdefault(name, []).append((at, end, hop))

    def _gap(self, wanted: _Wanted, length: int, standby: bool) -> int | None:
        for begin, end in self._gaps(wanted.hop, wanted.first, wanted.end, standby):
            if end - begin >= length:
                return begin
        return None

    def _gaps(self, hop: Hop, first: int, end: int, standby: bool) -> list[tuple[int, int]]:
        """When the relay and both senders are free, in order.

        For standby, a pair's own windows elsewhere are no hindrance: it is there instead.
        """
        busy = [(b, e) for b, e, _ in self._busy.get(("relay", hop.relay), ())]
        for site in (hop.a, hop.b):
            busy += [
                (b, e)
                for b, e, other in self._busy.get(("site", site), ())
                if not (standby and other.joins(hop.a, hop.b))
            ]
        gaps, at = [], first
        for begin, stop in sorted(busy):
            if begin > at:
                gaps.append((at, min(begin, end)))
            at = max(at, stop)
            if at >= end:
                break
        if at < end:
            gaps.append((at, end))
        return [(a, b) for a, b in gaps if a < b]


def make_timetable(network: NetworkFile, schedule: Schedule) -> TimetablePlan:
    """The timetable of a network with these shares."""
    frame_s = max(relay.turn_s for relay in network.relays)
    turns = {r.name: max(1, int(frame_s / r.turn_s + 1e-9)) for r in network.relays}
    # Greedy as it is, one order is better here and another there.
    low, board = 0.0, _Board()
    for order in _ORDERS:
        found, placed = _longest(network, schedule, frame_s, turns, order)
        if found > low:
            low, board = found, placed
        if low == 1.0:
            break
    else:
        found, placed = _side_by_side(network, schedule, frame_s, max(turns.values()))
        if found > low:
            low, board = found, placed
    missing = _stand_by(network, schedule, board, frame_s, turns)
    windows = [
        Window(
            relay=hop.relay,
            a=hop.a,
            b=hop.b,
            from_s=round(at * _STEP_S, 3),
            begin_s=round(begin * _STEP_S, 3),
            end_s=round(end * _STEP_S, 3),
            standby=standby,
        ).model_dump()
        for at, begin, end, hop, standby in sorted(
            board.windows, key=lambda w: (w[3].relay, w[0], w[3].a, w[3].b)
        )
    ]
    timetable = check(Timetable, {"frame_s": frame_s, "windows": windows}, "timetable")
    return TimetablePlan(timetable, low, tuple(missing))


def _side_by_side(
    network: NetworkFile, schedule: Schedule, frame_s: float, turns: int
) -> tuple[float, _Board]:
    """The same by groups: hops of different relays and sites, served at the same time.

    A linear program finds how long every group is served so that all together takes least; each
    settles once. That is the best there is but for the settling.
    """
    wanted = {hop: share for shares in schedule.shares.values() for hop, share in shares}
    every = _groups([s for s in schedule.shares.values() if s])
    groups = [group for group in islice(every, _MOST_GROUPS) if group]
    hops = list(wanted)
    within = np.array([[hop in group for group in groups] for hop in hops], float)
    found = linprog(
        np.ones(len(groups)), -within, -np.array([wanted[hop] for hop in hops]), bounds=(0.0, None)
    )
    if not found.success:
        return 0.0, _Board()
    used = [(g, x) for g, x in zip(groups, found.x, strict=True) if x > 1e-9]
    settle = {r.name: r.settle_s for r in network.relays}
    slowest = [max(settle[hop.relay] for hop in group) for group, _ in used]
    turn_s = frame_s / turns
    scale = min(1.0, max(0.0, (turn_s - sum(slowest)) / (turn_s * sum(x for _, x in used))))
    board = _Board()
    left = {hop: int(scale * share * turn_s / _STEP_S) for hop, share in wanted.items()}
    at = 0
    for (group, x), slow in zip(used, slowest, strict=True):
        key = int(scale * x * turn_s / _STEP_S)
        settling = int(slow / _STEP_S)
        for hop in group:
            part = min(key, left[hop])
            left[hop] -= part
            for turn in range(turns if part else 0):
                board.take(round(turn * turn_s / _STEP_S) + at, settling, part, hop, False)
        at += settling + key
    return float(scale), board


def _groups(shares: Sequence[Sequence[tuple[Hop, float]]]) -> Iterator[tuple[Hop, ...]]:
    """Hops of different relays and sites, in every way."""
    if not shares:
        yield ()
        return
    for rest in _groups(shares[1:]):
        sites = {site for hop in rest for site in (hop.a, hop.b)}
        yield rest
        for hop, _ in shares[0]:
            if not {hop.a, hop.b} & sites:
                yield (hop, *rest)


def _by_length(wanted: _Wanted, load: Mapping[str, int]) -> tuple[Any, ...]:
    return (wanted.first, -wanted.key)


def _by_load(wanted: _Wanted, load: Mapping[str, int]) -> tuple[Any, ...]:
    both = load[wanted.hop.a], load[wanted.hop.b]
    return (wanted.first, -max(both), -sum(both), -wanted.key)


def _by_pair(wanted: _Wanted, load: Mapping[str, int]) -> tuple[Any, ...]:
    # A pair beside the pair that has none of its sites.
    return (wanted.first, min(wanted.hop.a, wanted.hop.b), -wanted.key)


def _by_end(wanted: _Wanted, load: Mapping[str, int]) -> tuple[Any, ...]:
    return (wanted.end, wanted.key - wanted.end + wanted.first)


_ORDERS = (_by_length, _by_load, _by_end, _by_pair)


def _longest(
    network: NetworkFile,
    schedule: Schedule,
    frame_s: float,
    turns: Mapping[str, int],
    order: Callable[[_Wanted, Mapping[str, int]], tuple[Any, ...]],
) -> tuple[float, _Board]:
    """The largest share of what is wanted that this order finds a place for, and the places."""
    low, high, best, scale = 0.0, 1.0, _Board(), 1.0
    for _ in range(_STEPS):
        board = _placed(network, schedule, frame_s, turns, scale, order)
        if board is not None:
            low, best = scale, board
            if scale == 1.0:
                break
        else:
            high = scale
        scale = (low + high) / 2.0
    return low, best


def _placed(
    network: NetworkFile,
    schedule: Schedule,
    frame_s: float,
    turns: Mapping[str, int],
    scale: float,
    order: Callable[[_Wanted, Mapping[str, int]], tuple[Any, ...]],
) -> _Board | None:
    """All windows of the shares times ``scale``; None: they do not fit."""
    wanted: list[_Wanted] = []
    for relay in network.relays:
        shares = schedule.shares[relay.name]
        settle = round(relay.settle_s / _STEP_S) if len(shares) > 1 else 0
        for hop, share in shares:
            wanted += _turns(hop, scale * share * frame_s, settle, frame_s, turns[relay.name])
    board = _Board()
    load: Counter[str] = Counter()
    for each in wanted:
        for site in (each.hop.a, each.hop.b):
            load[site] += each.key + each.settle
    wanted.sort(key=lambda w: (*order(w, load), w.hop.relay, w.hop.a, w.hop.b, w.first))
    for each in wanted:
        if board.place(each):
            return None
    return board


def _turns(hop: Hop, key_s: float, settle: int, frame_s: float, turns: int) -> list[_Wanted]:
    frame = round(frame_s / _STEP_S)
    # A window that is rounded up would not fit where all of a relay's time is given away.
    key = int(key_s / turns / _STEP_S + 1e-6)
    edges = [frame * n // turns for n in range(turns + 1)]
    return [_Wanted(hop, key, settle, first, end) for first, end in pairwise(edges) if key > 0]


def _stand_by(
    network: NetworkFile,
    schedule: Schedule,
    board: _Board,
    frame_s: float,
    turns: Mapping[str, int],
) -> list[tuple[str, str, str]]:
    """Give what relays have left to pairs that would come to them; returns who finds nothing."""
    comers = _comers(network, schedule)
    missing: list[tuple[str, str, str]] = []
    for relay in network.relays:
        mine = [(hop, share) for hop, share in comers if hop.relay == relay.name]
        idle = frame_s * (1.0 - schedule.busy(relay.name) - schedule.settling[relay.name])
        settle = round(relay.settle_s / _STEP_S)
        for hop, share in mine:
            key_s = min(share * frame_s, idle / len(mine) - turns[relay.name] * relay.settle_s)
            if key_s < _SHORTEST_S * turns[relay.name]:
                missing.append((hop.a, hop.b, relay.name))
                continue
            pieces = _turns(hop, key_s, settle, frame_s, turns[relay.name])
            before = len(board.windows)
            for piece in pieces:
                board.place(piece, standby=True)
            if len(board.windows) == before:
                missing.append((hop.a, hop.b, relay.name))
    return missing


def _comers(network: NetworkFile, schedule: Schedule) -> list[tuple[Hop, float]]:
    """Hops of pairs to relays that do not serve them now, with the share that they have elsewhere.

    A pair with relays of its own goes to those after the one that serves it; any other, to every
    one that both of its sites reach.
    """
    reach = {(f.site, f.relay) for f in network.fibres}
    served: dict[frozenset[str], float] = {}
    at: set[tuple[frozenset[str], str]] = set()
    for relay, shares in schedule.shares.items():
        for hop, share in shares:
            served[frozenset((hop.a, hop.b))] = served.get(frozenset((hop.a, hop.b)), 0.0) + share
            at.add((frozenset((hop.a, hop.b)), relay))
    out: list[tuple[Hop, float]] = []
    for pair in network.pairs:
        both = frozenset((pair.a, pair.b))
        names: Sequence[str] = pair.relays or [r.name for r in network.relays]
        if both not in served:
            continue
        for name in names:
            if (both, name) in at or not {(pair.a, name), (pair.b, name)} <= reach:
                continue
            out.append((Hop(pair.a, pair.b, name, 0.0, 0.0, 0.0, None), served[both]))
    return out
