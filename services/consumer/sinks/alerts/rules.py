"""The rules and their numbers, as ALERTS_FILE gives them. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import InvalidSettings


class Rule(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    enabled: bool = Field(True, description="Whether the rule is judged at all.")


class ServerErrors(Rule):
    """Too large a share of the answers is 5xx."""

    share: float = Field(0.05, gt=0, le=1, description="Alarm when the share of 5xx is above this.")
    min_requests: int = Field(100, ge=1, description="Requests that a window must have to be judged.")


class Scan(Rule):
    """A client asks for many paths that are not there."""

    paths: int = Field(30, ge=1, le=1_000, description="Alarm when a client has more different paths with 404.")


class TrafficDrop(Rule):
    """Far fewer requests than in the windows before."""

    share: float = Field(0.5, gt=0, le=1, description="Alarm when more than this share of the mean is missing.")
    windows: int = Field(5, ge=1, le=1_000, description="Windows before this one that the mean is taken of.")
    min_requests: int = Field(100, ge=1, description="Mean of requests below which nothing is judged.")


class NewTopClient(Rule):
    """The client with the most requests was not among the first ten before."""

    share: float = Field(0.2, gt=0, le=1, description="Least share of the window's requests that it must have.")
    min_requests: int = Field(100, ge=1, description="Requests that a window must have to be judged.")
    windows: int = Field(10, ge=1, le=1_000, description="Windows before this one in which it is looked for.")


class Rules(BaseModel):
    """The whole file. What it leaves out has its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    window_s: int = Field(60, ge=1, le=86_400, description="Length of a window, in seconds of event time.")
    lateness_s: int = Field(
        10, ge=0, le=86_400, description="Seconds that a window stays open for records that come out of order."
    )
    idle_s: int = Field(
        30, ge=2, le=86_400, description="Seconds of silence after which a partition holds no window open any more."
    )
    max_clients: int = Field(5_000, ge=1, le=100_000, description="Clients of a window that are counted apart.")
    max_paths: int = Field(20_000, ge=1, le=200_000, description="Paths with 404 of a window that are remembered.")
    server_errors: ServerErrors = ServerErrors()
    scan: Scan = Scan()
    traffic_drop: TrafficDrop = TrafficDrop()
    new_top_client: NewTopClient = NewTopClient()

    @property
    def windows_remembered(self) -> int:
        """How far back any rule looks."""
        return max(self.traffic_drop.windows, self.new_top_client.windows)


def parse_rules(text: str, file: str) -> Rules:
    """From TOML. Raises InvalidSettings, which names each rule, its key, its value and what is allowed."""
    try:
        return Rules.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"ALERTS_FILE={file} is no TOML: {error}.") from error
    except ValidationError as error:
        problems = [_describe_problem(problem) for problem in error.errors(include_url=False)]
        raise InvalidSettings("\n".join(f"ALERTS_FILE={file}: {problem}" for problem in problems)) from error


def _describe_problem(problem: Any) -> str:
    *tables, key = (str(part) for part in problem["loc"])
    kind = _model_of(tables)
    place = f"[{tables[0]}] {key}" if tables else key
    if problem["type"] == "extra_forbidden":
        return f"{place} is unknown. Known are {', '.join(kind.model_fields)}."
    allowed = next((row.allowed for row in describe_rules() if row.table == "".join(tables) and row.key == key), None)
    return f"{place} = {problem['input']!r} is not allowed; it must be {allowed or 'a table of its keys'}."


def _model_of(tables: list[str]) -> type[BaseModel]:
    default = Rules.model_fields[tables[0]].default if tables else None
    return type(default) if isinstance(default, Rule) else Rules


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """One key of the file. `table` is empty for the keys at its beginning."""

    table: str
    key: str
    allowed: str
    default: str
    description: str


def describe_rules(kind: type[BaseModel] = Rules, table: str = "") -> Iterator[KeyHelp]:
    """Every key with what it may be, in the order of the file."""
    for name, field in kind.model_fields.items():
        if isinstance(field.default, Rule):
            yield from describe_rules(type(field.default), name)
        else:
            default = str(field.default).lower()
            yield KeyHelp(table, name, _allowed(field.annotation, field.metadata), default, field.description or "")


def _allowed(annotation: object, metadata: list[Any]) -> str:
    if annotation is bool:
        return "true or false"
    words = {"gt": "above", "ge": "from", "le": "to"}
    bounds = [f"{words[name]} {getattr(one, name)}" for one in metadata for name in words if hasattr(one, name)]
    return " ".join(["a whole number" if annotation is int else "a number", *bounds])
