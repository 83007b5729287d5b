"""The steps of a run, one module per rule; each is called by the script of the same name.

Live: keep, clear, advance, collect, merge, dump, seal. Offline: restore, verify. Every step reads
files and writes files, as docs/files.md tells, and knows nothing of Snakemake.
"""
