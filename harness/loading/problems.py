"""Turn pydantic's errors into problems that name file, line, column, field, what is expected, and the closest name."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import Mark, Problem, closest
from .tree import Path_, Tree, dotted


def problems(error: ValidationError, tree: Tree, model: type[BaseModel]) -> list[Problem]:
    """Every error of a failed validation of `tree` against `model`, at its place in the file."""
    found = error.errors(include_url=False)
    # An item that is wrong is also counted as missing; one message about it is enough.
    inner = {d["loc"][:i] for d in found for i in range(len(d["loc"]))}
    return [_problem(d, tree, model) for d in found if d["type"] != "too_short" or d["loc"] not in inner]


def _problem(details: ErrorDetails, tree: Tree, model: type[BaseModel]) -> Problem:
    path = _path_in(tree.data, details["loc"])
    kind, context = details["type"], details.get("ctx", {})
    mark, known = _place(tree, path), _fields(model, tree.data, path[:-1])
    if kind == "extra_forbidden":
        name = str(path[-1])
        near = closest(name, known)
        expected = "" if near or not known else f"expected one of {', '.join(sorted(known))}"
        return Problem(tree.keys.get(path, mark), dotted(path), "unknown field", expected, near)
    if kind == "missing":
        meaning = known.get(str(path[-1]), "")
        return Problem(mark, dotted(path), "missing", f"expected: {meaning}" if meaning else "")
    if kind == "union_tag_invalid":
        tag, tags = str(context["tag"]), [t.strip(" '") for t in str(context["expected_tags"]).split(",")]
        path = (*path, "type")
        expected = f"expected one of {', '.join(sorted(tags))}"
        return Problem(_place(tree, path), dotted(path), f"unknown type {tag!r}", expected, closest(tag, tags))
    if kind == "union_tag_not_found":
        return Problem(mark, dotted((*path, "type")), "missing", "expected the type of this building block")
    if kind == "value_error":
        return Problem(mark, dotted(path), str(context["error"]))
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return Problem(mark, dotted(path), f"got {_short(details['input'])}", "expected: a map of fields")
    near = ""
    if kind == "literal_error":
        near = closest(details["input"], str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", "))
    return Problem(mark, dotted(path), f"got {_short(details['input'])}", _sentence(details["msg"]), near)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _sentence(message: str) -> str:
    """`Input should be greater than 0` as `expected: greater than 0`."""
    for start in ("Input should be ", "Input should have ", "String should "):
        if message.startswith(start):
            rest = message.removeprefix(start)
            return f"expected: {rest}" if not start.startswith("String") else f"expected: should {rest}"
    return message[:1].lower() + message[1:]


def _path_in(data: Any, loc: tuple[int | str, ...]) -> Path_:
    """Pydantic's location without the tags that it inserts for the branches of a union."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(data, dict) and part not in data and part == data.get("type"):
            continue
        data = _child(data, part)
        path.append(part)
    return tuple(path)


def _place(tree: Tree, path: Path_) -> Mark:
    """Where to point: a wrong entry at its value (at its key if the value is a block), a missing one at its parent."""
    if path in tree.keys:
        key, value = tree.keys[path], tree.marks.get(path, tree.keys[path])
        return value if value.file == key.file and value.line == key.line else key
    return tree.mark(path)


def _fields(model: Any, data: Any, path: Path_) -> dict[str, str]:
    """Known fields, with their descriptions, of the map at `path`; empty where the map has free keys."""
    annotation: Any = model
    for part in (*path, None):
        annotation = _choose(annotation, data)
        if part is None:
            break
        origin, arguments = get_origin(annotation), get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            info = annotation.model_fields.get(str(part))
            annotation = info.annotation if info else None
        elif origin in (list, tuple):
            annotation = arguments[0]
        elif origin is dict:
            annotation = arguments[1]
        else:
            annotation = None
        data = _child(data, part)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: " ".join((info.description or "").split()) for name, info in annotation.model_fields.items()}
    return {}


def _child(data: Any, part: str | int) -> Any:
    """The entry of a map or list, None where there is none."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _choose(annotation: Any, data: Any) -> Any:
    """Look through Annotated, Optional and tagged unions to the class that `data` selects."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    branches = [_choose(a, data) for a in get_args(annotation) if a is not type(None)]
    tag = data.get("type") if isinstance(data, dict) else None
    for branch in branches:
        info = branch.model_fields.get("type") if hasattr(branch, "model_fields") else None
        if info is not None and tag in get_args(info.annotation):
            return branch
    return branches[0] if len(branches) == 1 else None
