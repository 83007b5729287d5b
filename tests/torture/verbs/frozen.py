"""What others do while the workload stands: it is noted, and done when it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from system import PAGE

if TYPE_CHECKING:
    from cast import Member
    from group import Group


def cut_while_frozen(group: Group, _member: Member, b: int, c: int) -> None:
    """Have a file cut by a process outside, in the middle of a page, when it is being dumped."""
    region = group.named(c)
    if region is not None and region.pages > 1:
        group.extras.cuts.append((region, 1 + b % ((region.pages - 1) * PAGE)))
