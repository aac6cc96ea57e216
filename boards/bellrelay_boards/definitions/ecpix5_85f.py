"""ECPIX-5 with the 85F: USB at high speed through the USB3300 on the board.

Inputs on Pmod 3, which lies on the left banks beside the delay lines. The loop-back comes out on
the same contacts of Pmod 0: a straight Pmod cable ties them together.
"""

from __future__ import annotations

from amaranth_boards.ecpix5 import ECPIX585Platform

from bellrelay.wire.geometry import BoardGeometry
from bellrelay_gateware.tap_check import LinePlace
from bellrelay_gateware.tapped_line import MIN_TAPS

from ..board import Board, Lamp, Programmer, RelayPins, Ulpi

BOARD = Board(
    name="ecpix5-85f",
    title="LambdaConcept ECPIX-5 (LFE5UM5G-85F)",
    platform=ECPIX585Platform,
    geometry=BoardGeometry(clock_period_ps=10_000, code_bits=9, board="ecpix5-85f"),
    clock=("clk100", 100_000_000),
    pins=RelayPins(
        detectors=("pmod_3:1", "pmod_3:2", "pmod_3:4", "pmod_3:7"),
        sync="pmod_3:8",
        gates=("pmod_4:1", "pmod_4:2", "pmod_4:3", "pmod_4:4"),
        calibration="pmod_4:7",
        psi_minus="pmod_4:8",
        psi_plus="pmod_4:9",
        reference="pmod_5:1",
        loopback=("pmod_0:1", "pmod_0:2", "pmod_0:4", "pmod_0:7", "pmod_0:8"),
    ),
    # Pads at column 0, rows 20, 35, 38, 20, 14.
    lines=tuple(LinePlace(MIN_TAPS["8_5G"], x=2, y=y) for y in (20, 35, 38, 21, 14)),
    alive=Lamp("rgb_led", 0, "g"),
    locked=Lamp("rgb_led", 1, "g"),
    overflow=Lamp("rgb_led", 2, "r"),
    link=Ulpi(),
    programmer=Programmer(
        ("openFPGALoader", "-b", "ecpix5", "-f", "{bitstream}"),
        "https://trabucayre.github.io/openFPGALoader/guide/install.html",
    ),
)
