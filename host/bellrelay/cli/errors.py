"""From an exception to one line for a person and one exit code for a script.

Each layer raises exceptions of its own and knows nothing of exit codes; this table is the only
place where the two meet. Classes are named, not imported: an error about one file must not cost
the import of every layer, and a class that was raised is there already.
"""

from __future__ import annotations

import errno

from bellrelay.cli.exits import ExitCode
from bellrelay.settings.extras import EXTRA_OF_MODULE

# Full name of an exception class, for it and its subclasses. The nearest in the order of
# inheritance wins. `tests/cli/test_errors.py` holds that each of them exists.
EXIT_CODES: dict[str, ExitCode] = {
    "bellrelay.cli.board_flash.FlashFailed": ExitCode.CHECK_FAILED,
    "bellrelay.cli.board_flash.ProgrammerMissing": ExitCode.MISSING_EXTRA,
    "bellrelay.cli.measured_broker.BrokerMissing": ExitCode.MISSING_EXTRA,
    "bellrelay.control.calibration_bench.BenchError": ExitCode.CHECK_FAILED,
    "bellrelay.control.calibration_orders.OrderUnanswered": ExitCode.CHECK_FAILED,
    "bellrelay.control.calibration_records.RecordsError": ExitCode.STORAGE,
    "bellrelay.control.calibration_runner.CannotUndo": ExitCode.CHECK_FAILED,
    "bellrelay.control.firmware_image.ImageUnusable": ExitCode.CHECK_FAILED,
    "bellrelay.control.firmware_store.JournalBroken": ExitCode.STORAGE,
    "bellrelay.control.firmware_store.StoreBusy": ExitCode.STORAGE,
    "bellrelay.control.firmware_update.UpdateRefused": ExitCode.CHECK_FAILED,
    "bellrelay.cli.run.BoardsDiffer": ExitCode.CHECK_FAILED,
    "bellrelay.cli.run_processes.RunFailed": ExitCode.FAILURE,
    "bellrelay.control.versions.NoSuchStep": ExitCode.CHECK_FAILED,
    "bellrelay.control.versions.VersionsError": ExitCode.STORAGE,
    "bellrelay.endpoint.block_store.StoreError": ExitCode.STORAGE,
    "bellrelay.endpoint.control_socket.NotRunning": ExitCode.PORT_MISSING,
    "bellrelay.endpoint.key_pool.KeyPoolError": ExitCode.STORAGE,
    "bellrelay.endpoint.parameter_plan.PlanError": ExitCode.STORAGE,
    "bellrelay.keys.audit_record.AuditError": ExitCode.STORAGE,
    "bellrelay.service.private_file.UnsafeMode": ExitCode.STORAGE,
    "bellrelay.observe.doctor.directories.StorageFault": ExitCode.STORAGE,
    "bellrelay.observe.doctor.reaching.Unreachable": ExitCode.UNREACHABLE,
    "bellrelay.observe.prometheus_api.PrometheusAway": ExitCode.UNREACHABLE,
    "bellrelay.observe.prometheus_api.PrometheusRefused": ExitCode.CHECK_FAILED,
    "bellrelay.observe.slo_status.RulesMissing": ExitCode.CONFIGURATION,
    "bellrelay.service.nats_connection.BrokerUnavailable": ExitCode.UNREACHABLE,
    "bellrelay_boards.catalogue.UnknownBoard": ExitCode.USAGE,
    "bellrelay_boards.toolchain.ToolFailed": ExitCode.CHECK_FAILED,
    "bellrelay_boards.toolchain.ToolMissing": ExitCode.MISSING_EXTRA,
    "bellrelay_sim.link_config.LinkConfigError": ExitCode.CONFIGURATION,
    "bellrelay.tags.analysis_config.AnalysisConfigError": ExitCode.CONFIGURATION,
    "bellrelay.tags.formats.tag_file_error.TagFileError": ExitCode.TAG_FILE,
    "bellrelay.tags.formats.tag_file_error.TagFileNotWritten": ExitCode.STORAGE,
    "bellrelay_sim.verilator_tool.VerilatorMissing": ExitCode.MISSING_EXTRA,
    "bellrelay.keys.incident.UnknownSuspension": ExitCode.USAGE,
    "bellrelay.keys.sealing.SealerError": ExitCode.STORAGE,
    "bellrelay.keys.store_errors.StoreError": ExitCode.STORAGE,
    "serial.serialutil.SerialException": ExitCode.PORT_MISSING,
    "bellrelay.relay.announcement_log.LogBusy": ExitCode.STORAGE,
    "bellrelay.settings.model.ConfigError": ExitCode.CONFIGURATION,
    "bellrelay.relay.link.PortError": ExitCode.PORT_MISSING,
    "bellrelay.wire.access.AccessError": ExitCode.FOREIGN_PORT,
    "bellrelay.wire.access.BoardVersionMismatch": ExitCode.BOARD_VERSION,
}

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


def explain(error: BaseException) -> tuple[str, ExitCode] | None:
    """One line for stderr and the exit code, or None for an exception that is a fault of ours.

    A group of exceptions with a single member is that member.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ExitCode.INTERRUPTED
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_OF_MODULE:
            return None
        extra = EXTRA_OF_MODULE[module]
        return (
            f"this needs the package {module!r}, which comes with the extra {extra!r}: "
            f"pip install 'bellrelay[{extra}]'",
            ExitCode.MISSING_EXTRA,
        )
    for ancestor in type(error).__mro__:
        code = EXIT_CODES.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if code is not None:
            return _one_line(error), code
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", ExitCode.STORAGE
    return None
