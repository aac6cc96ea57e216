"""What a record of the audit log costs, next to writing and syncing the same bytes.

    python bench/audit_log.py [seconds]

Events are recorded one by one, and in batches as the key store records them, one call for a whole
transaction. Beside each stands the bare cost on this disk: the same number of bytes, written and
fdatasync'ed. Then the log is verified.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bellrelay.keys.audit_checkpoint import CheckpointSigner, create_signing_key
from bellrelay.keys.audit_log import AuditLog
from bellrelay.keys.audit_record import AuditEvent
from bellrelay.keys.audit_verify import verify_audit


def event(number: int) -> AuditEvent:
    details = {"pair": "bank", "size_bits": 256, "role": "master"}
    return AuditEvent("key-delivered", "sae:alice", f"key:{number:036d}", "success", details)


def recorded(log: AuditLog, batch: int, seconds: float) -> tuple[int, float]:
    """Calls, and seconds for each."""
    end = time.perf_counter() + seconds
    begun, calls = time.perf_counter(), 0
    while time.perf_counter() < end:
        log.record(*(event(calls * batch + n) for n in range(batch)))
        calls += 1
    return calls, (time.perf_counter() - begun) / calls


def bare(path: Path, n_bytes: int, calls: int) -> float:
    """Seconds for each write with fdatasync."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    data = os.urandom(n_bytes)
    begun = time.perf_counter()
    for _ in range(calls):
        os.write(file, data)
        os.fdatasync(file)
    spent = (time.perf_counter() - begun) / calls
    os.close(file)
    return spent


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        create_signing_key(folder / "key")
        log = AuditLog(folder / "audit", "kme-a", signer=CheckpointSigner(folder / "key"))
        for batch in (1, 10, 100, 1000):
            before = log.position.sequence
            calls, spent = recorded(log, batch, seconds)
            lines = log.position.sequence - before
            alone = bare(folder / "bare", 600 * batch, calls)
            print(
                f"{batch:5d} events a call: {1e3 * spent:8.3f} ms, {lines / calls / spent:9.0f} "
                f"records/s; the bytes alone {1e3 * alone:8.3f} ms; ratio {spent / alone:.2f}"
            )
        log.close()
        begun = time.perf_counter()
        report = verify_audit(folder / "audit", [CheckpointSigner(folder / "key").verifier])
        spent = time.perf_counter() - begun
        assert report.whole, report.faults
        print(f"verified {report.records} records in {spent:.2f} s")


if __name__ == "__main__":
    main()
