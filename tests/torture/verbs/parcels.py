"""Descriptors that are in no process: sent into a Unix socket, and not yet taken out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cast import MOST_REGIONS, Parcel, Region

if TYPE_CHECKING:
    from actors import Actor
    from cast import Member
    from group import Group

_PAGES = 16
_MOST = 2


def send_descriptor(group: Group, _member: Member, _b: int, c: int) -> None:
    """Map a new region whose only descriptor is in a socket; that one may be in another."""
    root, extras = group.root, group.extras
    if len(extras.parcels) >= _MOST or not group.may_map(root):
        return
    if len(group.regions) >= MOST_REGIONS:
        return
    region, made = Region("memfd", _PAGES), root.actor.memfd(_PAGES)
    window = root.actor.map(made, _PAGES)
    root.actor.ask("fill", window.address, _PAGES // 2, group.value() << 8)
    group.regions.append(region)
    group.shows(root, region, window)
    extras.parcels.append(_pack(group, region, made, c % 3))


def write_by_sent_descriptor(group: Group, _member: Member, b: int, c: int) -> None:
    """Take a descriptor out of its socket, write by it, and send it again."""
    parcels = group.extras.parcels
    if not parcels:
        return
    parcel, actor = parcels[b % len(parcels)], group.root.actor
    made = _unpack(actor, parcel)
    actor.pwrite(made, c % _PAGES)
    _pack_again(actor, parcel, made)


def _pack(group: Group, region: Region, descriptor: int, how: int) -> Parcel:
    """Send a descriptor: plainly, in a socket that is sent itself, or where nobody accepts it."""
    actor, extras = group.root.actor, group.extras
    if how == 2:
        name = f"{group.stage.hall.name}-{secrets.token_hex(4)}"
        parcel = Parcel(region, -1, actor.ask("listen_at", name), name=name)
    else:
        parcel = Parcel(region, *extras.socket_pair())
        if how == 1:
            parcel.wrapped = extras.socket_pair()
    _pack_again(actor, parcel, descriptor)
    return parcel


def _pack_again(actor: Actor, parcel: Parcel, descriptor: int) -> None:
    if parcel.name:
        parcel.into = actor.ask("connect_to", parcel.name)
    actor.ask("give", parcel.into, descriptor)
    actor.close(descriptor)
    if parcel.wrapped:
        actor.ask("give", parcel.wrapped[0], parcel.out)
        actor.close(parcel.out)
        parcel.out = -1


def _unpack(actor: Actor, parcel: Parcel) -> int:
    if parcel.wrapped:
        parcel.out = actor.ask("take", parcel.wrapped[1])
    if not parcel.name:
        return actor.ask("take", parcel.out)
    accepted = actor.call("accept4", parcel.out, 0, 0, 0)
    descriptor = actor.ask("take", accepted)
    actor.close(accepted)
    actor.close(parcel.into)
    return descriptor
