"""What the daemon of a process on this machine says of itself."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from typing import Any

__all__ = ["health_of"]


def health_of(port: int, timeout_s: float = 5.0) -> dict[str, Any]:
    """Its /health, of a daemon that is not well, too; empty: nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=timeout_s) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:  # not well, and says so
        with error, contextlib.suppress(ValueError):
            return dict(json.load(error))
    except (OSError, ValueError):
        pass
    return {}
