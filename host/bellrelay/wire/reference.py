"""The reference page of frames and registers, from their one declaration.

python -m bellrelay.wire.reference > docs/reference/wire.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from .counters import counters
from .frames import FrameType, Status, heartbeat_fields, loss_fields
from .geometry import BoardGeometry
from .registers import MODULE_ID, PROTOCOL_VERSION, Access, Block, Register, RegisterMap, State

__all__ = ["reference_page"]

_HEAD = """# Frames and registers

What every byte between board and host means. Gateware, event board and host use the one declaration
in `bellrelay.wire`, from which this page is made: `python -m bellrelay.wire.reference`. What the
stages behind the registers do: [stages](stages.md).

Protocol version {version}; module id `{module}`. Addresses below are those of a board with
{detectors} detectors and a sync channel; another geometry has longer or shorter arrays.

## Frames

A frame is a sequence of little-endian 32-bit words: magic; type in bits 7..0, version in 15..8,
words of payload in 31..16; sequence number; acquisition id; CRC-32 of these four; the payload;
CRC-32 of all before it.

"""
_PAYLOADS = {
    FrameType.ANNOUNCEMENTS: "cut_tick (2 words), base_slot (2), then a word per record: outcome "
    "in bits 31..28, slot less base_slot below",
    FrameType.TAGS: "cut_ps (2), then two words per tag of one channel, in order: channel in bits "
    "63..56, picoseconds modulo 2**56 below, all before cut_ps",
    FrameType.HISTOGRAM: "period (1), channel and first_bin << 16 (1), start_tick (2), end_tick "
    "(2), then a word per bin",
    FrameType.LOSS: "see below",
    FrameType.RESPONSE: "tag (1), status and type of the command << 8 (1), command word (1), then "
    "the values of a READ",
    FrameType.HEARTBEAT: "see below",
    FrameType.READ: "tag (1), command word (1): address in bits 15..0, number in 31..16",
    FrameType.WRITE: "as READ, then the values",
}


def reference_page(geometry: BoardGeometry | None = None) -> str:
    """The whole page, Markdown; of a board with four detectors unless another is given."""
    geometry = geometry or BoardGeometry(n_detectors=4)
    parts = [
        _HEAD.format(version=PROTOCOL_VERSION, module=MODULE_ID, detectors=geometry.n_detectors),
        _table(
            ("Type", "Number", "Direction", "Payload, in words"),
            ((f"`{t.name}`", t.value, _direction(t), text) for t, text in _PAYLOADS.items()),
        ),
        "\nFrames from 32 on are between the daemon and its consumers, and in the announcement "
        "log:\n`bellrelay.wire.messages`.\n",
        "\nStatus of a RESPONSE: " + ", ".join(f"{s.value} `{s.name}`" for s in Status) + ".\n",
        "\n### HEARTBEAT\n\nLow word first where there are two. Counters of the acquisition follow."
        "\n\n",
        _table(
            ("Field", "Words", "Signed"),
            (
                (f"`{f.name}`", f.words, "yes" if f.signed else "")
                for f in heartbeat_fields(geometry)
                if f.name not in {c.name for c in counters(geometry)}
            ),
        ),
        "\nStates: " + ", ".join(f"{s.value} `{s.name}`" for s in State) + ".\n",
        "\n### Counters\n\n",
        _table(("Counter", "Of", "Counts"), _counters(geometry)),
        "\n### LOSS\n\n",
        _table(("Field", "Words"), ((f"`{f.name}`", f.words) for f in loss_fields(geometry))),
        "\n## Registers\n\nOne 32-bit word each. Every block begins with its four-letter id, but "
        "for the memories.\n\n",
        _table(
            ("Kind", "Means"),
            (
                ("constant, status", "read only"),
                ("config", "written while the board is idle"),
                ("live", "written at any time, in force from the next tick on"),
                ("command", "writing acts; reads as zero"),
                ("memory", "words in block memory, written while idle"),
                ("readout", "words in block memory that the board writes"),
            ),
        ),
    ]
    assert {a.value for a in Access} == {"constant", "status", "config", "live", "command"} | {
        "memory",
        "readout",
    }
    for block in RegisterMap(geometry).blocks:
        parts.append(_block(block))
    return "".join(parts)


def _direction(frame_type: FrameType) -> str:
    return "to the board" if frame_type >= FrameType.READ else "from the board"


def _counters(geometry: BoardGeometry) -> Iterable[Sequence[object]]:
    seen = set()
    for counter in counters(geometry):
        if counter.kind not in seen:
            seen.add(counter.kind)
            yield f"`{counter.kind}`", counter.scope, counter.doc


def _block(block: Block) -> str:
    name = f"`{block.id}`" if block.id else f"Memory `{block.registers[0].name}`"
    rows = (
        (
            f"{block.base + r.offset:#06x}"
            + (f" to {_last(block, r):#06x}" if r.count > 1 else ""),
            f"`{r.name}`",
            r.access.value,
            _range(r),
            r.unit,
            r.doc,
        )
        for r in block.registers
    )
    columns = ("Address", "Register", "Kind", "Allowed, after reset", "Unit", "Is")
    return f"\n### {name} at {block.base:#06x}\n\n" + _table(columns, rows)


def _last(block: Block, register: Register) -> int:
    return block.base + register.offset + register.count - 1


def _range(register: Register) -> str:
    if register.access not in (Access.CONFIG, Access.LIVE):
        return ""
    low, high = register.low, register.high
    text = "" if (low, high) == (0, 0xFFFF_FFFF) else f"{low} to {high}"
    return f"{text}, {register.reset}" if text else f"any, {register.reset}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (str(cell).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
