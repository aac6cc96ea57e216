"""ULX3S with the 85F: the serial line of the FT231X on the board.

The oscillator's 25 MHz give no 48 MHz within the loop's limits, which bare USB pins would need.
"""

from __future__ import annotations

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.tap_check import LinePlace
from bellrelay_gateware.tapped_line import MIN_TAPS

from ..board import Board, Lamp, Programmer, RelayPins, Uart

BOARD = Board(
    name="ulx3s-85f",
    title="Radiona ULX3S (LFE5U-85F)",
    platform=ULX3S_85F_Platform,
    # Buffers for what a serial line carries, half a megabyte per second at the very most: memory
    # that is not there need not be reached across the chip, the slowest of the four. For the same
    # reason detectors may differ by 120 ns of cable, not by 280.
    geometry=BoardGeometry(
        clock_period_ps=10_000,
        code_bits=9,
        capture_depth=256,
        link_words=4096,
        align_depth=32,
        board="ulx3s-85f",
    ),
    clock=("clk25", 25_000_000),
    pins=RelayPins(
        detectors=("gpio_0:9+", "gpio_0:10+", "gpio_0:11+", "gpio_0:12+"),
        sync="gpio_0:13+",
        gates=("gpio_0:19+", "gpio_0:20+", "gpio_0:21+", "gpio_0:22+"),
        calibration="gpio_0:23+",
        psi_minus="gpio_0:24+",
        psi_plus="gpio_0:25+",
        reference="gpio_0:0+",
        loopback=("gpio_0:14+", "gpio_0:15+", "gpio_0:16+", "gpio_0:17+", "gpio_0:18+"),
    ),
    # Pads at column 0, rows 35, 14, 20, 44, 41.
    lines=tuple(LinePlace(MIN_TAPS["6"], x=2, y=y) for y in (35, 14, 20, 44, 41)),
    alive=Lamp("led", 0),
    locked=Lamp("led", 1),
    overflow=Lamp("led", 2),
    link=Uart(),
    programmer=Programmer(
        ("openFPGALoader", "-b", "ulx3s", "-f", "{bitstream}"),
        "https://trabucayre.github.io/openFPGALoader/guide/install.html",
    ),
    seed=2,
)
