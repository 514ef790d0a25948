"""The parts of the documentation that are made from the code: `python -m tests.unit.docs.generated` writes them.

They stand in the pages between `<!-- generated: NAME -->` and `<!-- end -->`. NAME is one of TABLES, or `file PATH` for
a file of the repository, shown whole. The JSON Schema of the record is made here as well.
"""

from __future__ import annotations

import inspect
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from services.consumer.settings import ConsumerSettings
from services.consumer.sinks.alerts.rules import describe_rules
from services.producer.parse.variables import KNOWN
from services.producer.settings import ProducerSettings
from services.topics.access import rules
from services.topics.settings import TopicsSettings
from shared.kafka.rules import Operation, Resource, Rule
from shared.runtime.settings import KafkaSettings, SecuritySettings, ServiceSettings, describe_settings
from shared.schemas import (
    AccessRecord,
    Connection,
    DeadLetter,
    DeadLetterReason,
    Details,
    Server,
    Source,
    Upstream,
)

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SCHEMA_FILE = DOCS / "access-record.schema.json"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

_GROUPS: Mapping[str, type[BaseModel]] = {"server": Server, "connection": Connection, "upstream": Upstream}
_BLOCK = re.compile(r"<!-- generated: (?P<name>[^\n]*?) -->\n(?P<body>.*?)<!-- end -->\n", re.DOTALL)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(heads)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings_table(kind: type[ServiceSettings]) -> str:
    """The variables that this class adds to the classes it extends, or whose default it changes."""
    own = inspect.get_annotations(kind)
    rows = [row for row in describe_settings(kind) if row.variable.lower() in own]
    return table(
        ("variable", "allowed", "default", "meaning"),
        ((f"`{row.variable}`", row.allowed, _default(row.default), row.description) for row in rows),
    )


def _default(text: str) -> str:
    if text == socket.gethostname():
        return "(the name of this host)"
    return text if text.startswith("(") else f"`{text}`"


def fields_table(model: type[BaseModel]) -> str:
    """The fields of a model with their types in JSON."""
    properties: Mapping[str, Any] = model.model_json_schema(mode="serialization")["properties"]
    return table(
        ("field", "type", "meaning"),
        ((f"`{name}`", _json_type(entry), _meaning(entry)) for name, entry in properties.items()),
    )


def _meaning(entry: Mapping[str, Any]) -> str:
    """nginx's variables as code: a pair of dollar signs begins a formula on some sites."""
    return re.sub(r"\$\w+", lambda match: f"`{match[0]}`", entry.get("description", "Where the line stands."))


def _json_type(entry: Mapping[str, Any]) -> str:
    if "anyOf" in entry:
        return " or ".join(_json_type(each) for each in entry["anyOf"])
    if "$ref" in entry:
        return "object"
    if entry.get("format") == "date-time":
        return "time (ISO 8601)"
    if entry.get("type") == "array":
        return f"list of {_json_type(entry['items'])}"
    return str(entry["type"])


def groups_table() -> str:
    """The fields of the objects in the details."""
    lines = [f"| `{name}`: |  |  |\n{_rows(fields_table(model))}" for name, model in _GROUPS.items()]
    return table(("field", "type", "meaning"), ()) + "".join(lines)


def _rows(made: str) -> str:
    """A table without its head."""
    return "".join(made.splitlines(keepends=True)[2:])


def variables_table() -> str:
    """nginx's variables that have a field, with what is read in them."""
    return table(
        ("variable", "field", "value"),
        ((f"`${name}`", f"`{'.'.join(each.path)}`", each.kind.value) for name, each in KNOWN.items()),
    )


def rules_table() -> str:
    """The keys of the file of rules."""
    return table(
        ("table", "key", "allowed", "default", "meaning"),
        (
            (f"`[{row.table}]`" if row.table else "", f"`{row.key}`", row.allowed, f"`{row.default}`", row.description)
            for row in describe_rules()
        ),
    )


def headers_table() -> str:
    """The Kafka headers of a dead letter, as a letter with every field has them."""
    fields = dict.fromkeys(DeadLetter.model_fields, "1")
    letter = DeadLetter.model_validate({**fields, "raw": b"", "key": b"", "reason": DeadLetterReason.UNPARSEABLE_LINE})
    kinds = {"source": "lines", "original": "records"}
    present = [header for header, _value in letter.headers()]
    return table(("header", "of"), ((f"`{header}`", kinds.get(header.split("-")[1], "both")) for header in present))


# Names that stand for any.
_CONSUMER, _SINK_TOPIC = "CONSUMER", "KAFKA_SINK_TOPIC"


def rights_table() -> str:
    """What each kind of principal may do, as the topics service tells the broker."""
    names = {"kafka_acl_producers": "producer", "kafka_acl_consumers": _CONSUMER, "kafka_acl_tools": "toolbox"}
    plain = rules(TopicsSettings.model_validate(names))
    sink = {"kafka_acl_sinks": _CONSUMER, "kafka_sink_topic": _SINK_TOPIC}
    with_sink = rules(TopicsSettings.model_validate({**names, **sink}))
    rows = [*_rights(plain, ""), *_rights([rule for rule in with_sink if rule not in plain], " with `SINK=kafka`")]
    return table(("principal", "resource", "name", "may"), rows)


def _rights(found: Iterable[Rule], remark: str) -> Iterable[list[str]]:
    """A row for each resource, its operations together."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for rule in found:
        name = f"`{rule.name}{'…' if rule.prefixed else ''}`"
        place = (f"`{rule.principal.removeprefix('User:')}`{remark}", _spoken(Resource(rule.resource).name), name)
        grouped.setdefault(place, []).append(_spoken(Operation(rule.operation).name))
    return [[*place, ", ".join(operations)] for place, operations in grouped.items()]


def _spoken(name: str) -> str:
    return name.lower().replace("_", " ")


def file_text(name: str) -> str:
    """A file of the repository, in a fence."""
    path = ROOT / name
    return f"```{'python' if path.suffix == '.py' else ''}\n{path.read_text()}```\n"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings of every service": lambda: settings_table(ServiceSettings),
    "settings of the connection": lambda: settings_table(SecuritySettings),
    "settings of every service that speaks to Kafka": lambda: settings_table(KafkaSettings),
    "settings of the producer": lambda: settings_table(ProducerSettings),
    "settings of a consumer": lambda: settings_table(ConsumerSettings),
    "settings of topics": lambda: settings_table(TopicsSettings),
    "fields of the record": lambda: fields_table(AccessRecord),
    "fields of the source": lambda: fields_table(Source),
    "fields of the details": lambda: fields_table(Details),
    "fields of the groups in the details": groups_table,
    "variables": variables_table,
    "headers of a dead letter": headers_table,
    "rules of alerts": rules_table,
    "rights": rights_table,
}


def block_names(text: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [match["name"] for match in _BLOCK.finditer(text)]


def regenerated(text: str) -> str:
    """The page with its generated parts made anew. Raises KeyError for a name that is none."""

    def make(match: re.Match[str]) -> str:
        name = match["name"]
        body = file_text(name.removeprefix("file ")) if name.startswith("file ") else TABLES[name]()
        return f"<!-- generated: {name} -->\n{body}<!-- end -->\n"

    return _BLOCK.sub(make, text)


def schema_text() -> str:
    """The published JSON Schema of the record."""
    schema = AccessRecord.model_json_schema(mode="serialization")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for page in PAGES:
        page.write_text(regenerated(page.read_text()))
    SCHEMA_FILE.write_text(schema_text())


if __name__ == "__main__":
    main()
