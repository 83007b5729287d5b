"""Snakemake's own program, with our way to end: ``python -m tidemark.running`` and its options."""

from __future__ import annotations

import sys

from tidemark.interruption import end_on_signals


def main() -> None:
    """Run Snakemake, from whose first line on signals end it with the code of an interruption.

    :raises SystemExit: always
    """
    end_on_signals()
    from snakemake.cli import main as snakemake

    sys.argv[0] = "snakemake"
    snakemake()


if __name__ == "__main__":
    main()
