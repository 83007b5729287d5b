"""The order of a workload's steps."""

from __future__ import annotations

from tidemark.errors import KeeperError

_EPOCH_STEPS = ("clear", "advance", "collect", "open")


class Order:
    """Which step may come next: clear, advance, collect and open of each epoch; then seal.

    The last step of an epoch may be asked for again, as a job that failed is run again.
    """

    def __init__(self) -> None:
        self.epoch = -1
        self._done = len(_EPOCH_STEPS)
        self.sequence = 0

    def check(self, step: str, epoch: int) -> None:
        """Raise unless ``step`` of ``epoch`` may come now.

        :raises KeeperError: when it is out of order
        """
        place = _EPOCH_STEPS.index(step)
        repeated = epoch == self.epoch and place == self._done - 1 and place >= 2
        follows = epoch == self.epoch and place == self._done
        begins = epoch == self.epoch + 1 and place == 0 and self._done >= 3
        if not (repeated or follows or begins):
            raise KeeperError(
                f"step {step} of epoch {epoch} was asked for out of order (the last one was of "
                f"epoch {self.epoch}); stop this keeper and run the workload's live steps again"
            )

    def note(self, step: str, epoch: int) -> int:
        """Note that a step was done; return how many were."""
        self.epoch, self._done = epoch, _EPOCH_STEPS.index(step) + 1
        self.sequence += 1
        return self.sequence
