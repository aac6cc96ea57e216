"""The YAML of `bellrelay keyrate --counts`: what a block counted, and what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema

from bellrelay.cli.link_file import Finite, Party
from bellrelay.distill.tally import Tally
from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, allowed

__all__ = ["CountsFile", "load_counts_file"]

Table = tuple[tuple[int, ...], ...]


def _whole(value: Any) -> int | None:
    """A count: an integer, or a number such as 4.5e13 that is one."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(value) if isinstance(value, int) else int(number) if number.is_integer() else None


def _count(value: Any) -> int:
    number = _whole(value)
    if number is None or not 0 <= number <= 10**18:
        raise allowed("a whole number, 0 to 1e+18")
    return number


def _table(value: Any) -> Table:
    error = allowed("3 x 3 whole numbers >= 0: rows Alice's mu, nu, o, columns Bob's")
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise error
    rows = []
    for row in value:
        if not isinstance(row, list | tuple) or len(row) != 3:
            raise error
        numbers = [_whole(v) for v in row]
        if not all(n is not None and 0 <= n <= 10**18 for n in numbers):
            raise error
        rows.append(tuple(int(n or 0) for n in numbers))
    return tuple(rows)


Count = Annotated[int, BeforeValidator(_count)]
Counts = Annotated[Table, BeforeValidator(_table), WithJsonSchema({})]


class CountsFile(FileModel):
    """Everything that the file of counts says."""

    N: Count = Field(description="pulse pairs sent, as Alice and Bob count them")
    alice: Party
    bob: Party
    finite: Finite = Finite()
    n_x: Counts = Field(description="announced events by settings mu, nu, o")
    m_x: Counts = Field(description="errors among n_x")
    n_z: Count = Field(description="announced events, both having sent s")
    m_z: Count = Field(description="errors among n_z, as error correction finds them")
    leak_ec: Count | None = Field(
        default=None, description="bits that error correction disclosed; f n h(E) unless given"
    )

    def faults(self) -> list[tuple[str, object, str]]:
        """What contradicts itself between keys: key, value, allowed."""
        out: list[tuple[str, object, str]] = []
        for name, party in (("alice", self.alice), ("bob", self.bob)):
            out += [(f"{name}.{key}", value, text) for key, value, text in party.faults()]
        if self.N < 1:
            out.append(("N", self.N, "1 to 1e+18"))
        if self.m_z > self.n_z:
            out.append(("m_z", self.m_z, f"at most n_z, {self.n_z}"))
        for i, (events, errors) in enumerate(zip(self.n_x, self.m_x, strict=True)):
            for j, (n, m) in enumerate(zip(events, errors, strict=True)):
                if m > n:
                    out.append((f"m_x.{i}.{j}", m, f"at most n_x.{i}.{j}, {n}"))
        total = self.n_z + sum(map(sum, self.n_x))
        if total > self.N:
            out.append(("N", self.N, f"at least the events counted, {total}"))
        return out

    def tally(self) -> Tally:
        """The counts as estimation takes them."""
        n, m = np.zeros((4, 4), np.int64), np.zeros((4, 4), np.int64)
        n[0, 0] = self.n_z
        n[1:, 1:], m[1:, 1:] = self.n_x, self.m_x
        return Tally(self.N, n, m)


def load_counts_file(path: Path) -> CountsFile:
    """Read the YAML of a block's counts.

    Raises
    ------
    bellrelay.settings.model.ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(CountsFile, path)
