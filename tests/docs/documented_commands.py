"""Commands of ours that a page shows, and what the command line itself has to say of them."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import typer

from bellrelay.cli.main import VERBS, build_app

__all__ = ["calls_of", "calls_told_of", "complaint", "shell_lines"]

_SHELLS = ("sh", "bash", "shell", "console")
_FENCE = re.compile(r"^ *```(\w*)")


def shell_lines(text: str) -> list[str]:
    """What is typed in the page's shell blocks; in `console` blocks, behind a `$ ` alone."""
    lines: list[str] = []
    fence: str | None = None
    begun = ""
    for line in text.splitlines():
        marks = _FENCE.match(line)
        if marks is not None:
            fence, begun = (marks[1] if fence is None else None), ""
            continue
        if fence not in _SHELLS:
            continue
        part = line.strip()
        if not begun and fence == "console":
            if not part.startswith("$ "):
                continue
            part = part[2:]
        begun += part
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        if begun:
            lines.append(begun)
        begun = ""
    return lines


def calls_of(line: str) -> list[list[str]]:
    """Calls of `bellrelay` in a line of shell: the words behind it, up to what a shell takes."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    calls: list[list[str]] = []
    before = "|"
    inside = redirect = False
    for word in lexer:
        if set(word) <= set("|&;<>"):
            redirect = bool(set(word) & set("<>"))
            if not redirect:
                inside = False
            elif inside and calls[-1] and calls[-1][-1] in ("1", "2"):
                calls[-1].pop()
        elif redirect:
            redirect = False
        elif inside:
            calls[-1].append(word)
        elif Path(word).name == "bellrelay" and (before == "--" or set(before) <= set("|&;")):
            calls.append([])
            inside = True
        before = word
    return calls


def calls_told_of(text: str) -> list[list[str]]:
    """Calls that a page's prose names, as `bellrelay VERB ...`; none with alternatives in it."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"`bellrelay ([a-z][^`|]*)`", prose)
    told = [shlex.split(" ".join(each.split())) for each in found if "..." not in each]
    # `bellrelay trace, block` is what a hash is of.
    return [words for words in told if words[0].isalpha()]


@cache
def _command(verb: str) -> Any:
    # Typer brings a click of its own, whose types it does not show.
    return typer.main.get_command(build_app(verb))


def complaint(words: list[str]) -> str | None:
    """What is wrong with the words behind `bellrelay`, as its own parser sees it; None: nothing."""
    words = list(words)
    if words in (["--help"], ["--version"]):
        return None
    if not words or words[0] not in {verb.name for verb in VERBS}:
        return "no such verb"
    command = _command(words[0])
    context = None
    while True:
        context = command.context_class(command, parent=context)
        try:
            values, words, _ = command.make_parser(context).parse_args(args=list(words))
        except Exception as error:
            return str(getattr(error, "message", "") or error)
        if values.get("help"):
            return None
        missing = [p.name for p in command.params if p.required and not values.get(str(p.name))]
        if missing:
            return f"missing: {missing}"
        if not hasattr(command, "commands"):
            return f"left over: {words}" if words else None
        if not words:
            return None if command.invoke_without_command else "no command of the group"
        name, *words = words
        command = command.get_command(context, name)
        if command is None:
            return f"no command {name}"
