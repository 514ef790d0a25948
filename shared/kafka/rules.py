"""What a rule of access is: one principal may do one thing with one resource. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Resource(IntEnum):
    """Kinds of resources, with Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5


class Operation(IntEnum):
    """What may be done, with Kafka's numbers. Reading and writing include describing."""

    READ = 3
    WRITE = 4
    DESCRIBE_CONFIGS = 10


class Rule(NamedTuple):
    """`prefixed`: the rule holds for every resource whose name begins with `name`."""

    principal: str
    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False

    def __str__(self) -> str:
        name = f"{self.name}*" if self.prefixed else self.name
        return f"{self.principal}: {self.operation.name} {self.resource.name} {name}"
