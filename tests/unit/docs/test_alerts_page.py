"""docs/alerts.md: its example can be used, and its rules are those that there are."""

from __future__ import annotations

import json

from services.consumer.sinks.alerts.engine import Alarm
from services.consumer.sinks.alerts.rules import Rule, Rules, parse_rules
from services.consumer.sinks.alerts.webhook import REFUSALS, body_of
from tests.unit.docs.generated import DOCS
from tests.unit.docs.pages import fences, names, rows

PAGE = DOCS / "alerts.md"


def test_the_example_is_a_file_of_rules() -> None:
    [example] = fences(PAGE, "toml")
    rules = parse_rules(example, "rules.toml")
    assert rules.traffic_drop.windows == 10
    assert not rules.new_top_client.enabled
    assert rules.scan.enabled


def test_every_rule_is_explained() -> None:
    known = {name for name, field in Rules.model_fields.items() if isinstance(field.default, Rule)}
    assert {names(rule)[0] for rule, _meaning in rows("alerts.md", "rule")} == known


def test_every_field_that_is_posted_is_shown() -> None:
    [example] = fences(PAGE, "json")
    posted = body_of(Alarm("id", "scan", "", 0, 1, "message", {}), "group", "topic")
    assert json.loads(example).keys() == json.loads(posted).keys()


def test_the_answers_that_drop_an_alarm_are_named() -> None:
    [refused] = [answer for answer, meaning in rows("alerts.md", "answer") if "dropped" in meaning]
    assert {int(status) for status in refused.split(", ")} == REFUSALS
