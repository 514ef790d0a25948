"""What a rule of access is: one principal may do one thing with one resource. Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import NamedTuple

EVERY_HOST = "*"
EVERYBODY = "User:*"
# As the name of a resource: all of the kind.
EVERY_NAME = "*"


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
    """`prefixed`: the rule holds for every resource whose name begins with `name`.

    What a broker holds may be about kinds and operations that this program knows only by their numbers.
    """

    principal: str
    resource: int
    name: str
    operation: int
    prefixed: bool = False
    allowed: bool = True
    host: str = EVERY_HOST

    def __str__(self) -> str:
        name = f"{self.name}*" if self.prefixed else self.name
        where = "" if self.host == EVERY_HOST else f" from {self.host}"
        text = f"{self.principal}: {_word(Operation, self.operation)} {_word(Resource, self.resource)} {name}{where}"
        return text if self.allowed else f"{text} (denied)"


def _word(names: type[IntEnum], number: int) -> str:
    """Kafka's number where there is no name for it here."""
    return names(number).name if number in {each.value for each in names} else f"{names.__name__.lower()} {number}"


def surplus_of(held: Collection[Rule], wanted: Collection[Rule]) -> tuple[str, ...]:
    """In words: the rules that nobody wants and that are for everybody or one of the wanted rules' principals, or touch
    one of their resources.
    """
    principals = {EVERYBODY, *(rule.principal for rule in wanted)}
    others = sorted(set(held) - set(wanted))
    return tuple(
        str(rule) for rule in others if rule.principal in principals or any(_touches(rule, each) for each in wanted)
    )


def _touches(one: Rule, other: Rule) -> bool:
    """Whether some resource is meant by both."""
    return one.resource == other.resource and (_covers(one, other) or _covers(other, one))


def _covers(one: Rule, other: Rule) -> bool:
    if one.name == EVERY_NAME and not one.prefixed:
        return True
    return other.name.startswith(one.name) if one.prefixed else (one.name, False) == (other.name, other.prefixed)
