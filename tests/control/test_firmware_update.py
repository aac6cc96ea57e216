"""Updates of a board that is a file: every way they end, and killed at every step."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bellrelay.control.firmware_health import Check
from bellrelay.control.firmware_image import FirmwareImage, ImageUnusable, read_image
from bellrelay.control.firmware_store import FirmwareStore, JournalBroken, StoreBusy
from bellrelay.control.firmware_update import (
    FirmwareUpdate,
    FlashFailed,
    UpdateRefused,
    Verdict,
    Verdicts,
)
from bellrelay.wire.access import ForeignBoard, Identity
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.registers import PROTOCOL_VERSION

GEOMETRY = BoardGeometry(board="bench")
OLD, NEW = 0x0000_00AA, 0x0000_00BB


def make_image(folder: Path, revision: int, **changes: Any) -> FirmwareImage:
    """A build's folder; what a test changes of its record goes in as keywords."""
    folder.mkdir(parents=True)
    bits = f"bits of {revision:08x}".encode()
    (folder / "top.bit").write_bytes(bits)
    geometry = changes.pop("of", GEOMETRY)
    record = {
        "passed": True,
        "board": geometry.board,
        "geometry": asdict(geometry),
        "config_hash": f"{geometry.config_hash:08x}",
        "git_revision": f"{revision:08x}",
        "gateware_version": "0.1.0",
        "protocol_version": PROTOCOL_VERSION,
        "bitstream_sha256": hashlib.sha256(bits).hexdigest(),
        "lines": [],
        **changes,
    }
    (folder / "build.json").write_text(json.dumps(record))
    return read_image(folder)


class FileBoard:
    """A board whose whole state is a file: it survives whoever handles it.

    sick : revisions that are not well. dead : revisions that never answer. stuck : the programmer
    fails with these. says : the identity given for a revision, where it is another one.
    """

    def __init__(self, path: Path, tick: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.tick = tick
        self.sick: set[int] = set()
        self.dead: set[int] = set()
        self.stuck: set[int] = set()
        self.says: dict[int, int] = {}
        self.board = "bench"
        self.flashed: list[int] = []

    def put(self, revision: int) -> None:
        self.path.write_text(f"{revision:08x}")

    @property
    def revision(self) -> int | None:
        text = self.path.read_text()
        return int(text, 16) if text else None

    def identity(self, wait_s: float, wanted: FirmwareImage | None = None) -> Identity | None:
        self.tick()
        revision = self.revision
        if revision is None or revision in self.dead:
            return None
        geometry = replace(GEOMETRY, board=self.board)
        revision = self.says.get(revision, revision)
        return Identity(geometry, (0, 1, 0), revision, geometry.config_hash)

    def flash(self, image: FirmwareImage) -> None:
        revision = int(image.git_revision, 16)
        self.flashed.append(revision)
        self.tick()
        if revision in self.stuck:
            raise FlashFailed("the programmer ended with exit code 1: no cable")
        self.path.write_text("")  # half programmed
        self.tick()
        self.put(revision)
        self.tick()

    def health(self, image: FirmwareImage) -> list[Check]:
        self.tick()
        return [Check("heartbeats", self.revision not in self.sick, "20 in 1.0 s")]


@pytest.fixture
def old(tmp_path: Path) -> FirmwareImage:
    return make_image(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path: Path) -> FirmwareImage:
    return make_image(tmp_path / "new", NEW)


@pytest.fixture
def board(tmp_path: Path) -> FileBoard:
    board = FileBoard(tmp_path / "on-board")
    board.put(OLD)
    return board


def install(
    tmp_path: Path, board: FileBoard, image: FirmwareImage, old: FirmwareImage | None
) -> Verdict:
    with FirmwareStore(tmp_path / "store") as store:
        return FirmwareUpdate(store, board).install(image, previous=old)


def steps(tmp_path: Path) -> list[str]:
    with FirmwareStore(tmp_path / "store") as store:
        return [str(line["step"]) for line in store.lines]


def test_a_good_image_is_kept_and_the_next_update_knows_it(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    verdict = install(tmp_path, board, new, old)
    assert verdict.verdict is Verdicts.INSTALLED
    assert board.revision == NEW
    assert steps(tmp_path) == ["adopted", "begun", "flashing", "flashed", "identified", "installed"]
    json.dumps(verdict.as_json())
    again = install(tmp_path, board, new, None)
    assert again.verdict is Verdicts.ALREADY
    third = make_image(tmp_path / "third", 0xCC)
    assert install(tmp_path, board, third, None).previous == new.as_json()
    # The builds may be gone: both images are in the store.
    with FirmwareStore(tmp_path / "store") as store:
        assert {store.image(i.id).sha256 for i in (old, new, third)} == {
            old.sha256, new.sha256, third.sha256
        }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("sick", "the board is not well: heartbeats"),
        ("dead", "no board has answered within 20 s"),
        ("stuck", "no cable"),
        ("says", "git_revision is 000000dd, the image's is 000000bb"),
    ],
)
def test_an_image_that_does_not_do_goes_back(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage, fault: str, why: str
) -> None:
    if fault == "says":
        board.says[NEW] = 0xDD
    else:
        getattr(board, fault).add(NEW)
    verdict = install(tmp_path, board, new, old)
    assert verdict.verdict is Verdicts.RETURNED
    assert why in verdict.why
    assert board.revision == OLD
    assert all(check.passed for check in verdict.checks)
    assert bool(verdict.failed_checks) == (fault == "sick")
    with FirmwareStore(tmp_path / "store") as store:
        standing = store.standing()
        assert (standing.open, standing.installed) == (False, old.id)


