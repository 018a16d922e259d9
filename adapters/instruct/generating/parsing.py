"""The items of a list that a model has written, however it wrote it: numbered in any way or not at all, with `###`,
labels, bold, headers, bullets, JSON, code fences, and talk before and after.

What a reply contains is not to be lost; see `Found.cut` for what it did not finish.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .fields import json_items, unfenced

_WORD = r"(?:instruction|task|prompt|question|item|example|no\.?|number|指令|任务|问题)"
_NUMBER = re.compile(
    rf"(?:{_WORD}[ \t]{{0,4}})?[#(\[（【]?[ \t]?(\d{{1,3}})[ \t*_\\]{{0,4}}"
    r"(?:[.)\]:）】、．：|/>]{1,4}(?!\d)|[-–—](?=[ \t]+\D))"
    rf"|{_WORD}[ \t]{{0,4}}#?(\d{{1,3}})[ \t*_]*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[*_]{0,3}(?:new[ \t]+)?(?:instruction|task|prompt|指令)[ \t]*[*_]{0,3}[:：]", re.IGNORECASE)
_GAP = re.compile(r"[*_\s]*(?=[*_]{0,3}(?:new\s+)?(?:instruction|task|prompt|指令))", re.IGNORECASE)
_FIELD = re.compile(
    r"[ \t#*_]*(?:\d{1,3}[.)][ \t]*)?[*_]{0,3}(?:input|output|response|answer)[*_]{0,3}[ \t]*[:：]", re.I
)
_DECORATION = re.compile(r"[ \t>|]*(?:[-*•+][ \t]+)?(?:#{1,6}[ \t]*)?[*_]{0,3}[ \t]*")
_SEPARATOR = re.compile(r"[ \t]*(?:#{2,}|-{3,}|\*{3,}|={3,}|_{3,}|;;+)[ \t]*")
_HEADER = re.compile(r"[ \t]*#{1,6}[ \t]*(?=[^\s#])|[ \t]*\*\*[^*]+\*\*:?[ \t]*$")
_BULLET = re.compile(r"[ \t]*(?:[-*•‣◦+][ \t]+|[①-⑳][ \t]*|\(?(?:[ivxIVX]{1,5}|[a-zA-Z])[.)][ \t]+)")
_TALK = re.compile(
    r"[ \t]*(?:(?:sure|certainly|of course|absolutely|great|okay|ok)\b[ \t]*[,!.:]"
    r"|here(?:'s|’s| is| are)\b.*[:.!][ \t]*$"
    r"|let me know\b|i hope (?:this|these|that)\b|feel free to\b|would you like (?:me|more)\b)",
    re.IGNORECASE,
)
_INLINE = re.compile(r"(?<![#\s])[ \t]*#{3,6}(?!#)[ \t]*(?=[*_]{0,3}(?:\d{1,3}[.):]|instruction\b))", re.IGNORECASE)
_KEYS = ("instruction", "task", "prompt", "question")


@dataclass(frozen=True)
class Found:
    """The items of a reply."""

    items: tuple[str, ...]
    cut: tuple[str, ...] = ()
    """The last one, when the reply was cut off in it."""


@dataclass(frozen=True)
class _Head:
    """How a line begins an item."""

    rest: str
    number: int | None
    labelled: bool
    indent: int


def listed_in(text: str, finish_reason: str = "stop") -> Found:
    """The items of a reply, in their order, without numbers, labels and decoration.

    >>> listed_in("Sure!\\n###\\n9. Instruction: Name a bird.\\n###\\n**11.** Name a fish.").items
    ('Name a bird.', 'Name a fish.')
    """
    cut = finish_reason == "length"
    items, whole = _from_json(text) or (_from_lines(_INLINE.sub("\n###\n", text), cut), not cut)
    if whole or not items or (cut and _SEPARATOR.fullmatch(text.rstrip().rsplit("\n", 1)[-1])):
        return Found(tuple(filter(None, items)))
    return Found(tuple(filter(None, items[:-1])), (items[-1],))


def _from_json(text: str) -> tuple[list[str], bool] | None:
    """Items of a JSON list (of texts, or of maps that have an instruction), of a map that holds one, or of JSON lines;
    and whether the last of them is whole (of a list that breaks off, it stands as an empty one)."""
    start = re.search(r"^[ \t]*([\[{])[ \t\n]*[\"{\[\]]", text, re.MULTILINE)
    if start is None or any(_head(line) for line in text[: start.start()].split("\n")):
        return None
    body = text[start.start(1) :]
    if body[0] == "{":
        key = re.match(r"\{\s*\"\w+\"\s*:\s*(?=\[)", body)
        body = body[key.end() :] if key else f"[{body}"
    values, whole = json_items(body)
    items = [_item(v) for v in values]
    if not items or not all(items):
        return None
    # JSON lines have no end of their own: they are whole unless a map was begun and not ended.
    ended = whole or (body.startswith("[{") and "{" not in body[body.rfind("}") :])
    return (items, True) if ended else ([*items, ""], False)


def _item(value: object) -> str:
    if isinstance(value, dict):
        lower = {str(k).lower(): v for k, v in value.items()}
        value = next((lower[k] for k in _KEYS if isinstance(lower.get(k), str)), None)
    if not isinstance(value, str):
        return ""
    head = _head(value)
    return _clean([head.rest if head else value])


def _from_lines(text: str, cut: bool) -> list[str]:
    lines = unfenced(text).split("\n")
    heads = [_head(line) for line in lines]
    fenced = _inside_fences(lines)
    if any(h and not f for h, f in zip(heads, fenced, strict=True)):
        heads = [None if f else h for h, f in zip(heads, fenced, strict=True)]
    else:
        lines = ["" if line.lstrip().startswith("```") else line for line in lines]
        fenced = [False] * len(lines)
    if any(heads):
        return _numbered(lines, heads, fenced)
    for mark in (_HEADER, _BULLET):
        starts = [bool(mark.match(line)) and not _SEPARATOR.fullmatch(line) for line in lines]
        if sum(starts) > 1 or (any(starts) and mark is _BULLET):
            return _started(lines, starts, mark)
    return _loose(lines)


def _head(line: str) -> _Head | None:
    """How a line begins an item: with a number, a label (`Instruction:`), or both."""
    start = _DECORATION.match(line).end()  # type: ignore[union-attr]
    number = _NUMBER.match(line, start)
    after = number.end() if number else start
    gap = _GAP.match(line, after)
    label = _LABEL.match(line, gap.end() if gap else after)
    if number is None and label is None:
        return None
    rest = line[label.end() if label else after :]
    digits = None if number is None else int(number[1] or number[2])
    labelled = label is not None or (number is not None and not number[0].lstrip("#([（【 \t")[:1].isdigit())
    if "|" in line[:start]:
        rest = rest.rstrip(" |")
    return _Head(_opened(line[:start], rest), digits, labelled, _indent(line))


def _opened(before: str, rest: str) -> str:
    """The rest of a line without the mark that closes what was bold before it."""
    bold = "*" in before or "_" in before
    closing = re.match(r"[ \t]*[*_]{1,3}(?=\s|$)", rest)
    if closing:
        return rest[closing.end() :]
    return re.sub(r"[*_]{2,3}[ \t]*$", "", rest) if bold else rest


def _numbered(lines: Sequence[str], heads: Sequence[_Head | None], fenced: Sequence[bool]) -> list[str]:
    """Items that begin with numbers or labels. A list inside one (deeper, or from 1 behind a colon) is part of it."""
    numbered = [h for h in heads if h and h.number is not None]
    labels_begin = not numbered or any(h.labelled or not h.rest.strip() for h in numbered)
    parted = any(map(_SEPARATOR.fullmatch, lines))
    final = {h.number: i for i, h in enumerate(heads) if h and h.number is not None}
    items: list[list[str]] = []
    last = sub = indent = 0
    """Number of the open item, of the last line of a list inside it, and the item's indent."""
    item: list[str] | None = None
    fresh, before = True, ""
    for i, (line, head) in enumerate(zip(lines, heads, strict=True)):
        if fenced[i] and item is not None:
            item.append(line)
            continue
        if _SEPARATOR.fullmatch(line):
            item, fresh, sub = None, True, 0
            continue
        begins = head is not None and not _FIELD.match(line)
        if begins and head is not None and item is not None:
            if head.number is None and not "".join(item).strip():
                begins, line = False, head.rest
            elif head.number is None:
                begins = labels_begin
            elif not head.labelled and head.indent >= indent + 2:
                begins = False
            elif not head.labelled and (
                # A list goes on as long as it counts on, unless that is the number of the next item.
                head.number == sub + 1 and (head.number <= last or final.get(last + 1, 0) > i)
                if sub
                else head.number == 1 and last >= 1 and before.rstrip("*_ \t").endswith((":", "："))
            ):
                begins, sub = False, head.number
        if begins and head is not None:
            item = [head.rest]
            items.append(item)
            last, sub, indent = head.number or last, 0, head.indent
        elif _FIELD.match(line):
            item = None
        elif item is not None:
            if _TALK.match(line) or (_HEADER.match(line) and head is None and "".join(item).strip()):
                item = None
            else:
                item.append(line)
        elif parted and fresh and line.strip() and not _TALK.match(line) and not line.rstrip().endswith((":", "：")):
            item = [line]
            items.append(item)
        if line.strip():
            before, fresh = line, False
    return [_clean(item) for item in items]


