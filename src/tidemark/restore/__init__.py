"""Restoring an image: as files, and as a tree of processes that share its regions again."""