def test_a_way_back_that_fails_says_what_to_do_and_stays_open(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    board.sick.add(NEW)
    board.stuck.add(OLD)
    verdict = install(tmp_path, board, new, old)
    assert verdict.verdict is Verdicts.FAILED
    assert "on the way back: the programmer ended" in verdict.why
    kept = tmp_path / "store/images" / old.id / "top.bit"
    assert f"bellrelay board flash bench --bitstream {kept}" in verdict.what_to_do
    assert kept.read_bytes() == (tmp_path / "old/top.bit").read_bytes()
    with pytest.raises(UpdateRefused, match="update 1 is open"):
        install(tmp_path, board, new, None)
    board.stuck.clear()
    with FirmwareStore(tmp_path / "store") as store:
        assert FirmwareUpdate(store, board).resume().verdict is Verdicts.RETURNED
    assert board.revision == OLD


def test_without_an_image_to_return_to_it_must_be_said(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    with pytest.raises(UpdateRefused, match="--previous IMAGE, or do without with --no-return"):
        install(tmp_path, board, new, None)
    board.sick.add(NEW)
    with FirmwareStore(tmp_path / "store") as store:
        update = FirmwareUpdate(store, board)
        verdict = update.install(new, no_return=True)
        assert verdict.verdict is Verdicts.FAILED
        assert "no image to return to" in verdict.what_to_do
        with pytest.raises(UpdateRefused, match="--no-return: no image is kept"):
            update.back()
        board.sick.clear()
        assert update.resume().verdict is Verdicts.INSTALLED


def test_what_is_refused_touches_nothing(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    other = make_image(tmp_path / "other", NEW, of=replace(GEOMETRY, board="ulx3s-85f"))
    with pytest.raises(UpdateRefused, match="is for ulx3s-85f, the board is bench"):
        install(tmp_path, board, other, old)
    with pytest.raises(UpdateRefused, match="is not what is on the board: git_revision is"):
        install(tmp_path, board, new, new)
    board.dead.add(OLD)
    with pytest.raises(UpdateRefused, match="nobody answers"):
        install(tmp_path, board, new, old)
    assert board.flashed == []
    assert steps(tmp_path) == []


def test_a_board_that_somebody_else_has_flashed_is_seen(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    install(tmp_path, board, new, old)
    board.put(0xEE)
    third = make_image(tmp_path / "third", 0xCC)
    with pytest.raises(UpdateRefused, match="not as the last update left it"):
        install(tmp_path, board, third, None)


def test_another_port_s_answer_after_the_flash_is_no_success(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    identity = board.identity

    def foreign(wait_s: float, wanted: FirmwareImage | None = None) -> Identity | None:
        if board.revision == NEW:
            raise ForeignBoard("module id is 'XXXX'")
        return identity(wait_s)

    board.identity = foreign  # type: ignore[method-assign]
    verdict = install(tmp_path, board, new, old)
    assert (verdict.verdict, verdict.why) == (Verdicts.RETURNED, "module id is 'XXXX'")


def test_back_returns_from_an_image_that_was_kept(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    install(tmp_path, board, new, old)
    with FirmwareStore(tmp_path / "store") as store:
        update = FirmwareUpdate(store, board)
        verdict = update.back()
        assert (verdict.verdict, verdict.why) == (Verdicts.RETURNED, "asked for")
        assert board.revision == OLD
        with pytest.raises(UpdateRefused, match="no update has brought"):
            update.back()
        with pytest.raises(UpdateRefused, match="no update is open"):
            update.resume()
    assert install(tmp_path, board, new, None).verdict is Verdicts.INSTALLED


# ------------------------------------------------------------------------------------ killed


def _killed_at(
    n: int, directory: Path, board: FileBoard, act: Callable[[FirmwareUpdate], Any]
) -> bool:
    """Run an act in a process that kills itself with SIGKILL at its n-th tick; whether it did.

    It ticks before and after whatever goes to the disk, and in the board.
    """
    child = os.fork()
    if child == 0:
        left = n

        def tick() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        board.tick = tick
        sync = os.fsync

        def ticking_sync(file: int) -> None:
            tick()
            sync(file)
            tick()

        try:
            os.fsync = ticking_sync  # type: ignore[assignment]
            act(FirmwareUpdate(FirmwareStore(directory), board))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("sick", [False, True])
def test_killed_at_every_step_it_goes_on(
    tmp_path: Path, old: FirmwareImage, new: FirmwareImage, sick: bool
) -> None:
    n = 0
    while True:
        folder = tmp_path / f"{n}"
        folder.mkdir()
        board = FileBoard(folder / "on-board")
        board.put(OLD)
        board.sick |= {NEW} if sick else set()
        killed = _killed_at(
            n, folder / "store", board, lambda update: update.install(new, previous=old)
        )
        with FirmwareStore(folder / "store") as store:
            update = FirmwareUpdate(store, board)
            standing = store.standing()
            if standing.open:
                # Wherever it was stopped, there is an image to return to, whole.
                assert standing.previous == old.id
                assert store.image(standing.previous).sha256 == old.sha256
                verdict = update.resume()
                assert verdict.verdict is (Verdicts.RETURNED if sick else Verdicts.INSTALLED)
            elif standing.update == 0:
                assert board.revision == OLD
                update.install(new, previous=old)
            standing = store.standing()
            assert not standing.open
            assert standing.installed == (old if sick else new).id
        assert board.revision == (OLD if sick else NEW)
        n += 1
        if not killed:
            break
    # Lines, the board's answers, and flashes: fewer kills than that would have missed some.
    assert n > (45 if sick else 30)


def test_killed_on_the_way_back_it_goes_back_and_not_there(
    tmp_path: Path, old: FirmwareImage, new: FirmwareImage
) -> None:
    for n in range(60):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        board = FileBoard(folder / "on-board")
        board.put(OLD)
        with FirmwareStore(folder / "store") as store:
            FirmwareUpdate(store, board).install(new, previous=old)
        killed = _killed_at(n, folder / "store", board, lambda update: update.back())
        with FirmwareStore(folder / "store") as store:
            update = FirmwareUpdate(store, board)
            verdict = update.resume() if store.standing().open else None
            begun = store.standing().update == 2
        if begun:
            assert board.revision == OLD
            assert verdict is None or verdict.why == "asked for"
        if not killed:
            break
    assert n > 8
    assert not killed


# ------------------------------------------------------------------------------- the directory


def test_a_torn_line_was_never_written_and_a_changed_one_is_seen(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    install(tmp_path, board, new, old)
    journal = tmp_path / "store/journal.jsonl"
    whole = journal.read_bytes()
    assert b"20 in 1.0 s" in whole
    journal.write_bytes(whole + b'{"update": 2, "step": "beg')
    with FirmwareStore(tmp_path / "store") as store:
        assert store.standing().installed == new.id
    assert journal.read_bytes() == whole
    journal.write_bytes(
        whole.replace(b"20 in 1.0 s", b"99 in 1.0 s").replace(b'"flashed"', b'"flashed" ')
    )
    with pytest.raises(JournalBroken, match="does not follow from the one before"):
        FirmwareStore(tmp_path / "store")


def test_a_kept_image_that_has_changed_is_not_flashed(
    tmp_path: Path, board: FileBoard, old: FirmwareImage, new: FirmwareImage
) -> None:
    install(tmp_path, board, new, old)
    (tmp_path / "store/images" / old.id / "top.bit").write_bytes(b"rotten")
    with (
        FirmwareStore(tmp_path / "store") as store,
        pytest.raises(JournalBroken, match="not the file that was built"),
    ):
        FirmwareUpdate(store, board).back()
    assert board.flashed == [NEW]


def test_two_updates_at_once_are_refused(tmp_path: Path) -> None:
    with (
        FirmwareStore(tmp_path / "store"),
        pytest.raises(StoreBusy, match="another update is under way"),
    ):
        FirmwareStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passed": False}, "whose gates failed"),
        ({"protocol_version": 99}, "an image of protocol version 99"),
        ({"bitstream_sha256": "0" * 64}, "not the file that was built"),
        ({"config_hash": "00000000"}, "contradict"),
        ({"board": "another"}, "contradict"),
        ({"geometry": {"n_detectors": 3}}, "not the record of a build"),
    ],
)
def test_an_image_that_is_not_what_its_record_says_is_unusable(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ImageUnusable, match=why):
        make_image(tmp_path / "image", NEW, **changes)


def test_an_image_needs_its_record(tmp_path: Path, new: FirmwareImage) -> None:
    with pytest.raises(ImageUnusable, match="no record of a build"):
        read_image(tmp_path)
    record = json.loads((tmp_path / "new/build.json").read_text())
    del record["bitstream_sha256"]
    (tmp_path / "new/build.json").write_text(json.dumps(record))
    with pytest.raises(ImageUnusable, match="an older record"):
        read_image(tmp_path / "new")
    (tmp_path / "new/build.json").write_text("[]")
    with pytest.raises(ImageUnusable, match="not the record"):
        read_image(tmp_path / "new/top.bit")
    (tmp_path / "new/top.bit").unlink()
    with pytest.raises(ImageUnusable, match="no bitstream"):
        read_image(tmp_path / "new")
