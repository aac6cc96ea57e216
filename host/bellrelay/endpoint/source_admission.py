"""Whether a block's source can be trusted, before any of its choices leaves the endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bellrelay.distill.ladder import Ladder

from .block import BlockAborted, BlockId, Cause
from .checked_source import CheckedSource
from .config import EndpointConfig
from .intensity_monitor import IntensityFault, NotMeasuredYet
from .intensity_watch import IntensityWatch
from .source_health import RandomAlarm, SourceHealth
from .source_log import SourceLog, SourceLogError, sent_between
from .undeclared_times import UndeclaredTimes

__all__ = ["SourceAdmission"]

_UNKNOWN_NS = 60_000_000_000
"""How long before its first announcement came a block may have been sent, where the source does not
know: the relay's delay and ours. One that was down for longer reads what is older than that."""


class SourceAdmission:
    """Tests a piece of every block's choices, and says how far its intensities may be off.

    May be called from any thread, for several blocks at once.

    Parameters
    ----------
    config
        Of the endpoint.
    begun_ns
        UTC nanoseconds of the time when a block began, of which the source does not know when it
        was sent.
    ladder_of
        By which ladder our sender sends a block; None: the configuration's, in every block.
    undeclared
        Times in which the sender was asked for other intensities than it declares.

    Attributes
    ----------
    health : SourceHealth
    intensities : IntensityWatch
        For those who show how the sender does.
    """

    def __init__(
        self,
        config: EndpointConfig,
        begun_ns: Callable[[BlockId], int],
        undeclared: UndeclaredTimes | None = None,
        ladder_of: Callable[[BlockId], Ladder] | None = None,
    ) -> None:
        own = config.own_ladder
        self._ladder_of = ladder_of or (lambda _block: own)
        self.health = SourceHealth(config.random_health, config.own_ladder.probabilities)
        self.intensities = IntensityWatch(
            config.intensity_monitor, config.own_ladder, config.own_settings.most_deviation
        )
        self._block_slots = config.block.slots
        self._begun_ns = begun_ns
        self._undeclared = undeclared
        self._lock = threading.Lock()

    def __call__(self, block: BlockId, source: SourceLog) -> float:
        """Admit a block, or not. Returns the relative deviation that its bounds must take.

        Raises
        ------
        BlockAborted
            RANDOM_HEALTH, INTENSITY, UNMEASURED or SOURCE_RECORD, with what was found.
        """
        first, end = block.first(self._block_slots), block.end(self._block_slots)
        with self._lock:
            try:
                oldest, recorded = source.kept
                end = min(end, recorded)
                if first < oldest:
                    raise BlockAborted(Cause.SOURCE_RECORD, f"slots before {oldest} are forgotten")
                if end <= first:
                    raise BlockAborted(Cause.SOURCE_RECORD, "nothing of the block was recorded")
                ladder = self._ladder_of(block)
                if isinstance(source, CheckedSource):
                    source.require_ladder(first, end, ladder)
                deviation = self._deviation(block, source, first, end, ladder)
                self.health.check(source, first, end, ladder.probabilities, block.relay)
                return deviation
            except NotMeasuredYet as fault:
                raise BlockAborted(Cause.UNMEASURED, str(fault)) from None
            except IntensityFault as fault:
                raise BlockAborted(Cause.INTENSITY, str(fault)) from None
            except RandomAlarm as alarm:
                raise BlockAborted(Cause.RANDOM_HEALTH, str(alarm)) from None
            except SourceLogError as error:
                raise BlockAborted(Cause.SOURCE_RECORD, str(error)) from None

    def expect(self, ladder: Ladder, allowed: float) -> None:
        """The sender sends by this ladder, too, from now on; see :meth:`IntensityWatch.expect`."""
        with self._lock:
            self.intensities.expect(ladder, allowed)

    def poll(self) -> None:
        """Take what the power monitor has measured; now and then, whether blocks come or not.

        Raises
        ------
        OSError
            As :meth:`IntensityWatch.poll`.
        """
        with self._lock:
            self.intensities.poll()

    def _deviation(
        self, block: BlockId, source: SourceLog, first: int, end: int, ladder: Ladder
    ) -> float:
        if isinstance(source, CheckedSource):
            self.intensities.attach(source)
        now = time.time_ns()
        known = sent_between(source, first, end)
        sent = known or (self._begun_ns(block), now)
        if self._undeclared is not None:
            early = sent[0] if known else sent[0] - _UNKNOWN_NS
            why = self._undeclared.within(early, sent[1])
            if why is not None:
                raise IntensityFault(f"not as declared: {why}")
        try:
            self.intensities.poll(now)
        except OSError as error:
            raise IntensityFault(f"readings cannot be read: {error.strerror}") from None
        return self.intensities.deviation(*sent, ladder)
