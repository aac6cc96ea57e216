"""Whether the kernel says that its clock is synchronised."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .finding import Finding, passed, unknown, warning

__all__ = ["KernelClock", "check_clock", "kernel_clock"]

_CHECK = "clock"
_STA_UNSYNC = 0x0040
_REMEDY = "timedatectl set-ntp true; what a server says: chronyc tracking"


@dataclass(frozen=True)
class KernelClock:
    """What the kernel says. most_error_s : by its own reckoning."""

    synchronised: bool
    most_error_s: float


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux (adjtimex(2)) up to what is read, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def kernel_clock() -> KernelClock:
    """Ask it; nothing is set. OSError: it does not say."""
    if not sys.platform.startswith("linux"):
        raise OSError(0, "only Linux says so")
    libc = ctypes.CDLL(None, use_errno=True)
    timex = _Timex()
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # Microseconds.
    return KernelClock(not timex.status & _STA_UNSYNC, timex.maxerror / 1e6)


def check_clock(ask: Callable[[], KernelClock] = kernel_clock) -> Iterator[Finding]:
    """Certificates, ages of keys and timetables hang on it; clicks do not."""
    try:
        clock = ask()
    except (OSError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error
        yield unknown(_CHECK, f"the kernel does not say whether it is synchronised: {why}", _REMEDY)
        return
    if clock.synchronised:
        yield passed(_CHECK, f"synchronised, within {1000 * clock.most_error_s:.3g} ms")
    else:
        yield warning(_CHECK, "the kernel says that nothing synchronises it", _REMEDY)
