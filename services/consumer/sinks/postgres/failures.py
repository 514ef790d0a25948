"""What an error of PostgreSQL means for the sink, by its SQLSTATE. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Meaning(Enum):
    """What to do about it."""

    AWAY = auto()  # wait: the database is not there, or cannot take anything now
    REFUSED = auto()  # fatal at the start, where a setting is wrong; later somebody is working at the database: wait
    WRONG = auto()  # fatal at any time


@dataclass(frozen=True, slots=True)
class Rule:
    """`advice` is the next step of the operator."""

    meaning: Meaning
    advice: str = ""


_WAITS = Rule(Meaning.AWAY)
_CHANGED = Rule(
    Meaning.WRONG,
    "The tables are not as this program made them. Put them back, or give POSTGRES_TABLE a name of its own.",
)

# By the whole SQLSTATE, else by its class, the first two characters.
RULES: Mapping[str, Rule] = {
    "08": _WAITS,  # the connection
    "25": _WAITS,  # the state of the transaction: read-only after a failover, idle for too long
    "40": _WAITS,  # rolled back: deadlock, serialisation, outcome unknown
    "53": _WAITS,  # resources: disk full, memory, too many connections
    "55": _WAITS,  # locks
    "57": _WAITS,  # an operator: shutting down, starting up, cancelled, statement timeout
    "58": _WAITS,  # the system below: input and output
    "XX": _WAITS,  # the server itself
    "28": Rule(Meaning.REFUSED, "Check the user in POSTGRES_URL and the password in POSTGRES_PASSWORD_FILE."),
    "3D000": Rule(Meaning.REFUSED, "Create the database that POSTGRES_URL names, or name another."),
    "3F000": Rule(Meaning.REFUSED, "Create the schema that POSTGRES_TABLE names, or name another."),
    "42501": Rule(
        Meaning.REFUSED,
        "Grant the user of POSTGRES_URL what it lacks: CREATE on the schema of POSTGRES_TABLE, or SELECT, INSERT and "
        "UPDATE on tables that are there.",
    ),
    "23505": Rule(
        Meaning.WRONG,
        "The table of POSTGRES_TABLE holds offsets that this group has not stored: another group writes to it, or rows "
        "of its _offsets were removed. Give each group a table of its own with POSTGRES_TABLE.",
    ),
    "42": _CHANGED,
    "23": _CHANGED,
}
UNKNOWN = Rule(Meaning.WRONG, "This is a fault of the program: report it with this message.")


def rule_of(sqlstate: str) -> Rule:
    """The most special rule that fits."""
    return RULES.get(sqlstate) or RULES.get(sqlstate[:2]) or UNKNOWN
