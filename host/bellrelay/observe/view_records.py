"""What the live view shows of calibrations: the last delay scan, the last linearity of the TDC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["CalibrationPictures", "CalibrationRecords"]

_STEPS = {"dip": "hom", "tdc": "tdc"}
"""By name on the page."""


class _Record(Protocol):
    number: int
    values: Mapping[str, Any]
    picture: Path | None


class CalibrationRecords(Protocol):
    """Records as :class:`bellrelay.control.calibration_records.Records` has them."""

    def last_well(self, step: str) -> Any:
        """The last run of a step that ended well, or None."""
        ...


class CalibrationPictures:
    """Of one relay.

    Parameters
    ----------
    records
        None: there are none.
    """

    def __init__(self, records: CalibrationRecords | None) -> None:
        self._records = records

    def shown(self) -> dict[str, Any]:
        """By name: what the newest record said, and where its picture is; plain values."""
        out: dict[str, Any] = {}
        for name in _STEPS:
            record = self._newest(name)
            if record is None:
                continue
            said = f"record {record.number}: {record.values.get('text', '')}"
            if (record.values.get("board") or {}).get("simulated"):
                said += " (simulation)"
            out[name] = {
                "said": said,
                "picture": None
                if record.picture is None
                else f"/record/{name}.png?{record.number}",
            }
        return out

    def picture(self, name: str) -> bytes | None:
        """PNG of the newest record, or None."""
        record = self._newest(name)
        if record is None or record.picture is None:
            return None
        return record.picture.read_bytes()

    def _newest(self, name: str) -> _Record | None:
        if self._records is None or name not in _STEPS:
            return None
        found: _Record | None = self._records.last_well(_STEPS[name])
        return found
