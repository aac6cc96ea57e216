"""`bellrelay keys rotate`, `expire`, `push`: what a running KME does by itself, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.keys_opened import ConfigOption, JsonOption, load_config, opened, print_json

if TYPE_CHECKING:
    from bellrelay.keys.audit_record import Audit
    from bellrelay.keys.bridge_settings import BridgeSettings
    from bellrelay.keys.kme_config import KmeConfig


def rotate(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Seal everything under the KEK that the YAML names now.

    First make a new one (`bellrelay kme --create-kek`) and move the one before to `kek.previous`.
    When this ends, those before may be destroyed, and leave the YAML. Keys are given out meanwhile.
    """
    with opened(config) as at:
        units = 0
        while done := at.store.reseal():
            units += done
        left = at.store.keks()
        bridge_keys = 0
        if at.config.bridges:
            from bellrelay.keys.bridge_service import open_backlog

            backlog = open_backlog(at.config, at.audit)
            try:
                while done := backlog.reseal():
                    bridge_keys += done
                for kek, keys in backlog.keks().items():
                    left[kek] = left.get(kek, 0) + keys
            finally:
                backlog.close()
        kek_id = at.store.kek_id
        before = [source.file or source.pkcs11 for source in at.config.kek.previous]
    still = {kek: number for kek, number in left.items() if kek != kek_id}
    if as_json:
        values = {"kek": kek_id, "units": units, "bridge_keys": bridge_keys, "left": still}
        print_json(values)
    else:
        print(f"{units} units and {bridge_keys} keys of bridges were sealed under {kek_id}")
        if before and not still:
            print(f"{len(before)} KEKs before it are not needed any more")
        for kek, number in still.items():
            print(f"{number} are still under {kek}")
    if still:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def expire(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Wipe key that is older than the YAML allows, and forget keys that ended long ago."""
    with opened(config) as at:
        units = keys = forgotten = 0
        while (done := at.store.expire()).units + done.keys:
            units, keys = units + done.units, keys + done.keys
        while gone := at.store.purge():
            forgotten += gone
    values = {"units_expired": units, "keys_expired": keys, "keys_forgotten": forgotten}
    if as_json:
        print_json(values)
    else:
        print(f"{units} units and {keys} keys expired; {forgotten} old names forgotten")


def push(
    config: ConfigOption,
    bridge: Annotated[
        list[str] | None,
        typer.Option(help="This bridge; may be given again. Default: all.", metavar="NAME"),
    ] = None,
    even_if_early: Annotated[
        bool,
        typer.Option("--even-if-early", help="Try a manager that was away before its time comes."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Push what waits for the key managers of bridges, and call back what was revoked.

    Ends with 8 if a manager is away or refuses keys: nothing is lost, they wait.
    """
    bridges = {each.name: each for each in load_config(config).bridges}
    unknown = sorted(set(bridge or ()) - set(bridges))
    if unknown:
        raise typer.BadParameter(f"--bridge: the YAML has no bridge {', '.join(unknown)}")
    with opened(config) as at:
        report = {
            name: _push(at.config, at.audit, bridges[name], even_if_early)
            for name in bridge or bridges
        }
    if as_json:
        print_json({"bridges": report})
    else:
        for name, said in report.items():
            print(
                f"{name}: {said['pushed']} pushed, {said['recalled']} called back, "
                f"{said['waiting']} wait, {said['held']} of them held back"
            )
            if said["busy"]:
                print(f"{name}: another process pushes, or it is too early after a failure")
            if said["fault"]:
                print(f"{name}: {said['fault']}")
    if any(said["fault"] or said["refused"] for said in report.values()):
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _push(
    config: KmeConfig, audit: Audit, settings: BridgeSettings, even_if_early: bool
) -> dict[str, Any]:
    from dataclasses import asdict

    from bellrelay.keys.bridge_push import push_round
    from bellrelay.keys.bridge_service import open_backlog
    from bellrelay.keys.bridge_targets import open_target

    backlog = open_backlog(config, audit)
    try:
        try:
            target = open_target(settings)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise config.error(
                f"bridges.{settings.name}",
                f"{where}{error.strerror or error}",
                "certificates, keys and tokens that can be used",
            ) from None
        try:
            result = push_round(settings, backlog, target, even_if_early=even_if_early)
        finally:
            target.close()
        counts = backlog.counts(settings.name)
    finally:
        backlog.close()
    return {**asdict(result), "waiting": counts.waiting, "held": counts.held}
