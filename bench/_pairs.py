"""The same work done two ways in turns, A B B A, so that whatever drifts meets both alike."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Pairs", "in_pairs"]


@dataclass(frozen=True)
class Pairs:
    """Costs of the plain turns and of those with something more, neighbours beside each other."""

    plain: tuple[float, ...]
    more: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Of what the plain way costs to what the other costs: below 1 where that costs more."""
        return sorted(a / b for a, b in zip(self.plain, self.more, strict=True))

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies half of the pairs."""
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high

    @property
    def error(self) -> float:
        """Standard error of the median, of pairs that scatter as a normal law does."""
        low, high = self.quartiles
        return 1.2533 * (high - low) / 1.349 / len(self.ratios) ** 0.5

    def text(self) -> str:
        """In one line."""
        low, high = self.quartiles
        return (
            f"{self.ratio:.4f} +- {self.error:.4f} of the rate ({len(self.plain)} pairs, half of "
            f"them within {low:.3f} and {high:.3f})"
        )


def in_pairs(plain: Callable[[], float], more: Callable[[], float], pairs: int) -> Pairs:
    """Costs of both, as they say them themselves: seconds of processor time for a piece of work."""
    costs: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * pairs):
        gc.collect()
        which = turn % 4 in (1, 2)
        costs[which].append((more if which else plain)())
    return Pairs(tuple(costs[0]), tuple(costs[1]))
