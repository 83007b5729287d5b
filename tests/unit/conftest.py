"""What holds for all unit tests."""

from __future__ import annotations

from hypothesis import settings
from strangers import open_to_all

__all__ = ["open_to_all"]

# How long an example takes tells how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
