"""From a relay's configuration to the registers of the board that is there."""

from __future__ import annotations

from fractions import Fraction

from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.outcomes import pattern_table
from bellrelay.wire.registers import RegisterMap

from .config import RelayConfig

__all__ = ["register_values", "slot_rate"]

_PS_PER_MS = 10**9
_FRACTION_BITS = 48


def slot_rate(period_ps: Fraction, clock_period_ps: int) -> tuple[int, int]:
    """Whole slot period T and rate (unit 2**-48 ps per clock) that together make ``period_ps``.

    The reference time is counted in units of which T make a slot: one clock is worth
    ``P T / period`` of them, and rate is what that differs from P (reference of the stages,
    section 3). T is the nearest whole number, so that rate is smallest.
    """
    whole = round(period_ps)
    rate = round(clock_period_ps * (whole / period_ps - 1) * (1 << _FRACTION_BITS))
    return whole, rate


def register_values(config: RelayConfig, geometry: BoardGeometry) -> dict[str, tuple[int, ...]]:
    """Values of all CONFIG, LIVE and MEMORY registers but acquisition, start and fine table.

    ``stream_mask`` is among them; ``trim`` is 0. The fine table stays as the board has it.

    Raises
    ------
    ConfigError
        What this board cannot do, by key, value and what is allowed.
    """
    n = geometry.n_detectors
    if len(config.detectors) != n:
        raise config.error("detectors", f"{len(config.detectors)} entries", f"{n} on this board")
    limit = geometry.max_deskew_ps
    deskew = [d.deskew_ps for d in config.detectors] + [config.sync.deskew_ps]
    for index, value in enumerate(deskew):
        if abs(value) > limit:
            key = f"detectors.{index}.deskew_ps" if index < n else "sync.deskew_ps"
            raise config.error(key, value, f"{-limit} to {limit} ps on this board")
    period, rate = slot_rate(config.slot_period_ps, geometry.clock_period_ps)
    if abs(rate) >= 4 << _FRACTION_BITS:
        raise config.error(
            "slot_period_ps",
            str(config.slot_period_ps),
            "closer to a whole number of ps, for this board's clock of "
            f"{geometry.clock_period_ps} ps",
        )
    registers = RegisterMap(geometry)

    def ticks(key: str, milliseconds: float, name: str) -> int:
        value = max(1, int(milliseconds * _PS_PER_MS / geometry.tick_ps))
        high = registers[name].high
        if value > high:
            allowed = f"at most {high * geometry.tick_ps / _PS_PER_MS:g} ms on this board"
            raise config.error(key, milliseconds, allowed)
        return value

    hist_ticks = 0
    if config.histogram.period_s > 0:
        shortest = geometry.n_channels * geometry.hist_bins // geometry.hist_chunk + 1
        hist_ticks = ticks("histogram.period_s", config.histogram.period_s * 1000, "hist_ticks")
        if hist_ticks < shortest:
            allowed = f"at least {shortest * geometry.tick_ps / 1e12:g} s on this board"
            raise config.error("histogram.period_s", config.histogram.period_s, allowed)
    extending = sum(1 << i for i, d in enumerate(config.detectors) if d.dead_time == "extending")
    cells = -(-max(0, *deskew) // geometry.clock_period_ps) + 2
    mask = (1 << geometry.n_channels) - 1 if config.raw_tags.stream else 0
    early, late = config.windows.early, config.windows.late
    return {
        "heartbeat_ticks": (ticks("heartbeat_ms", config.heartbeat_ms, "heartbeat_ticks"),),
        "flush_ticks": (ticks("flush_ms", config.flush_ms, "flush_ticks"),),
        "stream_mask": (mask,),
        "hist_ticks": (hist_ticks,),
        "hist_shift": (config.histogram.bin_ps.bit_length() - 1,),
        "announce_not_live": (int(config.announce_not_live),),
        "loss_quiet_ticks": (registers["loss_quiet_ticks"].reset,),
        "slot_period_ps": (period,),
        "phase_ps": (config.phase_ps,),
        "rate_lo": (rate & 0xFFFF_FFFF,),
        "rate_hi": (rate >> 32,),
        "trim": (0,),
        "early_start": (early[0],),
        "early_end": (early[1],),
        "late_start": (late[0],),
        "late_end": (late[1],),
        "gate_delay_ps": tuple(d.gate_delay_ps for d in config.detectors),
        "gate_width_ps": tuple(d.gate_width_ps for d in config.detectors),
        "deskew_ps": tuple(deskew),
        "dead_time_ps": tuple(d.dead_time_ps for d in config.detectors),
        "dead_extend": (extending,),
        "align_cells": (max(registers["align_cells"].low, cells),),
        "pattern": tuple(pattern_table(config.encoding, config.ports)),
    }
