"""`bellrelay keys suspend`, `release`, `revoke`: incident mode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.keys_opened import (
    ConfigOption,
    FromOption,
    JsonOption,
    Opened,
    RelayOption,
    ToOption,
    opened,
    operator,
    print_json,
    selector,
)

if TYPE_CHECKING:
    from bellrelay.keys.incident import Suspension

_Suspension = Annotated[
    str | None,
    typer.Argument(
        help="Name of the suspension; not needed if only one stands.", metavar="[SUSPENSION]"
    ),
]
_MAX_REASON = 500


def _reason(text: str) -> str:
    if len(text) > _MAX_REASON:
        raise typer.BadParameter(f"at most {_MAX_REASON} characters")
    return text


ReasonOption = Annotated[
    str,
    typer.Option(help="Why, for the audit log.", callback=_reason, metavar="TEXT"),
]


def suspend(
    config: ConfigOption,
    relay: RelayOption = None,
    since: FromOption = None,
    until: ToOption = None,
    reason: ReasonOption = "",
    archive: Annotated[
        Path | None,
        typer.Option(
            help="Where telemetry is archived; default: incidents/ in the audit directory.",
            metavar="FILE.tar.gz",
        ),
    ] = None,
    include: Annotated[
        list[Path] | None,
        typer.Option(
            help="A further file for the archive; may be given again.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    no_archive: Annotated[
        bool, typer.Option("--no-archive", help="Suspend only; archive nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Hold back every key of a relay, of a time, or of both, from now until a verdict.

    Nothing is lost by it, and what comes in meanwhile of that relay and time is held back, too. It
    holds at once, also for a running KME, and for this KME: give the same command at the other one.
    Then telemetry is archived: the audit log, and how every block and key came about.
    """
    chosen = selector(relay, since, until)
    with opened(config) as at:
        found = at.store.suspend(chosen, reason, operator())
        # First the keys are safe; an archive that fails is an error of its own.
        manifest = None
        if not no_archive:
            manifest = _archive(at, found, archive, include or [])
    if as_json:
        print_json({**_values(found), "archive": manifest})
        return
    scope = found.scope
    print(f"suspended: {found.suspension_id}")
    if scope is not None:
        print(
            f"{scope.blocks} blocks: {scope.units} units that were free and "
            f"{scope.keys_in_flight} keys in flight are held back"
        )
        if scope.keys_out:
            print(f"{scope.keys_out} keys are out already: bellrelay keys list says who has them")
    if manifest is not None:
        print(f"archive: {manifest['archive']}, SHA-256 {manifest['sha256']}")
    print(f"give the same command at {at.config.peer.kme_id}")


def _archive(
    at: Opened, suspension: Suspension, path: Path | None, include: list[Path]
) -> dict[str, Any]:
    from bellrelay.keys.audit_checkpoint import public_path
    from bellrelay.keys.audit_record import AuditEvent
    from bellrelay.keys.incident_archive import write_archive

    audit = at.config.audit
    if path is None:
        folder = audit.directory / "incidents"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{suspension.suspension_id}.tar.gz"
    public_key = None if audit.signing_key is None else public_path(audit.signing_key)
    try:
        manifest = write_archive(path, at.store, audit.directory, suspension, public_key, include)
    except FileExistsError:
        raise typer.BadParameter(
            f"--archive: {path} is there already; {suspension.suspension_id} stands"
        ) from None
    details: dict[str, str | int | float] = {
        "archive": str(path)[-500:],
        "archive_sha256": manifest["sha256"],
        "files": len(manifest["files"]),
    }
    at.audit.record(
        AuditEvent(
            "incident-archived",
            operator(),
            f"suspension:{suspension.suspension_id}",
            details=details,
        )
    )
    return manifest


def release(
    config: ConfigOption,
    suspension: _Suspension = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """The verdict is that the key is good: what was held back is given out again.

    What another suspension covers stays held back.
    """
    with opened(config) as at:
        name = _standing(at, suspension)
        found = at.store.resume(name, operator(), reason)
    _print_verdict(found, as_json, "released")


def revoke(
    config: ConfigOption,
    suspension: _Suspension = None,
    reason: ReasonOption = "",
    key: Annotated[
        list[str] | None,
        typer.Option(help="Single keys instead of a suspension; may be given again.", metavar="ID"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The verdict is that the key is bad: it is wiped, and what comes in late of it, too.

    Bridges call back what managers have of it. What SAEs have fetched is theirs: tell them.
    """
    if key and suspension is not None:
        raise typer.BadParameter("a suspension or --key, not both")
    with opened(config) as at:
        if key:
            wiped = at.store.revoke_keys(key, operator(), reason)
            left = sorted(set(key) - set(wiped))
            if as_json:
                print_json({"revoked": wiped, "not_revoked": left})
                return
            print(f"{len(wiped)} keys revoked")
            for key_id in left:
                print(f"{key_id}: not known, over, or out already")
            return
        name = _standing(at, suspension)
        found = at.store.revoke(name, operator(), reason)
    _print_verdict(found, as_json, "revoked")


def _standing(at: Opened, name: str | None) -> str:
    standing = [each.suspension_id for each in at.store.suspensions()]
    if name is not None:
        if name not in standing:
            raise typer.BadParameter(f"no suspension {name} stands")
        return name
    if len(standing) == 1:
        return standing[0]
    if not standing:
        raise typer.BadParameter("no suspension stands")
    raise typer.BadParameter(f"several stand, say which: {', '.join(standing)}")


def _values(suspension: Suspension) -> dict[str, Any]:
    from bellrelay.keys.incident_archive import suspension_values

    return suspension_values(suspension)


def _print_verdict(suspension: Suspension, as_json: bool, word: str) -> None:
    if as_json:
        print_json(_values(suspension))
        return
    scope = suspension.scope
    print(f"{word}: {suspension.suspension_id}")
    if scope is not None:
        print(
            f"{scope.blocks} blocks: {scope.units} free units and {scope.keys_in_flight} keys "
            "in flight"
        )
        if scope.keys_out:
            print(f"{scope.keys_out} keys were out before")
