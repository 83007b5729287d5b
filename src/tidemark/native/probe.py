"""What this kernel and these privileges allow, each tried once for real."""

from __future__ import annotations

from tidemark.native.library import error_from, ffi, lib, new_error


def probe_features() -> dict[str, str | None]:
    """Return, by feature, None where it works, else why it does not."""
    return {
        ffi.string(lib.tm_feature_name(feature)).decode(): _try(feature)
        for feature in range(lib.TM_FEATURE_COUNT)
    }


def _try(feature: int) -> str | None:
    error = new_error()
    return None if lib.tm_probe(feature, error) == lib.TM_OK else str(error_from(error))


def probe_tracker(tracker: str) -> str | None:
    """Return None where ``tracker`` works here, else why it does not."""
    error = new_error()
    if lib.tm_tracker_probe(tracker.encode(), error) == lib.TM_OK:
        return None
    return str(error_from(error))


def opens_mapped_objects() -> bool:
    """Return whether the links of /proc/PID/map_files can be followed."""
    return _try(lib.TM_FEATURE_MAP_FILES) is None
