"""Every failure that a user can meet, each with its exit code.

An error's message says what is wrong, where, and how to mend it, in one
sentence or two; it is printed by :func:`tidemark.console.guard` and nowhere else.
"""

from __future__ import annotations


class TidemarkError(Exception):
    """The base of all errors that are shown without a traceback."""

    exit_code = 1


class ConfigError(TidemarkError):
    """The config file is wrong; the message lists all its mistakes."""

    exit_code = 3


class WorkloadError(TidemarkError):
    """A workload did not start, share memory, reach its step, or pass its own check."""

    exit_code = 4


class AttachError(TidemarkError):
    """A process cannot be attached to: gone, another user's, or traced by someone else."""

    exit_code = 5


class TrackerError(TidemarkError):
    """The machine lacks the tracker that was asked for."""

    exit_code = 6


class StorageError(TidemarkError):
    """A directory cannot be written, or its file system is full."""

    exit_code = 7


class ImageError(TidemarkError):
    """An image is damaged, incomplete, or its parent is not the one it names."""

    exit_code = 8


class KeeperError(TidemarkError):
    """The keeper is gone, busy, or was asked for a step out of order."""

    exit_code = 9


class VerifyError(TidemarkError):
    """Restored content differs from the truth, or a write was missed: an audit says so too."""

    exit_code = 10


class StrictError(TidemarkError):
    """A region cannot be vouched for, and `strict` was asked for."""

    exit_code = 13


class WorseError(TidemarkError):
    """A benchmark got worse than in an earlier run, beyond noise."""

    exit_code = 14


class BusyError(TidemarkError):
    """Another run works on the same results, or another client writes to the same directory."""

    exit_code = 12


class UnsupportedError(TidemarkError):
    """The memory or the kernel is of a kind that is not supported."""

    exit_code = 11
