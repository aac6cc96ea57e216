"""Records on their way to a SIEM: their form, and that none is lost when it is away."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_lines import event, lines
from hypothesis import given
from hypothesis import strategies as st
from syslog_rfc5424_parser import SyslogMessage
from syslog_server import TlsSyslogServer, eventually, text_of

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.keys.audit_chain import parsed
from bellrelay.keys.audit_forward import AuditForwarder
from bellrelay.keys.audit_log import AuditLog
from bellrelay.keys.audit_reader import AuditReader, ReadPosition
from bellrelay.keys.audit_record import AuditError, AuditEvent
from bellrelay.keys.audit_service import AuditService
from bellrelay.keys.audit_verify import verify_audit
from bellrelay.keys.syslog_format import octet_counted, structured_element, syslog_message
from bellrelay.settings.audit import AuditSettings, Forward
from bellrelay.settings.model import ConfigError

Start = Callable[..., AuditForwarder]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ours", "theirs"):
        (folder / authority).mkdir()
        make_certificates(folder / authority, ("siem", "kme-a"))
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    log = AuditLog(tmp_path / "audit", "kme-a", segment_bytes=8000)
    yield log
    log.close()


@pytest.fixture
def start(log: AuditLog, certificates: Path) -> Iterator[Start]:
    started: list[AuditForwarder] = []

    def begin(**words: Any) -> AuditForwarder:
        settings = Forward.model_validate({"name": "siem", "settle_s": 0.0, **words})
        forwarder = AuditForwarder(settings, log.directory, look_s=0.01, retry_s=(0.02, 0.1))
        forwarder.start()
        started.append(forwarder)
        return forwarder

    yield begin
    for forwarder in started:
        forwarder.stop()


def over_tls(certificates: Path, port: int, authority: str = "ours") -> dict[str, Any]:
    ours = certificates / "ours"
    return {
        "address": f"127.0.0.1:{port}",
        "server_name": "siem",
        "tls": {
            "ca": certificates / authority / "ca.crt",
            "certificate": ours / "kme-a.crt",
            "key": ours / "kme-a.key",
        },
    }


def arrived_lines(server: TlsSyslogServer) -> list[bytes]:
    """In order of their sequence, each once."""
    by_sequence = {}
    for message in server.messages:
        line = text_of(message)
        values = parsed(line)
        assert values is not None
        assert by_sequence.setdefault(values["event.sequence"], line) == line
    return [by_sequence[n] for n in sorted(by_sequence)]


# --------------------------------------------------------------------------------------------- form


def message_of(audit_event: AuditEvent, directory: Path, **words: Any) -> bytes:
    log = AuditLog(directory, "kme-a")
    log.record(audit_event)
    log.close()
    line = lines(directory)[-1]
    values = parsed(line)
    assert values is not None
    return syslog_message(
        line, values, **{"facility": 13, "enterprise": 32473, "version": "0.1.0", **words}
    )


def test_an_independent_parser_reads_it(tmp_path: Path) -> None:
    odd = AuditEvent("key-delivered", 'sae:a"]\\ü b', "key:1", "failure", {"size_bits": 256})
    message = message_of(odd, tmp_path, enterprise=12345)
    read = SyslogMessage.parse(message.decode()).as_dict()
    assert (read["facility"], read["severity"]) == ("audit", "warning")
    assert read["appname"] == "bellrelay-kme"
    assert read["msgid"] == "key-delivered"
    assert read["sd"]["origin"]["enterpriseId"] == "12345"
    assert read["sd"]["audit@12345"]["actor"] == 'sae:a\\"\\]\\\\ü b'
    assert read["sd"]["meta"]["sequenceId"] == "2"
    assert read["msg"].encode() == lines(tmp_path)[-1]


@pytest.mark.parametrize(
    ("actor", "outcome", "severity"),
    [("sae:a", "success", 6), ("operator:root", "success", 5), ("operator:root", "failure", 4)],
)
def test_severity(tmp_path: Path, actor: str, outcome: str, severity: int) -> None:
    message = message_of(AuditEvent("key-revoked", actor, "key:1", outcome), tmp_path)
    assert message.startswith(f"<{13 * 8 + severity}>1 ".encode())


def unescaped(element: str) -> str:
    out, at = "", element.index('="') + 2
    while element[at] != '"':
        if element[at] == "\\":
            at += 1
        out += element[at]
        at += 1
    assert element[at:] == '"]'
    return out


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_every_value_can_be_read_back(value: str) -> None:
    assert unescaped(structured_element("audit@32473", {"actor": value})) == value


def test_no_newline_gets_into_structured_data() -> None:
    assert structured_element("a", {"b": "x\n<13>1 forged\x00"}) == '[a b="x?<13>1 forged?"]'


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a]", "a=b", "x" * 33, "ä"])
def test_names_that_rfc_5424_has_not(name: str) -> None:
    with pytest.raises(ValueError, match="structured data"):
        structured_element(name, {})
    with pytest.raises(ValueError, match="structured data"):
        structured_element("a", {name: "b"})


def test_octets_are_counted_not_characters() -> None:
    assert octet_counted("ü".encode()) == b"2 \xc3\xbc"


# ------------------------------------------------------------------------------------------ the way


def test_everything_arrives_once_and_is_the_chain(
    log: AuditLog, start: Start, certificates: Path, tmp_path: Path
) -> None:
    server = TlsSyslogServer(certificates / "ours")
    forwarder = start(**over_tls(certificates, server.port))
    for number in range(50):
        log.record(event(number))
    eventually(lambda: forwarder.confirmed.sequence == log.position.sequence)
    server.close()
    assert [text_of(m) for m in server.messages] == lines(log.directory)
    # What the SIEM has is a log that can be verified.
    (tmp_path / "siem").mkdir()
    exported = b"".join(line + b"\n" for line in arrived_lines(server))
    (tmp_path / "siem" / "audit-0000000000000000.jsonl").write_bytes(exported)
    assert verify_audit(tmp_path / "siem").head == verify_audit(log.directory).head


def test_a_siem_that_is_away_loses_nothing(log: AuditLog, start: Start, certificates: Path) -> None:
    server = TlsSyslogServer(certificates / "ours")
    port = server.port
    server.close()
    forwarder = start(**over_tls(certificates, port))
    for number in range(40):
        log.record(event(number))
    eventually(lambda: forwarder.fault != "")
    assert not forwarder.connected
    assert forwarder.confirmed.sequence == 0
    server = TlsSyslogServer(certificates / "ours", port)
    eventually(lambda: len(arrived_lines(server)) == log.position.sequence)
    server.close()
    assert arrived_lines(server) == lines(log.directory)


def test_a_siem_that_dies_in_the_middle_loses_nothing(
    log: AuditLog, start: Start, certificates: Path
) -> None:
    """What it had not read when it reset the connection comes again."""
    server = TlsSyslogServer(certificates / "ours", hang_up_after=10)
    start(**over_tls(certificates, server.port), settle_s=0.5)
    for number in range(60):
        log.record(event(number))
    eventually(lambda: len(arrived_lines(server)) == log.position.sequence)
    assert server.connections >= 2
    server.close()
    assert arrived_lines(server) == lines(log.directory)


def test_nothing_counts_as_arrived_before_it_has_settled(
    log: AuditLog, start: Start, certificates: Path
) -> None:
    server = TlsSyslogServer(certificates / "ours")
    forwarder = start(**over_tls(certificates, server.port), settle_s=600.0)
    log.record(event())
    eventually(lambda: len(server.messages) == 2)
    assert forwarder.confirmed.sequence == 0
    # At the end the server says goodbye, so it has read everything.
    forwarder.stop()
    assert forwarder.confirmed.sequence == 2
    server.close()


def test_it_goes_on_where_it_was(log: AuditLog, start: Start, certificates: Path) -> None:
    server = TlsSyslogServer(certificates / "ours")
    way = over_tls(certificates, server.port)
    for _ in range(3):
        forwarder = start(**way)
        log.record(*map(event, range(20)))
        forwarder.stop()
    server.close()
    assert [text_of(m) for m in server.messages] == lines(log.directory)


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_another_server_gets_nothing(
    log: AuditLog, start: Start, certificates: Path, wrong: str
) -> None:
    server = TlsSyslogServer(certificates / ("theirs" if wrong == "authority" else "ours"))
    way = over_tls(certificates, server.port)
    if wrong == "name":
        way["server_name"] = "another"
    log.record(event())
    forwarder = start(**way)
    eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in forwarder.fault)
    server.close()
    assert server.messages == []
    assert forwarder.confirmed.sequence == 0


def test_a_unix_socket(log: AuditLog, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "log.socket"
    forwarder = start(transport="unix", path=path)
    log.record(event())
    eventually(lambda: forwarder.fault != "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        got = [text_of(listener.recv(65536)) for _ in range(2)]
    assert got == lines(log.directory)


def test_udp_and_a_record_that_is_too_long_for_it(log: AuditLog, start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        start(transport="udp", address=f"127.0.0.1:{listener.getsockname()[1]}")
        long = {f"detail{n}": "ü" * 1000 for n in range(20)}
        log.record(AuditEvent("key-listed", "sae:a", "key:long", details=long), event(2))
        got = [listener.recv(65536) for _ in range(3)]
    assert b'object="key:long"' in got[1]
    assert b'{"' not in got[1]
    assert text_of(got[2]) == lines(log.directory)[2]


def test_records_that_are_gone_are_not_passed_over(log: AuditLog) -> None:
    log.record(*map(event, range(40)))
    log.record(event())
    log.record(event())
    sorted(log.directory.glob("audit-*"))[0].unlink()
    reader = AuditReader(log.directory, ReadPosition())
    with pytest.raises(AuditError, match="from 0 on are gone"):
        reader.read()
    reader.close()


# ------------------------------------------------------------------------------------- the service


def test_the_service_signs_by_the_clock_and_says_how_it_stands(
    tmp_path: Path, certificates: Path
) -> None:
    from bellrelay.keys.audit_checkpoint import create_signing_key

    create_signing_key(tmp_path / "key")
    server = TlsSyslogServer(certificates / "ours")
    settings = AuditSettings.model_validate(
        {
            "directory": tmp_path / "audit",
            "signing_key": tmp_path / "key",
            "checkpoint_every_s": 1.0,
            "forward": [{"name": "siem", **over_tls(certificates, server.port)}],
        }
    )
    service = AuditService(settings, "kme-a")
    service.start()
    service.log.record(event())
    eventually(lambda: (tmp_path / "audit" / "checkpoints.jsonl").exists())
    eventually(lambda: service.status()["forward"]["siem"]["connected"])
    service.stop()
    status = service.status()["forward"]["siem"]
    assert status["waiting"] == 0
    server.close()
    # The checkpoint went the same way: the SIEM is where they are kept elsewhere.
    assert any(b"bellrelay.checkpoint.signature" in message for message in server.messages)


@pytest.mark.parametrize(
    "words",
    [
        {"transport": "tls", "address": "siem:6514"},
        {"transport": "udp"},
        {"transport": "unix", "path": "/dev/log", "address": "siem:514"},
        {"transport": "udp", "address": "siem:514", "tls": {"ca": "ca.crt"}},
        {"transport": "tls", "address": "siem:6514", "tls": {"ca": "a", "key": "b"}},
        {"transport": "udp", "address": "siem:514", "enterprise": 0},
    ],
)
def test_ways_that_are_none(words: dict[str, Any], tmp_path: Path) -> None:
    from pydantic import ValidationError

    values = {"directory": tmp_path, "forward": [{"name": "siem", **words}]}
    with pytest.raises((ValidationError, ConfigError)):
        AuditSettings.model_validate(values)
