"""Numbers as people read them. None is an em dash: nothing is known."""

from __future__ import annotations

NOTHING = "\N{EM DASH}"
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_TIMES = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def digits(value: float) -> str:
    """Return ``value`` with three significant digits and no exponent; whole numbers stay whole."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def count(value: float | None) -> str:
    """Return a whole number with its thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def size_unit(value: float) -> tuple[float, str]:
    """Return the unit in which a number of bytes is best said: its bytes, its name."""
    power = 0
    while value >= 1024 and power < len(_SIZES) - 1:
        value, power = value / 1024, power + 1
    return float(1024**power), _SIZES[power]


def size(value: float | None) -> str:
    """Return a number of bytes in binary units."""
    if value is None:
        return NOTHING
    factor, unit = size_unit(value)
    return f"{digits(value / factor)}\N{NO-BREAK SPACE}{unit}"


def time_unit(value: float) -> tuple[float, str]:
    """Return the unit in which a number of seconds is best said: its seconds, its name."""
    for unit, factor in _TIMES:
        if value >= factor:
            return factor, unit
    return _TIMES[-1][1], _TIMES[-1][0]


def seconds(value: float | None) -> str:
    """Return a number of seconds in s, ms or µs."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0\N{NO-BREAK SPACE}s"
    factor, unit = time_unit(value)
    return f"{digits(value / factor)}\N{NO-BREAK SPACE}{unit}"


def share(value: float | None) -> str:
    """Return a ratio in percent. What is not whole never reads 100 %, nor what is there 0 %."""
    if value is None:
        return NOTHING
    if 0 < value < 0.0001:
        return "<0.01\N{NO-BREAK SPACE}%"
    if 0.9995 <= value < 1:
        return ">99.9\N{NO-BREAK SPACE}%"
    return f"{digits(value * 100)}\N{NO-BREAK SPACE}%"


def rate(value: float | None) -> str:
    """Return pages per second, to three significant digits."""
    if value is None:
        return NOTHING
    if value < 100:
        return f"{digits(value)}/s"
    step: int = 10 ** (len(str(int(value))) - 3)
    return f"{round(value / step) * step:,}/s"


def plural(value: int, noun: str) -> str:
    """Return ``value`` and its noun: 1 page, 2 pages."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"
