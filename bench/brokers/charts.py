"""Charts as SVG, written by hand: bars with ranges, and lines over a ladder. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from bench.summary import Spread

WIDTH = 760
LABEL_WIDTH = 190
VALUE_WIDTH = 130
BAR_HEIGHT, BAR_STEP = 20, 32
HEAD_HEIGHT = 44
PLOT_HEIGHT = 260
LEGEND_WIDTH = 200
AXIS_WIDTH = 70
FOOT_HEIGHT = 44
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d")
TICKS = 4


def bar_chart(title: str, bars: Mapping[str, Spread | None], decimals: int, absent: str) -> str:
    """A bar for each median with its range over it; `absent` stands where there is none."""
    height = HEAD_HEIGHT + BAR_STEP * len(bars) + 12
    highest = max([spread.highest for spread in bars.values() if spread], default=0.0) or 1.0
    scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / highest
    parts = []
    for place, (label, spread) in enumerate(bars.items()):
        top = HEAD_HEIGHT + place * BAR_STEP
        middle = top + BAR_HEIGHT / 2
        parts.append(_text(LABEL_WIDTH - 8, middle + 4, label, anchor="end"))
        if spread is None:
            parts.append(_text(LABEL_WIDTH + 4, middle + 4, absent, colour="#777"))
            continue
        parts.append(
            f'<rect x="{LABEL_WIDTH}" y="{top}" width="{max(1.0, spread.median * scale):.1f}" height="{BAR_HEIGHT}" '
            f'fill="{COLOURS[place % len(COLOURS)]}"/>'
        )
        low, high = (LABEL_WIDTH + value * scale for value in (spread.lowest, spread.highest))
        parts.append(_line(low, middle, high, middle, "#111", 1.5))
        parts.append(_text(high + 6, middle + 4, f"{spread.median:,.{decimals}f}"))
    return _svg(title, height, parts)


def line_chart(
    title: str,
    heading: str,
    variants: Sequence[str],
    lines: Mapping[str, Sequence[Spread | None]],
    absent: str,
    *,
    logarithmic: bool = False,
) -> str:
    """A line through the medians for each name, with the ranges; values by variant. `absent` as with bars."""
    spreads = [spread for line in lines.values() for spread in line if spread]
    height = HEAD_HEIGHT + PLOT_HEIGHT + FOOT_HEIGHT
    if not spreads:
        return _svg(title, height, [_text(AXIS_WIDTH, HEAD_HEIGHT + 20, absent, colour="#777")])
    axis = _Axis.of(spreads, logarithmic=logarithmic)
    width = WIDTH - AXIS_WIDTH - LEGEND_WIDTH
    columns = [AXIS_WIDTH + width * (place + 0.5) / len(variants) for place in range(len(variants))]
    parts = [_gridline(axis, tick, width) for tick in axis.ticks()]
    bottom = HEAD_HEIGHT + PLOT_HEIGHT
    parts += [_text(x, bottom + 18, name, anchor="middle") for x, name in zip(columns, variants, strict=True)]
    parts.append(_text(AXIS_WIDTH + width / 2, bottom + 36, heading, anchor="middle", colour="#555"))
    for place, (name, line) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = [(x, spread) for x, spread in zip(columns, line, strict=True) if spread]
        joined = " ".join(f"{x:.1f},{axis.y(spread.median):.1f}" for x, spread in points)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, spread in points:
            parts.append(_line(x, axis.y(spread.lowest), x, axis.y(spread.highest), colour, 1.0))
            parts.append(f'<circle cx="{x:.1f}" cy="{axis.y(spread.median):.1f}" r="3.5" fill="{colour}"/>')
        legend_y = HEAD_HEIGHT + 12 + place * 20
        parts.append(_line(WIDTH - LEGEND_WIDTH + 10, legend_y - 4, WIDTH - LEGEND_WIDTH + 30, legend_y - 4, colour, 3))
        parts.append(_text(WIDTH - LEGEND_WIDTH + 36, legend_y, name if points else f"{name}: {absent}"))
    return _svg(title, height, parts)


class _Axis:
    """From a value to its height."""

    def __init__(self, lowest: float, highest: float, *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        self._lowest, self._highest = lowest, highest

    @classmethod
    def of(cls, spreads: Sequence[Spread], *, logarithmic: bool) -> _Axis:
        highest = max(spread.highest for spread in spreads) or 1.0
        if not logarithmic:
            return cls(0.0, highest, logarithmic=False)
        lowest = max(0.01, min(spread.lowest for spread in spreads))
        return cls(math.floor(math.log10(lowest)), math.ceil(math.log10(max(highest, lowest * 10))), logarithmic=True)

    def y(self, value: float) -> float:
        place = math.log10(max(value, 0.01)) if self._logarithmic else value
        share = (place - self._lowest) / (self._highest - self._lowest)
        return HEAD_HEIGHT + PLOT_HEIGHT * (1 - max(0.0, share))

    def ticks(self) -> list[float]:
        if self._logarithmic:
            return [10.0**power for power in range(int(self._lowest), int(self._highest) + 1)]
        return [self._highest * place / TICKS for place in range(TICKS + 1)]


def _gridline(axis: _Axis, tick: float, width: float) -> str:
    y = axis.y(tick)
    label = f"{tick:,.0f}" if tick >= 10 or tick == 0 else f"{tick:,.2g}"
    return _line(AXIS_WIDTH, y, AXIS_WIDTH + width, y, "#ddd", 1.0) + _text(AXIS_WIDTH - 6, y + 4, label, anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#111") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="13" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n<text x="12" y="24" font-size="15" font-weight="bold">'
        f"{escape(title)}</text>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"
