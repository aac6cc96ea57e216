"""One round of a bridge: from the backlog to the manager, in order, until it is empty or away."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from .bridge_backlog import BridgeBacklog, Turn, Waiting
from .bridge_settings import BridgeSettings
from .bridge_targets import KeyTarget, TargetRefused, TargetUnavailable
from .sealing import SealBroken
from .wiping import wipe

__all__ = ["PushResult", "push_round", "target_name"]

# So many keys, or so long, until what was pushed is put down: after a crash that much is put there
# again, which changes nothing there.
_PUT_DOWN_S = 2.0
_log = structlog.get_logger(__name__)


@dataclass
class PushResult:
    """What a round did. busy : another process had the turn, or it was too early. fault : why it
    ended before the backlog was empty.
    """

    pushed: int = 0
    refused: int = 0
    recalled: int = 0
    busy: bool = False
    fault: str = ""


def target_name(settings: BridgeSettings) -> str:
    """How the audit log calls the manager."""
    if settings.kmip is not None:
        return f"kmip://{settings.kmip.address}"
    assert settings.https is not None
    return f"{settings.https.url} tenant {settings.https.tenant}"


def push_round(
    settings: BridgeSettings,
    backlog: BridgeBacklog,
    target: KeyTarget,
    *,
    even_if_early: bool = False,
) -> PushResult:
    """Push what waits, and call back what was revoked.

    A manager that is away ends the round, and the next one waits: ``retry_s``, doubled with each
    failure up to ``max_retry_s``. A key that it refuses is tried again later; the others go on.

    Raises
    ------
    StoreError, SealerUnavailable, AuditError, OSError
        Nothing that is on its way is lost.
    """
    result = PushResult()
    turn = backlog.take_turn(settings.name, even_if_early=even_if_early)
    if turn is None:
        result.busy = True
        return result
    wait = (settings.retry_s, settings.max_retry_s)
    try:
        _recall(settings, backlog, target, turn, result)
        while entries := backlog.waiting(turn, settings.batch):
            _push(settings, backlog, target, turn, entries, result)
    except TargetUnavailable as away:
        result.fault = str(away) or "unavailable"
        wait = (max(away.wait_s, wait[0]), max(away.wait_s, wait[1]))
    finally:
        backlog.give_back(turn, result.fault, wait)
    return result


def _push(
    settings: BridgeSettings,
    backlog: BridgeBacklog,
    target: KeyTarget,
    turn: Turn,
    entries: list[Waiting],
    result: PushResult,
) -> None:
    done: dict[str, str] = {}
    since = time.monotonic()
    try:
        for entry in entries:
            try:
                done[entry.key_id] = _put(backlog, target, turn, entry)
            except TargetRefused as refusal:
                result.refused += 1
                _log.warning("key refused", bridge=turn.bridge, key=entry.key_id, why=str(refusal))
                wait = (settings.retry_s, settings.max_retry_s)
                backlog.refused(turn, entry, str(refusal), wait)
            if time.monotonic() - since > _PUT_DOWN_S:
                if not backlog.pushed(turn, done, target_name(settings)):
                    return
                result.pushed += len(done)
                done, since = {}, time.monotonic()
    finally:
        backlog.pushed(turn, done, target_name(settings))
        result.pushed += len(done)


def _put(backlog: BridgeBacklog, target: KeyTarget, turn: Turn, entry: Waiting) -> str:
    try:
        key = backlog.opened(turn.bridge, entry)
    except SealBroken as broken:
        # Nobody will ever read it; it stays, so that people see that it is missing there.
        raise TargetRefused(str(broken)) from None
    try:
        return target.put(key)
    finally:
        wipe(key.key)


def _recall(
    settings: BridgeSettings,
    backlog: BridgeBacklog,
    target: KeyTarget,
    turn: Turn,
    result: PushResult,
) -> None:
    for entry in backlog.to_recall(turn, settings.batch):
        try:
            target.recall(entry.key_id, entry.remote_id, "revoked by the KME")
        except TargetRefused as refusal:
            wait = (settings.retry_s, settings.max_retry_s)
            backlog.refused(turn, entry, str(refusal), wait)
            result.refused += 1
            continue
        backlog.recalled(turn, entry)
        result.recalled += 1
