"""A runbook's steps as they are written: commands in their order, and what hands at a site do.

In the section *Steps* of a page, a fenced block ``console`` has commands, each after ``$ ``; a line
that ends with a backslash goes on in the next. ``$NAME`` is one of the names that the folder's
README explains. A command ends with exit code 0, unless a comment says otherwise::

    $ bellrelay endpoint --config $BOB_YAML --check     # ends with 0 or 3

A step that begins with ``**By hand.**`` is done by people, to fibres and devices, and not by a
command.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["ByHand", "Command", "RunbookError", "commands_of", "steps_of"]

STEPS = "Steps"
BY_HAND = "**By hand.**"
_FENCE = re.compile(r"^ *```(\w*) *$")
_HEADING = re.compile(r"^## +(.*?) *$")
_NUMBERED = re.compile(r"^\d+\. +(.*)$")
_ENDS = re.compile(r"#\s*ends with (\d+(?:(?:, \d+)* or \d+)?)\s*$")
_PROGRAMS = ("bellrelay ", "systemctl ", "journalctl ")
_SHELL = set("|&;<>()`*?[]{}~")
_NAME = re.compile(r"\$(\w+)|\$\{(\w+)\}")


class RunbookError(ValueError):
    """A page that nobody can follow: what is wrong, and where."""


@dataclass(frozen=True)
class Command:
    """One command. line : as it is written. words : of it, names as they are. codes : allowed."""

    line: str
    words: tuple[str, ...]
    codes: frozenset[int] = frozenset({0})

    @property
    def names(self) -> frozenset[str]:
        """That it uses."""
        return frozenset(a or b for word in self.words for a, b in _NAME.findall(word))

    def bound(self, names: Mapping[str, str]) -> list[str]:
        """Words with their names put in. RunbookError: it uses one that there is not."""
        try:
            return [string.Template(word).substitute(names) for word in self.words]
        except KeyError as error:
            raise RunbookError(f"{self.line}: no name {error.args[0]}") from None
        except ValueError as error:
            raise RunbookError(f"{self.line}: {error}") from None


@dataclass(frozen=True)
class ByHand:
    """What people do at a site; text : in the page's words."""

    text: str


def steps_of(page: str) -> list[Command | ByHand]:
    """Of the section *Steps*, in their order.

    Raises
    ------
    RunbookError
        There is no such section, or it has a line that is no step.
    """
    found = [step for heading, step in _walk(page) if heading == STEPS]
    if not any(isinstance(step, Command) for step in found):
        raise RunbookError("no step with a command")
    return found


def commands_of(page: str) -> list[Command]:
    """Of all sections. RunbookError: a line that is no command."""
    return [step for _, step in _walk(page) if isinstance(step, Command)]


def _walk(page: str) -> Iterator[tuple[str, Command | ByHand]]:
    heading, begun = "", ""
    fence: str | None = None
    hand: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        marks = _FENCE.match(line)
        if marks is not None:
            if hand:
                yield heading, ByHand(" ".join(hand))
                hand = []
            if fence is not None and begun:
                raise RunbookError(f"line {number}: the command before does not end")
            fence = marks[1] if fence is None else None
            continue
        if fence is not None:
            if fence == "console":
                begun = _joined(begun, line, number)
                if begun and not begun.endswith("\\"):
                    yield heading, _command(begun, number)
                    begun = ""
            elif fence in ("sh", "bash", "shell"):
                raise RunbookError(f"line {number}: commands stand in a block `console`")
            continue
        titled, numbered = _HEADING.match(line), _NUMBERED.match(line)
        if hand and (titled or numbered or not line.strip()):
            yield heading, ByHand(" ".join(hand))
            hand = []
        if titled:
            heading = titled[1]
        elif numbered and numbered[1].startswith(BY_HAND):
            hand = [numbered[1].removeprefix(BY_HAND).strip()]
        elif hand:
            hand.append(line.strip())
    if hand:
        yield heading, ByHand(" ".join(hand))
    if fence is not None:
        raise RunbookError("a block does not end")


def _joined(begun: str, line: str, number: int) -> str:
    """A command as far as it has been read; empty: the line is what a command prints."""
    text = line.strip()
    if begun:
        return f"{begun[:-1].rstrip()} {text}"
    if text.startswith(_PROGRAMS):
        raise RunbookError(f"line {number}: {text}: a command begins with `$ `")
    return text[2:].strip() if text.startswith("$ ") else ""


def _command(text: str, number: int) -> Command:
    said = _ENDS.search(text)
    codes = frozenset(map(int, re.findall(r"\d+", said[1]))) if said else frozenset({0})
    try:
        words = tuple(shlex.split(text, comments=True))
        # In quotes everything but a name is itself.
        loose = shlex.shlex(text, posix=False, punctuation_chars=False)
        loose.whitespace_split, loose.commenters = True, "#"
        unquoted = [word for word in loose if word[0] not in "\"'"]
    except ValueError as error:
        raise RunbookError(f"line {number}: {text}: {error}") from None
    if not words:
        raise RunbookError(f"line {number}: no command")
    wild = {mark for word in unquoted for mark in _NAME.sub("", word) if mark in _SHELL}
    if wild:
        # Whoever follows a page need not think about what a shell makes of it.
        raise RunbookError(f"line {number}: {text}: {' '.join(sorted(wild))} is a shell's")
    return Command(text, words, codes)
