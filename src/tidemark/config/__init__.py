"""The config of a run: its typed models, and loading it with all its mistakes told at once."""

from tidemark.config.load import load, resolve
from tidemark.config.models import Config

__all__ = ["Config", "load", "resolve"]
