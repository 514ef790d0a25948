"""The JSON of a record with holes, made from the model itself, so that the fast way cannot drift from it."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.schemas import SCHEMA_VERSION, AccessRecord, Source

# Values that stand nowhere else in the JSON. In the order of the fields in it, with the hole that each one becomes.
_TIME = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_HOLES: tuple[tuple[bytes, bytes], ...] = (
    (b'"2001-02-03T04:05:06Z"', b'"%b"'),
    (b'"<address>"', b'"%b"'),
    (b'"<user>"', b"%b"),
    (b'"<method>"', b'"%b"'),
    (b'"<path>"', b'"%b"'),
    (b'"<query>"', b"%b"),
    (b'"<protocol>"', b'"%b"'),
    (b"701", b"%b"),
    (b"900000000000000001", b"%b"),
    (b'"<referrer>"', b"%b"),
    (b'"<agent>"', b"%b"),
    (b'"<forwarded>"', b"%b"),
    (b"900000000000000002", b"%d"),
    (b"900000000000000003", b"%d"),
)


def record_template(host: str, file: str, generation: str) -> bytes:
    """A template for `%` with the holes in the order of `_HOLES`: the last two are offset and length."""
    sample = AccessRecord(
        schema_version=SCHEMA_VERSION,
        time=_TIME,
        client_address="<address>",
        remote_user="<user>",
        method="<method>",
        path="<path>",
        query="<query>",
        protocol="<protocol>",
        request=None,
        status=701,
        body_bytes=900000000000000001,
        referrer="<referrer>",
        user_agent="<agent>",
        forwarded_for="<forwarded>",
        escaped_fields=(),
        source=Source(
            host=host, file=file, generation=generation, offset=900000000000000002, length=900000000000000003
        ),
    )
    rest = sample.to_json().replace(b"%", b"%%")
    template = b""
    for value, hole in _HOLES:
        before, found, rest = rest.partition(value)
        assert found, f"{value!r} is not where the template expects it"
        template += before + hole
    return template + rest
