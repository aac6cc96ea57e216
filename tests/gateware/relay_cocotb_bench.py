"""What cocotb runs: the relay's pins, clock by clock, by a script; the link's bytes to a file.

Not a test of its own: test_relay_cocotb.py starts it and compares the bytes.
"""

import os
import pickle
from collections import deque
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

HALF = Timer(1, "ns")


@cocotb.test()
async def play(dut):
    job = pickle.loads(Path(os.environ["RELAY_JOB"]).read_bytes())
    code_bits = job["code_bits"]
    writes = deque(job["writes"])  # (clock, bytes), ascending
    hits = deque(job["hits"])  # (cell, channel, code), ascending
    pending = deque()
    out = bytearray()
    clk, ready = dut.clk, dut.link_out_ready
    for pin in (clk, dut.rst, dut.link_in_valid, dut.link_in_payload, dut.hits, dut.temperature):
        pin.value = 0
    ready.value = 1
    cell = None
    driven = 0
    await HALF
    for clock in range(job["clocks"]):
        while writes and writes[0][0] == clock:
            pending.extend(writes.popleft()[1])
        # Outputs hold what they are in this clock; inputs are set before it ends.
        if int(dut.cell_start.value):
            cell = 0
        elif cell is not None:
            cell += 1
        word = 0
        if cell is not None and hits:
            while hits and hits[0][0] < cell:
                hits.popleft()
            while hits and hits[0][0] == cell:
                _, channel, code = hits.popleft()
                shift = channel * (code_bits + 1)
                if not word >> shift & 1:
                    word |= (1 | code << 1) << shift
        if word != driven:
            dut.hits.value = driven = word
        if pending:
            dut.link_in_payload.value = pending.popleft()
            dut.link_in_valid.value = 1
        else:
            dut.link_in_valid.value = 0
        if int(dut.link_out_valid.value):
            out.append(int(dut.link_out_payload.value))
        assert not int(dut.fault.value), f"fault in clock {clock}"
        await HALF
        clk.value = 1
        await HALF
        clk.value = 0
        await HALF
    Path(os.environ["RELAY_OUT"]).write_bytes(out)
