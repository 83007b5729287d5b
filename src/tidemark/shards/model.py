"""What a shard's directory says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tidemark.errors import TidemarkError
from tidemark.fields import FieldError, Fields
from tidemark.files import PUBLIC, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

SHARD_JSON = "shard.json"
_MOST = 1 << 20
"""Shards, workloads and epochs that are believed."""


@dataclass(frozen=True)
class Share:
    """A workload of a shard; ``position``: where it stands in the whole config, from 0."""

    name: str
    epochs: int
    position: int


@dataclass(frozen=True)
class Shard:
    """One of several: ``number`` is from 1 to ``of``.

    ``whole`` and ``own`` are the digests of the config that was split, and of this part of it.
    """

    directory: Path
    number: int
    of: int
    whole: str
    own: str
    shares: tuple[Share, ...]

    @property
    def config(self) -> Path:
        """Return the path of its config."""
        return self.directory / "config.yaml"

    @property
    def results(self) -> Path:
        """Return the path of its results."""
        return self.directory / "results"

    def write(self) -> None:
        """Write what :func:`read_shard` reads.

        :raises StorageError: when it cannot be written
        """
        value: dict[str, Any] = {
            **{key: getattr(self, key) for key in ("number", "of", "whole", "own")},
            "shares": [asdict(share) for share in self.shares],
        }
        write_json(self.directory / SHARD_JSON, value, PUBLIC)


def read_shard(directory: Path) -> Shard:
    """Return the shard in a directory.

    :raises TidemarkError: when it is none, or damaged
    """
    path = directory / SHARD_JSON
    if not path.is_file():
        raise TidemarkError(
            f"{directory} is no shard: there is no {path}; name directories that "
            "`tidemark shard` has made"
        )
    fields = Fields(read_json(path))
    try:
        return Shard(
            directory,
            number=fields.whole("number", _MOST),
            of=fields.whole("of", _MOST),
            whole=fields.exact("whole"),
            own=fields.exact("own"),
            shares=tuple(map(_share, fields.groups("shares", _MOST))),
        )
    except FieldError as error:
        raise TidemarkError(f"{path} is damaged: it {error}; split the config again") from error


def _share(fields: Fields) -> Share:
    return Share(
        name=fields.exact("name"),
        epochs=fields.whole("epochs", _MOST),
        position=fields.whole("position", _MOST),
    )
