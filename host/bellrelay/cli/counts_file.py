"""The YAML of `bellrelay keyrate --counts`: what a block counted, and what was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema

from bellrelay.cli.link_file import OUTCOMES, Finite, Outcomes, Party
from bellrelay.distill.tally import NOT_REPORTED, Tally
from bellrelay.settings.load import load
from bellrelay.settings.model import FileModel, allowed
from bellrelay.wire.outcomes import Outcome

__all__ = ["CountsFile", "load_counts_file"]

_DECOYS = ("mu", "nu", "o")
_NO_ZERO_FROM = 100
"""Where so many events are, a 0 in their place, or among their errors, was not counted."""

Table = tuple[tuple[int | None, ...], ...]


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
    error = allowed("3 x 3 whole numbers or null: rows Alice's mu, nu, o, columns Bob's")
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise error
    rows = []
    for row in value:
        if not isinstance(row, list | tuple) or len(row) != 3:
            raise error
        numbers = [None if v is None else _whole(v) for v in row]
        for given, number in zip(row, numbers, strict=True):
            if given is not None and (number is None or not 0 <= number <= 10**18):
                raise error
        rows.append(tuple(numbers))
    return tuple(rows)


Count = Annotated[int, BeforeValidator(_count)]
Counts = Annotated[Table, BeforeValidator(_table), WithJsonSchema({})]


class CountsFile(FileModel):
    """Everything that the file of counts says."""

    N: Count = Field(description="pulse pairs sent, as Alice and Bob count them")
    alice: Party
    bob: Party
    finite: Finite = Finite()
    outcomes: Outcomes = Field(
        default=("psi-plus", "psi-minus"), description="what was counted, together"
    )
    n_x: Counts = Field(description="announced events by settings mu, nu, o; null: not reported")
    m_x: Counts = Field(description="errors among n_x; null: not reported")
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
        out += self.finite.faults(self.alice, self.bob)
        if self.N < 1:
            out.append(("N", self.N, "1 to 1e+18"))
        if self.m_z > self.n_z:
            out.append(("m_z", self.m_z, f"at most n_z, {self.n_z}"))
        for i, (events, errors) in enumerate(zip(self.n_x, self.m_x, strict=True)):
            for j, (n, m) in enumerate(zip(events, errors, strict=True)):
                if n is not None and m is not None and m > n:
                    out.append((f"m_x.{i}.{j}", m, f"at most n_x.{i}.{j}, {n}"))
        total = self.n_z + sum(n for row in self.n_x for n in row if n is not None)
        if total > self.N:
            out.append(("N", self.N, f"at least the events counted, {total}"))
        return out

    def not_reported(self) -> list[str]:
        """Cells that estimation does without: `n mu_nu`, `m mu_mu`, ...

        Those that are null, and those that read 0 where a 0 cannot be: tables are published with
        gaps, and a gap is not a count. To do without a cell never makes a bound larger.
        """
        both_decoys = min(self.n_x[0][0] or 0, self.n_x[1][1] or 0)
        out = []
        for i, first in enumerate(_DECOYS):
            for j, second in enumerate(_DECOYS):
                n, m = self.n_x[i][j], self.m_x[i][j]
                crossed = {i, j} == {0, 1}
                if n is None or (crossed and n == 0 and both_decoys >= _NO_ZERO_FROM):
                    out.append(f"n {first}_{second}")
                elif m is None or (m == 0 and n >= _NO_ZERO_FROM):
                    # A quarter of the events are errors, or more: coherent states see to that.
                    out.append(f"m {first}_{second}")
        return out

    def tallies(self) -> dict[Outcome, Tally]:
        """The counts as estimation takes them; which outcome is which is not known, only the sum.

        Cells of one s and one of mu, nu, o are not in the file, so they are not reported either.
        """
        n = np.full((4, 4), NOT_REPORTED, np.int64)
        m = np.full((4, 4), NOT_REPORTED, np.int64)
        n[0, 0], m[0, 0] = self.n_z, 0
        missing = self.not_reported()
        for i, first in enumerate(_DECOYS):
            for j, second in enumerate(_DECOYS):
                events, errors = self.n_x[i][j], self.m_x[i][j]
                if events is not None and f"n {first}_{second}" not in missing:
                    n[1 + i, 1 + j] = events
                    if errors is not None and f"m {first}_{second}" not in missing:
                        m[1 + i, 1 + j] = errors
        one, *others = (OUTCOMES[name] for name in self.outcomes)
        none = np.minimum(n, 0), np.minimum(m, 0)
        return {one: Tally(self.N, n, m), **{other: Tally(self.N, *none) for other in others}}


def load_counts_file(path: Path) -> CountsFile:
    """Read the YAML of a block's counts.

    Raises
    ------
    bellrelay.settings.model.ConfigError
        The file is missing, no YAML, or wrong; one line per fault.
    """
    return load(CountsFile, path)
