"""What the stack consists of, read from Compose's own files, so that both modes share one definition. Pure.

Only what those files use is understood: anchors and merges (YAML itself), `${NAME}`, `${NAME-default}`,
`${NAME:-default}`, `${NAME:?words}` (for Compose alone: the verbs look before) and `$$`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from compose.errors import OperatorError

_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:?-|:\?)([^}]*))?\}|(\w+))")


@dataclass(frozen=True)
class Service:
    """One service. `mounts` maps a container's folder to the volume or host folder behind it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    replicas: int
    profiles: frozenset[str]
    mounts: Mapping[str, str]

    @property
    def group_id(self) -> str | None:
        """The consumer group of this service; None for one that consumes nothing."""
        if self.command[-1:] != ("services.consumer",):
            return None
        return self.environment.get("KAFKA_GROUP_ID") or self.environment.get("SERVICE_NAME")

    @property
    def sink(self) -> str:
        """Where a consumer's records go."""
        return "handler" if self.environment.get("HANDLER") else self.environment.get("SINK", "stdout")


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Replace Compose's references to variables. An unset one without a default becomes empty."""

    def value_of(match: re.Match[str]) -> str:
        dollar, braced, operator, default, bare = match.groups()
        if dollar:
            return "$"
        value = variables.get(braced or bare)
        if value is None or (operator == ":-" and not value):
            return (default or "") if operator != ":?" else ""
        return value

    return _REFERENCE.sub(value_of, text)


def read_services(text: str, variables: Mapping[str, str]) -> dict[str, Service]:
    """The services of one Compose file, by name, with the variables filled in."""
    document = _interpolate_all(yaml.safe_load(text), variables)
    return {name: _service(name, entry) for name, entry in document["services"].items()}


def overlaid(services: Mapping[str, Service], overlay: Mapping[str, Service]) -> dict[str, Service]:
    """The services with an overlay on them, as Compose lays it: values are replaced, mounts and variables added."""

    def merged(service: Service) -> Service:
        over = overlay.get(service.name)
        if over is None:
            return service
        return replace(
            service,
            environment={**service.environment, **over.environment},
            mounts={**service.mounts, **over.mounts},
        )

    return {name: merged(service) for name, service in services.items()}


def variable_names(text: str) -> frozenset[str]:
    """Every variable that a Compose file refers to."""
    return frozenset(match[2] or match[5] for match in _REFERENCE.finditer(text) if not match[1])


def _interpolate_all(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return interpolate(node, variables)
    if isinstance(node, dict):
        return {key: _interpolate_all(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate_all(value, variables) for value in node]
    return node


def _service(name: str, entry: Mapping[str, Any]) -> Service:
    return Service(
        name=name,
        command=tuple(str(word) for word in entry.get("command", ())),
        environment={key: _plain(value) for key, value in entry.get("environment", {}).items()},
        replicas=_replicas(name, entry.get("deploy", {}).get("replicas", 1)),
        profiles=frozenset(entry.get("profiles", ())),
        mounts=dict(_mount(volume) for volume in entry.get("volumes", ())),
    )


def _plain(value: object) -> str:
    """An environment value as Compose passes it on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _replicas(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise OperatorError(
            f"{value!r} is no number of replicas for {name}.", f"Try {name.upper()}_REPLICAS=2."
        ) from error


def _mount(volume: str | Mapping[str, str]) -> tuple[str, str]:
    """(container folder, source) of a mount in the short or the long form."""
    if not isinstance(volume, str):
        return volume["target"], volume.get("source", "")
    source, target, *_mode = volume.split(":")
    return target, source
