"""`bellrelay endpoint`: the daemon of Alice or of Bob."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bellrelay.endpoint.companion import EndpointCompanion
    from bellrelay.endpoint.config import EndpointConfig


_EXAMPLES = (
    "Examples: bellrelay endpoint --config alice.yaml; bellrelay endpoint --config alice.yaml "
    "--propose brighter.yaml --share 0.1 --why 'new laser'; bellrelay endpoint --config bob.yaml "
    "--roll-back --why 'decoy looks wrong'; bellrelay endpoint --config alice.yaml --act throttle "
    "--why 'detectors are overdriven'"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("endpoint", epilog=_EXAMPLES)(endpoint)


def endpoint(
    config: Annotated[Path, typer.Option(help="The endpoint's YAML.", metavar="FILE.yaml")],
    check: Annotated[
        bool, typer.Option("--check", help="Read the configuration, look at its files, and end.")
    ] = False,
    create_pool: Annotated[
        Path | None,
        typer.Option(
            help="Make the key pool of this pre-shared secret, the same on both sides, and end.",
            metavar="SECRET",
        ),
    ] = None,
    release_relay: Annotated[
        bool, typer.Option("--release-relay", help="End the relay's quarantine, and end.")
    ] = False,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults", help="Ask the running endpoint what is wrong with its link, and end."
        ),
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            help="With --faults: until there is none, at most so many seconds.", metavar="SECONDS"
        ),
    ] = None,
    new_baseline: Annotated[
        bool,
        typer.Option(
            "--new-baseline",
            help="Have the running endpoint learn anew what its healthy link shows, and end.",
        ),
    ] = False,
    act: Annotated[
        str | None,
        typer.Option(
            help="Have the running endpoint do this now: re-sync, throttle, attenuate, fail-over, "
            "re-authenticate, halt-sender or contain.",
            metavar="ACTION",
        ),
    ] = None,
    take_back: Annotated[
        str | None,
        typer.Option(help="End what stands: throttle, attenuate or halt-sender.", metavar="ACTION"),
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option(
            help="With --act fail-over and contain: which relay is left, or contained.",
            metavar="RELAY",
        ),
    ] = None,
    move_to: Annotated[
        str | None,
        typer.Option(
            help="Have the running endpoint, and its peer, move to this relay at the end of the "
            "block that is being announced; ends when both have.",
            metavar="RELAY",
        ),
    ] = None,
    propose: Annotated[
        Path | None,
        typer.Option(
            help="Try these intensities in a share of the blocks: {alice: {mu: 0.25, ...}, bob: "
            "{...}}. The running endpoints promote them or take them back by themselves.",
            metavar="PARAMS.yaml",
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(help="With --propose: of the blocks, between 0 and 1.")
    ] = 0.1,
    changes: Annotated[
        bool, typer.Option("--changes", help="List what was ever proposed and what became of it.")
    ] = False,
    roll_back: Annotated[
        bool,
        typer.Option(
            "--roll-back", help="Take back what is on trial, or else what was promoted last."
        ),
    ] = False,
    why: Annotated[
        str | None,
        typer.Option(
            help="With --act, --take-back, --move-to, --propose, --roll-back: for the logs."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Turn a relay's announcements into key with the other endpoint; SIGTERM ends it cleanly.

    Before the first start, --create-pool on both sides, with a secret that nobody else has: some
    thousand random bytes. A relay that broke the rules stays in quarantine until --release-relay.
    With --faults the exit code is 8 while there is one.
    """
    from bellrelay.endpoint.config import load_endpoint_config

    settings = load_endpoint_config(config)
    if create_pool is not None:
        from bellrelay.endpoint.key_files import read_secret
        from bellrelay.endpoint.key_pool import KeyPool

        KeyPool.create(settings.key_pool.file, read_secret(create_pool))
        print(f"{settings.key_pool.file}: made; destroy {create_pool} now, on both sides")
        return
    if release_relay:
        _release(settings)
        return
    if move_to is not None:
        from bellrelay.cli.endpoint_move import move

        move(settings, move_to, why or "planned maintenance", as_json)
        return
    if propose is not None or changes or roll_back:
        from bellrelay.cli import endpoint_changes

        if propose is not None:
            endpoint_changes.propose(settings, propose, share, why, as_json)
        elif roll_back:
            endpoint_changes.roll_back(settings, why, as_json)
        else:
            endpoint_changes.list_changes(settings, as_json)
        return
    if check:
        _check(settings, as_json)
        return
    if faults:
        from bellrelay.cli.endpoint_faults import show_faults

        show_faults(settings, as_json, wait or 0.0)
        return
    if act is not None or take_back is not None or new_baseline:
        from bellrelay.cli import endpoint_orders

        if new_baseline:
            endpoint_orders.learn_anew(settings, as_json)
        elif act is not None:
            endpoint_orders.act(settings, act, relay, why, as_json)
        elif take_back is not None:
            endpoint_orders.take_back(settings, take_back, why, as_json)
        return
    import asyncio

    from bellrelay.cli.block_traces import endpoint_trace
    from bellrelay.endpoint.daemon import EndpointDaemon, run_endpoint
    from bellrelay.service.log_format import log_to_stderr

    log_to_stderr()

    def started(daemon: EndpointDaemon) -> None:
        if as_json:
            ports = {"peer_port": daemon.peer_port, "health_port": daemon.health.port}
            print(json.dumps({**daemon.status(), **ports}), flush=True)

    companions = _companions(settings)
    with endpoint_trace(settings) as trace:
        asyncio.run(run_endpoint(settings, started, companions, trace))


def _companions(settings: EndpointConfig) -> list[EndpointCompanion]:
    """What runs beside the daemon, as its configuration says."""
    companions: list[EndpointCompanion] = []
    if settings.changes is not None:
        from bellrelay.control.ladder_changes import LadderChanges

        companions.append(LadderChanges(settings))
    if settings.watch is not None:
        from bellrelay.control.link_watch import LinkWatch

        companions.append(LinkWatch(settings))
    if settings.monitors is not None or (settings.watch and settings.watch.laser):
        from bellrelay.cli.endpoint_monitors import monitor_companions

        companions += monitor_companions(settings)
    from bellrelay.control.interference import Interference

    companions.append(Interference())
    if settings.tracking is not None:
        from bellrelay.control.endpoint_tracking import EndpointTracking

        companions.append(EndpointTracking(settings))
    return companions


def _release(settings: EndpointConfig) -> None:
    from bellrelay.endpoint.block_store import BlockStore

    store = BlockStore(settings.store.directory, settings.endpoint_id)
    try:
        were = {relay.id: store.release(relay.id) for relay in settings.relays}
    finally:
        store.close()
    for relay_id, was in were.items():
        print(f"{relay_id}: {'released' if was else 'was not in quarantine'}")


def _check(settings: EndpointConfig, as_json: bool) -> None:
    """Everything short of the network: plugin, certificates, pool."""
    from bellrelay.endpoint.daemon import check_endpoint

    result = check_endpoint(settings)
    if as_json:
        print(json.dumps(result))
    else:
        bits = result["pool_bits"]
        pool = "its key pool is in use" if bits is None else f"{bits} bits of key for tags"
        print(
            f"{settings.origin}: can be used; {result['role']} of {result['peer_id']}, {pool}; "
            f"agreement {result['agreement'][:16]}"
        )
