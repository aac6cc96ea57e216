"""`bellrelay kme`: the key management entity beside an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bellrelay.keys.intake import FinishedKeys
    from bellrelay.keys.kme_config import KmeConfig


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("kme")(kme)


def kme(
    config: Annotated[Path, typer.Option(help="The KME's YAML.", metavar="FILE.yaml")],
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, look at its files, and end.")
    ] = False,
    create_kek: Annotated[
        bool,
        typer.Option("--create-kek", help="Make the key-encryption key that kek names, and end."),
    ] = False,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Deliver an endpoint's keys to applications, ETSI GS QKD 014; SIGTERM ends it cleanly.

    Before the first start, --create-kek: a new file for the lab, or a key inside an HSM.
    """
    from bellrelay.keys.kme_config import load_kme_config

    settings = load_kme_config(config)
    if create_kek:
        _create_kek(settings)
        return
    if openapi:
        from bellrelay.keys.etsi014_openapi import openapi as document

        print(json.dumps(document(settings.etsi_limits()), indent=1))
        return
    if check:
        _check(settings, as_json)
        return
    import asyncio

    from bellrelay.cli.block_traces import kme_trace
    from bellrelay.keys.kme_daemon import KmeDaemon, run_kme
    from bellrelay.service.log_format import log_to_stderr

    log_to_stderr()

    def started(daemon: KmeDaemon) -> None:
        if as_json:
            ports = {
                "port": daemon.server.port,
                "peer_port": daemon.peer_port,
                "health_port": daemon.health.port,
            }
            print(json.dumps({**daemon.status(), **ports}), flush=True)

    with kme_trace(settings) as trace:
        asyncio.run(run_kme(settings, _finished_keys(settings), started, trace))


def _finished_keys(settings: KmeConfig) -> FinishedKeys | None:
    if settings.intake is None:
        return None
    from bellrelay.cli.endpoint_keys import EndpointKeys
    from bellrelay.endpoint.block_store import BlockStore

    intake = settings.intake
    return EndpointKeys(BlockStore(intake.directory, intake.endpoint_id), intake.relay)


def _create_kek(settings: KmeConfig) -> None:
    kek = settings.kek
    if kek.file is not None:
        from bellrelay.keys.kek_file import write_kek_file

        try:
            write_kek_file(kek.file)
        except FileExistsError:
            allowed = "a file that is not there yet"
            raise settings.error("kek.file", str(kek.file), allowed) from None
        print(f"{kek.file}: made; without it the store's keys are lost")
        return
    assert kek.pkcs11 is not None
    from bellrelay.keys.kek_pkcs11 import create_pkcs11_kek, read_pin

    hsm = kek.pkcs11
    create_pkcs11_kek(hsm.module, hsm.token, read_pin(hsm.pin_file), hsm.key)
    print(f"{hsm.token}: made {hsm.key!r}, which cannot be read out")


def _check(settings: KmeConfig, as_json: bool) -> None:
    """Everything short of the network and the database: certificates, revocations, KEK."""
    from bellrelay.keys.kme_daemon import check_kme

    result = check_kme(settings)
    if as_json:
        print(json.dumps(result))
    else:
        print(
            f"{settings.origin}: can be used; KEK {result['kek_id']}, "
            f"{len(result['pairs'])} pairs with {result['peer_id']}"
        )
