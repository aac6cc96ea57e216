"""Decoy ladders as versions: from what an operator writes to parameters of blocks, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bellrelay.endpoint.agreement import Agreement
from bellrelay.endpoint.block_parameters import BlockParameters

from .versions import Version, Versions

__all__ = ["LadderVersion", "changed_parameters", "current_parameters", "propose_ladders"]

_LADDER = ("s", "mu", "nu", "o", "p_s", "p_mu", "p_nu", "deviation", "vacuum_limit")
_PARTIES = ("alice", "bob")
_LIMIT = "deviation_limit"


@dataclass(frozen=True)
class LadderVersion:
    """What a version of an endpoint's directory holds.

    configuration : digest of what both endpoints had configured alike, hexadecimal: another file
    makes it void. share : of the blocks, while it is on trial. epoch : of the plan, on Bob's side.
    """

    parameters: BlockParameters
    configuration: str
    share: float
    epoch: int = 0

    def values(self) -> dict[str, Any]:
        """For :meth:`Versions.propose`."""
        return {
            "parameters": self.parameters.values(),
            "configuration": self.configuration,
            "share": self.share,
            "epoch": self.epoch,
        }

    @classmethod
    def of(cls, version: Version, agreement: Agreement) -> LadderVersion:
        """Of a version; version 0 is what the agreement, from the configuration file, says.

        ValueError: it holds something else.
        """
        if version.number == 0:
            return cls(agreement.parameters, agreement.digest.hex(), 0.0)
        try:
            values = version.values
            return cls(
                BlockParameters.parse(values["parameters"]),
                str(values["configuration"]),
                float(values["share"]),
                int(values["epoch"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"version {version.number} holds no ladders: {error}") from None


def changed_parameters(current: BlockParameters, wanted: object) -> BlockParameters:
    """Parameters in which what is wanted takes the place of what is current.

    Parameters
    ----------
    wanted
        ``{alice: {mu: 0.25, ...}, bob: {...}}`` with keys of the endpoint's `alice` and `bob`.

    Raises
    ------
    ValueError
        Naming the key; also where nothing is changed.
    """
    if not isinstance(wanted, Mapping) or not wanted or set(wanted) - set(_PARTIES):
        raise ValueError("allowed: alice, bob, each with the keys to be changed")
    out = current
    for party in _PARTIES:
        changes = wanted.get(party, {})
        if not isinstance(changes, Mapping):
            raise ValueError(f"{party}: allowed: keys and values")
        unknown = sorted(set(map(str, changes)) - {*_LADDER, _LIMIT})
        if unknown:
            raise ValueError(f"{party}.{unknown[0]}: no such key; {', '.join((*_LADDER, _LIMIT))}")
        values = out.values()
        values[party] |= {k: v for k, v in changes.items() if k != _LIMIT}
        if _LIMIT in changes:
            values[f"{party}_limit"] = changes[_LIMIT]
        out = BlockParameters.parse(values)
    if out == current:
        raise ValueError("nothing is changed by that")
    return out


def current_parameters(versions: Versions, agreement: Agreement) -> BlockParameters:
    """What blocks outside a trial are sent by, as far as versions say.

    A version for another configuration does not count: see :class:`LadderVersion`.
    """
    held = LadderVersion.of(versions.current(), agreement)
    return held.parameters if held.configuration == agreement.digest.hex() else agreement.parameters


def propose_ladders(
    versions: Versions,
    agreement: Agreement,
    wanted: object,
    share: float,
    reason: str,
    author: str | None = None,
) -> Version:
    """Write down a candidate; the running endpoint puts it on trial.

    Raises
    ------
    ValueError
        As :func:`changed_parameters`, a share outside (0, 1), or no reason.
    ChangeUnderWay, VersionsError
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"a share of {share:g}: between 0 and 1 it must be")
    parameters = changed_parameters(current_parameters(versions, agreement), wanted)
    held = LadderVersion(parameters, agreement.digest.hex(), share)
    return versions.propose(held.values(), reason, author)
