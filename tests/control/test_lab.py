"""Devices by the configuration's names, and the simulated ones before the twin's conditions."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bellrelay.control.lab import Lab
from bellrelay.control.lab_devices import (
    KINDS,
    Attenuator,
    DelayLine,
    Laser,
    PhaseReference,
    PolarisationController,
    PowerMeter,
    Shutter,
)
from bellrelay.relay.config import RelayConfig, check_config
from bellrelay.settings.model import ConfigError
from bellrelay_sim.conditions import Conditions, changed
from bellrelay_sim.link import SimulatedLink


def config(lab: dict[str, Any]) -> RelayConfig:
    return check_config(
        {
            "relay_id": "charlie",
            "port": "nowhere",
            "slot_period_ps": 10_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
            "log": {"directory": "log"},
            "lab": lab,
        },
        "relay.yaml",
    )


def lab(devices: dict[str, Any]) -> Lab:
    made = config(devices)
    return Lab(made, made.lab)


class Twin:
    """Takes what the devices say, as the twin does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(2.0)
        self.conditions = Conditions(SimulatedLink())

    def take(self) -> Conditions:
        self.conditions = changed(self.conditions, json.loads(self._socket.recv(4096)))
        return self.conditions

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    twin = Twin(tmp_path / "conditions")
    yield twin
    twin.close()


def simulated(twin: Twin, kind: str, **more: Any) -> dict[str, Any]:
    return {"d": {"plugin": "simulation", "kind": kind, "conditions": str(twin.path), **more}}


def test_a_delay_line_and_an_attenuator_move_their_arm_s_light(twin: Twin) -> None:
    line = lab(simulated(twin, "delay-line", sender="alice")).device("d", DelayLine)
    line.set_delay_ps(-120.0)
    assert twin.take().alice.delay_ps == -120.0
    assert line.delay_ps() == -120.0
    with pytest.raises(ValueError, match="is not in"):
        line.set_delay_ps(1e9)
    attenuator = lab(simulated(twin, "attenuator", sender="bob")).device("d", Attenuator)
    assert attenuator.attenuation_db() == 0.0
    attenuator.set_attenuation_db(3.0)
    assert twin.take().bob.attenuation_db == 3.0
    assert twin.conditions.alice.delay_ps == -120.0


def test_a_shutter_and_a_laser_halt_their_sender(twin: Twin) -> None:
    shutter = lab(simulated(twin, "shutter", sender="bob")).device("d", Shutter)
    shutter.close_shutter()
    assert twin.take().bob.halted
    assert not shutter.is_open()
    shutter.open_shutter()
    assert not twin.take().bob.halted
    laser = lab(simulated(twin, "laser", sender="alice", frequency_hz=193.1e12))
    device = laser.device("d", Laser)
    device.switch_off()
    assert twin.take().alice.halted
    assert device.frequency_hz() == 193.1e12


def test_polarisation_and_phase_turn_the_misalignment(twin: Twin) -> None:
    options = simulated(twin, "polarisation-controller", aligned=[0.3, -0.2], least=0.01, of="z")
    controller = lab(options).device("d", PolarisationController)
    controller.set_settings((0.3, -0.2))
    assert twin.take().link.misalignment_z == pytest.approx(0.01)
    controller.set_settings((0.3 + math.pi / 4, -0.2))
    assert twin.take().link.misalignment_z == pytest.approx(0.5)
    options = simulated(twin, "polarisation-controller", aligned=[0.3])
    arms = lab(options).device("d", PolarisationController)
    arms.set_settings((0.3 + math.pi / 4,))
    assert twin.take().link.mode_overlap == pytest.approx(0.4975)
    phase = lab(simulated(twin, "phase-reference", aligned=1.0)).device("d", PhaseReference)
    phase.set_phase_rad(1.0)
    assert twin.take().link.misalignment_x == pytest.approx(0.005)
    phase.set_phase_rad(1.0 + math.pi / 2)
    assert twin.take().link.misalignment_x == pytest.approx(0.5)


def test_a_power_meter_reads_with_noise() -> None:
    devices = {"m": {"plugin": "simulation", "kind": "powermeter", "power_w": 2e-12, "noise": 0.01}}
    readings = [lab(devices).device("m", PowerMeter).power_w() for _ in range(50)]
    assert sum(readings) / 50 == pytest.approx(2e-12, rel=0.02)


def test_a_twin_that_is_away_is_an_error_and_not_a_setting(tmp_path: Path) -> None:
    devices = {
        "d": {
            "plugin": "simulation", "kind": "delay-line", "sender": "alice",
            "conditions": str(tmp_path / "nobody"),
        }
    }  # fmt: skip
    line = lab(devices).device("d", DelayLine)
    with pytest.raises(OSError, match="No such file"):
        line.set_delay_ps(5.0)
    assert line.delay_ps() == 0.0


def test_a_configuration_that_names_what_is_not_there_is_told(twin: Twin) -> None:
    with pytest.raises(ConfigError, match=r"relay\.yaml: lab\.d\.plugin: 'gpib'; .*scpi"):
        lab({"d": {"plugin": "gpib"}})
    with pytest.raises(ConfigError, match=r"relay\.yaml: lab\.d: .*sender must be alice or bob"):
        lab(simulated(twin, "shutter", sender="eve"))
    with pytest.raises(ConfigError, match=r"lab\.d: .*kind must be one of"):
        lab({"d": {"plugin": "simulation"}})
    with pytest.raises(ConfigError, match="conditions must be the path"):
        lab({"d": {"plugin": "simulation", "kind": "shutter", "sender": "bob"}})
    devices = lab(simulated(twin, "shutter", sender="bob"))
    assert devices.kinds() == {"d": ["shutter"]}
    with pytest.raises(ConfigError, match=r"lab\.d: 'shutter'; allowed: a delay-line is needed"):
        devices.device("d", DelayLine)
    with pytest.raises(ConfigError, match=r"lab\.e: None; allowed: a shutter; there are: d"):
        devices.device("e", Shutter)


def test_a_plugin_that_gives_no_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "mine"

        @staticmethod
        def load() -> Any:
            return lambda options, name: object()

    monkeypatch.setattr("bellrelay.settings.plugins.entry_points", lambda group: [Point()])
    with pytest.raises(ConfigError, match="a plugin that gives a attenuator or delay-line"):
        lab({"d": {"plugin": "mine"}})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_simulation(twin: Twin, kind: str) -> None:
    more: dict[str, Any] = {"sender": "alice"}
    if kind == "polarisation-controller":
        more = {"aligned": [0.1]}
    elif kind in ("phase-reference", "powermeter"):
        more = {}
    assert lab(simulated(twin, kind, **more)).kinds() == {"d": [kind]}
