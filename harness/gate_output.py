"""What the gate reads and writes: the baseline (docs/formats.md), and verdicts for people and machines."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import __version__
from .errors import RunError, UsageError
from .gate import Row, Verdicts, by_name, code_of, outcome
from .store import FORMAT, Cell, asked_cells, check_format, current, in_order, jsonl, read_cells, write_atomically

NOT_IN_BASELINE = ("cost", "provenance", "error")
"""Parts of cell.json that say how a cell was made and not what it is."""
REQUIRED = ("id", "status", "task", "method", "models", "seed", "comparable", "metrics")

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_baseline(cells: Iterable[Cell], file: Path) -> None:
    """Write `cells` as a baseline, gzipped where the name ends in `.gz`; the same cells give the same bytes.

    `created` is when the last of the cells was finished, not now: a baseline is as old as what it holds.
    Raises UsageError when there is no cell, when one is not ok, or when two are the same number, and RunError
    when the file cannot be written.
    """
    cells = in_order(cells)
    if not cells:
        raise UsageError("no cells: a baseline of nothing would let everything pass")
    if bad := [c for c in cells if not c.ok]:
        listed = "; ".join(f"{c.id} ({c.task} / {c.method}, seed {c.seed}): {c.meta['status']}" for c in bad)
        raise UsageError(f"a baseline holds finished cells only; not ok: {listed}")
    by_name(cells)
    created = max((c.meta.get("provenance") or {}).get("finished") or "" for c in cells)
    header = {"format": FORMAT, "kind": "baseline", "created": created, "benchwright": __version__}
    rows = [
        {
            "cell": {k: v for k, v in cell.meta.items() if k not in NOT_IN_BASELINE},
            "records": list(cell.records),
            "items": list(cell.items),
        }
        for cell in cells
    ]
    data = jsonl([header, *rows]).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, _gzip(data) if file.suffix == ".gz" else data)
    except OSError as error:
        raise RunError(f"{file}: the baseline cannot be written ({error})") from error


def read_baseline(path: Path) -> list[Cell]:
    """The cells of a baseline file, or those of a run folder, ok or not.

    A folder may also hold cells of earlier commands, with another limit or other data, which would stand for the
    same numbers as those that the last command asked for; they are left out.

    Raises UsageError when there is nothing at `path`, and RunError naming the line when it is damaged.
    """
    if path.is_dir():
        cells = current(read_cells(path), asked := asked_cells(path))
        places = {c.place for c in cells if c.id in asked}
        return [c for c in cells if c.id in asked or c.place not in places]
    if not path.exists():
        raise UsageError(
            f"{path}: no such run folder or baseline file; `benchwright run` makes the one, `baseline update` the other"
        )
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    rows = [(number, _object(line, f"{path}:{number}")) for number, line in enumerate(data.splitlines(), 1)]
    if not rows or rows[0][1].get("kind") != "baseline":
        raise RunError(f"{path}:1: not a baseline; `benchwright baseline update` writes one")
    check_format(rows[0][1], path)
    return [_cell(row, f"{path}:{number}") for number, row in rows[1:]]


def to_markdown(verdicts: Verdicts) -> str:
    """A summary line and a table with every row; for a pull request or `$GITHUB_STEP_SUMMARY`."""
    _, summary = outcome(verdicts, verdicts.policy)
    head = ("verdict", "task", "method", "metric", "baseline", "new", "gain", "p", "why")
    lines = [f"**{summary}**", "", _table_line(head), "|" + " --- |" * len(head)]
    for row in verdicts.rows:
        numbers = [_number(x) for x in (row.old, row.new, row.gain, row.p)]
        why = f"{row.reason} ({row.note})" if row.note else row.reason
        lines.append(_table_line((row.verdict, row.task, row.method, row.label, *numbers, why)))
    return "\n".join(lines) + "\n"


def to_junit(verdicts: Verdicts) -> str:
    """JUnit XML with one test case for each row.

    A row that fails the gate is a `failure` (an `error` where it could not be compared), so that some case
    fails exactly when the exit code is not 0. What neither fails nor is `ok` is `skipped`, with its reason.
    """
    suite = ElementTree.Element("testsuite", name="benchwright gate")
    kinds = [_junit_case(suite, row, code_of(row.verdict, verdicts.policy)) for row in verdicts.rows]
    suite.set("tests", str(len(kinds)))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(kinds.count(kind)))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def to_github(verdicts: Verdicts) -> str:
    """Workflow commands that annotate the line of the method's spec: errors for regressions, else warnings.

    Source: docs.github.com, Workflow commands for GitHub Actions; escapes as in actions/toolkit, command.ts.
    """
    levels = {"regressed": "error", "inconclusive": "warning", "incomparable": "warning"}
    lines = []
    for row in verdicts.rows:
        if level := levels.get(row.verdict):
            properties = {"title": f"{row.verdict}: {row.label}"}
            if row.file:
                properties = {"file": row.file, "line": str(row.line or 1)} | properties
            listed = ",".join(f"{k}={_escape(v, inside=True)}" for k, v in properties.items())
            message = f"{row.task} / {row.method} / {row.label}: {row.verdict}: {row.reason}"
            lines.append(f"::{level} {listed}::{_escape(message)}\n")
    return "".join(lines)


def to_json(verdicts: Verdicts) -> str:
    """Exit code, summary, policy and every row, as indented JSON with sorted keys."""
    code, summary = outcome(verdicts, verdicts.policy)
    policy = asdict(verdicts.policy) | {"fail_on": sorted(verdicts.policy.fail_on)}
    rows = [asdict(row) | {"models": dict(row.models), "at": dict(row.at)} for row in verdicts.rows]
    content = {"format": FORMAT, "exit_code": code, "summary": summary, "policy": policy, "rows": rows}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _gzip(data: bytes) -> bytes:
    """Compressed without a time or a name in the header, so that equal data have equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(data)
    return buffer.getvalue()


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RunError(f"{where}: the baseline is damaged: not JSON ({error}); write it again") from error
    if not isinstance(row, dict):
        raise RunError(f"{where}: the baseline is damaged: a JSON object is expected; write it again")
    return row


