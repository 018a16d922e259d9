"""Figures as strings of inline SVG. Pure functions; colours come from the page's style sheet by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .scales import Scale, fit, tick_text

TEXT = 7.2
"""Width of a character at 12 px, in pixels; an estimate for wide fonts, to leave room for labels."""
COLOURS = 8


@dataclass(frozen=True)
class Mark:
    """A labelled value with its interval (NaN where there is none)."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    """Shown on hover."""
    hollow: bool = False
    """Marks a value that is incomplete, such as one of a method with failed seeds."""
    x: float = math.nan
    """Position in a scatter plot."""


@dataclass(frozen=True)
class Series:
    """A line; `low` and `high` draw a band where they are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An element; attribute values are escaped, `inside` is not. `text_anchor` is written `text-anchor`."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>"


def _value(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))


def text(label: str, x: float, y: float, *, anchor: str = "start", class_: str = "") -> str:
    """A label, escaped."""
    return tag("text", escape(label), x=x, y=y, text_anchor=anchor, class_=class_)


def short(label: str, most: int) -> str:
    """At most `most` characters, the last an ellipsis where some were cut."""
    return label if len(label) <= most else label[: most - 1] + "…"


def figure(title: str, width: float, height: float, *inside: str) -> str:
    """The outer element, with a title that screen readers announce."""
    attributes = {"role": "img", "aria_label": title, "class_": "figure"}
    box = f"0 0 {width:.0f} {height:.0f}"
    return tag("svg", *inside, viewBox=box, width=f"{width:.0f}", height=f"{height:.0f}", **attributes)


def dots(title: str, marks: Sequence[Mark], *, width: float = 350, limits: Sequence[float] = ()) -> str:
    """A dot with whiskers for each mark, one below the other; for methods under one metric."""
    step, top = 22.0, 8.0
    left = 14 + TEXT * min(18, max((len(mark.label) for mark in marks), default=0))
    bottom = top + step * len(marks)
    scale = fit((v for m in marks for v in (m.value, m.low, m.high)), left, width - 14, limits=limits)
    parts = _axis_below(scale, top, bottom, least=3)
    for n, mark in enumerate(marks):
        y = top + step * (n + 0.5)
        parts.append(text(short(mark.label, 18), left - 10, y + 4, anchor="end"))
        if math.isfinite(mark.value):
            parts.append(_dot(mark, scale(mark.value), y, [(scale(v), y) for v in (mark.low, mark.high)]))
    return figure(title, width, bottom + 26, *parts)


def scatter(
    title: str,
    marks: Sequence[Mark],
    x_label: str,
    y_label: str,
    *,
    limits: Sequence[float] = (),
    width: float = 660,
    height: float = 340,
) -> str:
    """Labelled points with vertical whiskers on a logarithmic x; marks without a positive x are left out."""
    shown = [m for m in marks if m.x > 0 and math.isfinite(m.value)]
    left, top, bottom = 56.0, 26.0, height - 46
    x = fit((m.x for m in shown), left, width - 20, log=True)
    y = fit((v for m in shown for v in (m.value, m.low, m.high)), bottom, top, limits=limits)
    parts = [*_axis_below(x, top, bottom), *_axis_left(y, left, width - 20)]
    parts += [text(y_label, 4, 12, class_="label")]
    parts += [text(x_label, width - 20, height - 6, anchor="end", class_="label")]
    taken = [(x(m.x) - 5, y(m.value) - 5, 10.0, 10.0) for m in shown]
    for mark in shown:
        across, up = x(mark.x), y(mark.value)
        parts.append(_dot(mark, across, up, [(across, y(v)) for v in (mark.low, mark.high)]))
        label = short(mark.label, 28)
        box, anchor = _free(across, up, TEXT * len(label), (left, width), taken)
        taken.append(box)
        at = {"start": box[0], "middle": box[0] + box[2] / 2, "end": box[0] + box[2]}[anchor]
        parts.append(text(label, at, box[1] + 10, anchor=anchor))
    return figure(title, width, height, *parts)


def curves(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    limits: Sequence[float] = (),
    width: float = 500,
    height: float = 280,
    dotted: bool = False,
) -> str:
    """Lines with optional bands, named at their right ends; a dot for a line of one point, or, `dotted`, for every
    point; a logarithmic x where it spans decades."""
    xs = [v for s in series for v in s.x]
    log = bool(xs) and min(xs) > 0 and max(xs) / min(xs) >= 50
    # As high as the names at the right ends need, one below the other.
    height = max(height, 14 * len(series) + 80)
    left, top, bottom = 56.0, 26.0, height - 46
    right = width - 18 - TEXT * min(18, max((len(s.name) for s in series), default=0))
    x = fit(xs, left, right, log=log)
    y = fit((v for s in series for v in (*s.y, *s.low, *s.high)), bottom, top, limits=limits)
    parts = [*_axis_below(x, top, bottom), *_axis_left(y, left, right)]
    parts += [text(y_label, 4, 12, class_="label")]
    parts += [text(x_label, right, height - 6, anchor="end", class_="label")]
    ends: list[tuple[float, int]] = []
    for n, line in enumerate(series):
        points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
        if line.low and line.high:
            lower = [(x(a), y(b)) for a, b in zip(line.x, line.low, strict=True) if math.isfinite(b)]
            upper = [(x(a), y(b)) for a, b in zip(line.x, line.high, strict=True) if math.isfinite(b)]
            parts.append(tag("polygon", points=_path([*lower, *reversed(upper)]), class_=f"band s{n % COLOURS}"))
        parts.append(tag("polyline", points=_path(points), class_=f"line s{n % COLOURS}"))
        for across, up in points if dotted or len(points) == 1 else ():
            parts.append(tag("circle", cx=across, cy=up, r=2.5 if dotted else 4, class_=f"point s{n % COLOURS}"))
        if points:
            ends.append((points[-1][1], n))
    below = -math.inf
    for place, (up, n) in enumerate(sorted(ends)):
        # Pushed down by those above, but leaving room for those below.
        below = max(min(up, height - 50 - 14 * (len(ends) - 1 - place)), below + 14)
        name = short(series[n].name, 18)
        parts.append(text(name, right + 8, below + 4, class_=f"name s{n % COLOURS}"))
    return figure(title, width, height, *parts)


