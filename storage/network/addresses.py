"""Which addresses of the internet may be reached: public ones, and networks that the operator names.

Whoever writes a list of URLs must not reach what only this machine can: its own services, its neighbours, the address
where a cloud hands out credentials. `transport` asks here about every address, after names were resolved and before a
connection is made.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import ClcError, StorageError

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WEB_PORTS = frozenset({80, 443})
_FIRST_FREE_PORT = 1024  # below stand mail, shells, file servers: nothing that hands out pictures

# Public as the registry has it, but a service for the machine itself, a relay, or given back.
_NOT_PICTURES = tuple(
    ipaddress.ip_network(one)
    for one in ("168.63.129.16/32", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24")
)
_UNICAST = ipaddress.ip_network("2000::/3")
# Where IPv6 carries IPv4 by way of somebody else, or names the machines of a protocol.
_NOT_UNICAST = tuple(ipaddress.ip_network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: how a network of IPv6 alone shows a public IPv4 address


class AddressRefused(ClcError):
    """A host leads to an address or a port that must not be reached."""


@dataclass(frozen=True)
class Guard:
    """The rule for addresses; `allowed` are networks beyond the public ones that the operator permits."""

    allowed: Sequence[Network] = ()

    def check(self, host: str, address: str, port: int) -> None:
        """Raise `AddressRefused` unless `address`, to which `host` was resolved, may be reached at `port`."""
        plain = _parsed(address)
        if plain is None:
            raise AddressRefused(f"{host} leads to {address!r}, which is no address that can be reached")
        if any(plain in network for network in self.allowed):
            return
        if not is_public(plain):
            raise AddressRefused(f"{host} leads to {address}, which is no public address")
        if port not in WEB_PORTS and port < _FIRST_FREE_PORT:
            raise AddressRefused(f"{host} is to be asked at port {port}, where no web server stands")


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks that a text names, divided by commas. Raises `StorageError` for what is none."""
    found = []
    for name in filter(None, (one.strip() for one in text.split(","))):
        try:
            found.append(ipaddress.ip_network(name))
        except ValueError as error:
            raise StorageError(f"{name!r} is no network ({error}); write it like 10.1.0.0/16") from error
    return tuple(found)


def is_public(address: IPv4 | IPv6) -> bool:
    """Whether an address is that of one machine of the public internet."""
    if isinstance(address, IPv6):
        carried = _carried(address)
        if carried is not None:
            return is_public(carried)
        return address in _UNICAST and address.is_global and not any(address in one for one in _NOT_UNICAST)
    is_one_machine = not (address.is_multicast or address.is_reserved or address.is_unspecified)
    return address.is_global and is_one_machine and not any(address in one for one in _NOT_PICTURES)


def _parsed(address: str) -> IPv4 | IPv6 | None:
    """Return an address; None for what is none, or is one of a link (`fe80::1%eth0`)."""
    try:
        return None if "%" in address else _plain(ipaddress.ip_address(address))
    except ValueError:
        return None


def _plain(address: IPv4 | IPv6) -> IPv4 | IPv6:
    mapped = address.ipv4_mapped if isinstance(address, IPv6) else None
    return address if mapped is None else mapped


def _carried(address: IPv6) -> IPv4 | None:
    """Return the IPv4 address that one of IPv6 stands for, where a network translates it."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else None
