"""From hits to announcements: the stages of the relay, in their order."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from bellrelay.wire.geometry import BoardGeometry

from .config import config_layout
from .increments import increments_layout

__all__ = ["DERIVE_CLOCKS", "RAW_LATENCY", "RelayDatapath", "hits_layout"]

RAW_LATENCY = 4
"""Clocks from a hit to the raw outputs of its cell."""

DERIVE_CLOCKS = 1000
"""Most clocks from ``derive`` to ``derived``, for every geometry."""


def hits_layout(geometry: BoardGeometry) -> data.ArrayLayout:
    """The front end's contract: per channel at most one hit per clock, with its fine code."""
    return data.ArrayLayout(
        data.StructLayout({"hit": 1, "code": geometry.code_bits}), geometry.n_channels
    )


class RelayDatapath(wiring.Component):
    def __init__(self, geometry: BoardGeometry) -> None:
        self.geometry = g = geometry
        n, m = g.n_detectors, g.n_channels
        fine_addr = (m << g.code_bits) - 1
        pattern_addr = g.n_cells + 1
        fine = (g.clock_period_ps - 1).bit_length()
        super().__init__(
            {
                "hits": In(hits_layout(g)),
                "config": In(config_layout(g)),
                "derive": In(1),
                "derived": Out(1),
                "acquire": In(1),
                "cell_start": In(1),
                "active": In(1),
                "tick_last": In(1),
                "fine_write": In(
                    data.StructLayout({"en": 1, "addr": fine_addr.bit_length(), "data": fine})
                ),
                "fine_read_addr": In(fine_addr.bit_length()),
                "fine_read_data": Out(fine),
                "pattern_write": In(
                    data.StructLayout({"en": 1, "addr": pattern_addr, "data": 4})
                ),
                "pattern_read_addr": In(pattern_addr),
                "pattern_read_data": Out(4),
                "raw_tags": Out(
                    data.ArrayLayout(data.StructLayout({"valid": 1, "time": 56}), m)
                ),
                "raw_cell_last": Out(1),
                "announce": Out(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "outcome": 2, "slot": 64}), g.n_ports
                    )
                ),
                "hist": Out(
                    data.ArrayLayout(
                        data.StructLayout({"valid": 1, "bin": (g.hist_bins - 1).bit_length()}), m
                    )
                ),
                "sync": Out(data.StructLayout({"valid": 1, "slot": 64, "pos": 24})),
                "cell_last": Out(1),
                "cut_slot": Out(64),
                "trigger_psi_minus": Out(1),
                "trigger_psi_plus": Out(1),
                "increments": Out(increments_layout(g)),
                "gate_out": Out(n),
            }
        )

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError("under way")