def heat(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """A matrix, each cell shaded by its size and, where there is room, with its value in two or three digits."""
    left = 14 + TEXT * min(20, max((len(str(row)) for row in rows), default=0))
    side = min(64.0, max(10.0, 620 / max(1, len(columns))))
    heads, top, over = _heads(columns, left, side)
    tall = min(28.0, max(side, 18.0))
    finite = [v for row in values for v in row if math.isfinite(v)] or [0.0]
    span = max(finite) - min(finite) or 1.0
    parts = []
    for i, row in enumerate(values):
        y = top + tall * i
        parts.append(text(short(str(rows[i]), 20), left - 10, y + tall / 2 + 4, anchor="end"))
        for j, value in enumerate(row):
            share = (value - min(finite)) / span if math.isfinite(value) else 0.0
            hint = tag("title", escape(f"{rows[i]}, {columns[j]}: {tick_text(value)}"))
            box = {"x": left + side * j, "y": y, "width": side - 1, "height": tall - 1}
            parts.append(tag("rect", hint, **box, class_="heat", fill_opacity=f"{0.06 + 0.84 * share:.2f}"))
            if side >= 36 and (label := _fitting(value, side)):
                where = (left + side * (j + 0.5), y + tall / 2 + 4)
                ink = "on-dark" if share > 0.55 else ""
                parts.append(text(label, *where, anchor="middle", class_=ink))
    return figure(title, left + side * len(columns) + over, top + tall * len(rows) + 4, *parts, *heads)


def _fitting(value: float, room: float) -> str:
    """As many digits as there is room for, at most three; nothing where there is none for two."""
    if not math.isfinite(value):
        return "–"
    texts = [f"{value:.{digits}g}".replace("-", "−") for digits in (3, 2)]
    return next((found for found in texts if TEXT * len(found) <= room), "")


def _heads(columns: Sequence[str], left: float, side: float) -> tuple[list[str], float, float]:
    """Labels above columns, their height, and how far they stand over to the right: level where they fit, else every
    few of those that are short (numbers), else at a slant."""
    longest = max((min(18, len(str(c))) for c in columns), default=0)
    wide = TEXT * longest
    if wide + 2 <= side or longest <= 3:
        step = math.ceil((wide + 4) / side) if wide + 2 > side else 1
        middles = ((left + side * (j + 0.5), c) for j, c in enumerate(columns) if j % step == 0)
        return [text(str(c), x, 14, anchor="middle") for x, c in middles], 22.0, 4.0
    # At 45 degrees, lines of text are side / sqrt(2) apart.
    step, rise = math.ceil(18 / side), wide * math.sqrt(0.5) + 12
    labels = []
    for j, c in enumerate(columns):
        if j % step == 0:
            x, y = left + side * (j + 0.5), rise - 4
            turned = f"rotate(-45 {x:.1f} {y:.1f})"
            labels.append(tag("text", escape(short(str(c), 18)), x=x, y=y, transform=turned))
    return labels, rise + 2, max(4.0, wide * math.sqrt(0.5) + 6 - side / 2)


def _dot(mark: Mark, x: float, y: float, ends: Sequence[tuple[float, float]]) -> str:
    parts = [tag("title", escape(mark.note or f"{mark.label}: {tick_text(mark.value)}"))]
    if math.isfinite(mark.low) and math.isfinite(mark.high):
        (x1, y1), (x2, y2) = ends
        parts.append(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="whisker"))
    parts.append(tag("circle", cx=x, cy=y, r=4, class_="dot hollow" if mark.hollow else "dot"))
    return tag("g", *parts)


def _axis_below(scale: Scale, top: float, bottom: float, least: int = 4) -> list[str]:
    parts = []
    for tick in scale.ticks(least):
        x = scale(tick)
        parts.append(tag("line", x1=x, y1=top, x2=x, y2=bottom, class_="grid"))
        parts.append(text(tick_text(tick), x, bottom + 16, anchor="middle", class_="tick"))
    return parts


def _axis_left(scale: Scale, left: float, right: float) -> list[str]:
    parts = []
    for tick in scale.ticks():
        y = scale(tick)
        parts.append(tag("line", x1=left, y1=y, x2=right, y2=y, class_="grid"))
        parts.append(text(tick_text(tick), left - 8, y + 4, anchor="end", class_="tick"))
    return parts


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


Box = tuple[float, float, float, float]


def _free(x: float, y: float, wide: float, edges: tuple[float, float], taken: Sequence[Box]) -> tuple[Box, str]:
    """A place near a point for a label that covers no other label or point, and the label's anchor."""
    right, left, middle = (x + 8, "start"), (x - 8 - wide, "end"), (x - wide / 2, "middle")
    spots = [
        (right, -7),
        (left, -7),
        (middle, -22),
        (middle, 9),
        (right, -20),
        (right, 7),
        (left, -20),
        (left, 7),
    ]
    boxes = [((start, y + down, wide, 13.0), anchor) for (start, anchor), down in spots]
    inside = [found for found in boxes if edges[0] <= found[0][0] and found[0][0] + wide <= edges[1]] or boxes
    return next((found for found in inside if not any(_overlap(found[0], t) for t in taken)), inside[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
