"""Tidemark: incremental, verified dumps of memory that many processes share."""

__version__ = "0.1.0"
