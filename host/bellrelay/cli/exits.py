"""What `bellrelay` answers to the shell, to systemd and to scripts when it ends."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every verb. A number, once released, keeps its meaning.

    A verb ends with one of these by `raise typer.Exit(ExitCode.CHECK_FAILED)`, or by an exception
    that `bellrelay.cli.errors` knows.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "done"
    FAILURE = 1, "a fault of the program, with a traceback"
    USAGE = 2, "an option or argument that the verb does not have"
    CONFIGURATION = 3, "a configuration file that cannot be used"
    PORT_MISSING = 4, "no such port, or it cannot be opened"
    FOREIGN_PORT = 5, "what answers on the port is not a bellrelay board"
    BOARD_VERSION = 6, "the board speaks another version of the link"
    STORAGE = 7, "a disk that is full or cannot be written"
    CHECK_FAILED = 8, "the run ended and a check of its results failed"
    MISSING_EXTRA = 9, "a package or program that comes with an extra is not installed"
    TAG_FILE = 10, "a file of recorded tags that cannot be read"
    BOARD_DOWN = 11, "no image of the board works: what was printed says what to do"
    UNREACHABLE = 12, "a daemon or server that was asked does not answer"
    INTERRUPTED = 130, "stopped from the keyboard"
