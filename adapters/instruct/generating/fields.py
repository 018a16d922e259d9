"""What a reply says under its labels: `Input: …`, `**Score:** 5`, JSON. Tolerant of decoration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_DECODER = json.JSONDecoder()
_MOST_TRIES = 20
"""Places at which JSON may begin that are looked at: a hostile reply holds thousands."""
_FENCE = re.compile(r"^[ \t]*```[^\n`]*$\n?", re.MULTILINE)
_ONE = re.compile(r"[ \t]*(?:(?:example|instance|case)[ \t]*\d{0,3}|\d{1,3}[.)])[ \t:*_]*", re.IGNORECASE)
_SCORE = re.compile(
    r"(?:score|rating|评分|得分)[\"'*_`]{0,4}[ \t]{0,4}(?:\([^()\n]{0,40}\))?[ \t]{0,4}(?:is|of|:|：|=|-(?![\d.]))?"
    r"[\"'*_`\s\[({<$]{0,12}(?:\\boxed\{)?(?P<value>[+-]?\d{1,9}(?:\.\d{1,9})?)(?![\d.]{0,9}\d)"
    r"(?![ \t]{0,2}(?:-|–|to)[ \t]{0,2}\d)[\]*_`)}$]{0,6}[ \t]{0,2}(?:(?:/|out of)[ \t]{0,2}(?P<most>\d{1,9}))?",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"[\[(*_`$]*(?P<value>[+-]?\d+(?:\.\d+)?)[\])*_`$]*(?:[ \t]*(?:/|out of)[ \t]*(?P<most>\d+))?[.*_`]*"
)
_LONGEST_BARE = 20


def unfenced(text: str) -> str:
    """The text without the lines that open and close code fences, when a fence is all that it is.

    >>> unfenced("```json\\n[1]\\n```")
    '[1]\\n'
    """
    inner = text.strip()
    return _FENCE.sub("", text) if inner.startswith("```") and inner.endswith("```") else text


def json_in(text: str) -> Any:
    """The first JSON list or map of a text that begins a line, else the first anywhere; None where there is none."""
    starts = [m.start(1) for m in re.finditer(r"^[ \t]*([\[{])", text, re.MULTILINE)][:_MOST_TRIES]
    starts += [m.start() for m in re.finditer(r"[\[{]", text)][:_MOST_TRIES]
    for start in starts:
        try:
            return _DECODER.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    return None


def json_items(text: str) -> tuple[list[Any], bool]:
    """The items of the JSON list that a text begins with, as far as they are whole; and whether the list is."""
    found: list[Any] = []
    place, space = 1, re.compile(r"[\s,]*")
    while True:
        place = space.match(text, place).end()  # type: ignore[union-attr]
        if text[place : place + 1] == "]":
            return found, True
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return found, False
        found.append(value)


def blocks_in(text: str, labels: Mapping[str, str]) -> list[dict[str, str]]:
    """What stands behind labels that begin a line, in groups: a new one where a label comes again, or `Example 2`.

    `labels`: from the label in lower case to the field's name. A label may be bold, a header, numbered, in any case.

    >>> blocks_in("Sure!\\n**Input:** a\\nOUTPUT: b\\nc", {"input": "input", "output": "output"})
    [{'input': 'a', 'output': 'b\\nc'}]
    """
    names = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    head = re.compile(
        rf"[ \t>]{{0,20}}#{{0,6}}[ \t]?[*_]{{0,3}}(?:\d{{1,3}}[.)][ \t]?)?#?({names})"
        r"[ \t]?\d{0,3}#?[ \t]?[*_]{0,3}[ \t]?[:：][ \t]*[*_]{0,3}[ \t]*(.*)",
        re.IGNORECASE | re.DOTALL,
    )
    found: list[dict[str, str]] = [{}]
    name = ""
    for line in unfenced(text).split("\n"):
        if match := head.match(line):
            name = labels[match[1].lower()]
            if name in found[-1]:
                found.append({})
            found[-1][name] = match[2]
        elif found[-1] and _ONE.fullmatch(line):
            found.append({})
            name = ""
        elif name:
            found[-1][name] += f"\n{line}"
    return [{k: v.strip() for k, v in block.items()} for block in found if block]


def last_after(text: str, labels: tuple[str, ...]) -> str | None:
    """What stands behind the last of the labels that begins a line; None where there is none, or nothing behind it."""
    blocks = blocks_in(text, {label.lower(): "answer" for label in labels})
    return (blocks[-1]["answer"] or None) if blocks else None


def score_in(text: str, low: float, high: float) -> float | None:
    """The score that a judge's reply ends with: `Score: 4`, `**Score:** [4]`, `Rating: 4/5`, `{"score": 4}`, or `4`
    alone. None where there is none, where the last one lies outside the scale, or is out of another number than `high`.

    >>> score_in("Good. **Score:** 5", 1, 5), score_in("Score: 45", 1, 5), score_in("SCORE: [4]/5", 1, 5)
    (5.0, None, 4.0)
    """
    matches = list(_SCORE.finditer(text))
    match = matches[-1] if matches else _BARE.fullmatch(text.strip()[: _LONGEST_BARE + 1])
    if match is None:
        return None
    value, most = float(match["value"]), match["most"]
    return value if low <= value <= high and most in (None, f"{high:g}") else None
