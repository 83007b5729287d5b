"""inventory.img: the mark of a dump directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.unknown_fields import UnknownFieldSet

from tidemark.errors import ImageError
from tidemark.image.framing import INVENTORY, REMEDY, frame, framed, read_messages
from tidemark.image.messages import parse
from tidemark.proto.criu_pb2 import Inventory

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_VERSION = 2
"""Files begin with the common magic; CRIU's pre-dumps leave 0 here."""

# Field 1000, a string: CRIU passes over it. It tells a dump of ours whose manifest was lost from
# one of CRIU's, which never had one and is believed without.
_SIGNATURE_FIELD = 1000
_SIGNATURE = b"\xc2\x3e\x08tidemark"


def inventory_bytes() -> bytes:
    """Return the inventory of a dump of ours."""
    message = Inventory(img_version=IMAGE_VERSION).SerializeToString() + _SIGNATURE
    return frame(INVENTORY) + framed(message)


def is_ours(path: Path) -> bool:
    """Check an inventory, and return whether a dump of ours came with it.

    :raises ImageError: when it is missing, damaged, or of a later image version
    """
    messages = read_messages(path, INVENTORY)
    message = next(messages, None)
    if message is None or next(messages, None) is not None:
        number = "no" if message is None else "several"
        raise ImageError(f"{path} holds {number} messages instead of one; {REMEDY}")
    inventory = parse(Inventory, message, path)
    if inventory.img_version > IMAGE_VERSION:
        raise ImageError(
            f"{path} is of image version {inventory.img_version}, and this version of tidemark "
            f"reads up to {IMAGE_VERSION}; {REMEDY}"
        )
    unknown = UnknownFieldSet(inventory)
    return any(unknown[i].field_number == _SIGNATURE_FIELD for i in range(len(unknown)))
