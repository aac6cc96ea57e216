"""The stages, written from docs/reference/stages.md: unbounded integers, no thought of speed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

from bellrelay.wire.geometry import BoardGeometry


@dataclass
class Settings:
    """Registers by name, and the tables."""

    slot_period_ps: int = 10000
    phase_ps: int = 0
    rate: int = 0
    trims: list[int] = field(default_factory=lambda: [0])  # per tick, the last one stays
    early: tuple[int, int] = (2000, 3000)
    late: tuple[int, int] = (7000, 8000)
    deskew_ps: list[int] = field(default_factory=list)
    dead_time_ps: list[int] = field(default_factory=list)
    dead_extend: int = 0
    align_cells: int = 4
    announce_not_live: int = 0
    hist_shift: int = 4
    pattern: list[int] = field(default_factory=list)
    fine: list[list[int]] = field(default_factory=list)


@dataclass
class Result:
    counters: list[Counter]  # per tick
    raw: list[tuple[int, int, int]]  # cell, channel, time
    announced: list[tuple[int, int, int, int]]  # cell, port, outcome, slot
    hist: list[tuple[int, int, int]]  # cell, channel, bin
    sync: list[tuple[int, int, int]]  # cell, slot, position
    cut_slots: list[int]  # per tick
    positions: list[int]  # of every cell's start in its slot
    classified: Counter  # how often every slot with a click was classified


def expected(
    g: BoardGeometry,
    s: Settings,
    hits: list[dict[int, int]],  # per cell: code by channel
    running: int,  # cells of `running`
    total: int,  # cells of running and draining
    tick: int,  # cells per tick
) -> Result:
    P, T, N = g.clock_period_ps, s.slot_period_ps, g.n_detectors
    count: list[Counter] = [Counter() for _ in range(total // tick)]

    # 3. slot clock
    A = [s.phase_ps << 48]
    for c in range(total):
        trim = s.trims[min(c // tick, len(s.trims) - 1)]
        A.append(A[-1] + (P << 48) + s.rate + (trim << 16))
    u = [a >> 48 for a in A]

    # 2. front end, pile-up, deskew, dead time
    raw, clicks = [], []
    for channel in range(N + 1):
        last_passed = None
        last_dead = None
        dead_starts = []
        D = s.dead_time_ps[channel] if channel < N else 0
        for c in range(running):
            if channel not in hits[c]:
                continue
            t = c * P + s.fine[channel][hits[c][channel]]
            count[c // tick][f"clicks_{channel}"] += 1
            raw.append((c, channel, t))
            if last_passed is not None and t - last_passed < P:
                count[c // tick][f"pile_up_{channel}"] += 1
                continue
            last_passed = t
            moved = t - s.deskew_ps[channel]
            kept = True
            if channel < N:
                kept = last_dead is None or moved - last_dead >= D
                if not kept:
                    count[c // tick][f"dead_time_{channel}"] += 1
                if kept or s.dead_extend >> channel & 1:
                    last_dead = moved
                    dead_starts.append(t)
            if moved < 0:
                if kept:
                    count[c // tick][f"before_start_{channel}"] += 1
                continue
            if c - moved // P >= s.align_cells:
                count[c // tick][f"misaligned_{channel}"] += 1
                continue
            clicks.append((moved, channel, kept))
        if channel < N:
            for c in range(total):
                if any(t < c * P < t + D for t in dead_starts):
                    count[c // tick][f"dead_cells_{channel}"] += 1

    # aligned: slot, gate, bitmap, histogram
    clicks.sort()
    w = min((a for a, b in (s.early, s.late) if a < b), default=0)
    bits: dict[int, int] = {}
    multi: dict[int, bool] = {}
    blinds = []  # slot of the click, end of blindness on the reference axis
    hist, sync = [], []
    for t, channel, kept in clicks:
        c = t // P
        n = count[c // tick]
        v = u[c] + min(t - c * P, u[c + 1] - u[c] - 1)
        slot, pos = v // T, v % T
        if channel < N and (kept or s.dead_extend >> channel & 1):
            blinds.append((slot, v + s.dead_time_ps[channel]))
        if not kept:
            continue
        if pos >> s.hist_shift < g.hist_bins:
            hist.append((c, channel, pos >> s.hist_shift))
        if channel == N:
            sync.append((c, slot, pos))
            n["sync"] += 1
        elif s.early[0] <= pos < s.early[1] or s.late[0] <= pos < s.late[1]:
            early = s.early[0] <= pos < s.early[1]
            n[f"early_{channel}" if early else f"late_{channel}"] += 1
            bit = 1 << (channel if early else N + channel)
            multi[slot] = multi.get(slot, False) or bool(bits.get(slot, 0) & bit)
            bits[slot] = bits.get(slot, 0) | bit
        else:
            n[f"outside_{channel}"] += 1

    # slots close
    announced = []
    classified: Counter = Counter()
    for c in range(total):
        n = count[c // tick]
        first, last = u[c] // T, u[c + 1] // T
        port = 0
        for slot in range(first, last):
            n["slots"] += 1
            live = not any(slot > s0 and slot * T + w < end for s0, end in blinds)
            n["slots_not_live"] += not live
            pattern = bits.get(slot, 0)
            if not pattern:
                continue
            classified[slot] += 1
            code = s.pattern[pattern | multi[slot] << 2 * N]
            if 1 <= code <= 3 and pattern & (pattern - 1) == 0:
                code = 4
            if code > 8:
                code = 0
            if 1 <= code <= 3 and not live and not s.announce_not_live:
                code = 8
            n[f"class_{code}"] += 1
            for i, j in combinations(range(N), 2):
                here = [pattern >> d & 1 or pattern >> (N + d) & 1 for d in (i, j)]
                n[f"pair_{i}_{j}"] += all(here)
            if 1 <= code <= 3:
                if slot > first:
                    port += 1
                announced.append((c, 0 if slot == first else port, 1 if code == 1 else 2, slot))
    return Result(
        counters=count,
        raw=sorted(raw),
        announced=announced,
        hist=sorted(hist),
        sync=sync,
        cut_slots=[u[(k + 1) * tick] // T for k in range(total // tick)],
        positions=[x % T for x in u[:-1]],
        classified=classified,
    )
