"""`bellrelay keys list` and `status`: what there is, never a bit of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.keys_opened import (
    AuditOnDemand,
    ConfigOption,
    FromOption,
    JsonOption,
    Opened,
    RelayOption,
    ToOption,
    opened,
    print_json,
    print_table,
    selector,
)

if TYPE_CHECKING:
    from bellrelay.keys.incident import Selector
    from bellrelay.keys.key_states import KeyState
    from bellrelay.keys.kme_config import KmeConfig

_BridgeStatus = dict[str, dict[str, Any]]


def list_keys(
    config: ConfigOption,
    relay: RelayOption = None,
    since: FromOption = None,
    until: ToOption = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="Keys in this state; may be given again: reserved, delivered, consumed, revoked, "
            "expired.",
            metavar="STATE",
        ),
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Keys of this pair.", metavar="PAIR")] = None,
    key_id: Annotated[
        str | None, typer.Option("--key", help="This key alone, with its provenance.", metavar="ID")
    ] = None,
    after: Annotated[
        str, typer.Option(help="Go on after this key_ID, in the order of key_IDs.", metavar="ID")
    ] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Keys that were made of the store's blocks: names, states, who has them, where they come from.

    Key that nobody has asked for yet is not listed: status counts it.
    """
    from bellrelay.keys.incident_archive import key_values

    chosen: Selector | None = None
    if relay is not None or since is not None or until is not None:
        chosen = selector(relay, since, until)
    states = [_state(word) for word in state or ()]
    with opened(config) as at:
        if key_id is not None:
            _show_one(at, key_id, as_json)
            return
        found = [
            key_values(key)
            for key in at.store.keys(chosen, states, pair=pair, after=after, limit=limit)
        ]
    if as_json:
        print_json({"keys": found})
        return
    rows = [
        [
            key["key_id"],
            key["pair"],
            key["size_bits"],
            key["state"] + (" (suspended)" if key["suspended"] else ""),
            key["master"],
            ", ".join(key["slaves"]),
            key["reserved"],
        ]
        for key in found
    ]
    columns = ["key_ID", "pair", "bits", "state", "master", "slaves", "reserved"]
    print_table("", columns, rows)
    if len(found) == limit:
        print(f"there may be more: --after {found[-1]['key_id']}")


def _show_one(at: Opened, key_id: str, as_json: bool) -> None:
    from bellrelay.keys.incident_archive import key_values

    key = at.store.key(key_id)
    if key is None:
        raise typer.BadParameter(f"--key: no key {key_id} is known here")
    values = {
        **key_values(key),
        "provenance": [block.as_json() for block in at.store.provenance(key_id)],
    }
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        if name != "provenance":
            print(f"{name}: {value}")
    for block in values["provenance"]:
        print(
            f"block {block['block_id']}: relay {block['relay']}, {block['length_bits']} bits, "
            f"epsilon {block['epsilon']}, phase error below {block['phase_error_upper']}"
        )


def _state(word: str) -> KeyState:
    from bellrelay.keys.key_states import KeyState

    try:
        return KeyState[word.upper()]
    except KeyError:
        known = ", ".join(state.word for state in KeyState)
        raise typer.BadParameter(f"--state: {known}") from None


def status(
    config: ConfigOption,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="End with 8 if there is an alarm: key below low water, "
            "a suspension without a verdict, a bridge that stands still.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """How much key each pair has, what is suspended, which KEKs are in use, how bridges stand."""
    from bellrelay.keys.audit_segments import end_of_log
    from bellrelay.keys.incident_archive import suspension_values

    with opened(config) as at:
        pairs = _pairs(at)
        report = {
            "kme_id": at.config.kme_id,
            "pairs": pairs,
            "suspensions": [suspension_values(s) for s in at.store.suspensions()],
            "kek": at.store.kek_id,
            "units_by_kek": at.store.keks(),
            "bridges": bridge_status(at.config, at.audit),
            "audit_lines": end_of_log(at.config.audit.directory).sequence,
        }
    report["alarms"] = _alarms(report)
    if as_json:
        print_json(report)
    else:
        _print_status(report)
    if check and report["alarms"]:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _pairs(at: Opened) -> list[dict[str, Any]]:
    counts = at.store.counts()
    low_water = at.config.keys.low_water
    rows = []
    for (name, side), count in sorted(counts.items()):
        own = side == at.store.side
        rows.append(
            {
                "pair": name,
                "side": side,
                "own": own,
                "free": count.free,
                "waiting": count.waiting,
                "suspended": count.suspended,
                "reserved": count.reserved,
                "low": own and count.free < low_water,
            }
        )
    return rows


def bridge_status(config: KmeConfig, audit: AuditOnDemand) -> _BridgeStatus:
    """By name: what waits, what was pushed, and what is wrong."""
    if not config.bridges:
        return {}
    from dataclasses import asdict

    from bellrelay.keys.bridge_service import open_backlog

    backlog = open_backlog(config, audit)
    try:
        return {bridge.name: asdict(backlog.counts(bridge.name)) for bridge in config.bridges}
    finally:
        backlog.close()


def _alarms(report: dict[str, Any]) -> list[str]:
    alarms = [
        f"pair {row['pair']}: {row['free']} units are left" for row in report["pairs"] if row["low"]
    ]
    alarms += [
        f"suspension {each['suspension_id']} waits for a verdict since {each['begun']}"
        for each in report["suspensions"]
    ]
    alarms += [
        f"bridge {name}: {said['fault']}; {said['waiting']} keys wait"
        for name, said in report["bridges"].items()
        if said["fault"]
    ]
    return alarms


def _print_status(report: dict[str, Any]) -> None:
    columns = ["pair", "given out by", "free", "waiting for peer", "suspended", "reserved"]
    rows = [
        [
            row["pair"],
            "this KME" if row["own"] else "the other",
            f"{row['free']}{' (low)' if row['low'] else ''}",
            row["waiting"],
            row["suspended"],
            row["reserved"],
        ]
        for row in report["pairs"]
    ]
    print_table(f"{report['kme_id']}: units", columns, rows)
    print(f"KEK: {report['kek']}")
    for kek, units in report["units_by_kek"].items():
        if kek != report["kek"]:
            print(f"{units} units are still under {kek}: bellrelay keys rotate")
    for name, said in report["bridges"].items():
        print(
            f"bridge {name}: {said['waiting']} wait, {said['held']} of them held back; "
            f"{said['pushed']} pushed, {said['recalled']} called back"
        )
    print(f"audit log: {report['audit_lines']} lines")
    for alarm in report["alarms"]:
        print(f"ALARM: {alarm}")