def _started(lines: Sequence[str], starts: Sequence[bool], mark: re.Pattern[str]) -> list[str]:
    """Items that begin with a mark (a header, a bullet); of indented ones within others, the outer begin."""
    outer = min(_indent(line) for line, begins in zip(lines, starts, strict=True) if begins)
    items: list[list[str]] = []
    for line, begins in zip(lines, starts, strict=True):
        if begins and _indent(line) <= outer + 1:
            items.append([mark.sub("", line, count=1)])
        elif items and not _TALK.match(line) and not _SEPARATOR.fullmatch(line):
            items[-1].append(line)
    return [_clean(item) for item in items]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _loose(lines: Sequence[str]) -> list[str]:
    """Items without any mark: what separators part, else paragraphs, else lines."""
    lines = ["" if _TALK.match(line) else line for line in lines]
    inner = "\n".join(lines).strip()
    if any(map(_SEPARATOR.fullmatch, lines)):
        parts = re.split(rf"^{_SEPARATOR.pattern}$", inner, flags=re.MULTILINE)
    else:
        parts = re.split(r"\n[ \t]*\n" if re.search(r"\n[ \t]*\n", inner) else "\n", inner)
    return [item for item in map(_clean, ([p] for p in parts)) if item and not item.endswith((":", "："))]


def _inside_fences(lines: Sequence[str]) -> list[bool]:
    """Which lines belong to a code fence."""
    inside, found = False, []
    for line in lines:
        fence = line.lstrip().startswith("```")
        found.append(inside or fence)
        inside ^= fence
    return found


def _clean(lines: Sequence[str]) -> str:
    """An item without white space, quotation marks or bold around the whole of it."""
    text = "\n".join(lines).strip()
    for start, end in (("**", "**"), ('"', '"'), ("“", "”"), ("`", "`")):
        inner = text[len(start) : -len(end)]
        if text.startswith(start) and text.endswith(end) and inner and start not in inner and end not in inner:
            text = inner.strip()
    return text