def _cell(row: Mapping[str, Any], where: str) -> Cell:
    meta = row.get("cell")
    if not isinstance(meta, dict):
        raise RunError(f"{where}: the baseline is damaged: no cell; write it again")
    missing = [k for k in REQUIRED if k not in meta]
    missing += [k for k in ("records", "items") if not isinstance(row.get(k), list)]
    if missing:
        raise RunError(f"{where}: the baseline is damaged: no {', '.join(missing)}; write it again")
    return Cell(meta, row["records"], row["items"])


def _junit_case(suite: ElementTree.Element, row: Row, code: int) -> str:
    """Append the test case of `row`; returns `failure`, `error`, `skipped` or an empty string."""
    names = {"classname": f"{row.task}.{row.method}", "name": row.label}
    place = {"file": row.file, "line": str(row.line)} if row.file else {}
    case = ElementTree.SubElement(suite, "testcase", {k: _xml(v) for k, v in (names | place).items()})
    if row.verdict == "ok":
        return ""
    kind = {0: "skipped", 1: "failure", 3: "error"}[code]
    message = _xml(f"{row.verdict}: {row.reason}")
    ElementTree.SubElement(case, kind, message=message).text = _xml(row.note)
    return kind


def _xml(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold (the colours of a traceback, say)."""
    return _NOT_XML.sub("�", text)


def _escape(text: str, inside: bool = False) -> str:
    """Text of a workflow command; `inside` its properties, `:` and `,` are special too."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if inside else text


def _table_line(values: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(v.split()).replace("|", "\\|") for v in values) + " |"


def _number(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"
