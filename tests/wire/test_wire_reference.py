"""The page of frames and registers is that of their declaration, and names all of them."""

from pathlib import Path

from bellrelay.wire.frames import FrameType, heartbeat_fields
from bellrelay.wire.geometry import BoardGeometry
from bellrelay.wire.reference import reference_page
from bellrelay.wire.registers import RegisterMap

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "wire.md"


def test_the_page_is_that_of_the_declaration():
    assert PAGE.read_text() == reference_page(), (
        "python -m bellrelay.wire.reference > docs/reference/wire.md"
    )


def test_every_register_and_every_frame_of_the_board_is_on_it():
    geometry = BoardGeometry(n_detectors=4)
    page = PAGE.read_text()
    for block in RegisterMap(geometry).blocks:
        for register in block.registers:
            assert f"`{register.name}`" in page
    assert all(f"`{t.name}`" in page for t in FrameType if t < FrameType.SUBSCRIBE)
    assert all(f"`{f.name}`" in page for f in heartbeat_fields(geometry)[:14])
