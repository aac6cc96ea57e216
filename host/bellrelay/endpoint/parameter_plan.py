"""Which parameters each block has: fixed, on disk, before the first of its pulses is sent.

A plan is a list of epochs. Each names the current set of parameters, perhaps a candidate with a
share of the blocks, and the block of every relay that it begins with, which lies in the future when
the epoch is put down. Within it a public rule says which blocks are the candidate's: a hash of
relay, acquisition, block, epoch and candidate, below the share. So the parameters of a block depend
on nothing that was chosen, sent or detected in it, and whoever holds the plan says the same.

What keeps this safe when two machines hold a plan each, either of which may die:

- A set of parameters is in no plan before both endpoints hold it (:mod:`.parameter_talk`).
- Each endpoint's own plan says what its own sender sends, and no more: a block is admitted only if
  the sender's records say so, too (:meth:`.CheckedSource.require_ladder`).
- With the commitment to its list, before any choice leaves, each says of which set its ladder in
  the block is; that is under the tags, and once said it stays
  (:mod:`.exchange_commit`). The block is bounded with Alice's ladder as Alice sent it and Bob's as
  Bob did. So two plans that begin an epoch some blocks apart, because a message came late, cost no
  block and no bit of security; a set that one of the two does not hold ends the block.

An alternative is one common plan whose epoch begins only when both have said so. But then the last
of those messages may be lost, and one side has begun what the other has not: blocks are lost that
this way are not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .block import BlockId
from .block_parameters import BlockParameters
from .key_files import sync_directory

__all__ = ["MILLION", "Epoch", "ParameterPlan", "PlanError"]

MILLION = 10**6
_KEPT = 64
"""Epochs that are remembered: blocks that are still open began in one of them."""
_RECENT = 4
_FORM = 1
_FIRST = BlockId(0, 0)


class PlanError(OSError):
    """The plan cannot be read or written."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Epoch:
    """From these blocks on, these parameters.

    number : counted by Alice, from 1. candidate : None outside a trial. share_ppm : of the blocks,
    in millionths, that are the candidate's. begins : by relay, the first block; of a relay that is
    not named, the first of all. reason : for people.
    """

    number: int
    current: BlockParameters
    candidate: BlockParameters | None = None
    share_ppm: int = 0
    begins: Mapping[str, BlockId] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"epoch {self.number}: they are counted from 1")
        if self.candidate is None and self.share_ppm:
            raise ValueError("a share of no candidate")
        if self.candidate is not None and not 0 < self.share_ppm < MILLION:
            raise ValueError(f"a share of {self.share_ppm / MILLION:g}: between 0 and 1 it must be")

    @property
    def sets(self) -> tuple[BlockParameters, ...]:
        """All parameters that it may have a block sent with."""
        return (self.current,) if self.candidate is None else (self.current, self.candidate)

    def is_candidates(self, relay_id: str, block: BlockId) -> bool:
        """Whether a block of this epoch is the candidate's: the rule."""
        if self.candidate is None:
            return False
        text = f"bellrelay canary {relay_id} {block} {self.number} {self.candidate.digest.hex()}"
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return drawn < self.share_ppm * (1 << 64) // MILLION

    def begins_at(self, relay_id: str) -> BlockId:
        """Its first block of a relay."""
        return self.begins.get(relay_id, _FIRST)

    def parameters(self, relay_id: str, block: BlockId) -> BlockParameters:
        """Of a block of this epoch."""
        if self.candidate is not None and self.is_candidates(relay_id, block):
            return self.candidate
        return self.current

    def values(self) -> dict[str, Any]:
        """Plain values; inverse of :meth:`parse`."""
        return {
            "number": self.number,
            "current": self.current.values(),
            "candidate": None if self.candidate is None else self.candidate.values(),
            "share_ppm": self.share_ppm,
            "begins": {r: [b.acquisition, b.index] for r, b in self.begins.items()},
            "reason": self.reason,
        }

    @classmethod
    def parse(cls, values: object) -> Epoch:
        """From plain values; ValueError if they are none of an epoch."""
        if not isinstance(values, Mapping) or set(values) != _EPOCH_KEYS:
            raise ValueError(f"an epoch has exactly {', '.join(sorted(_EPOCH_KEYS))}")
        candidate = values["candidate"]
        begins = values["begins"]
        if not isinstance(begins, Mapping) or not isinstance(values["reason"], str):
            raise ValueError("an epoch: begins is no mapping, or reason no text")
        return cls(
            _whole(values["number"]),
            BlockParameters.parse(values["current"]),
            None if candidate is None else BlockParameters.parse(candidate),
            _whole(values["share_ppm"]),
            {str(relay): _block(at) for relay, at in begins.items()},
            values["reason"],
        )


_EPOCH_KEYS = {"number", "current", "candidate", "share_ppm", "begins", "reason"}


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _block(value: object) -> BlockId:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{value!r} is no block")
    return BlockId(_whole(value[0]), _whole(value[1]))


