"""`bellrelay board`: list, build with its gates, probe and flash against a twin's port."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from bellrelay.cli import board_ports
from bellrelay.cli.board_ports import USB_IDS, candidate_ports
from bellrelay.cli.exits import ExitCode
from bellrelay.cli.main import main
from bellrelay_boards.board import Uart
from bellrelay_boards.build_report import BuildReport, ClockResult
from bellrelay_boards.catalogue import all_boards, find_board
from bellrelay_boards.usb_descriptors import PRODUCT_ID, VENDOR_ID
from bellrelay_sim.event_board import EventBoard
from bellrelay_sim.link import SimulatedLink
from bellrelay_sim.twin import Twin
from bellrelay_sim.twin_port import TwinPort

NAME = "ulx3s-85f"
REVISION = 0xC0FFEE42


def _code(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["board", *words])
    return int(ended.value.code or 0)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    """A twin that says it is the board, from the port on."""
    geometry = find_board(NAME).geometry
    link = tmp_path / "board-port"
    twin = Twin(
        SimulatedLink(),
        1000,
        lambda: EventBoard(geometry, version=(0, 1, 0), git_revision=REVISION),
        TwinPort(link),
        tell=lambda _event: None,
    )
    thread = threading.Thread(target=twin.run)
    thread.start()
    yield link
    twin.stop_requested = True
    thread.join()
    twin.close()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder with a bitstream and the record of what it was built from."""
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "top.bit").write_bytes(b"not really")
    record = {
        "board": NAME,
        "git_revision": f"{REVISION:08x}",
        "config_hash": f"{find_board(NAME).geometry.config_hash:08x}",
    }
    (folder / "build.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def programmer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of openFPGALoader's name that writes down how it was called; ``code`` ends it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    script = folder / "openFPGALoader"
    script.write_text(
        f'#!/bin/sh\necho "$@" > {folder}/called\n'
        f"[ -f {folder}/code ] || exit 0\necho no cable >&2\nexit $(cat {folder}/code)\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_list_has_every_board(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(all_boards())
    assert rows["ecpix5-85f"]["link"] == "ulpi"
    assert rows["ulx3s-85f"]["config_hash"] == f"{find_board(NAME).geometry.config_hash:08x}"
    assert _code("list") == 0
    assert "ECPIX-5" in capsys.readouterr().out


def test_every_link_of_a_board_is_one_that_probe_knows() -> None:
    bridges = {b.link.usb_ids for b in all_boards().values() if isinstance(b.link, Uart)}
    assert set(USB_IDS) == {(VENDOR_ID, PRODUCT_ID), *bridges}


def test_probe_names_the_board_and_what_is_not_one(
    port: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent"
    assert _code("probe", "--json", "--port", str(port), "--port", str(absent)) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["board"] == NAME
    assert first["git_revision"] == f"{REVISION:08x}"
    assert first["gateware"] == "0.1.0"
    assert "no such port" in second["problem"]
    assert _code("probe", "--port", str(absent)) == ExitCode.PORT_MISSING


def test_probe_looks_at_ids_and_product_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(device: str, vid: int | None, pid: int | None, product: str | None) -> object:
        return SimpleNamespace(
            device=device, vid=vid, pid=pid, product=product, serial_number="B-7"
        )

    monkeypatch.setattr(
        list_ports,
        "comports",
        lambda: [
            there("/dev/ttyS0", None, None, None),
            there("/dev/ttyACM1", VENDOR_ID, PRODUCT_ID, "bellrelay ecpix5-85f"),
            there("/dev/ttyACM2", VENDOR_ID, PRODUCT_ID, "somebody's test device"),
            there("/dev/ttyUSB0", 0x0403, 0x6015, "ULX3S FPGA 85K v3.0.8"),
            there("/dev/ttyUSB1", 0x0403, 0x6015, "FT231X USB UART"),
        ],
    )
    assert candidate_ports() == [(Path("/dev/ttyACM1"), "B-7"), (Path("/dev/ttyUSB0"), "B-7")]
    asked: list[Path] = []
    monkeypatch.setattr(
        board_ports,
        "_probe",
        lambda port, serial, baud: asked.append(port) or board_ports.ProbedPort(port, serial, None),
    )
    board_ports.probe_ports(None, 3_000_000)
    assert asked == [Path("/dev/ttyACM1"), Path("/dev/ttyUSB0")]


def test_flash_programs_and_verifies_what_comes_back(
    port: Path, built: Path, programmer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("flash", NAME, "--folder", str(built), "--port", str(port), "--json")
    assert _code(*words) == 0
    says = json.loads(capsys.readouterr().out)
    assert (says["board"], says["git_revision"]) == (NAME, f"{REVISION:08x}")
    called = (programmer / "called").read_text().split()
    assert called == ["-b", "ulx3s", "-f", str(built / "top.bit")]


@pytest.mark.parametrize("key", ["git_revision", "config_hash"])
def test_flash_sees_a_board_that_is_not_the_build(
    port: Path, built: Path, programmer: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((built / "build.json").read_text())
    record[key] = "deadbeef"
    (built / "build.json").write_text(json.dumps(record))
    words = ("flash", NAME, "--folder", str(built), "--port", str(port), "--wait-s", "0.1")
    assert _code(*words) == ExitCode.CHECK_FAILED
    assert f"{key} is " in capsys.readouterr().err


def test_flash_says_what_is_missing(
    built: Path, programmer: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    words = ["flash", NAME, "--folder", str(built), "--wait-s", "0", "--port", str(built / "none")]
    assert _code(*words) == ExitCode.CHECK_FAILED
    assert "no board has answered within 0 s" in capsys.readouterr().err
    (programmer / "code").write_text("7")
    assert _code(*words) == ExitCode.CHECK_FAILED
    assert "openFPGALoader ended with exit code 7: no cable" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(built))
    assert _code(*words) == ExitCode.MISSING_EXTRA
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "openFPGALoader is not installed; get it from https://" in said
    assert _code("flash", NAME, "--folder", str(built.parent)) == ExitCode.CHECK_FAILED
    assert f"make it with: bellrelay board build {NAME}" in capsys.readouterr().err
    assert _code("flash", "versa") == ExitCode.USAGE
    assert "there are: butterstick-85f, ecpix5-85f" in capsys.readouterr().err


def _report(faults: tuple[str, ...]) -> BuildReport:
    return BuildReport(
        board=NAME, title="t", device="d", package="p", speed="6", seed=1, git_revision="",
        config_hash="0", clocks=(ClockResult("tag", 200.0, 190.0 if faults else 210.0),),
        faults=faults,
    )  # fmt: skip


@pytest.mark.parametrize("faults", [(), ("clock tag: 190.0 MHz placed, 200.0 needed",)])
def test_build_ends_with_a_table_and_fails_with_a_gate(
    faults: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fake(board, folder, options, progress):
        progress("synthesise")
        folder.mkdir(parents=True)
        return _report(faults)

    monkeypatch.setattr("bellrelay_boards.build.build_board", fake)
    words = ["build", NAME, "--folder", str(tmp_path / "b"), "--report"]
    words += ["--report-folder", str(tmp_path / "pages")]
    assert _code(*words) == (ExitCode.CHECK_FAILED if faults else 0)
    shown = capsys.readouterr()
    assert ("-5.0 %" if faults else "+5.0 %") in shown.out
    assert all(f"FAILS: {fault}" in shown.out for fault in faults)
    assert "synthesise" in shown.err
    page = (tmp_path / "pages" / f"{NAME}.md").read_text()
    assert "**placed**" in page
    assert ("not met" in page) == bool(faults)
    record = json.loads((tmp_path / "b" / "build.json").read_text())
    assert record["passed"] == (not faults)


def test_build_refuses_another_reference() -> None:
    assert _code("build", NAME, "--reference", "gps") == ExitCode.USAGE
