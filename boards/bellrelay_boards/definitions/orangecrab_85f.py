"""OrangeCrab r0.2 with the 85F: USB at full speed on the chip's own pins."""

from __future__ import annotations

from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.tap_check import LinePlace
from bellrelay_gateware.tapped_line import MIN_TAPS

from ..board import Board, Lamp, PinUsb, Programmer, RelayPins

BOARD = Board(
    name="orangecrab-85f",
    title="OrangeCrab r0.2 (LFE5U-85F)",
    platform=OrangeCrabR0_2_85FPlatform,
    geometry=BoardGeometry(clock_period_ps=10_000, code_bits=9, board="orangecrab-85f"),
    clock=("clk", 48_000_000),
    pins=RelayPins(
        detectors=("io_0:a3", "io_0:a4", "io_0:12", "io_0:13"),
        sync="io_0:a0",
        gates=("io_0:5", "io_0:6", "io_0:9", "io_0:10"),
        calibration="io_0:11",
        psi_minus="io_0:scl",
        psi_plus="io_0:sda",
        reference="io_0:a2",
        loopback=("io_0:0", "io_0:1", "io_0:cipo", "io_0:copi", "io_0:sck"),
    ),
    # Pads at column 126, rows 47, 47, 50, 56, 83: the lines end there.
    lines=tuple(LinePlace(MIN_TAPS["8"], x=98, y=y) for y in (47, 48, 50, 56, 83)),
    alive=Lamp("rgb_led", 0, "b"),
    locked=Lamp("rgb_led", 0, "g"),
    overflow=Lamp("rgb_led", 0, "r"),
    link=PinUsb(),
    programmer=Programmer(
        ("dfu-util", "-d", "1209:5af0", "-a", "0", "-D", "{bitstream}", "-R"),
        "https://dfu-util.sourceforge.net, or the package dfu-util of your system",
        before="hold the button while the board is plugged in: its bootloader waits for the file",
    ),
)
