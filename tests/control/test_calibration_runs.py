"""Runs of calibration steps: what they change comes into force, is recorded, and is taken back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import Field

from bellrelay.control.calibration_bench import Bench, TagTap
from bellrelay.control.calibration_records import Records, RecordsError
from bellrelay.control.calibration_reference import reference_page
from bellrelay.control.calibration_runner import CalibrationRunner, CannotUndo
from bellrelay.control.calibration_step import DeviceChange, StepFailed, StepResult
from bellrelay.control.calibration_steps import calibration_steps
from bellrelay.control.lab_devices import DeviceSilent
from bellrelay.control.relay_settings import RelaySettings
from bellrelay.settings.model import ConfigError, Model
from bellrelay.wire.access import AccessError


class Shift(Model):
    """Options of the step below."""

    by_ps: int = Field(default=100, ge=-1000, le=1000)
    device: str | None = None
    wrong: str = ""


class ShiftWindows:
    """A step that moves the early window."""

    name = "shift"
    about = "moves the early window"
    disturbs = True
    options: type[Model] = Shift

    def run(self, bench: Bench, options: Shift) -> StepResult:
        if options.wrong == "failed":
            raise StepFailed("nothing to see")
        if options.wrong == "silent":
            error = DeviceSilent(5, "lab.d: no answer")
            error.add_note("the device could not be put back")
            raise error
        if options.wrong == "fault":
            raise AssertionError("a fault of the program")
        start, end = bench.config.windows.early
        early = [start + options.by_ps, end + options.by_ps]
        devices = ()
        if options.device is not None:
            line = bench.lab.any_device(options.device)
            before = line.delay_ps()  # type: ignore[attr-defined]
            line.set_delay_ps(before + 5.0)  # type: ignore[attr-defined]
            devices = (DeviceChange(options.device, (before,), (before + 5.0,)),)
        return StepResult(
            True,
            f"early window at {early[0]} ps",
            {"figure": float("nan")},
            change={"windows": {"early": early}},
            devices=devices,
            draw=lambda path: path.write_bytes(b"\x89PNG"),
        )


class Line:
    """A delay line."""

    range_ps = (0.0, 100.0)

    def __init__(self) -> None:
        self.at = 10.0

    def delay_ps(self) -> float:
        return self.at

    def set_delay_ps(self, delay_ps: float) -> None:
        self.at = delay_ps


class Place:
    """A relay's YAML, and a runner of it; the board is pretended."""

    def __init__(self, folder: Path, **calibration: Any) -> None:
        self.yaml = folder / "relay.yaml"
        values = {
            "relay_id": "charlie",
            "port": str(folder / "port"),
            "slot_period_ps": 10_000,
            "windows": {"early": [2000, 3000], "late": [7000, 8000]},
            "detectors": [{"name": "D0", "port": "c"}, {"name": "D1", "port": "d"}],
            "log": {"directory": str(folder / "log")},
            "calibration": {"directory": str(folder / "calibration"), **calibration},
        }
        self.yaml.write_text(yaml.safe_dump(values))
        self.begin()

    def begin(self) -> None:
        """As a daemon that starts does."""
        self.in_force: list[Any] = []
        self.settings = RelaySettings(self.yaml, self.in_force.append)
        self.runner = CalibrationRunner(self.settings, [ShiftWindows()], TagTap())
        self.runner.session = SimpleNamespace(identity=None, account=None)  # type: ignore[assignment]

    @property
    def early(self) -> tuple[int, int]:
        return RelaySettings(self.yaml).config.windows.early


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_change_comes_into_force_and_its_record_says_all(place: Place) -> None:
    record = place.runner.calibrate("shift", "asked for", changed={"by_ps": 50}, author="ada")
    assert record.values["ok"]
    assert place.in_force[-1].windows.early == (2050, 3050)
    assert place.early == (2050, 3050)  # and for the next daemon
    values = record.values
    assert values["before"]["windows"]["early"] == [2000, 3000]
    assert values["after"]["windows"]["early"] == [2050, 3050]
    assert values["version"] == 1
    assert values["options"]["by_ps"] == 50
    assert values["author"] == "ada"
    assert values["figures"] == {"figure": None}
    assert record.picture is not None
    assert place.runner.last_run_ns("shift") == values["end_utc_ns"]
    assert place.settings.history()[-1]["reason"] == "shift: early window at 2050 ps"


