"""The threads of this process that share in the work of native calls."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from tidemark.native.library import check, ffi, lib, new_error


@cache
def pool() -> Any:
    """Return them: with the thread that asks, as many as there are processors for us.

    They are there as long as the process.
    """
    error = new_error()
    handle = ffi.new("struct tm_pool **")
    check(lib.tm_pool_create(len(os.sched_getaffinity(0)) - 1, handle, error), error)
    return handle[0]