class ParameterPlan:
    """An endpoint's plan, in a file; from any thread.

    Parameters
    ----------
    path
        Where it stands; made with the first epoch.
    base
        Parameters of the configuration file: those of every block before the first epoch.
    configuration
        Digest of what both endpoints have configured alike. A plan that was made for another
        configuration is given up: what the file says now is what somebody wants.

    Attributes
    ----------
    given_up : bool
        Whether there was such a plan.

    Raises
    ------
    PlanError
        The file cannot be read, or is none.
    """

    def __init__(self, path: Path, base: BlockParameters, configuration: bytes) -> None:
        self.path = path
        self.base = base
        self.given_up = False
        self._configuration = configuration.hex()
        self._lock = threading.RLock()
        self._epochs: tuple[Epoch, ...] = ()
        self._pending: Epoch | None = None
        self._number = 0
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise PlanError(f"{path}: {error.strerror}") from error
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                raise ValueError(f"form {content['form']}, not {_FORM}")
            if content["configuration"] != self._configuration:
                self.given_up = True
                return
            self._epochs = tuple(Epoch.parse(e) for e in content["epochs"])
            self._pending = Epoch.parse(content["pending"]) if content["pending"] else None
            self._number = _whole(content["number"])
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"{path}: is no plan: {error}") from None

    # ------------------------------------------------------------------------------ reading

    @property
    def last(self) -> Epoch | None:
        """The epoch that was put down last; it may begin later."""
        return self._epochs[-1] if self._epochs else None

    @property
    def pending(self) -> Epoch | None:
        """Proposed, and not put down yet."""
        return self._pending

    @property
    def number(self) -> int:
        """The highest that any epoch had, put down or not; 0 before any."""
        return self._number

    @property
    def current(self) -> BlockParameters:
        """The current set, candidates aside."""
        return self.base if self.last is None else self.last.current

    def epoch_of(self, relay_id: str, block: BlockId) -> Epoch | None:
        """The epoch that a block is in; None before the first."""
        for epoch in reversed(self._epochs):
            if epoch.begins_at(relay_id) <= block:
                return epoch
        return None

    def parameters(self, relay_id: str, block: BlockId) -> BlockParameters:
        """Of a block."""
        epoch = self.epoch_of(relay_id, block)
        return self.base if epoch is None else epoch.parameters(relay_id, block)

    def known(self, digest: bytes) -> BlockParameters | None:
        """A set that both endpoints hold, by its digest; None: there is none."""
        pending = () if self._pending is None else self._pending.sets
        # The peer may have put down what we have proposed, and its answer be lost.
        return next((p for p in (*self._sets(), *pending) if p.digest == digest), None)

    def recent(self) -> list[BlockParameters]:
        """Sets of the last epochs: what blocks that are open or to come may be sent by."""
        out = [self.base]
        for epoch in self._epochs[-_RECENT:]:
            out += [p for p in epoch.sets if p not in out]
        return out

    def holds(self, epoch: Epoch) -> bool:
        """Whether all of an epoch's parameters are held on both sides already."""
        held = {p.digest for p in self._sets()}
        return all(p.digest in held for p in epoch.sets)

    def _sets(self) -> Iterator[BlockParameters]:
        yield self.base
        for epoch in reversed(self._epochs):
            yield from epoch.sets

    # ------------------------------------------------------------------------------ writing

    def propose(self, epoch: Epoch) -> None:
        """Keep an epoch until the peer has said what it thinks of it; it replaces another.

        ValueError: its number was given before.
        """
        with self._lock:
            if epoch.number <= self._number:
                raise ValueError(f"epoch {epoch.number} after {self._number}")
            self._keep(self._epochs, epoch, epoch.number)

    def withdraw(self) -> None:
        """Forget what was proposed."""
        with self._lock:
            if self._pending is not None:
                self._keep(self._epochs, None, self._number)

    def pass_over(self, number: int) -> None:
        """Give no number up to this one any more: the peer has seen it."""
        with self._lock:
            if number > self._number:
                self._keep(self._epochs, self._pending, number)

    def put_down(self, epoch: Epoch) -> None:
        """From its blocks on it holds; what was proposed is forgotten.

        ValueError: its number is not above that of the last one.
        """
        with self._lock:
            last = self.last
            if last is not None and epoch.number <= last.number:
                raise ValueError(f"epoch {epoch.number} after {last.number}")
            number = max(epoch.number, self._number)
            self._keep((*self._epochs, epoch)[-_KEPT:], None, number)

    def _keep(self, epochs: tuple[Epoch, ...], pending: Epoch | None, number: int) -> None:
        content = {
            "form": _FORM,
            "configuration": self._configuration,
            "epochs": [e.values() for e in epochs],
            "pending": None if pending is None else pending.values(),
            "number": number,
        }
        with _named(self.path):
            partial = self.path.with_suffix(".new")
            file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(file, "wb") as writer:
                writer.write(json.dumps(content).encode())
                writer.flush()
                os.fsync(file)
            os.replace(partial, self.path)
            sync_directory(self.path.parent)
        # Only what is on disk holds.
        self._epochs, self._pending, self._number = epochs, pending, number


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror or error}") from error
