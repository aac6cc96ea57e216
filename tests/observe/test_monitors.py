"""Monitors beside a daemon: every way in, what is shown, what is stale, what is refused."""

import socket
import ssl
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bellrelay.cli.run_certificates import make_certificates
from bellrelay.observe.monitor_line import Cause, MonitorReading, Refused
from bellrelay.observe.monitor_state import MonitorStates
from bellrelay.observe.monitors import Monitors
from bellrelay.settings.load import check
from bellrelay.settings.model import ConfigError, FileModel
from bellrelay.settings.monitors import MonitorsSettings

NS = 1_000_000_000


class File(FileModel):
    monitors: MonitorsSettings


def settings(**values):
    each = {
        "arm-a": {"kind": "power", "limits": {"power_w": [1e-9, 1e-6]}, "stale_s": 20},
        "laser": {"kind": "spectrum", "limits": {"suppression_db": [30, None]}},
    }
    return check(File, {"monitors": {"each": each, **values}}).monitors


@pytest.fixture
def started():
    """Call it with settings: monitors that listen."""
    running = []

    def start(**values):
        monitors = Monitors(settings(**values))
        monitors.start()
        running.append(monitors)
        return monitors

    yield start
    for monitors in running:
        monitors.stop()


def eventually(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def power(monitors):
    return monitors.status()["each"]["arm-a"]["quantities"]["power_w"]


def send(address, data, family=socket.AF_INET):
    with socket.socket(family) as line:
        line.settimeout(30)
        line.connect(address)
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        # Until it has been read, and hung up on.
        assert line.recv(1) == b""


# ------------------------------------------------------------------------------------ ways in


def test_lines_come_by_a_unix_socket(started, tmp_path):
    path = tmp_path / "monitors.sock"
    monitors = started(unix_socket=path)
    assert path.stat().st_mode & 0o777 == 0o660
    send(str(path), b"arm-a power -40 dBm\n# remark\narm-a power oops W\n", socket.AF_UNIX)
    assert power(monitors) == pytest.approx(1e-7)
    assert monitors.status()["refused"] == {"number": 1}
    assert "'oops' is no number" in monitors.status()["last_refused"]
    monitors.stop()
    assert not path.exists()


def test_a_socket_that_a_dead_daemon_left_is_replaced_and_a_file_is_not(started, tmp_path):
    path = tmp_path / "monitors.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    started(unix_socket=path)
    precious = tmp_path / "precious"
    precious.write_text("not a socket")
    with pytest.raises(OSError, match="something else than a socket"):
        started(unix_socket=precious)
    assert precious.read_text() == "not a socket"


def test_lines_come_by_tcp_on_loopback(started):
    monitors = started(listen="127.0.0.1:0", plain=True)
    # In pieces, over one connection: a line ends with its newline.
    with socket.create_connection(("127.0.0.1", monitors.port), timeout=30) as line:
        for piece in (b"arm-a pow", b"er 2", b"0 nW\narm-a power 30", b" nW\n"):
            line.sendall(piece)
            time.sleep(0.01)
        eventually(lambda: monitors.status()["each"]["arm-a"]["readings"] == 2)
        assert power(monitors) == pytest.approx(30e-9)
        assert monitors.status()["connections"] == 1
    eventually(lambda: monitors.status()["connections"] == 0)


def test_a_last_line_without_its_end_is_torn(started):
    monitors = started(listen="127.0.0.1:0", plain=True)
    send(("127.0.0.1", monitors.port), b"arm-a power 20 nW\narm-a power 2")
    assert power(monitors) == pytest.approx(20e-9)
    assert monitors.status()["refused"] == {"torn": 1}


def test_a_line_that_is_too_long_is_counted_and_what_comes_after_is_read(started):
    monitors = started(listen="127.0.0.1:0", plain=True)
    send(("127.0.0.1", monitors.port), b"x" * 1_200_000 + b"\narm-a power 20 nW\n")
    assert monitors.status()["refused"] == {"too-long": 1}
    assert power(monitors) == pytest.approx(20e-9)


def test_by_tls_only_who_has_a_certificate_is_read(started, tmp_path):
    make_certificates(tmp_path, ["localhost"])
    tls = {
        "certificate": tmp_path / "localhost.crt",
        "key": tmp_path / "localhost.key",
        "ca": tmp_path / "ca.crt",
    }
    monitors = started(listen="0.0.0.0:0", tls=tls)
    ours = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    nobody = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    ours.load_cert_chain(tmp_path / "localhost.crt", tmp_path / "localhost.key")

    def say(context, text):
        plain = socket.create_connection(("127.0.0.1", monitors.port), timeout=30)
        with plain, context.wrap_socket(plain, server_hostname="localhost") as line:
            line.sendall(text)
            line.unwrap()

    with pytest.raises(OSError):  # noqa: PT012 - it may be seen at either of two writes
        say(nobody, b"arm-a power 1 W\n")
        say(nobody, b"arm-a power 1 W\n")
    with socket.create_connection(("127.0.0.1", monitors.port), timeout=30) as plain:
        plain.sendall(b"arm-a power 1 W\n")
    say(ours, b"arm-a power 20 nW\n")
    eventually(lambda: monitors.status()["each"]["arm-a"]["readings"])
    assert power(monitors) == pytest.approx(20e-9)
    assert monitors.status()["each"]["arm-a"]["readings"] == 1


def test_lines_come_from_a_file_that_grows_is_rotated_and_cut_short(started, tmp_path):
    path = tmp_path / "readings"
    path.write_text("arm-a power 999 nW\n")
    monitors = started(files=[path])
    # What stood there before has no time of its own: it is not of now.
    with path.open("a") as file:
        file.write("arm-a power 20 nW\narm-a power 2")
    eventually(lambda: power(monitors) == pytest.approx(20e-9))
    path.rename(tmp_path / "readings.1")
    path.write_text("arm-a power 30 nW\n")
    eventually(lambda: power(monitors) == pytest.approx(30e-9))
    assert monitors.status()["refused"] == {"torn": 1}
    path.write_text("x\n")
    eventually(lambda: monitors.status()["refused"].get("fields") == 1)
    assert monitors.status()["each"]["arm-a"]["readings"] == 2


def test_a_file_that_cannot_be_read_is_told_and_the_rest_goes_on(started, tmp_path):
    (tmp_path / "folder").mkdir()
    good = tmp_path / "good"
    monitors = started(files=[tmp_path / "folder", good])
    eventually(lambda: monitors.status()["files_not_readable"])
    good.write_text("arm-a power 20 nW\n")
    eventually(lambda: power(monitors) == pytest.approx(20e-9))
    assert "regular file" in monitors.status()["files_not_readable"][str(tmp_path / "folder")]


def test_more_connections_than_allowed_are_hung_up_on(started):
    monitors = started(listen="127.0.0.1:0", plain=True, max_connections=1)
    address = ("127.0.0.1", monitors.port)
    with socket.create_connection(address, timeout=30) as first:
        eventually(lambda: monitors.status()["connections"] == 1)
        with socket.create_connection(address, timeout=30) as second:
            assert second.recv(1) == b""
        first.sendall(b"arm-a power 20 nW\n")
        eventually(lambda: power(monitors) is not None)


def test_an_address_in_use_is_told_at_the_start(started):
    monitors = started(listen="127.0.0.1:0", plain=True)
    with pytest.raises(OSError, match="in use"):
        started(listen=f"127.0.0.1:{monitors.port}", plain=True)


# -------------------------------------------------------------------------------- what is shown


@pytest.fixture
def states():
    return MonitorStates(settings(files=["x"]).each, 1000 * NS)


def reading(seconds, watts=2e-8, monitor="arm-a", kind="power"):
    return MonitorReading(monitor, kind, seconds * NS, {"power_w": watts})


def test_a_reading_grows_stale_and_is_shown_no_more(states):
    assert states.status(1010 * NS)["each"]["arm-a"]["stale"] is False
    assert states.status(1021 * NS)["each"]["arm-a"]["stale"] is True
    states.take(reading(1030))
    shown = states.status(1050 * NS)["each"]["arm-a"]
    assert (shown["stale"], shown["age_s"]) == (False, 20.0)
    assert shown["quantities"] == {"power_w": 2e-8}
    shown = states.status(1051 * NS)["each"]["arm-a"]
    assert shown["stale"] is True
    assert shown["quantities"] == {"power_w": None}
    assert shown["beyond"] == []


@pytest.mark.parametrize(
    ("watts", "beyond"), [(9e-10, True), (1e-9, False), (1e-6, False), (2e-6, True)]
)
def test_a_reading_beyond_its_limits_is_told(states, watts, beyond):
    states.take(reading(1001, watts))
    assert states.status(1001 * NS)["each"]["arm-a"]["beyond"] == ["power_w"] * beyond


def test_what_a_spectrum_does_not_tell_is_beyond_no_limit(states):
    quantities = {"wavelength_nm": 1550.0, "linewidth_ghz": None, "suppression_db": None}
    states.take(MonitorReading("laser", "spectrum", 1001 * NS, quantities))
    assert states.status(1001 * NS)["each"]["laser"]["beyond"] == []
    states.take(
        MonitorReading("laser", "spectrum", 1002 * NS, {**quantities, "suppression_db": 25.0})
    )
    assert states.status(1002 * NS)["each"]["laser"]["beyond"] == ["suppression_db"]


def test_a_reading_that_comes_late_counts_and_changes_nothing(states):
    states.take(reading(1010, 5e-8))
    states.take(reading(1005, 7e-8))
    shown = states.status(1011 * NS)["each"]["arm-a"]
    assert shown["readings"] == 2
    assert shown["quantities"]["power_w"] == 5e-8


@pytest.mark.parametrize(
    ("monitor", "kind", "cause"),
    [("arm-x", "power", Cause.UNKNOWN_MONITOR), ("laser", "power", Cause.OTHER_KIND)],
)
def test_who_is_not_in_the_configuration_is_refused(states, monitor, kind, cause):
    with pytest.raises(Refused) as caught:
        states.take(reading(1001, monitor=monitor, kind=kind))
    assert caught.value.cause is cause


def test_metrics_have_what_is_fresh_and_say_what_is_stale():
    monitors = Monitors(settings(files=["x"]))
    monitors._line(b"arm-a power 2 uW")
    monitors._line(b"arm-x power 2 uW")

    class Collector:
        def collect(self):
            return monitors.metrics(monitors.status())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    text = generate_latest(registry).decode()
    for line in (
        'bellrelay_monitor_power_watts{monitor="arm-a"} 2e-06',
        'bellrelay_monitor_stale{monitor="arm-a"} 0.0',
        'bellrelay_monitor_beyond_limits{monitor="arm-a",quantity="power_w"} 1.0',
        'bellrelay_monitor_beyond_limits{monitor="laser",quantity="suppression_db"} 0.0',
        'bellrelay_monitor_readings_total{monitor="arm-a"} 1.0',
        'bellrelay_monitor_lines_refused_total{cause="unknown-monitor"} 1.0',
    ):
        assert line in text.splitlines()
    assert "bellrelay_monitor_wavelength_meters" not in text
    # A counter that begins at 0 is there from the start: rates see its first step.
    assert 'bellrelay_monitor_lines_refused_total{cause="torn"} 0.0' in text.splitlines()


# ------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "a way in"),
        ({"listen": "0.0.0.0:7", "plain": True}, "loopback"),
        ({"listen": "127.0.0.1:7"}, "listen needs tls"),
        ({"plain": True, "files": ["x"]}, "need listen"),
        ({"each": {"a": {"kind": "volts"}}}, "each.a.kind"),
        ({"each": {"a": {"kind": "power", "stale_s": 0}}}, "0.1 to 86400"),
        ({"each": {"a": {"kind": "power", "limits": {"power_w": [2, 1]}}}}, "lowest"),
        ({"each": {"a": {"kind": "power", "limits": {"power_w": [None, None]}}}}, "lowest"),
        (
            {"each": {"a": {"kind": "power", "limits": {"linewidth_ghz": [1, 2]}}}},
            "limits of a monitor of power: power_w",
        ),
    ],
)
def test_a_wrong_section_is_refused_with_what_is_allowed(change, line):
    values = {"files": ["x"], **change} if change and "listen" not in change else change
    with pytest.raises(ConfigError) as caught:
        settings(**values)
    assert any(line in found for found in caught.value.lines), caught.value.lines