def test_what_a_record_changed_can_be_taken_back_last_first(place: Place) -> None:
    first = place.runner.calibrate("shift", "a")
    second = place.runner.calibrate("shift", "b")
    assert place.early == (2200, 3200)
    with pytest.raises(CannotUndo, match="windows were changed after record 1: undo that first"):
        place.runner.undo(first.number)
    undone = place.runner.undo(second.number)
    assert place.early == (2100, 3100)
    assert undone.values["undone"] == second.number
    place.runner.undo(first.number)
    assert place.early == (2000, 3000)
    assert place.in_force[-1].windows.early == (2000, 3000)
    with pytest.raises(CannotUndo, match="were changed after record 3"):
        place.runner.undo(undone.number)
    again = place.runner.records.all()[-1]
    place.runner.undo(again.number)  # to undo an undoing is to do it again
    assert place.early == (2100, 3100)


def test_a_dry_run_changes_nothing(place: Place) -> None:
    record = place.runner.calibrate("shift", "asked for", keep=False)
    assert record.values["change"] == {"windows": {"early": [2100, 3100]}}
    assert record.values["version"] is None
    assert place.early == (2000, 3000)
    with pytest.raises(CannotUndo, match="changed nothing"):
        place.runner.undo(record.number)


def test_a_device_that_was_turned_is_turned_back(place: Place) -> None:
    line = Line()
    place.runner.lab.any_device = lambda name: line  # type: ignore[method-assign]
    record = place.runner.calibrate("shift", "a", changed={"device": "d", "by_ps": 0})
    assert line.at == 15.0
    assert record.values["devices"] == [{"device": "d", "before": [10.0], "after": [15.0]}]
    place.runner.undo(record.number)
    assert line.at == 10.0


def test_what_goes_wrong_is_in_the_record_and_changes_nothing(place: Place) -> None:
    failed = place.runner.calibrate("shift", "a", changed={"wrong": "failed"})
    assert (failed.values["ok"], failed.values["text"]) == (False, "nothing to see")
    silent = place.runner.calibrate("shift", "a", changed={"wrong": "silent"})
    assert silent.values["text"] == "lab.d: no answer (the device could not be put back)"
    # Windows that overlap are none.
    beyond = place.runner.calibrate("shift", "a", changed={"by_ps": 1000})
    place.runner.calibrate("shift", "a", changed={"by_ps": 1000})
    for _ in range(3):
        beyond = place.runner.calibrate("shift", "a", changed={"by_ps": 1000})
    assert not beyond.values["ok"]
    assert "windows.late" in beyond.values["text"]
    assert beyond.values["version"] is None
    assert place.runner.last_run_ns("shift") is not None
    with pytest.raises(AssertionError, match="a fault of the program"):
        place.runner.calibrate("shift", "a", changed={"wrong": "fault"})


def test_a_board_that_refuses_leaves_what_was_in_force(place: Place) -> None:
    def refuse(config: Any) -> None:
        raise AccessError("no answer")

    place.settings.bring_into_force = refuse
    record = place.runner.calibrate("shift", "a")
    assert (record.values["ok"], record.values["text"]) == (False, "no answer")
    assert place.early == (2000, 3000)


