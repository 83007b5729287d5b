"""What a torture did, and what came of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Iterator


class LostError(AssertionError):
    """A page changed, and the dump does not have it; ``operations`` of the group were done."""

    operations = 0


@dataclass
class Tally:
    """What was done, and what came of it; pages are counted once for each epoch or comparison.

    ``lacking`` counts the operations that were left out, by what this kernel or user lacks.
    """

    operations: int = 0
    epochs: int = 0
    operations_at_checkpoints: int = 0
    checkpoints: int = 0
    compared: int = 0
    pages: int = 0
    changed: int = 0
    carried: int = 0
    lost: int = 0
    lacking: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Tally) -> Self:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    @property
    def false_positives(self) -> int:
        """Pages that were dumped, and had not changed."""
        return self.carried - self.changed

    @property
    def precision(self) -> float:
        """The share of the dumped pages that had changed."""
        return self.changed / self.carried if self.carried else 1.0

    def line(self, tracker: str, seed: int) -> str:
        """Say all of it."""
        in_epochs = self.operations - self.operations_at_checkpoints
        line = (
            f"torture {tracker}: {self.operations} operations ({in_epochs} in {self.epochs} "
            f"epochs, {self.operations_at_checkpoints} while {self.checkpoints} checkpoints were "
            f"taken, of which {self.compared} were compared), {self.pages} pages compared, "
            f"{self.lost} lost, {self.false_positives} false positives, precision "
            f"{self.precision:.4f}, seed {seed}"
        )
        if self.lacking:
            left_out = ", ".join(f"{n} for {what}" for what, n in self.lacking.most_common())
            line += f"; left out {self.lacking.total()}: {left_out}"
        return line


@contextlib.contextmanager
def counting(tally: Tally) -> Iterator[None]:
    """Have a loss, or a step that fails, tell after how many operations it was.

    :raises LostError: for either
    """
    try:
        yield
    except LostError as error:
        error.operations = tally.operations
        raise
    except TidemarkError as error:
        lost = LostError(f"a step failed: {error}")
        lost.operations = tally.operations
        raise lost from error
