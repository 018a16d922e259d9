"""A field that has its default is no part of a cell's identity; so a default must not change under a version.

When this test fails because a default was changed, raise the block's `version` and write the snapshot again:
`python tests/contract/test_defaults.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from benchwright.components import DATA_FILE, NOT_IDENTITY, Algorithm, DataFile, Strict, marked
from benchwright.loading.resolve import _marked_fields, identity
from benchwright.registry import registry

SNAPSHOT = Path(__file__).parents[1] / "data" / "defaults.json"


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Defaults of the fields that can change a result, those of nested models included."""
    found = {}
    for name, info in model.model_fields.items():
        if name in marked(model, NOT_IDENTITY) or name in marked(model, DATA_FILE):
            continue
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found |= {f"{name}.{k}": v for k, v in defaults(info.annotation).items()}
        if not info.is_required():
            found[name] = to_jsonable_python(info.get_default(call_default_factory=True, validated_data={}))
    return found


def snapshot() -> dict[str, Any]:
    blocks = registry().components
    return json.loads(
        json.dumps(
            {
                f"{group}.{name} version {block.version}": defaults(block)
                for group in sorted(blocks)
                for name, block in sorted(blocks[group].items())
                if block.__module__.startswith("benchwright.")
            }
        )
    )


def test_no_default_changed_under_its_version() -> None:
    committed, now = json.loads(SNAPSHOT.read_text(encoding="utf-8")), snapshot()
    for block, values in committed.items():
        for field, value in values.items():
            if block in now:
                assert now[block].get(field, value) == value, f"{block}: {field}: raise the version"
    assert now == committed, "a block or a field is new: write the snapshot again (see the module)"


class Inner(Strict):
    files: tuple[DataFile, ...] = ()


class Sample(Algorithm):
    type: Literal["sample"]
    one: DataFile | None = None
    inner: Inner = Inner()
    named: dict[str, DataFile] = {}  # noqa: RUF012 - pydantic copies it
    steps: int = 3


def test_data_files_are_found_wherever_they_are_and_no_name_is_identity() -> None:
    sample = Sample(type="sample", one="a", inner=Inner(files=("b", "c")), named={"k": "d"})
    found = dict(_marked_fields(sample, (), DATA_FILE))
    assert found == {("one",): "a", ("inner", "files", 0): "b", ("inner", "files", 1): "c", ("named", "k"): "d"}
    assert not {"a", "b", "c", "d"} & set(json.dumps(identity(sample)).replace('"', " ").split())


def test_what_has_its_default_is_no_identity() -> None:
    assert identity(Sample(type="sample", steps=3)) == identity(Sample(type="sample"))
    assert identity(Sample(type="sample", steps=4))["steps"] == 4


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(snapshot(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
