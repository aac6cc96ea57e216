"""An endpoint's monitors: its intensities are bounded, its laser is watched, by what they say."""

import asyncio
import copy
import math
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bellrelay.cli.endpoint_monitors import monitor_companions
from bellrelay.control.fault_from_status import endpoint_reading
from bellrelay.endpoint.config import check_endpoint_config
from bellrelay.endpoint.intensity_monitor import IntensityFault
from bellrelay.endpoint.intensity_watch import IntensityWatch
from bellrelay.settings.model import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "endpoint.example.yaml"
EACH = {"encoder": {"kind": "intensity"}, "laser": {"kind": "wavelength"}}
GHZ = 193_400.0
NS = 1_000_000_000


@pytest.fixture
def values(tmp_path):
    """Alice's YAML with monitors by a Unix socket."""
    found = copy.deepcopy(yaml.safe_load(EXAMPLE.read_text()))
    found["intensity_monitor"] = {"input": "monitors", "min_readings": 4}
    found["monitors"] = {"unix_socket": str(tmp_path / "monitors.sock"), "each": EACH}
    found["watch"]["laser"] = {"monitor": "laser", "ghz": GHZ}
    return found


def beside_a_daemon(values, lines, enough):
    """Companions and intensity watch after these lines have come by the socket."""
    config = check_endpoint_config(values)
    ladder, limit = config.own_ladder, config.own_settings.most_deviation
    watch = IntensityWatch(config.intensity_monitor, ladder, limit)
    daemon = SimpleNamespace(admission=SimpleNamespace(intensities=watch))
    companions = monitor_companions(config)

    async def run():
        work = [asyncio.ensure_future(c.run(daemon)) for c in companions]
        path = config.monitors.unix_socket
        end = time.monotonic() + 60.0
        while not path.exists():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
            line.sendall("".join(f"{text}\n" for text in lines).encode())
        while not enough(companions):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    asyncio.run(run())
    return companions, watch, config


def readings_of(companions, name):
    return companions[0].status()["each"][name]["readings"]


def intensities(scale_mu=1.0):
    """Twenty readings of every setting, half a second apart, that end now."""
    now = time.time_ns()
    means = {"s": 0.4, "mu": 0.3 * scale_mu, "nu": 0.05, "o": 1e-5}
    for k in range(20):
        for setting, mean in means.items():
            value = mean * (1.0 + 1e-4 * math.sin(k))
            when = now - (20 - k) * NS // 2
            yield f"encoder intensity {value!r} photons {when} setting={setting} variance=1e-9"


@pytest.mark.parametrize(("scale", "sound"), [(1.0, True), (1.05, False)])
def test_a_block_s_bounds_stand_on_what_the_monitor_says(values, scale, sound):
    lines = list(intensities(scale))
    _, watch, config = beside_a_daemon(
        values, lines, lambda c: readings_of(c, "encoder") == len(lines)
    )
    now = time.time_ns()
    states = watch.poll(now)
    assert [s.readings for s in states] == [20] * 4
    assert watch.measured
    if sound:
        found = watch.deviation(now - 2 * NS, now)
        assert config.own_settings.deviation <= found < config.own_settings.most_deviation
    else:
        with pytest.raises(IntensityFault, match=r"mu may deviate by 0\.05"):
            watch.deviation(now - 2 * NS, now)


def test_the_laser_s_watch_has_what_the_monitor_measures(values):
    lines = [f"laser wavelength {GHZ + 1.5 + 1e-3 * k} GHz" for k in range(5)]
    companions, _, _ = beside_a_daemon(values, lines, lambda c: c[1].status()["measured"] == 5)
    status = companions[1].status()
    assert companions[1].name == "lab"
    assert status["laser_ghz"]["value"] == pytest.approx(1.504, abs=1e-6)
    # What the detectors of faults are handed.
    empty = {
        "relay": {"connected": True},
        "quarantined": False,
        "peer": {"connected": True},
        "alarms": 0,
        "key_pool": {"bits": 0},
        "random_health": {"alarm": None},
        "lab": {"measured": 0},
    }
    reading = endpoint_reading(empty, {**empty, "lab": status}, 1)
    assert reading.laser_ghz.value == pytest.approx(1.504, abs=1e-6)
    # Without a new reading nothing is measured: an old one is no evidence.
    assert endpoint_reading({**empty, "lab": status}, {**empty, "lab": status}, 1).laser_ghz is None


def test_a_monitor_that_is_none_of_the_sender_s_changes_no_bound(values):
    values["intensity_monitor"] = {"input": "none"}
    lines = list(intensities())
    _, watch, _ = beside_a_daemon(values, lines, lambda c: readings_of(c, "encoder") == len(lines))
    assert not watch.measured
    assert watch.poll() == ()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda v: v["monitors"]["each"].pop("encoder"), "intensity_monitor.input: 'monitors'"),
        (lambda v: v.pop("monitors"), "intensity_monitor.input: 'monitors'"),
        (lambda v: v["monitors"].update(socket_mode="0666"), "open to every user"),
        (
            lambda v: v["monitors"].update(listen="127.0.0.1:7", plain=True),
            "open to every user",
        ),
        (lambda v: v["watch"]["laser"].update(monitor="encoder"), "watch.laser.monitor: 'encoder'"),
        (lambda v: v["watch"]["laser"].update(device="d"), "either device or monitor"),
        (lambda v: v["watch"]["laser"].pop("monitor"), "either device or monitor"),
    ],
)
def test_what_cannot_be_is_refused_with_key_and_what_is_allowed(values, change, line):
    values["monitors"]["each"] = dict(EACH)
    check_endpoint_config(values)
    change(values)
    with pytest.raises(ConfigError) as caught:
        check_endpoint_config(values)
    assert any(line in found for found in caught.value.lines), caught.value.lines
