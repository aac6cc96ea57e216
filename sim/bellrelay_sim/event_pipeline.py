"""State of the stages of one acquisition on the event board, and its records between flushes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bellrelay.wire.geometry import BoardGeometry

from . import event_stages as es
from .event_registers import EventRegisters

__all__ = ["EventPipeline"]

_FRACTION = 48


class EventPipeline:
    """The stages from hits to announcements, from cell 0 of one acquisition on.

    Parameters
    ----------
    geometry
        Shape of the board.
    registers
        Read once, here: CONFIG registers stay as they are during an acquisition.
    """

    def __init__(self, geometry: BoardGeometry, registers: EventRegisters) -> None:
        self._geometry = g = geometry
        n, m = g.n_detectors, g.n_channels
        value, array = registers.value, registers.array
        deskew = array("deskew_ps")
        self._rate = (value("rate_hi") << 32) + (value("rate_lo") & 0xFFFF_FFFF)
        windows = [
            value(f"{w}_start")
            for w in ("early", "late")
            if value(f"{w}_start") != value(f"{w}_end")
        ]
        self._par = par = np.zeros(es.N_PARAMETERS, np.int64)
        par[es.P_DETECTORS] = n
        par[es.P_PERIOD] = g.clock_period_ps
        par[es.P_TICK_CLOCKS] = g.tick_clocks
        par[es.P_CODE_BITS] = g.code_bits
        par[es.P_CAPTURE_DEPTH] = g.capture_depth
        par[es.P_ANNOUNCE_DEPTH] = g.announce_depth
        par[es.P_ANNOUNCE_SHORT] = g.announce_depth_short
        par[es.P_ALIGN_DEPTH] = g.align_depth
        par[es.P_ALIGN_CELLS] = value("align_cells")
        most = max(deskew)
        par[es.P_LOOK_AHEAD] = -(-most // g.clock_period_ps) + 1 if most > 0 else 0
        par[es.P_SLOT_PERIOD] = value("slot_period_ps")
        par[es.P_EARLY_START] = value("early_start")
        par[es.P_EARLY_END] = value("early_end")
        par[es.P_LATE_START] = value("late_start")
        par[es.P_LATE_END] = value("late_end")
        par[es.P_FIRST_WINDOW] = min(windows, default=0)
        par[es.P_ANNOUNCE_NOT_LIVE] = value("announce_not_live")
        par[es.P_HIST_ON] = value("hist_ticks") != 0
        par[es.P_HIST_SHIFT] = value("hist_shift")
        par[es.P_HIST_BINS] = g.hist_bins

        self._state = np.zeros(es.N_STATE, np.int64)
        self._state[es.S_U] = value("phase_ps")
        self._state[es.S_BLIND] = -1
        self._state[es.S_SHORT_CELL] = -1
        self._channels = np.zeros((m, es.N_CHANNEL), np.int64)
        for c in range(m):
            cells, rest = divmod(deskew[c], g.clock_period_ps)
            self._channels[c, es.C_DESKEW] = deskew[c]
            self._channels[c, es.C_DESKEW_CELLS] = cells
            self._channels[c, es.C_DESKEW_REST] = rest
            self._channels[c, es.C_LAST_CELL] = -1
            self._channels[c, es.C_LAST_TAG] = es.LONG_AGO
        self._detectors = np.zeros((n, es.N_DETECTOR), np.int64)
        self._detectors[:, es.D_DEAD_TIME] = array("dead_time_ps")
        extend = value("dead_extend")
        self._detectors[:, es.D_EXTEND] = [extend >> d & 1 for d in range(n)]
        self._detectors[:, es.D_BEGAN] = es.LONG_AGO
        self._detectors[:, es.D_DEAD_TO] = -1
        self._raw = np.zeros((m, es.N_RAW), np.int64)
        self._raw_cut = np.zeros((m, es.N_RAW), np.int64)
        self._aligned = np.zeros(es.N_ALIGNED, np.int64)
        self.histogram = np.zeros((m, g.hist_bins), np.int64)
        """Of the period that runs: counts per channel and bin."""
        self._ports = np.zeros(g.n_ports, np.int64)
        self._fine = np.array(array("fine"), np.int64).reshape(m, 1 << g.code_bits)
        self._pattern = np.array(array("pattern"), np.int64)
        self._bank = np.zeros((m, 2 * g.capture_depth + g.align_depth), np.int64)
        records = g.announce_depth + (g.n_ports - 1) * g.announce_depth_short
        self._record_slots = np.zeros(records, np.int64)
        self._record_outcomes = np.zeros(records, np.uint8)
        pending = m * (g.tick_clocks + 2 * g.align_depth)
        self._pending_t = np.zeros(pending, np.int64)
        self._pending_c = np.zeros(pending, np.uint8)
        self._families = self._layout()

    def _layout(self) -> dict[str, tuple[NDArray[np.int64], int | tuple[int, int]]]:
        """Where every counter that the stages produce is found."""
        n, m = self._geometry.n_detectors, self._geometry.n_channels
        out: dict[str, tuple[NDArray[np.int64], int | tuple[int, int]]] = {}
        for kind, column in (
            ("clicks", es.R_CLICKS),
            ("pile_up", es.R_PILE_UP),
            ("before_start", es.R_BEFORE_START),
            ("misaligned", es.R_MISALIGNED),
            ("tags_lost", es.R_TAGS_LOST),
        ):
            for c in range(m):
                out[f"{kind}_{c}"] = (self._raw_cut, (c, column))
        for kind, column in (("dead_time", es.R_DEAD_TIME), ("dead_cells", es.R_DEAD_CELLS)):
            for d in range(n):
                out[f"{kind}_{d}"] = (self._raw_cut, (d, column))
        for kind, first in (
            ("outside", es.A_OUTSIDE),
            ("early", es.A_EARLY),
            ("late", es.A_LATE),
        ):
            for d in range(n):
                out[f"{kind}_{d}"] = (self._aligned, first + d)
        for i, j in combinations(range(n), 2):
            out[f"pair_{i}_{j}"] = (self._aligned, es.A_PAIR + 4 * i + j)
        for k in range(9):
            out[f"class_{k}"] = (self._aligned, es.A_CLASS + k)
        out["sync"] = (self._aligned, es.A_SYNC)
        out["slots"] = (self._aligned, es.A_SLOTS)
        out["slots_not_live"] = (self._aligned, es.A_NOT_LIVE)
        out["lost_psi_minus"] = (self._aligned, es.A_LOST_MINUS)
        out["lost_psi_plus"] = (self._aligned, es.A_LOST_PLUS)
        return out

    def run(
        self,
        t: NDArray[np.int64],
        channel: NDArray[np.uint8],
        used: int,
        ticks: int,
        *,
        trim: int,
        stream_mask: int,
        accept: bool,
        accept_after: bool,
        flush_tags: bool,
    ) -> tuple[int, int, int]:
        """Up to ``ticks`` ticks; fewer if one before the last needs a frame.

        Parameters
        ----------
        t, channel, used
            Stimulus, of which the first ``used`` have been worked off.
        trim, stream_mask
            In force in these ticks.
        accept, accept_after
            Whether hits count in these ticks, and in the one after.
        flush_tags
            Whether the tag banks flush at the end of the last tick.

        Returns
        -------
        Ticks done, reasons (``REASON_*`` of :mod:`.event_stages`), stimulus worked off.
        """
        par, state = self._par, self._state
        increment = (self._geometry.clock_period_ps << _FRACTION) + self._rate + (trim << 16)
        par[es.P_STEP] = increment >> _FRACTION
        par[es.P_STEP_FRACTION] = increment & ((1 << _FRACTION) - 1)
        par[es.P_STREAM_MASK] = stream_mask
        state[es.S_STIMULUS] = used
        done = es.run_ticks(
            par,
            state,
            self._channels,
            self._detectors,
            self._raw,
            self._raw_cut,
            self._aligned,
            self.histogram,
            self._ports,
            self._fine,
            self._pattern,
            t,
            channel,
            t.size,
            self._bank,
            self._record_slots,
            self._record_outcomes,
            self._pending_t,
            self._pending_c,
            ticks,
            accept,
            accept_after,
            flush_tags,
        )
        return int(done), int(state[es.S_REASON]), int(state[es.S_STIMULUS])

    @property
    def open_slot(self) -> int:
        """The slot that is open at the cut: the first that has not closed."""
        return int(self._state[es.S_SLOT])

    @property
    def sync(self) -> tuple[int, int]:
        """Slot and position of the last sync tag."""
        return int(self._state[es.S_SYNC_SLOT]), int(self._state[es.S_SYNC_POS])

    def counters(self) -> dict[str, int]:
        """Counters that the stages produce, at the cut."""
        return {name: int(where[index]) for name, (where, index) in self._families.items()}

    def take_records(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Announcements since the last flush (slot, outcome); their banks are empty then."""
        n = int(self._state[es.S_RECORDS])
        self._state[es.S_RECORDS] = 0
        self._ports[:] = 0
        return self._record_slots[:n].copy(), self._record_outcomes[:n].copy()

    def take_tags(self) -> list[NDArray[np.int64]]:
        """Tags per channel that flushed at the cut."""
        out = []
        for c in range(self._geometry.n_channels):
            n, later = (int(self._channels[c, k]) for k in (es.C_FLUSHED, es.C_BANK))
            out.append(self._bank[c, :n].copy())
            self._bank[c, :later] = self._bank[c, n : n + later].copy()
            self._channels[c, es.C_FLUSHED] = 0
        return out
