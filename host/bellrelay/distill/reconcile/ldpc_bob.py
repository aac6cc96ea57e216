"""Bob's side of LDPC reconciliation: he finds where his frames differ from Alice's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import ldpc_rate
from .engine import ReconcileError
from .ldpc_code import construct, fingerprint
from .ldpc_decoder import Decoder
from .ldpc_frames import Layout
from .ldpc_ledger import Ledger, Request
from .ldpc_messages import (
    CORRECTED,
    GIVEN_UP,
    MOST_ASKED,
    Opening,
    pack_verdicts,
    parse_cuts,
)
from .ldpc_split import cut_rows, row_starts
from .ldpc_syndrome import parities

__all__ = ["BobFrames"]

_MOST_ITERATIONS = 200


class BobFrames:
    """His frames, corrected in place, and what he knows of the errors in those still open."""

    def __init__(self, dealt: NDArray[np.uint8], layout: Layout, agreement: bytes) -> None:
        """dealt: see `ldpc_frames.deal`. agreement: see `ldpc_messages.Opening`."""
        self._dealt = dealt
        self._layout = layout
        self._agreement = agreement
        # None until Alice's opening is here.
        self.ledger: Ledger | None = None
        self.corrected: NDArray[np.int64] = np.zeros(layout.lengths.size, np.int64)
        # Of the error patterns, by rows as they are cut; (rows, lift) uint8 per open frame.
        self._syndrome: dict[int, NDArray[np.uint8]] = {}
        self._requests: list[Request] = []

    def answer(self, message: bytes) -> bytes:
        """Take Alice's parities; verdicts on the frames that were open.

        Raises
        ------
        ReconcileError
        """
        if self.ledger is None:
            self.ledger = self._open(message)
        else:
            self._extend(self.ledger, message)
        ledger = self.ledger
        decoder = Decoder(ledger.code)
        verdicts = [self._attempt(ledger, decoder, frame) for frame in ledger.open]
        reply = pack_verdicts(ledger.attempt, verdicts)
        self._requests = ledger.judge(verdicts)
        return reply

    def _open(self, message: bytes) -> Ledger:
        layout = self._layout
        frames = layout.lengths.size
        opening = Opening.parse(message, frames, layout.columns, layout.lift)
        if opening.agreement != self._agreement:
            raise ReconcileError("LDPC: the two sides hold other blocks or seeds")
        sizes = layout.columns, opening.rows, layout.lift
        if opening.fingerprint != fingerprint(*sizes):
            raise ReconcileError("LDPC: the two sides build other codes")
        code = construct(*sizes)
        ledger = Ledger(code, frames, opening.cuts)
        cuts = ledger.cuts
        start = np.concatenate([code.row_start[:-1], cuts.start[: opening.cuts]])
        end = np.concatenate([code.row_start[1:], cuts.middle[: opening.cuts]])
        for frame, alice in enumerate(opening.parities):
            differ = parities(code, self._dealt[frame], start, end) ^ alice
            self._syndrome[frame] = cut_rows(
                code, cuts, differ[: code.rows], 0, differ[code.rows :]
            )
        return ledger

    def _extend(self, ledger: Ledger, message: bytes) -> None:
        code, cuts = ledger.code, ledger.cuts
        asked = sum(last - first for _, first, last in self._requests)
        told = parse_cuts(message, ledger.attempt, asked, code.lift)
        for frame, first, last in self._requests:
            alice, told = told[: last - first], told[last - first :]
            own = parities(
                code, self._dealt[frame], cuts.start[first:last], cuts.middle[first:last]
            )
            self._syndrome[frame] = cut_rows(code, cuts, self._syndrome[frame], first, alice ^ own)

    def _attempt(self, ledger: Ledger, decoder: Decoder, frame: int) -> int:
        """Decode a frame if that is not in vain; the verdict on it."""
        code, syndrome = ledger.code, self._syndrome[frame]
        length = int(self._layout.lengths[frame])
        rows = row_starts(code, ledger.cuts, int(ledger.made[frame]))
        seen = ldpc_rate.observe(
            np.diff(rows) * (length / self._dealt.shape[1]), syndrome.sum(axis=1), code.lift
        )
        if not ldpc_rate.hopeless(seen, length, syndrome.size):
            errors, _ = decoder.decode(rows, syndrome, seen.rate, length, _MOST_ITERATIONS)
            if errors is not None:
                self._dealt[frame, :length] ^= errors
                self.corrected[frame] = int(errors.sum())
                del self._syndrome[frame]
                return CORRECTED
        wanted = ldpc_rate.wanted_rows(seen, length, rows.size - 1, code.lift, ledger.attempt)
        asked = min(wanted - (rows.size - 1), MOST_ASKED, ledger.left(frame))
        if asked == 0 or wanted * code.lift >= length:
            del self._syndrome[frame]
            return GIVEN_UP
        return asked
