"""Checkpoints of a live process: its keeper, and the directory in which they stand."""