def test_options_that_are_wrong_are_named_before_anything_is_run(tmp_path: Path) -> None:
    place = Place(tmp_path, steps={"shift": {"by_ps": 7}})
    assert place.runner.options("shift").by_ps == 7  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"calibration\.steps\.shift\.by_ps: Input should be"):
        place.runner.calibrate("shift", "a", changed={"by_ps": 5000})
    with pytest.raises(ConfigError, match=r"calibration: 'nothing'; allowed: shift"):
        place.runner.calibrate("nothing", "a")
    assert place.runner.records.all() == []
    for wrong, says in (
        ({"steps": {"shift": {"colour": 1}}}, r"steps\.shift\.colour: Extra"),
        ({"steps": {"other": {}}}, r"calibration\.steps: 'other'; allowed: shift"),
        ({"at_start": ["other"]}, r"calibration\.at_start: 'other'"),
        ({"every": [{"steps": ["x"], "hours": 1}]}, r"calibration\.every\.0\.steps: 'x'"),
    ):
        with pytest.raises(ConfigError, match=says):
            Place(tmp_path, **wrong)


def test_every_step_of_a_relay_has_its_own_name_and_says_what_it_is() -> None:
    steps = calibration_steps()
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    assert {"hom", "polarisation", "phase-reference", "decoy"} <= set(names)
    for step in steps:
        assert step.about
        assert all(field.description for field in step.options.model_fields.values()), step.name


def test_the_reference_page_is_of_these_steps() -> None:
    page = Path(__file__).parents[2] / "docs/reference/calibration.md"
    assert page.read_text() == reference_page(), (
        "python -m bellrelay.control.calibration_reference > docs/reference/calibration.md"
    )


# ------------------------------------------------------------------------------------- records


def test_a_record_is_whole_or_is_not_there(tmp_path: Path) -> None:
    """Killed at every point of writing: the next one takes its place, and reads all."""
    whole = 0
    for n in range(12):
        child = os.fork()
        if child == 0:
            left = n
            sync = os.fsync

            def ticking(file: int, sync: Any = sync) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                sync(file)

            try:
                os.fsync = ticking  # type: ignore[assignment]
                Records(tmp_path).add(
                    "hom", {"ok": True, "end_utc_ns": n}, lambda path: path.touch()
                )
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        records = Records(tmp_path).all()
        assert [r.number for r in records] == list(range(1, len(records) + 1))
        assert all(r.picture is not None for r in records)
        whole = len(records)
    assert 0 < whole < 12


def test_the_last_run_that_ended_well_is_found_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(tmp_path)
    assert records.last_well("hom") is None
    for n, (step, ok) in enumerate([("hom", True), ("dark", True), ("hom", False)], 1):
        records.add(step, {"ok": ok, "end_utc_ns": n})
    found = records.last_well("hom")
    assert found is not None
    assert found.number == 1
    # What was read once is not read again: /health asks every second.
    monkeypatch.setattr(records, "_read", lambda *_: pytest.fail("read again"))
    assert records.last_well("hom") is found
    monkeypatch.undo()
    Records(tmp_path).add("hom", {"ok": True, "end_utc_ns": 4})  # by another process
    assert records.last_well("hom").values["end_utc_ns"] == 4  # type: ignore[union-attr]
    records.add("hom", {"ok": True, "end_utc_ns": 5})
    (tmp_path / "records/000005-hom/record.json").write_text("{")
    assert records.last_well("hom").number == 4  # type: ignore[union-attr]


def test_records_that_cannot_be_drawn_or_read_say_so(tmp_path: Path) -> None:
    records = Records(tmp_path)

    def draw(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError("no scale")

    record = records.add("hom", {"ok": True, "end_utc_ns": 5}, draw)
    assert record.picture is None
    assert record.values["picture_failed"] == "ZeroDivisionError: no scale"
    with pytest.raises(RecordsError, match="there is no record 7"):
        records.get(7)
    path = tmp_path / "records/000001-hom/record.json"
    json.loads(path.read_text())
    path.write_text("{")
    with pytest.raises(RecordsError, match=r"record\.json: cannot be read"):
        records.all()
