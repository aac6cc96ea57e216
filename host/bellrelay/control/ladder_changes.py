"""The companion `changes` of an endpoint: intensities on trial, promoted or taken back by itself.

On Alice's side the directory of versions says what is wanted, and every round makes the plan of
parameters follow it: a candidate goes on trial once Bob has accepted it, finished blocks are
judged, and whoever wants to go back, this judge, a person or the watch over the link, writes that
into the directory and nothing else. So there is one order of things, on one disk, and a process
that dies anywhere goes on from there. A version that was taken back never comes again by itself.

On Bob's side the directory is the record of what Alice does; a version that is taken back there
asks her to go back, until she has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from bellrelay.endpoint.agreement import Agreement, agreement_of
from bellrelay.endpoint.block import BlockId, BlockState
from bellrelay.endpoint.block_parameters import BlockParameters
from bellrelay.endpoint.block_store import BlockRow
from bellrelay.endpoint.config import ChangeSettings, EndpointConfig
from bellrelay.endpoint.parameter_plan import MILLION, Epoch
from bellrelay.wire.peer_messages import Change

from .canary import Judgement, TrialBlock, Verdict, judge
from .ladder_versions import LadderVersion
from .versions import Version, Versions, VersionsError, VersionState

if TYPE_CHECKING:
    from bellrelay.endpoint.daemon import EndpointDaemon

__all__ = ["LadderChanges"]

_EVERY_S = 1.0
_JUDGE = "canary"
_log = structlog.get_logger(__name__)


class LadderChanges:
    """One endpoint's changes of intensities.

    Parameters
    ----------
    config
        Of the endpoint, with a section `changes`.
    every_s
        Between two rounds.

    Attributes
    ----------
    versions : Versions
        Also as ``daemon.versions``.
    """

    name = "changes"

    def __init__(self, config: EndpointConfig, *, every_s: float = _EVERY_S) -> None:
        assert config.changes is not None
        self._config = config
        self._settings: ChangeSettings = config.changes
        self._agreement: Agreement = agreement_of(config)
        self._every_s = every_s
        self.versions = Versions(config.changes.directory)
        self._judgement: Judgement | None = None
        self._trial: int | None = None
        self._blocks: dict[BlockId, tuple[int, TrialBlock]] = {}
        self._read_ns = 0
        self._failed = ""

    async def run(self, daemon: EndpointDaemon) -> None:
        """Do rounds until it is cancelled. One that fails is told, and the next tries again."""
        daemon.versions = self.versions
        daemon.parameters.asked = self._asked(daemon)
        while True:
            try:
                for change in await asyncio.to_thread(self.round, daemon):
                    await daemon.pipeline.say_change(change)
                self._failed = ""
            except (OSError, ValueError) as error:
                if str(error) != self._failed:
                    _log.error("changes stand still", why=str(error))
                self._failed = str(error)
            await asyncio.sleep(self._every_s)

    def round(self, daemon: EndpointDaemon) -> list[Change]:
        """One round; what is to be said to the peer."""
        if self._config.role == "alice":
            return self._lead(daemon)
        return self._follow(daemon)

    # ------------------------------------------------------------------------- Alice's side

    def _lead(self, daemon: EndpointDaemon) -> list[Change]:
        self._give_up_foreign(daemon)
        talk, plan = daemon.parameters, daemon.parameters.plan
        version = self.versions.under_way()
        current = self._held(self.versions.current()).parameters
        said: list[Change] = []
        on_trial = plan.last is not None and plan.last.candidate is not None
        if plan.current != current or (on_trial and not self._is_of(version, plan.last)):
            why = self._why_back(version)
            said.append(talk.settle(current, why))
        if version is None:
            self._trial = None
            return said
        held = self._held(version)
        if self._is_of(version, plan.last):
            if version.state is VersionState.CANDIDATE:
                self.versions.begin_trial(version.number, f"epoch {plan.number}", _JUDGE)
            else:
                self._decide(daemon, version)
            return said
        if talk.refused is not None and talk.refused[0] == plan.number:
            why = talk.refused[1]
            self._back(version, f"{self._config.peer_id} refuses it: {why}", {})
            talk.refused = None
            return said
        if plan.pending is None or plan.pending.candidate != held.parameters:
            try:
                share = round(held.share * MILLION)
                said.append(talk.begin_trial(held.parameters, share, version.reason))
            except ValueError as error:
                self._back(version, f"it cannot be sent: {error}", {})
        return said

    def _give_up_foreign(self, daemon: EndpointDaemon) -> None:
        """Versions for another configuration file hold no more, nor any that no plan knows."""
        for _ in self.versions.history():
            version = self.versions.under_way() or self.versions.current()
            if version.number == 0:
                return
            held = self._held(version)
            if held.configuration != self._agreement.digest.hex():
                self._back(version, "the configuration file was changed", {})
            elif (
                version.state is VersionState.GOOD
                and daemon.parameters.plan.known(held.parameters.digest) is None
            ):
                self._back(version, "the plan of parameters that knew it is lost", {})
            else:
                return

    def _is_of(self, version: Version | None, epoch: Epoch | None) -> bool:
        """Whether an epoch is the trial of a version."""
        if version is None or epoch is None or epoch.candidate is None:
            return False
        held = self._held(version)
        share = round(held.share * MILLION)
        return epoch.candidate == held.parameters and epoch.share_ppm == share

    def _why_back(self, version: Version | None) -> str:
        last = next(v for v in reversed(self.versions.history()) if v is not version)
        return last.decisions[-1].reason if last.decisions else "as the configuration file says"

    def _decide(self, daemon: EndpointDaemon, version: Version) -> None:
        epoch = daemon.parameters.plan.last
        assert epoch is not None
        begun = next(d for d in version.decisions if d.state is VersionState.CANARY)
        if self._trial != epoch.number:
            self._trial, self._blocks, self._read_ns = epoch.number, {}, begun.utc_ns
        for row in daemon.store.ended_since(self._read_ns):
            self._read_ns = max(self._read_ns, row.changed_ns)
            self._take(daemon, epoch, row)
        blocks = [block for _, block in sorted(self._blocks.values(), key=lambda b: b[0])]
        age_s = (time.time_ns() - begun.utc_ns) / 1e9
        self._judgement = judgement = judge(blocks, self._settings, age_s)
        if judgement.verdict is Verdict.PROMOTE:
            _log.warning("parameters promoted", version=version.number, why=judgement.reason)
            self.versions.promote(version.number, judgement.reason, _JUDGE, judgement.evidence)
        elif judgement.verdict is Verdict.ROLL_BACK:
            self._back(version, judgement.reason, judgement.evidence)

    def _take(self, daemon: EndpointDaemon, epoch: Epoch, row: BlockRow) -> None:
        relay = self._agreement.relay_of(row.block)
        plan = daemon.parameters.plan
        if plan.epoch_of(relay, row.block) != epoch:
            return
        record = row.record
        if row.state is not BlockState.STORED:
            mine = epoch.is_candidates(relay, row.block)
            block = TrialBlock(mine, cause=row.cause)
        else:
            sets = {d.digest.hex()[:16]: d == epoch.candidate for d in epoch.sets}
            # One that the two sent by different sets tells of neither.
            sent = {sets.get(name) for name in record.get("parameters", {}).values()}
            if len(sent) != 1 or None in sent:
                return
            block = TrialBlock(
                bool(sent.pop()),
                int(record["pulses"]),
                int(record["length"]),
                int(record["sifted_bits"]),
                int(record["errors_corrected"]),
            )
        self._blocks[row.block] = (row.changed_ns, block)

    def _back(self, version: Version, reason: str, evidence: Mapping[str, Any]) -> None:
        _log.error("parameters taken back", version=version.number, why=reason)
        self.versions.roll_back(reason, _JUDGE, evidence, version.number)

    def _asked(self, daemon: EndpointDaemon) -> Any:
        def asked(why: str) -> None:
            plan = daemon.parameters.plan
            wanted = self.versions.under_way() or self.versions.current()
            last = plan.last
            assert last is not None
            sent = last.candidate or last.current
            # What was taken back meanwhile is not taken back twice.
            if wanted.number and self._held(wanted).parameters == sent:
                self._back(wanted, f"{self._config.peer_id} asks: {why}", {})

        return asked

    # --------------------------------------------------------------------------- Bob's side

    def _follow(self, daemon: EndpointDaemon) -> list[Change]:
        talk, epoch = daemon.parameters, daemon.parameters.plan.last
        version = self.versions.under_way()
        if epoch is None:
            if version is not None:
                self._back(version, "Alice knows of no such change: propose it there", {})
            return []
        newest = epoch.candidate or epoch.current
        mirrored = self._last_of(newest)
        if epoch.candidate is not None:
            if mirrored is not None and mirrored[1].epoch == epoch.number:
                if mirrored[0].state is VersionState.ROLLED_BACK:
                    return [talk.ask(mirrored[0].decisions[-1].reason)]
                return []
            if version is not None:
                self._back(version, f"Alice tries another: {epoch.reason}", {})
            share = epoch.share_ppm / MILLION
            held = LadderVersion(epoch.candidate, self._agreement.digest.hex(), share, epoch.number)
            fresh = self.versions.propose(
                held.values(), epoch.reason or "Alice tries it", self._config.peer_id
            )
            self.versions.begin_trial(fresh.number, f"epoch {epoch.number}", self._config.peer_id)
            return []
        if version is not None:
            if self._held(version).parameters == epoch.current:
                self.versions.promote(version.number, epoch.reason, self._config.peer_id)
            else:
                self._back(version, epoch.reason or "Alice went back", {})
        elif mirrored is not None and mirrored[0].state is VersionState.ROLLED_BACK:
            return [talk.ask(mirrored[0].decisions[-1].reason)]
        else:
            self._back_to(epoch)
        return []

    def _back_to(self, epoch: Epoch) -> None:
        """Alice went back from versions that were good."""
        for _ in self.versions.history():
            version = self.versions.current()
            if version.number == 0 or self._held(version).parameters == epoch.current:
                return
            self._back(version, epoch.reason or "Alice went back", {})

    def _last_of(self, parameters: BlockParameters) -> tuple[Version, LadderVersion] | None:
        for version in reversed(self.versions.history()[1:]):
            held = self._held(version)
            if held.parameters == parameters:
                return version, held
        return None

    def _held(self, version: Version) -> LadderVersion:
        return LadderVersion.of(version, self._agreement)

    # ------------------------------------------------------------------------------- telling

    def status(self) -> Mapping[str, Any]:
        """Versions, the trial, and what it stands on: plain values."""
        try:
            history = self.versions.history()
            current, under_way = self.versions.current(), self.versions.under_way()
        except VersionsError as error:
            return {"fault": str(error)}
        last = history[-1].decisions[-1] if history[-1].decisions else None
        out: dict[str, Any] = {
            "version": current.number,
            "versions": len(history) - 1,
            "under_way": None,
            "last": None
            if last is None
            else {
                "version": history[-1].number,
                "state": str(history[-1].state),
                "reason": last.reason,
                "author": last.author,
                "utc_ns": last.utc_ns,
            },
            "fault": self._failed,
        }
        if under_way is not None:
            judgement = self._judgement if under_way.state is VersionState.CANARY else None
            out["under_way"] = {
                "version": under_way.number,
                "state": str(under_way.state),
                "reason": under_way.reason,
                "share": float(under_way.values.get("share", 0.0)),
                "verdict": None if judgement is None else str(judgement.verdict),
                "evidence": {} if judgement is None else dict(judgement.evidence),
            }
        return out

    def metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        """Which version holds, and how the trial does."""
        if "version" not in status:
            return
        yield GaugeMetricFamily(
            "bellrelay_endpoint_changes_version",
            "Version of the intensities that hold outside a trial; 0 is the configuration file.",
            value=status["version"],
        )
        trial = status["under_way"]
        yield GaugeMetricFamily(
            "bellrelay_endpoint_changes_under_way",
            "Version that is a candidate or on trial; 0 none.",
            value=0 if trial is None else trial["version"],
        )
        if trial is None or not trial["evidence"]:
            return
        for key, about in (
            ("blocks", "Blocks with key of a trial, by whose parameters."),
            ("aborted", "Blocks of a trial without key, by whose parameters."),
            ("key_rate", "Key per pulse of a trial, by whose parameters."),
            ("qber", "Error rate in Z of a trial, by whose parameters."),
        ):
            family = GaugeMetricFamily(
                f"bellrelay_endpoint_changes_trial_{key}", about, labels=["parameters"]
            )
            for side in ("candidate", "current"):
                value = trial["evidence"][side][key]
                if value is not None:
                    family.add_metric([side], value)
            yield family
