"""Who may share key with whom: pairs of SAEs, one at each KME, and which units are theirs.

Both KMEs have the same pairs and compare their digest when they connect. Each unit of a block
belongs to one pair and to one side of it, by a rule that needs no talk: a tenant that takes all
that it can get leaves the others' units alone, and two KMEs never give out the same unit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Pair", "Pairs"]

_MAX_SHARE = 1000


@dataclass(frozen=True)
class Pair:
    """Two SAEs. name : for people and metrics. share : weight of its part of all units.

    sae_0, sae_1 : at the KME of side 0 and of side 1.
    """

    name: str
    sae_0: str
    sae_1: str
    share: int = 1

    def sae(self, side: int) -> str:
        """The SAE at this side."""
        return self.sae_1 if side else self.sae_0


class Pairs:
    """The pairs of two KMEs.

    Parameters
    ----------
    kme_ids
        Of both KMEs; side 0 is the one that comes first in the order of text.
    pairs
        Names are unique, and so are the two SAEs of a pair; no SAE is at both sides.
    groups
        SAEs within which a master may name further slaves, beyond those that it has a pair with.

    Raises
    ------
    ValueError
        Not so, or a share is not 1 to 1000.
    """

    def __init__(
        self,
        kme_ids: tuple[str, str],
        pairs: Sequence[Pair],
        groups: Iterable[Iterable[str]] = (),
    ) -> None:
        self.kme_ids = (min(kme_ids), max(kme_ids))
        if self.kme_ids[0] == self.kme_ids[1]:
            raise ValueError("two KMEs have two names")
        self._pairs = tuple(sorted(pairs, key=lambda pair: pair.name))
        self._by_name = {pair.name: pair for pair in self._pairs}
        self._by_saes = {(pair.sae_0, pair.sae_1): pair for pair in self._pairs}
        self._sides: dict[str, int] = {}
        self._check()
        self._groups = tuple(sorted(tuple(sorted(set(group))) for group in groups))
        for sae in {sae for group in self._groups for sae in group}:
            if sae not in self._sides:
                raise ValueError(f"{sae} is in a group and in no pair")
        self._schedule = _schedule(self._pairs)
        self.digest = self._digest()

    def _check(self) -> None:
        if not self._pairs:
            raise ValueError("there is no pair")
        if len(self._by_name) < len(self._pairs) or len(self._by_saes) < len(self._pairs):
            raise ValueError("two pairs are alike")
        for pair in self._pairs:
            if not 1 <= pair.share <= _MAX_SHARE:
                raise ValueError(f"{pair.name}: a share is 1 to {_MAX_SHARE}")
            for side in (0, 1):
                if self._sides.setdefault(pair.sae(side), side) != side:
                    raise ValueError(f"{pair.sae(side)} is at both KMEs")

    def _digest(self) -> str:
        pairs = [(pair.name, pair.sae_0, pair.sae_1, pair.share) for pair in self._pairs]
        text = json.dumps(["bellrelay pairs 1", self.kme_ids, pairs, self._groups])
        return hashlib.sha256(text.encode()).hexdigest()

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def side_of_kme(self, kme_id: str) -> int:
        """Side of a KME. ValueError: it is neither."""
        return self.kme_ids.index(kme_id)

    def side_of(self, sae: str) -> int | None:
        """At which KME an SAE is; None: it is in no pair."""
        return self._sides.get(sae)

    def named(self, name: str) -> Pair | None:
        """The pair of this name."""
        return self._by_name.get(name)

    def between(self, sae: str, other: str) -> Pair | None:
        """The pair of two SAEs, whichever comes first."""
        return self._by_saes.get((sae, other)) or self._by_saes.get((other, sae))

    def may_reach(self, master: str, slave: str) -> bool:
        """Whether a master may name this SAE as a further slave."""
        if master == slave or slave not in self._sides:
            return False
        shared = any(master in group and slave in group for group in self._groups)
        return shared or self.between(master, slave) is not None

    def owner(self, block_id: str, index: int) -> tuple[str, int]:
        """Name of the pair and side to which a unit belongs.

        Pairs and sides take turns by their shares. Where a block begins in the turns depends on its
        name, so that short blocks serve everybody in the long run.
        """
        start = int.from_bytes(hashlib.sha256(block_id.encode()).digest()[:8], "big")
        return self._schedule[(start + index) % len(self._schedule)]


def _schedule(pairs: Sequence[Pair]) -> list[tuple[str, int]]:
    """Turns in which every pair and side comes ``share`` times, as evenly spread as can be.

    Smooth weighted round robin: who has waited longest in proportion to its weight comes next.
    """
    places = [(pair.name, side, pair.share) for pair in pairs for side in (0, 1)]
    total = sum(share for _, _, share in places)
    credit = [0] * len(places)
    turns = []
    for _ in range(total):
        for i, (_, _, share) in enumerate(places):
            credit[i] += share
        best = max(range(len(places)), key=credit.__getitem__)
        credit[best] -= total
        turns.append(places[best][:2])
    return turns
