"""Records that name networks and no clients: IPv4 addresses are cut to /24, IPv6 addresses to /48.

`remote_user` and `query` are dropped; so is `request`, which is there for requests that could not be split and may
hold a query. The key is cut too, because with PARTITION_BY=client it is the address. What a log format tells beyond the
stock fields (`details`), the referrer and the user agent stay: leave them out of the log format where they name people.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from services.consumer.transforms.base import Transform
from shared.schemas import AccessRecord

IPV4_PREFIX_BITS = 24
IPV6_PREFIX_BITS = 48
# What RFC 7239 writes for a client that is not told.
UNKNOWN = "unknown"
# What nginx writes for a client on a socket of the same host.
LOCAL = "unix:"


def anonymous_address(text: str) -> str:
    """The first address of its network, without a port; `unknown` for what is no address."""
    address = _address_of(text.strip())
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv4Address):
        return str(IPv4Network((address, IPV4_PREFIX_BITS), strict=False).network_address)
    if address.ipv4_mapped:
        return f"::ffff:{anonymous_address(str(address.ipv4_mapped))}"
    # Made anew from the number: a scope such as %eth0 tells of the client's network card.
    return str(IPv6Network((int(address), IPV6_PREFIX_BITS), strict=False).network_address)


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Also of `192.0.2.1:8080`, `[2001:db8::1]` and `[2001:db8::1]:8080`."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return ip_address(bare)
    except ValueError:
        return None


def _without_client(record: AccessRecord, _value: bytes) -> bytes:
    forwarded_for = record.forwarded_for
    changed = {
        "client_address": LOCAL if record.client_address == LOCAL else anonymous_address(record.client_address),
        "forwarded_for": forwarded_for and ", ".join(map(anonymous_address, forwarded_for.split(","))),
        "remote_user": None,
        "query": None,
        "request": None,
    }
    return record.model_copy(update=changed).to_json()


def _network_key(key: bytes | None) -> bytes | None:
    """A key that is no address, such as the path of a file, tells nothing of the client."""
    if key is None:
        return None
    try:
        network = anonymous_address(key.decode())
    except UnicodeDecodeError:
        return key
    return key if network == UNKNOWN else network.encode()


ANONYMISE = Transform(_without_client, _network_key)
