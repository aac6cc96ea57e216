"""`bellrelay keys audit`: whether the log is what was written, its key, its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bellrelay.cli.exits import ExitCode
from bellrelay.cli.keys_opened import JsonOption, load_config, print_json

if TYPE_CHECKING:
    from bellrelay.keys.audit_checkpoint import CheckpointVerifier
    from bellrelay.keys.audit_verify import AuditReport
    from bellrelay.keys.kme_config import KmeConfig


def audit(
    config: Annotated[
        Path | None, typer.Option("--config", help="The KME's YAML.", metavar="FILE")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify every line, and the checkpoints.")
    ] = False,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            help="Checkpoints kept elsewhere, or records that a SIEM exported; may be given again.",
            metavar="FILE",
        ),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public half of a signing key, also of one before; may be given again. "
            "Default: that of the YAML.",
            metavar="FILE",
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="The log, in place of the YAML's: for a copy.", metavar="DIRECTORY"),
    ] = None,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Sign where the log stands, and print it.")
    ] = False,
    create_key: Annotated[
        bool,
        typer.Option("--create-key", help="Make the signing key that the YAML names, and end."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify the audit log, on the machine that wrote it or anywhere with a copy.

    A chain alone does not show that its end was cut off: give --checkpoints with a file from where
    the log's machine cannot write. Ends with 8 if anything contradicts the log.
    """
    chosen = [verify, checkpoint, create_key]
    if sum(chosen) != 1:
        raise typer.BadParameter("one of --verify, --checkpoint, --create-key is needed")
    if not verify and (checkpoints or public_key or directory):
        raise typer.BadParameter("--checkpoints, --public-key, --directory go with --verify")
    settings = _loaded(config)
    if verify:
        _verify(settings, directory, public_key or [], checkpoints or [], as_json)
        return
    if settings is None:
        raise typer.BadParameter("--config is needed")
    if settings.audit.signing_key is None:
        raise settings.error("audit.signing_key", None, "a path, or there are no checkpoints")
    if create_key:
        _create_key(settings, settings.audit.signing_key, as_json)
    else:
        _checkpoint(settings, as_json)


def _loaded(path: Path | None) -> KmeConfig | None:
    if path is None:
        return None
    return load_config(path)


def _verify(
    settings: KmeConfig | None,
    directory: Path | None,
    public_keys: list[Path],
    checkpoints: list[Path],
    as_json: bool,
) -> None:
    from bellrelay.keys.audit_verify import verify_audit

    if directory is None:
        if settings is None:
            raise typer.BadParameter("--config or --directory is needed")
        directory = settings.audit.directory
    for path in (directory, *checkpoints):
        if not path.exists():
            raise typer.BadParameter(f"{path}: not there")
    verifiers = _verifiers(settings, public_keys)
    if not verifiers and checkpoints:
        raise typer.BadParameter(
            "--public-key is needed: a checkpoint whose signature nobody verifies proves nothing"
        )
    report = verify_audit(directory, verifiers, checkpoints)
    if as_json:
        print_json(report.values())
    else:
        _print_report(report)
    if not report.whole:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _verifiers(settings: KmeConfig | None, paths: list[Path]) -> list[CheckpointVerifier]:
    from bellrelay.keys.audit_checkpoint import CheckpointVerifier, public_path

    if not paths and settings is not None and settings.audit.signing_key is not None:
        paths = [public_path(settings.audit.signing_key)]
    return [CheckpointVerifier.from_file(path) for path in paths]


def _print_report(report: AuditReport) -> None:
    print(
        f"{report.directory}: {report.records} records in {report.segments} files, "
        f"lines {report.first} to {report.last}"
    )
    print(f"head: {report.head}")
    if report.signed_to >= 0:
        print(f"signed up to line {report.signed_to}; {report.checkpoints} checkpoints compared")
    for repair in report.repairs:
        print(f"repaired: {repair}")
    for note in report.notes:
        print(f"note: {note}")
    for fault in report.faults:
        print(f"FAULT: {fault}")
    print("whole" if report.whole else "NOT whole")


def _create_key(settings: KmeConfig, path: Path, as_json: bool) -> None:
    from bellrelay.keys.audit_checkpoint import create_signing_key

    try:
        public = create_signing_key(path)
    except FileExistsError:
        raise settings.error(
            "audit.signing_key", str(path), "a file that is not there yet"
        ) from None
    if as_json:
        print_json({"signing_key": str(path), "public_key": str(public)})
    else:
        print(f"{path}: made; keep {public} where checkpoints are verified")


def _checkpoint(settings: KmeConfig, as_json: bool) -> None:
    from bellrelay.keys.audit_service import open_audit_log

    log = open_audit_log(settings.audit, settings.kme_id)
    try:
        found = log.checkpoint()
    finally:
        log.close()
    if as_json:
        print_json(None if found is None else found.values())
    elif found is None:
        print("nothing new since the last checkpoint")
    else:
        print_json(found.values())
