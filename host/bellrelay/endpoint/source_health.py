"""The tests of a sender's random choices, on a piece of every block; an alarm ends the block.

A piece lies at a place that nobody knows before. It is tested before any of the block's choices
leaves the endpoint. An alarm stays until a person has looked and the tests are restarted.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .choice_shares import ChoiceShares
from .config import RandomHealthSettings
from .random_health import (
    BINARY_WINDOW,
    OTHER_WINDOW,
    STARTUP_SAMPLES,
    AdaptiveProportion,
    RepetitionCount,
)
from .reused_choices import ReusedChoices
from .slot_ranges import kept_ranges
from .source_log import SourceLog

__all__ = ["RandomAlarm", "SourceHealth"]

_CHUNK = 1 << 20
_REMEMBERED = 4096
_SettingTests = tuple[tuple[str, RepetitionCount | AdaptiveProportion], ...]


class RandomAlarm(Exception):
    """The sender's choices cannot be taken as random; the message says which test found it."""


class SourceHealth:
    """All tests of one sender, from start to stop of the endpoint.

    Parameters
    ----------
    settings
        What is tested, and how rare false alarms are.
    probabilities
        (4,): of the settings, as declared.

    Attributes
    ----------
    alarm : str or None
        What was found; no block is accepted from then on, until :meth:`restart`.
    tested : int
        Slots that were tested.
    """

    def __init__(self, settings: RandomHealthSettings, probabilities: NDArray[np.float64]) -> None:
        self._settings = settings
        self._probabilities = np.asarray(probabilities, np.float64)
        self.alarm: str | None = None
        self.tested = 0
        self.restart()

    def restart(self) -> None:
        """Begin anew, as at the start; somebody has looked at the sender."""
        s = self._settings
        self._bit_tests = (
            ("repetition count", RepetitionCount(s.bit_min_entropy, s.alpha)),
            ("adaptive proportion", AdaptiveProportion(s.bit_min_entropy, s.alpha, BINARY_WINDOW)),
        )
        self._of_ladders: dict[bytes, tuple[_SettingTests, ChoiceShares]] = {}
        self._reused = ReusedChoices()
        self._place = secrets.token_bytes(32)
        self._passed: OrderedDict[tuple[int, int, int, int], int] = OrderedDict()
        self.alarm = None
        self.tested = 0

    def _tests_of(self, probabilities: NDArray[np.float64]) -> tuple[_SettingTests, ChoiceShares]:
        """Each ladder's settings come as often as its own declaration says."""
        key = probabilities.tobytes()
        if key not in self._of_ladders:
            s = self._settings
            claimed = s.setting_min_entropy
            if claimed is None:
                claimed = -math.log2(float(probabilities.max()))
            tests = (
                ("repetition count", RepetitionCount(claimed, s.alpha)),
                ("adaptive proportion", AdaptiveProportion(claimed, s.alpha, OTHER_WINDOW)),
            )
            self._of_ladders[key] = (tests, ChoiceShares(probabilities, s.share_alpha))
        return self._of_ladders[key]

    def check(
        self,
        source: SourceLog,
        first: int,
        end: int,
        probabilities: NDArray[np.float64] | None = None,
        relay: int = 0,
    ) -> int:
        """Test a piece of a block, slots [first, end); returns the number of slots tested.

        A block that has passed, and begins anew after a break, is not tested a second time: its
        choices would be found to come again.

        probabilities : (4,): declared of the block's ladder; None: as at the start. relay : number
        of the one that it was sent to.

        Raises
        ------
        RandomAlarm
            A test failed, now or earlier, or there are too few slots to tell.
        SourceLogError
            As the source's.
        """
        if self.alarm is not None:
            raise RandomAlarm(self.alarm)
        range_ = (relay, source.acquisition, first, end)
        if range_ in self._passed:
            return self._passed[range_]
        declared = self._probabilities if probabilities is None else probabilities
        setting_tests, shares = self._tests_of(declared)
        for tests in (self._bit_tests, setting_tests):
            for _, test in tests:
                test.restart()
        count = 0
        for slots in self._piece(source, first, end):
            choices = source.choices(slots)
            count += len(slots)
            self.tested += len(slots)
            self.alarm = self._look(choices.setting, choices.bit, setting_tests, shares)
            if self.alarm is not None:
                raise RandomAlarm(self.alarm)
        if count < min(STARTUP_SAMPLES, end - first):
            raise RandomAlarm(f"{count} slots are too few to test: most records were dropped")
        self._passed[range_] = count
        if len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)
        return count

    def _look(
        self,
        setting: NDArray[np.uint8],
        bit: NDArray[np.uint8],
        setting_tests: _SettingTests,
        shares: ChoiceShares,
    ) -> str | None:
        for samples, what, tests in (
            (bit, "bits", self._bit_tests),
            (setting, "settings", setting_tests),
        ):
            for name, test in tests:
                if test.feed(samples) is not None:
                    return f"{name} test of the {what}: alarm at cutoff {test.cutoff}"
        wrong = shares.feed(setting, bit)
        if wrong is not None:
            return f"shares: {wrong}"
        if self._reused.feed(bit):
            return "bits that were sent before came again"
        return None

    def _piece(self, source: SourceLog, first: int, end: int) -> Iterator[NDArray[np.uint64]]:
        """Slots to test, in chunks; those whose records were dropped are left out.

        From a place on that nobody knows, and that is the same of the same slots of every relay and
        acquisition: a sender that sends to a second relay what it has sent to the first, or again
        what it sent before it was started, is found at once. Where the block ends, its beginning
        follows.
        """
        left = self._settings.slots_per_block or end - first
        begin = first
        if left < end - first:
            drawn = blake2b(b"%d %d" % (first, end), key=self._place, digest_size=16).digest()
            begin += int.from_bytes(drawn, "big") % (end - first)
        for part in ((begin, end), (first, begin)):
            if part[0] == part[1]:
                continue
            for low, high in kept_ranges(source.removed(*part), *part):
                high = min(high, low + left)
                left -= high - low
                for at in range(low, high, _CHUNK):
                    yield np.arange(at, min(at + _CHUNK, high), dtype=np.uint64)
                if not left:
                    return
