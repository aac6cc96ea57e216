"""A record of the audit log as a syslog message: RFC 5424, and its framing on TLS, RFC 5425.

The message's text is the record's line, byte for byte: whoever collects the messages of one log
holds the chain itself. It is ASCII, so no byte order mark is needed (RFC 5424, 6.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .audit_chain import PREV, REPAIRED, SEQUENCE

__all__ = ["octet_counted", "severity", "structured_element", "syslog_message"]

_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_SD_NAME = re.compile(r"[\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}")
_WARNING, _NOTICE, _INFORMATIONAL = 4, 5, 6
# RFC 5424, 7.3.1: the counter of `meta` ends there and begins again with 1.
_SEQUENCE_IDS = 2147483647


def severity(values: Mapping[str, Any]) -> int:
    """Warning: refused or failed, or a torn log; notice: an operator's act; else informational."""
    if values.get("event.outcome") != "success" or values.get("event.action") == REPAIRED:
        return _WARNING
    return _NOTICE if str(values.get("user.id")).startswith("operator:") else _INFORMATIONAL


def structured_element(name: str, parameters: Mapping[str, str]) -> str:
    r"""One SD-ELEMENT: values are UTF-8 with ``"``, ``\`` and ``]`` escaped (RFC 5424, 6.3.3).

    Raises
    ------
    ValueError
        A name that RFC 5424 does not allow.
    """
    for each in (name, *parameters):
        if _SD_NAME.fullmatch(each) is None:
            raise ValueError(f"{each!r} is no name of structured data")
    inner = "".join(f' {key}="{value.translate(_ESCAPES)}"' for key, value in parameters.items())
    return f"[{name}{inner}]"


# Control characters are allowed there, but many a collector takes a newline for the message's end.
_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "]": "\\]"} | {chr(code): "?" for code in (*range(32), 127)}
)


def _header_word(text: str, longest: int) -> str:
    """Printable ASCII without spaces, or the nil value."""
    return _NOT_PRINTABLE.sub("?", text)[:longest] or "-"


def syslog_message(
    line: bytes, values: Mapping[str, Any], *, facility: int, enterprise: int, version: str
) -> bytes:
    """The message of a record. line : without its newline; values : what it says."""
    program = str(values["service.name"]).removeprefix("bellrelay-")
    header = " ".join(
        (
            f"<{facility * 8 + severity(values)}>1",
            str(values["@timestamp"]),
            _header_word(str(values["host.name"]), 255),
            _header_word(str(values["service.name"]), 48),
            _header_word(str(values["process.pid"]), 128),
            _header_word(str(values["event.action"]), 32),
        )
    )
    data = (
        structured_element("meta", {"sequenceId": str(values[SEQUENCE] % _SEQUENCE_IDS + 1)})
        + structured_element(
            "origin",
            {"enterpriseId": str(enterprise), "software": "bellrelay", "swVersion": version},
        )
        + structured_element(
            f"audit@{enterprise}",
            {
                program: str(values["service.node.name"]),
                "sequence": str(values[SEQUENCE]),
                "actor": str(values["user.id"]),
                "object": str(values["bellrelay.object"]),
                "outcome": str(values["event.outcome"]),
                "prev": str(values[PREV]),
            },
        )
    )
    return f"{header} {data} ".encode() + line


def octet_counted(message: bytes) -> bytes:
    """A message in a stream: its length in octets, a space, itself (RFC 5425, 4.3)."""
    return str(len(message)).encode() + b" " + message
