"""Every shipped spec: loads, resolves, round-trips, fits its committed JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from benchwright.api import library
from benchwright.components import DATA_FILE, marked
from benchwright.errors import SpecError
from benchwright.kinds import FOLDERS, KINDS
from benchwright.loading.library import SHIPPED, Entry
from benchwright.loading.resolve import check, identity, resolve, resolved_json
from benchwright.loading.schema import schema
from benchwright.plan import Options, plan
from benchwright.registry import registry

ENTRIES = sorted(library([]).entries.values(), key=lambda e: (e.kind, e.name))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}:{e.name}")
def test_every_spec(entry: Entry) -> None:
    known = library([])
    check(known, entry)
    resolved = resolve(known, entry)
    assert entry.title
    assert entry.file.relative_to(SHIPPED).parts[0] == FOLDERS[entry.kind]
    # What a worker is sent is read back as the same spec, with the same identity.
    again = registry().adapters[entry.kind].validate_json(json.dumps(resolved_json(resolved.spec)))
    assert again == resolved.spec
    assert identity(again) == identity(resolved.spec)
    committed = json.loads((SHIPPED / "schema" / f"{entry.kind}.schema.json").read_text(encoding="utf-8"))
    errors = [e.message for e in Draft202012Validator(committed).iter_errors(entry.tree.data)]
    assert not errors


@pytest.mark.parametrize("kind", KINDS)
def test_the_committed_schema_is_the_code_s(kind: str) -> None:
    committed = json.loads((SHIPPED / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(committed)
    assert committed == schema(kind), "run `make schemas`"


def test_the_schema_underlines_what_validation_refuses_and_passes_a_short_child() -> None:
    method = Draft202012Validator(schema("method"))
    assert method.is_valid({"kind": "method", "name": "a", "extends": "ft-m", "algorithm": {"lr": 1e-3}})
    assert not method.is_valid({"kind": "method", "name": "a", "algorithm": {"type": "fine_tune", "lrr": 1e-3}})
    assert not method.is_valid({"kind": "method", "name": "a", "algorithm": {"type": "fine_tune", "lr": -1}})
    assert not method.is_valid({"kind": "method", "name": "a", "for_models": {"x": {"colour": 1}}})


def test_no_data_file_is_taken_for_a_spec() -> None:
    files = [f for f in SHIPPED.rglob("*.yaml") if f.relative_to(SHIPPED).parts[0] not in ("schema", "data")]
    assert len(files) == len(ENTRIES)
    assert not library([]).broken


@pytest.mark.parametrize("suite", [e.name for e in ENTRIES if e.kind == "suite"])
def test_every_suite_that_needs_no_data_of_the_user_s_can_be_planned(suite: str) -> None:
    known = library([])
    spec = resolve(known, known.get("suite", suite)).spec
    tasks = [resolve(known, known.get("task", t)).spec for block in spec.blocks for t in block.tasks]
    theirs = [task for task in tasks if marked(type(task.data), DATA_FILE) and task.data_root is None]
    if theirs:
        assert all(task.data_help for task in theirs)
    else:
        assert plan(known, [f"suite:{suite}"], Options()).cells


def test_every_discovered_building_block_is_documented_and_reaches_the_schema() -> None:
    for group, classes in registry().components.items():
        assert classes, group
        for name, component in classes.items():
            assert component.__doc__, name
            assert isinstance(component.version, int)
            for field, info in component.model_fields.items():
                assert info.annotation is not None, (name, field)


@pytest.mark.parametrize("task", ["eyeq", "eyeq-grading"])
def test_a_reference_that_repeats_a_withdrawn_number_is_refused_with_a_note(task: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    row = "{method: M, values: {accuracy: 0.9175}, source: {title: x}}"
    file.write_text(f"kind: reference\nname: mine\ntask: {task}\nrows: [{row}]\n", encoding="utf-8")
    known = library([])
    with pytest.raises(SpecError, match=r"accuracy: 0\.9175 was withdrawn \(MCF-Net: .*corrects it to \.8800"):
        resolve(known, known.add(file))
    file.write_text(file.read_text(encoding="utf-8").replace("0.9175", "0.8800"), encoding="utf-8")
    known = library([])
    assert resolve(known, known.add(file))


def test_specs_hold_data_only() -> None:
    code = [f for f in SHIPPED.rglob("*") if f.suffix in (".py", ".sh") and f != SHIPPED / "__init__.py"]
    assert [f for f in code if "__pycache__" not in f.parts] == []
    assert Path(SHIPPED / "__init__.py").read_text(encoding="utf-8").startswith('"""')
