"""A suite's result as rows of text, the same for the terminal and for the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.rounds import SuiteResult


@dataclass(frozen=True, slots=True)
class TextTable:
    """The first cell of a row is its name."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def figures_table(result: SuiteResult) -> TextTable:
    """Medians with ranges: a row per figure, a column per contender."""
    contenders = [contender.name for contender in result.suite.contenders]
    rows = []
    for figure in result.suite.figures:
        spreads = [result.spread(name, figure.key) for name in contenders]
        rows.append([figure.heading, *(spread.text(figure.decimals) if spread else "" for spread in spreads)])
    return TextTable(["", *contenders], rows)


def ratios_table(result: SuiteResult) -> TextTable | None:
    """Ours divided by theirs; None when the suite compares nothing."""
    compared = [figure for figure in result.suite.figures if figure.compared]
    if not compared:
        return None
    rows = []
    for figure in compared:
        ratios = result.ratios(figure.key)
        rows.append([figure.heading, *(ratio.text(2) for ratio in ratios.values())])
    return TextTable(["ours ÷", *(contender.name for contender in result.suite.contenders[1:])], rows)
