"""The link of `bellrelay run` where none is given: a short one, with ladders made for one block."""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULT_LINK", "DEFAULT_SLOTS"]

_LADDER = {"s": 0.51, "mu": 0.38, "nu": 0.083, "o": 0.0, "p_s": 0.5, "p_mu": 0.055, "p_nu": 0.405}
"""What `bellrelay keyrate --optimise` finds for this link and about so many slots, rounded."""

DEFAULT_LINK: dict[str, Any] = {"alice": _LADDER, "bob": _LADDER}
"""As a link file has it; all else is the simulation's default."""

DEFAULT_SLOTS = {"event": 2e9, "gateware": 2e5}
"""By board: enough for a key, or what Verilator does in a minute."""
