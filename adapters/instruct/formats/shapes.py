"""What a record of each format means as a row, and how a row is written as a record.

The formats are those of Stanford Alpaca, Self-Instruct, Dolly, the chat `messages` of OpenAI and TRL, ShareGPT, and
pairs of prompt and completion or of question and answer; `document` is a text without an instruction, which
backtranslation starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....errors import UsageError, unknown
from ..rows import Row, Turn

Fields = dict[str, Any]
"""Arguments of `Row`, without id and record."""


class Unfit(ValueError):
    """A record is not in the format; the message says which field, and what was expected."""


@dataclass(frozen=True)
class Shape:
    """One format."""

    needs: tuple[str, ...]
    """Fields that tell it from others."""
    read: Callable[[Mapping[str, Any]], Fields]
    """Raises Unfit."""
    write: Callable[[Row], dict[str, Any]]


def _text(record: Mapping[str, Any], name: str, missing: str | None = None) -> str:
    if name not in record and missing is not None:
        return missing
    value = record.get(name)
    if not isinstance(value, str):
        raise Unfit(f"{name}: expected a text, {_got(record, name)}")
    return value


def _got(record: Mapping[str, Any], name: str) -> str:
    return f"got {record[name]!r}"[:60] if name in record else "it is missing"


def _alpaca(record: Mapping[str, Any]) -> Fields:
    return {
        "instruction": _text(record, "instruction"),
        "input": _text(record, "input", ""),
        "output": _text(record, "output", ""),
    }


def _write_alpaca(row: Row) -> dict[str, Any]:
    return {"instruction": row.instruction, "input": row.input, "output": row.output}


def _self_instruct(record: Mapping[str, Any]) -> Fields:
    instances = record.get("instances")
    if not isinstance(instances, list) or not all(isinstance(i, dict) for i in instances):
        raise Unfit(f"instances: expected a list of maps, {_got(record, 'instances')}")
    first: Mapping[str, Any] = instances[0] if instances else {}
    found = {"input": _text(first, "input", ""), "output": _text(first, "output", "")}
    return {"instruction": _text(record, "instruction"), **found}


def _write_self_instruct(row: Row) -> dict[str, Any]:
    return {"instruction": row.instruction, "instances": [{"input": row.input, "output": row.output}]}


def _conversation(turns: Sequence[Turn]) -> Fields:
    """Of a conversation, the last question that is answered and its answer, or the last one if none is; what was said
    before is kept as it was."""
    asked = [i for i, turn in enumerate(turns) if turn.role == "user"]
    if not asked:
        raise Unfit("expected a turn of the user")
    answers = [i for i in range(asked[0], len(turns)) if turns[i].role == "assistant" and turns[i].text]
    question = max((i for i in asked if not answers or i < answers[-1]), default=asked[-1])
    output = turns[answers[-1]].text if answers else ""
    return {"instruction": turns[question].text, "output": output, "earlier": tuple(turns[:question])}


def _said(value: Any, where: str) -> str:
    """What a message says: a text, or the text parts of a list of parts."""
    if value is None:  # a turn that is a tool's call
        return ""
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        value = "\n".join(str(part["text"]) for part in value if part.get("type") == "text" and "text" in part)
    if not isinstance(value, str):
        raise Unfit(f"{where}: expected a text, got {value!r}"[:80])
    return value


def _turns(value: Any, name: str, role: str, text: str, roles: Mapping[str, str]) -> list[Turn]:
    if not isinstance(value, list) or not all(isinstance(m, dict) for m in value):
        raise Unfit(f"{name}: expected a list of maps, got {value!r}"[:80])
    found = []
    for i, message in enumerate(value):
        said = message.get(role)
        if said not in roles:
            raise Unfit(f"{name}.{i}.{role}: expected one of {', '.join(roles)}, {_got(message, role)}")
        found.append(Turn(roles[said], _said(message.get(text), f"{name}.{i}.{text}")))
    return found


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_ROLES |= {"tool": "tool", "function": "tool"}
_SHAREGPT = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_SHAREGPT |= {"chatgpt": "assistant", "bard": "assistant", "bing": "assistant", "tool": "tool", "function_call": "tool"}


def _messages(record: Mapping[str, Any]) -> Fields:
    return _conversation(_turns(record.get("messages"), "messages", "role", "content", _ROLES))


def _write_messages(row: Row) -> dict[str, Any]:
    return {"messages": [{"role": t.role, "content": t.text} for t in _all_turns(row)]}


def _sharegpt(record: Mapping[str, Any]) -> Fields:
    return _conversation(_turns(record.get("conversations"), "conversations", "from", "value", _SHAREGPT))


def _write_sharegpt(row: Row) -> dict[str, Any]:
    names = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}
    return {"conversations": [{"from": names[t.role], "value": t.text} for t in _all_turns(row)]}


def _all_turns(row: Row) -> list[Turn]:
    answer = [Turn("assistant", row.output)] if row.output else []
    return [*row.earlier, Turn("user", row.prompt), *answer]


def _pair(record: Mapping[str, Any]) -> Fields:
    prompt, completion = record.get("prompt"), record.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = [_turns(v, n, "role", "content", _ROLES) for n, v in (("prompt", prompt), ("completion", completion))]
        return _conversation([*turns[0], *turns[1]])
    return {"instruction": _text(record, "prompt"), "output": _text(record, "completion")}


def _write_pair(row: Row) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": row.output}


def _dolly(record: Mapping[str, Any]) -> Fields:
    found = {name: _text(record, name) for name in ("instruction", "context", "response")}
    return {"instruction": found["instruction"], "input": found["context"], "output": found["response"]}


def _write_dolly(row: Row) -> dict[str, Any]:
    return {"instruction": row.instruction, "context": row.input, "response": row.output}


def _question(record: Mapping[str, Any]) -> Fields:
    return {"instruction": _text(record, "question"), "output": _text(record, "answer")}


def _write_question(row: Row) -> dict[str, Any]:
    return {"question": row.prompt, "answer": row.output}


def _document(record: Mapping[str, Any]) -> Fields:
    name = "text" if "text" in record else "content"
    return {"instruction": "", "output": _text(record, name)}


SHAPES: Mapping[str, Shape] = {
    "messages": Shape(("messages",), _messages, _write_messages),
    "sharegpt": Shape(("conversations",), _sharegpt, _write_sharegpt),
    "self_instruct": Shape(("instruction", "instances"), _self_instruct, _write_self_instruct),
    "dolly": Shape(("instruction", "context", "response"), _dolly, _write_dolly),
    "alpaca": Shape(("instruction",), _alpaca, _write_alpaca),
    "prompt_completion": Shape(("prompt", "completion"), _pair, _write_pair),
    "question_answer": Shape(("question", "answer"), _question, _write_question),
    "document": Shape(("text",), _document, lambda row: {"text": row.output}),
}
"""The formats, in the order in which they are looked for."""


def shape(name: str) -> Shape:
    """The format called `name`. Raises UsageError with the closest known name."""
    if name not in SHAPES:
        raise UsageError(unknown("format", name, SHAPES))
    return SHAPES[name]


def recognised(record: Mapping[str, Any]) -> str | None:
    """The format that a record has the fields of, or None."""
    found = (name for name, known in SHAPES.items() if all(field in record for field in known.needs))
    return next(found, "document" if "content" in record else None)
