"""What a running endpoint can do about a fault: the :class:`~.link_actions.Hands` of its daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from bellrelay.endpoint.config import EndpointConfig

from .fault_actions import Order
from .fault_from_status import Status
from .link_actions import NotDone
from .link_observer import BITS_PER_BLOCK

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["STEPS", "DaemonHands", "write_evidence"]

_COMMAND_S = 120.0
_CALIBRATION_S = 1800.0
STEPS: Mapping[str, tuple[str, ...]] = {
    "arm-delay": ("deskew", "windows"),
    "arms-drift": ("deskew", "windows"),
    "runaway-detector": ("dark", "dead-time"),
    "phase-misaligned": ("phase-reference",),
    "encoder-misaligned": ("polarisation", "windows"),
    "dead-detector": ("dark", "gate-scan"),
    "asymmetric-loss": ("dark", "windows"),
    "dark-count-ageing": ("dark", "windows"),
    "laser-drift": ("hom",),
    "pulses-wide": ("tdc", "deskew", "windows"),
}
"""Calibration that a fault names: the steps of `bellrelay calibrate`."""
_log = structlog.get_logger(__name__)


class DaemonHands:
    """Of one endpoint.

    Parameters
    ----------
    daemon
        Running.
    config
        Its own.
    relay_status
        What a relay said last; None: nothing.
    evidence
        All that is known, for an archive.
    """

    def __init__(
        self,
        daemon: EndpointDaemon,
        config: EndpointConfig,
        relay_status: Callable[[str], Status | None],
        evidence: Callable[[], Mapping[str, Any]],
    ) -> None:
        assert config.watch is not None
        self._daemon = daemon
        self._config = config
        self._settings = config.watch
        self._relay_status = relay_status
        self._evidence = evidence
        self._contained: set[str] = set()

    @property
    def _active(self) -> str:
        return self._daemon.relays.active

    # ------------------------------------------------------------------------------- link

    async def fail_over(self, order: Order) -> str:
        if not self._config.secondaries:
            raise NotDone("no other relay is configured")
        before = order.relay or self._active
        if self._active != before:
            # The endpoint was quicker: a relay that is well must not be left for another's fault.
            return f"{before} was left already"
        self._daemon.relays.fail_over(order.why)
        return f"asked for the relay after {before}"

    async def resynchronise(self, order: Order) -> str:
        """Begin our sender's delay loop anew; the relay's loop does so by itself."""
        done = []
        again = self._of_companion("resynchronise")
        if again is not None:
            done.append(str(await again(order.why)))
        tracking = self._tracking()
        if tracking is not None:
            done.append(f"the relay's loop does so by itself: {tracking}")
        if not done:
            raise NotDone(f"neither {self._config.endpoint_id} nor {self._active} tracks anything")
        return "; ".join(done)

    async def hold_over(self, order: Order) -> str:
        tracking = self._tracking()
        if tracking is None:
            raise NotDone(f"{self._active} tracks nothing")
        return f"the relay's loop does so by itself: {tracking}"

    def _tracking(self) -> str | None:
        """What the relay's loop does, in its own word; None: it has none."""
        tracking = (self._relay_status(self._active) or {}).get("tracking")
        return str(tracking.get("state", "running")) if tracking else None

    async def recalibrate(self, order: Order) -> str:
        calibrate = self._of_companion("recalibrate")
        if calibrate is not None:
            return str(await calibrate(order.fault, order.subject, order.why))
        steps = STEPS.get(order.fault)
        words = self._settings.recalibrate
        if steps is None or not words:
            missing = "watch.recalibrate names no command" if steps else "no step is known for it"
            raise NotDone(f"{missing}: a person begins calibrations")
        relay_id = order.relay or self._active
        filled = {"{relay}": relay_id, "{reason}": order.why}
        command = [w for word in words for w in (steps if word == "{steps}" else (word,))]
        await _run([_filled(word, filled) for word in command], _CALIBRATION_S)
        return f"ran {', '.join(steps)} at {relay_id}"

    async def roll_back(self, order: Order) -> str:
        """Take back the intensities on trial, or else those that were promoted last."""
        versions = self._daemon.versions
        if versions is None:
            raise NotDone("no versions of parameters are kept")
        held = await asyncio.to_thread(versions.roll_back, order.why, "watch")
        what = f"version {held.number}" if held.number else "the configuration file"
        return f"{what} holds again, from the next blocks on"

    def _of_companion(self, name: str) -> Callable[..., Awaitable[object]] | None:
        """What another companion of the endpoint can do, if there is one that can."""
        for companion in self._daemon.companions:
            method = getattr(companion, name, None)
            if method is not None:
                found: Callable[..., Awaitable[object]] = method
                return found
        return None

    async def reauthenticate(self, order: Order) -> str:
        account = self._daemon.account.status()
        in_work = len(self._daemon.pipeline.status()["in_work"])
        # Tags of blocks that are interrupted are lost; those of the next ones must be there.
        needed = self._config.key_pool.reserve_bits + 2 * (in_work + 1) * BITS_PER_BLOCK
        if account["bits"] < needed:
            raise NotDone(f"{account['bits']} bits of key for tags are left, {needed} are needed")
        self._daemon.channel.renew_session(order.why)
        return f"a new session; {account['bits']} bits of key for tags are left"

    # ------------------------------------------------------------------------------- sender

    async def set_rate(self, share: float) -> str:
        await asyncio.to_thread(self._daemon.sender.set_rate, share)
        return f"sends in {share:g} of the slots"

    async def set_attenuation_db(self, attenuation_db: float) -> str:
        await asyncio.to_thread(self._daemon.sender.set_attenuation_db, attenuation_db)
        if attenuation_db == 0.0:
            return "attenuates as calibrated"
        return f"attenuates by {attenuation_db:g} dB more; blocks of this time make no key"

    async def halt(self) -> str:
        await asyncio.to_thread(self._daemon.sender.halt)
        return "sends nothing until the endpoint is started again, or it is taken back"

    async def resume(self) -> str:
        await asyncio.to_thread(self._daemon.sender.resume)
        return "sends again"

    # ------------------------------------------------------------------------------- a suspect

    async def contain(self, order: Order) -> str:
        """Believe the relay nothing more, suspend its keys, put down what is known, and leave it.

        What can be done is done, whatever else fails; NotDone tells what did not work.
        """
        relay_id, done, failed = order.relay or self._active, [], []
        if relay_id in self._contained and self._daemon.relays.quarantined(relay_id) is not None:
            # By the watch, or by a person: twice suspended would be twice to be released.
            return f"{relay_id} was contained already"
        folder = self._config.store.directory / "incidents"
        evidence: Path | None = None
        try:
            evidence = await asyncio.to_thread(write_evidence, folder, self._evidence(), relay_id)
            done.append(f"evidence in {evidence}")
        except OSError as error:
            failed.append(f"no evidence was written: {error}")
        for what, step in (
            (f"{relay_id} is believed nothing more", self._quarantine(relay_id, order)),
            ("its keys are suspended", self._suspend(relay_id, order, evidence)),
            ("another relay is asked for", self._leave(order)),
        ):
            try:
                await step
                done.append(what)
            except Exception as error:
                failed.append(f"not: {what}: {error}")
        if failed:
            raise NotDone("; ".join([*failed, *done]))
        self._contained.add(relay_id)
        return "; ".join(done)

    async def _quarantine(self, relay_id: str, order: Order) -> None:
        await self._daemon.relays.quarantine(relay_id, order.why)

    async def _leave(self, order: Order) -> None:
        if self._config.role == "alice" and self._active == (order.relay or self._active):
            await self.fail_over(order)

    async def _suspend(self, relay_id: str, order: Order, evidence: Path | None) -> None:
        words = self._settings.contain
        if not words:
            raise NotDone("watch.contain names no command")
        filled = {
            "{relay}": relay_id,
            "{since}": datetime.now(UTC).isoformat(timespec="seconds"),
            "{reason}": order.why,
            "{evidence}": "/dev/null" if evidence is None else str(evidence),
        }
        await _run([_filled(word, filled) for word in words], _COMMAND_S)


async def _run(command: Sequence[str], limit_s: float) -> None:
    """Run a command to its end. NotDone: it did not end, or not well; OSError: there is none."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    except TimeoutError:
        raise NotDone(f"{command[0]} did not end in {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode(errors="replace").strip()
    _log.warning("command", command=list(command), code=process.returncode, said=text[-2000:])
    if process.returncode:
        raise NotDone(f"{command[0]} ended with {process.returncode}: {text[-200:]}")


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def write_evidence(folder: Path, evidence: Mapping[str, Any], relay_id: str) -> Path:
    """Put down what is known, for people and for an archive. OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"{stamp}-{relay_id}.json"
    path.write_text(json.dumps(evidence, indent=1, default=str), encoding="utf-8")
    return path
