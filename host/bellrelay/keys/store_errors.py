"""What goes wrong with the key store as a whole. No text of these errors holds any key."""

from __future__ import annotations

__all__ = ["StoreError", "StoreUnavailable"]


class StoreError(Exception):
    """The store cannot be used so: it is another KME's, of another version, or unsafe."""


class StoreUnavailable(StoreError):
    """The database did not answer in time; nothing was handed out."""
