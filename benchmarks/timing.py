"""How long a call takes."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes by the clock."""
    gc.collect()
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
