"""Which settings of the connection to Kafka belong together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_PROTOCOLS = {
    "kafka_sasl_": ("SASL_PLAINTEXT", "SASL_SSL"),
    "kafka_ssl_": ("SSL", "SASL_SSL"),
}
# Without these nobody can log in; each with what it may be.
_NEEDED_TO_LOG_IN = {
    "kafka_sasl_mechanism": "one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
    "kafka_sasl_username": "the name to log in with",
    "kafka_sasl_password_file": "a file that holds the password",
}
_NEEDS = {
    "kafka_ssl_key_file": "kafka_ssl_certificate_file",
    "kafka_ssl_key_password_file": "kafka_ssl_certificate_file",
}


def problems_of(given: Mapping[str, object]) -> list[str]:
    """A sentence for each thing that is wrong with these settings (names of fields), whose values are right alone."""
    return [*_out_of_place(given), *_missing(given)]


def _is_set(name: str, value: object) -> bool:
    """Host names are checked unless that is switched off, so `True` says nothing."""
    return value is False if name == "kafka_ssl_check_hostname" else value is not None


def _out_of_place(given: Mapping[str, object]) -> Iterator[str]:
    protocol = given["kafka_security_protocol"]
    for name, value in given.items():
        for prefix, allowed in _PROTOCOLS.items():
            if name.startswith(prefix) and _is_set(name, value) and protocol not in allowed:
                yield (
                    f"{name.upper()}={_shown(value)} contradicts KAFKA_SECURITY_PROTOCOL={protocol}: it is for "
                    f"{' and '.join(allowed)}. Change the one or leave the other out."
                )


def _missing(given: Mapping[str, object]) -> Iterator[str]:
    protocol = given["kafka_security_protocol"]
    if protocol in _PROTOCOLS["kafka_sasl_"]:
        for name, allowed in _NEEDED_TO_LOG_IN.items():
            if given[name] is None:
                yield f"{name.upper()} is not set, and KAFKA_SECURITY_PROTOCOL={protocol} needs it: {allowed}."
    for name, needed in _NEEDS.items():
        if given[name] is not None and given[needed] is None:
            yield f"{needed.upper()} is not set, and {name.upper()}={_shown(given[name])} is of no use without it."


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(str(value))
