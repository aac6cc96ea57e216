"""ButterStick r1.0: USB at high speed through a USB3343 that takes its clock from the chip.

Inputs on SYZYGY port 0. Its supplies, and the transceiver's, are regulated by the gateware.
"""

from __future__ import annotations

from functools import partial

from amaranth_boards.butterstick import ButterStickPlatform

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.tap_check import LinePlace
from bellrelay_gateware.tapped_line import MIN_TAPS

from ..board import Board, Lamp, Programmer, RelayPins, Ulpi

BOARD = Board(
    name="butterstick-85f",
    title="ButterStick r1.0 (LFE5UM5G-85F)",
    platform=partial(ButterStickPlatform, VCCIOA="3V3", VCCIOB="3V3", VCCIOC="3V3"),
    geometry=BoardGeometry(clock_period_ps=10_000, code_bits=9, board="butterstick-85f"),
    clock=("clk30", 30_000_000),
    pins=RelayPins(
        detectors=("syzygy_0:S0", "syzygy_0:S2", "syzygy_0:S4", "syzygy_0:S1"),
        sync="syzygy_0:S16",
        gates=("syzygy_0:S8", "syzygy_0:S10", "syzygy_0:S12", "syzygy_0:S14"),
        calibration="syzygy_0:S9",
        psi_minus="syzygy_0:S11",
        psi_plus="syzygy_0:S13",
        reference="syzygy_0:S28",
        loopback=("syzygy_1:S0", "syzygy_1:S2", "syzygy_1:S4", "syzygy_1:S1", "syzygy_1:S16"),
    ),
    # Pads at column 0, rows 47, 47, 50, 50, 53.
    lines=tuple(LinePlace(MIN_TAPS["8_5G"], x=2, y=y) for y in (47, 48, 50, 51, 53)),
    alive=Lamp("rgb_leds_muxed", 0, "leds", 0),
    locked=Lamp("rgb_leds_muxed", 0, "leds", 1),
    overflow=Lamp("rgb_leds_muxed", 0, "leds", 2),
    lit=(Lamp("rgb_leds_muxed", 0, "g"),),
    link=Ulpi("usb", clock_from_board=True),
    programmer=Programmer(
        ("dfu-util", "-d", "1209:5af1", "-a", "0", "-D", "{bitstream}", "-R"),
        "https://dfu-util.sourceforge.net, or the package dfu-util of your system",
        before="hold button 0 while the board is plugged in: its bootloader waits for the file",
    ),
    rails=(3.3, 3.3, 3.3),
)
