"""Sizes and times as they are written on a command line, and as they are printed."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from tidemark.directories import MODES

_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_LARGEST = 1 << 62
"""More than any machine has: what is larger is the same."""

_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def seconds(text: str) -> float:
    """Return a time such as ``5s``, ``500ms``, ``1.5m`` or ``2h`` in seconds.

    :raises ArgumentTypeError: when it is none, or not above 0
    """
    match = re.fullmatch(r"([\d.]+)\s*(ms|s|m|h|)", text)
    try:
        value = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ArgumentTypeError(f"{text!r} is no time; give one such as 5s, 500ms or 2m")
    return value


def permissions(text: str) -> int:
    """Return the permissions of files for their owner, or a group: 600, 640 or 660.

    :raises ArgumentTypeError: for others
    """
    known = {f"{mode:o}": mode for mode in MODES}
    if text.removeprefix("0") not in known:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(known)}")
    return known[text.removeprefix("0")]


def size(text: str) -> int:
    """Return a size such as ``512M`` or ``1.5GiB`` in bytes; units are powers of 1024.

    :raises ArgumentTypeError: when it is none
    """
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?B)?", text, re.IGNORECASE)
    try:
        if match:
            return min(int(float(match[1]) * _BYTES[match[2].upper()]), _LARGEST)
    except (ValueError, OverflowError):
        pass
    raise ArgumentTypeError(f"{text!r} is no size; give one such as 512M or 2G")


def count(text: str) -> int:
    """Return a number of 1 or more.

    :raises ArgumentTypeError: when it is none
    """
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is no number of 1 or more")


def shown_bytes(number: int) -> str:
    """Return a number of bytes in the largest unit that leaves a digit before the point."""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{number} B" if unit == "B" else f"{value:.1f} {unit}"


def shown_seconds(number: float) -> str:
    """Return a time in milliseconds, or in seconds where it is longer than ten."""
    return f"{number:.1f} s" if number >= 10 else f"{1e3 * number:.1f} ms"
