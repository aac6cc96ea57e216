"""The relay's board: whether its port is there and may be opened, and what answers on it."""

from __future__ import annotations

from collections.abc import Iterator

from bellrelay.relay.board_check import check_board
from bellrelay.relay.config import RelayConfig
from bellrelay.relay.link import PortBusy, PortError
from bellrelay.settings.model import ConfigError
from bellrelay.wire.access import AccessError, BoardVersionMismatch

from .finding import Finding, failed, passed
from .running import Running

__all__ = ["check_relay_board"]

_CHECK = "board"
_PLUG = (
    "ls -l /dev/serial/by-id /dev/bellrelay; bellrelay board probe; the name comes from "
    "deploy/udev/70-bellrelay.rules"
)
_OPEN = (
    "fuser -v PORT names a program that has it; the user must be in the group dialout, by "
    "deploy/udev/70-bellrelay.rules"
)


def check_relay_board(config: RelayConfig, running: Running | None) -> Iterator[Finding]:
    """Ask it, where no daemon has it; nothing is written to it."""
    if running is not None:
        board = (running.health or {}).get("board")
        if board is not None:
            yield passed(_CHECK, f"{config.port}: the daemon has it: {board['name']}")
        elif running.health is not None:
            yield failed(_CHECK, f"{config.port}: the daemon has no board", _PLUG)
        else:
            yield passed(_CHECK, f"{config.port}: the daemon's while it runs; not opened")
        return
    try:
        found = check_board(config)
    except PortBusy as error:
        yield failed(_CHECK, error, _OPEN.replace("PORT", str(config.port)))
    except (PortError, OSError) as error:
        yield failed(_CHECK, error, _PLUG)
    except BoardVersionMismatch as error:
        yield failed(_CHECK, error, "bellrelay board update IMAGE --config; docs/how-to")
    except AccessError as error:
        again = f"bellrelay board probe --port {config.port}; docs/how-to/bring-up-a-board.md"
        yield failed(_CHECK, error, again)
    except ConfigError as error:
        yield failed(_CHECK, error, "docs/reference/relay-config.md, for the board that is there")
    else:
        yield passed(
            _CHECK,
            f"{config.port}: board {found['board']!r}, gateware {found['gateware']}, "
            f"{found['detectors']} detectors, {found['state']}",
        )
