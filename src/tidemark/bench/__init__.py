"""Runs of the benchmark pipeline, held against each other."""
