"""Read YAML or JSON into plain data, and remember where each value stands.

YAML 1.2 core scalars only: `5e-4` is a number, `no` and `on` are strings, `2024-01-01` is a string. Tags, merge keys
and duplicate keys are refused; a spec is data. The tree is built from parser events, so that the depth and the size
of hostile input are bounded before anything recursive sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, MappingStartEvent, NodeEvent, ScalarEvent, SequenceStartEvent

from ..errors import Mark, Problem, SpecError

Path_ = tuple[str | int, ...]
"""A place in a tree: keys and list positions from the root."""

MAX_DEPTH = 32
MAX_NODES = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE_SCALARS = (
    (re.compile(r"~|null|Null|NULL|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)
"""Pattern and constructor of each plain scalar of YAML 1.2's core schema; anything else is a string."""

_SURROGATES = re.compile(
    r"(?P<before>(?<!\\)(?:\\\\)*)\\u(?P<high>[dD][89a-fA-F][0-9a-fA-F]{2})(?:\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2}))?"
)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass
class Tree:
    """Plain data (dict, list, str, int, float, bool, None) with the place of every value and key."""

    data: Any
    marks: dict[Path_, Mark] = field(default_factory=dict)
    """Where each value begins."""
    keys: dict[Path_, Mark] = field(default_factory=dict)
    """Where the key of each entry of a map begins."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the text itself (a duplicate key, a tag); told with what is wrong with the spec."""

    def mark(self, path: Path_) -> Mark:
        """The place of the deepest known part of `path`."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return self.marks[path[:length]]
        raise KeyError(path)


def read_tree(file: Path) -> Tree:
    """Read a spec file. Raises SpecError when it cannot be read at all; other problems are kept in the tree."""
    name = str(file)
    if file.exists() and not file.is_file():
        raise _problem(Mark(name), "is a folder or a device", "expected a file")
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _problem(Mark(name), f"not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise _problem(Mark(name), f"cannot be read ({error.strerror or error})") from error
    return parse_tree(text, name)


def parse_tree(text: str, name: str) -> Tree:
    """Parse the text of a spec; `name` is the file in messages, and a name ending `.json` is read as JSON."""
    if name.endswith(".json"):
        text = _checked_json(text, name)
    builder = _Builder(name)
    try:
        data = builder.document(iter(yaml.parse(text, Loader=_LOADER)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Mark(name, mark.line + 1, mark.column + 1) if mark else Mark(name)
        reason = error.problem or error.context or "cannot be parsed"
        if any("\t" in line for line in text.splitlines()[at.line - 1 : at.line]):
            reason += " (a tab: YAML is indented with spaces)"
        raise _problem(at, f"not valid YAML: {reason}") from error
    except yaml.YAMLError as error:
        raise _problem(Mark(name), f"not valid YAML: {' '.join(str(error).split())}") from error
    return Tree(data, builder.marks, builder.keys, tuple(builder.problems))


def _problem(mark: Mark, wrong: str, expected: str = "") -> SpecError:
    return SpecError([Problem(mark, "", wrong, expected)])


def _checked_json(text: str, name: str) -> str:
    """Refuse what is not JSON; the rest is YAML once tabs (only white space in JSON) are spaces."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise _problem(Mark(name, error.lineno, error.colno), f"not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise _problem(Mark(name), f"not usable JSON: {error}") from error
    return _SURROGATES.sub(_character, text.replace("\t", " "))


def _character(escape: re.Match[str]) -> str:
    """The character of a pair of JSON escapes, which YAML does not know; a replacement mark for half a pair."""
    halves = bytes.fromhex(escape["high"] + (escape["low"] or ""))
    return escape["before"] + halves.decode("utf-16-be", "replace")


class _Builder:
    """Builds data from parser events and collects marks and problems on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.marks: dict[Path_, Mark] = {}
        self.keys: dict[Path_, Mark] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def document(self, events: Iterator[Any]) -> Any:
        documents = [self.value(event, events, ()) for event in events if isinstance(event, NodeEvent)]
        if len(documents) > 1:
            raise _problem(Mark(self.name), f"{len(documents)} YAML documents", "expected one spec in a file")
        if not documents:
            raise _problem(Mark(self.name), "is empty", "expected a spec (kind, name, …)")
        return documents[0]

    def place(self, event: Any) -> Mark:
        return Mark(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def value(self, event: Any, events: Iterator[Any], path: Path_) -> Any:
        mark = self.place(event)
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise _problem(mark, f"deeper than {MAX_DEPTH} levels or larger than {MAX_NODES} values")
        if isinstance(event, AliasEvent):
            raise _problem(mark, f"alias *{event.anchor}", "expected the value itself; to share values use `extends`")
        self.marks[path] = mark
        if event.tag is not None and event.tag != "!":
            self.report(mark, path, f"YAML tag {event.tag!r}", "expected plain data without tags")
        if isinstance(event, MappingStartEvent):
            return self.mapping(events, path)
        if isinstance(event, SequenceStartEvent):
            items: list[Any] = []
            while isinstance(child := next(events), NodeEvent):
                items.append(self.value(child, events, (*path, len(items))))
            return items
        return self.scalar(event, mark, path)

    def mapping(self, events: Iterator[Any], path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while isinstance(event := next(events), NodeEvent):
            mark = self.place(event)
            if not isinstance(event, ScalarEvent) or event.tag is not None:
                raise _problem(mark, "a key that is not a plain name", "expected `name: value`")
            key = event.value
            if not key.isprintable():
                raise _problem(mark, f"key {key!r} has unprintable characters")
            if key in result:
                first = self.keys[(*path, key)]
                self.report(mark, (*path, key), f"duplicate key, first at line {first.line}", "expected each key once")
            if key == "<<":
                self.report(mark, (*path, key), "merge key `<<`", "expected `extends: NAME`")
            self.keys[(*path, key)] = mark
            result[key] = self.value(next(events), events, (*path, key))
        return result

    def scalar(self, event: ScalarEvent, mark: Mark, path: Path_) -> Any:
        text = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if _NOT_FINITE.fullmatch(text):
            self.report(mark, path, f"{text} is not a finite number", "expected a number or null")
            return None
        for pattern, construct in _CORE_SCALARS:
            if pattern.fullmatch(text):
                return self.number(construct, text, mark, path)
        return text

    def number(self, construct: Any, text: str, mark: Mark, path: Path_) -> Any:
        try:
            value = construct(text)
        except ValueError:  # an integer of thousands of digits
            value = None
        too_large = isinstance(value, float) and value in (float("inf"), float("-inf"))
        if too_large or (isinstance(value, int) and abs(value) >= 2**63) or (value is None and text[:1].isdigit()):
            self.report(mark, path, f"{text[:30]} is too large a number")
            return 0
        return value

    def report(self, mark: Mark, path: Path_, wrong: str, expected: str = "") -> None:
        self.problems.append(Problem(mark, dotted(path), wrong, expected))


def dotted(path: Path_) -> str:
    """`('site', 'layers', 0)` as `site.layers.0`."""
    return ".".join(map(str, path))
