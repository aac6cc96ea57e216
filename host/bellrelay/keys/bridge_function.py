"""A bridge as one function, for platforms that call functions on events.

The KME fills the backlog of a bridge that says ``push: function``; :func:`handle` empties it. What
it opened it keeps for the next call of the same process: a warm start costs no more than the keys.

The environment variable ``BELLRELAY_KME_CONFIG`` names the YAML: that of the KME, or a copy with an
audit directory of the function's own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .audit_log import AuditLog
from .audit_service import open_audit_log
from .bridge_backlog import BridgeBacklog
from .bridge_push import PushResult, push_round
from .bridge_service import open_backlog
from .bridge_settings import BridgeSettings
from .bridge_targets import KeyTarget, open_target
from .kme_config import load_kme_config

__all__ = ["CONFIG_VARIABLE", "PushIncomplete", "handle"]

CONFIG_VARIABLE = "BELLRELAY_KME_CONFIG"
_WAIT_S = 3.0
_LOOK_S = 0.05
_lock = threading.Lock()


class PushIncomplete(RuntimeError):
    """A manager was away, or refused keys: they wait, and the platform may call again.

    result : as :func:`handle` would have returned it.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        faults = [f"{name}: {said['fault']}" for name, said in result["bridges"].items()]
        super().__init__("; ".join(fault for fault in faults if not fault.endswith(": ")))
        self.result = result


@dataclass
class _Warm:
    """What is kept between calls."""

    config: Path
    bridges: dict[str, BridgeSettings]
    audit: AuditLog
    backlog: BridgeBacklog
    targets: dict[str, KeyTarget]

    def close(self) -> None:
        for target in self.targets.values():
            target.close()
        self.backlog.close()
        self.audit.close()


_warm: _Warm | None = None


def _opened() -> tuple[_Warm, bool]:
    """What is kept, and whether it was there already."""
    global _warm
    path = Path(os.environ[CONFIG_VARIABLE])
    if _warm is not None and _warm.config == path:
        return _warm, True
    _forget()
    config = load_kme_config(path)
    bridges = {b.name: b for b in config.bridges if b.push == "function"}
    audit = open_audit_log(config.audit, config.kme_id)
    try:
        backlog = open_backlog(config, audit)
    except BaseException:
        audit.close()
        raise
    targets = {name: open_target(bridge) for name, bridge in bridges.items()}
    _warm = _Warm(path, bridges, audit, backlog, targets)
    return _warm, False


def _forget() -> None:
    """Whatever went wrong, the next call begins from nothing."""
    global _warm
    if _warm is not None:
        kept, _warm = _warm, None
        kept.close()


def handle(event: Mapping[str, Any] | None = None, _context: object = None) -> dict[str, Any]:
    """Push what waits in the backlogs; call it on each new block.

    Parameters
    ----------
    event
        ``bridge``: the name of one bridge, else all that say ``push: function``. ``wait_s``: how
        long to wait for the KME to put the block's keys into the backlog, 3 s if it is not said.
        ``even_if_early``: true, to try a manager again before its time. Everything else is passed
        over, so a record of the audit log (``block-added``) can be the event as it is.

    Returns
    -------
    dict
        ``warm``: whether this process was used before. ``bridges``: by name, ``pushed``,
        ``refused``, ``recalled``, ``waiting``, ``held``, ``busy``, ``fault``.

    Raises
    ------
    PushIncomplete
        A manager is away or refused keys. Nothing is lost, and what was pushed is not pushed again.
    KeyError
        No YAML is named, or there is no such bridge.
    ConfigError, StoreError, SealerError, OSError
        As where `bellrelay kme` says so.
    """
    event = event or {}
    with _lock:
        try:
            kept, warm = _opened()
            names = [event["bridge"]] if "bridge" in event else list(kept.bridges)
            wait_s = float(event.get("wait_s", _WAIT_S))
            _await_keys(kept, names, wait_s)
            early = event.get("even_if_early") is True
            bridges = {name: _push(kept, name, early) for name in names}
        except BaseException:
            _forget()
            raise
    result = {"warm": warm, "bridges": bridges}
    if any(said["fault"] or said["refused"] for said in bridges.values()):
        raise PushIncomplete(result)
    return result


def _await_keys(kept: _Warm, names: list[str], wait_s: float) -> None:
    end = time.monotonic() + wait_s
    while all(kept.backlog.idle(name) for name in names) and time.monotonic() < end:
        time.sleep(_LOOK_S)


def _push(kept: _Warm, name: str, early: bool) -> dict[str, Any]:
    settings = kept.bridges[name]
    if kept.backlog.idle(name):
        result = PushResult()
    else:
        result = push_round(settings, kept.backlog, kept.targets[name], even_if_early=early)
    counts = kept.backlog.counts(name)
    if result.refused and not result.fault:
        result.fault = f"{result.refused} keys refused"
    return {**asdict(result), "waiting": counts.waiting, "held": counts.held}
