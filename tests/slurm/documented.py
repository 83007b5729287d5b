"""The commands of docs/cluster.md, for tests that run them as they stand there."""

from __future__ import annotations

import shlex

from pipeline import ROOT


def documented(beginning: str) -> list[str]:
    """Return the words of the one command of the page that begins so."""
    page = (ROOT / "docs/cluster.md").read_text().replace("\\\n", "")
    (line,) = [line for line in page.splitlines() if line.startswith(beginning)]
    return shlex.split(line, comments=True)


RUN = documented("tidemark run --profile")
