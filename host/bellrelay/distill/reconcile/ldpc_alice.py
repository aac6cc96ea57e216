"""Alice's side of LDPC reconciliation: syndromes of her frames, and what more is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import ldpc_rate
from .ldpc_code import construct, fingerprint
from .ldpc_frames import Layout
from .ldpc_ledger import Ledger
from .ldpc_messages import Opening, pack_cuts, parse_verdicts
from .ldpc_syndrome import parities

__all__ = ["AliceFrames"]


class AliceFrames:
    """Her frames, and what she has told of them."""

    def __init__(
        self, dealt: NDArray[np.uint8], layout: Layout, agreement: bytes, error_rate: float
    ) -> None:
        """dealt: see `ldpc_frames.deal`. agreement: see `ldpc_messages.Opening`."""
        rows = ldpc_rate.first_rows(error_rate, int(layout.lengths[0]), layout.columns, layout.lift)
        code = construct(layout.columns, ldpc_rate.base_rows(rows), layout.lift)
        self._dealt = dealt
        self._agreement = agreement
        self.ledger = Ledger(code, layout.lengths.size, rows - code.rows)

    def opening(self) -> bytes:
        """The first message."""
        code, cuts, first = self.ledger.code, self.ledger.cuts, int(self.ledger.made[0])
        start = np.concatenate([code.row_start[:-1], cuts.start[:first]])
        end = np.concatenate([code.row_start[1:], cuts.middle[:first]])
        return Opening(
            code.columns,
            code.rows,
            code.lift,
            first,
            fingerprint(code.columns, code.rows, code.lift),
            self._agreement,
            np.stack([parities(code, frame, start, end) for frame in self._dealt]),
        ).encode()

    def answer(self, message: bytes) -> bytes | None:
        """Take Bob's verdicts; the parities that he asks for, None if he asks for none.

        Raises
        ------
        ReconcileError
        """
        ledger = self.ledger
        verdicts = parse_verdicts(message, ledger.attempt, len(ledger.open))
        requests = ledger.judge(verdicts)
        if not requests:
            return None
        told = [
            parities(
                ledger.code,
                self._dealt[frame],
                ledger.cuts.start[first:last],
                ledger.cuts.middle[first:last],
            )
            for frame, first, last in requests
        ]
        return pack_cuts(ledger.attempt, np.concatenate(told))
