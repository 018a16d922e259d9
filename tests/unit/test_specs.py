"""extends, for_models, strict validation, places and suggestions in errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchwright.api import library, validate
from benchwright.errors import SpecError, UsageError
from benchwright.loading.resolve import identity, resolve

FT = "kind: method\nname: {name}\n{rest}"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        validate(file)
    return [str(p).removeprefix(str(file.parent) + "/") for p in caught.value.problems]


def test_a_child_takes_over_what_it_does_not_say(folder: Path) -> None:
    write(folder, "specs/a.yaml", FT.format(name="a", rest="extends: ft-m\nalgorithm: {lr: 3e-4}\n"))
    write(folder, "specs/b.yaml", FT.format(name="b", rest="extends: a\nalgorithm: {parameters: {layers: [2, 3]}}\n"))
    known = library()
    spec = resolve(known, known.get("method", "b")).spec
    assert (spec.algorithm.lr, spec.algorithm.steps, spec.algorithm.parameters.layers) == (3e-4, 25, (2, 3))
    assert spec.algorithm.parameters.module == "mlp_down"
    assert spec.title == ""


def test_for_models_is_laid_on_after_extends(folder: Path) -> None:
    rest = "extends: ft-m\nfor_models: {atlas-small: {algorithm: {steps: 3}}, other: {algorithm: {steps: 4}}}\n"
    write(folder, "specs/a.yaml", FT.format(name="a", rest=rest))
    known = library()
    steps = [
        resolve(known, known.get("method", "a"), names).spec.algorithm.steps
        for names in ((), ("atlas-small",), ("x", "other"))
    ]
    assert steps == [25, 3, 4]
    # The parent's entry for the same model stays below the child's.
    child, parent = (resolve(known, known.get("method", m), ("atlas-small",)).spec.algorithm for m in ("a", "ft-m"))
    assert child.lr == parent.lr != resolve(known, known.get("method", "ft-m")).spec.algorithm.lr


def test_a_map_whose_type_changes_is_replaced(folder: Path) -> None:
    write(folder, "specs/a.yaml", FT.format(name="a", rest="extends: ft-m\nalgorithm: {type: in_context}\n"))
    known = library()
    assert resolve(known, known.get("method", "a")).spec.algorithm.template == "{prompt} {target_new}. "


def test_an_error_in_a_parent_is_shown_in_the_parent(folder: Path) -> None:
    write(folder, "specs/a.yaml", FT.format(name="a", rest="extends: ft-m\nalgorithm: {lr: -1}\n"))
    child = write(folder, "specs/b.yaml", FT.format(name="b", rest="extends: a\n"))
    with pytest.raises(SpecError, match=r"a\.yaml:4:17: algorithm\.lr: got -1; expected: greater than 0"):
        validate(child)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("algorithm: {type: fine_tune, parameters: {layers: [1]}, lrr: 1}\n",
         "m.yaml:3:57: algorithm.lrr: unknown field; did you mean 'lr'?"),
        ("algorithm: {type: fine_tune, parameters: {layers: [1, x]}}\n",
         "m.yaml:3:55: algorithm.parameters.layers.1: got 'x'; expected: a valid integer"),
        ("algorithm: {type: fine_tun}\n", "did you mean 'fine_tune'?"),
        ("algorithm: {lr: 1}\n", "algorithm.type: missing"),
        ("algorithm: {type: fine_tune}\n", "algorithm.parameters: missing; expected: Which parameters move."),
        ("", "algorithm: missing; expected: What it does."),
        ("algorithm: {type: none}\nfidelity: faithfull\n", "did you mean 'faithful'?"),
        ("algorithm: {type: none}\nextends: rom\n", "extends: unknown method 'rom'"),
        ("extends: m\n", "cycle m -> m"),
        ("extends: 5\n", "extends: got 5; expected the name of a method"),
        ("extends: ft-m\nfor_models: [1]\n", "for_models: not a map of maps"),
        ("extends: ft-m\nfor_models: {x: {algorithm: {stepps: 1}}}\n", "did you mean 'steps'?"),
        ("algorithm: {type: in_context, template: '{promt}'}\n", "cannot be filled; known: {prompt}"),
        ("algorithm: {type: none}\ncolour: red\n", "m.yaml:4:1: colour: unknown field; expected one of"),
    ],
)  # fmt: skip
def test_problems_name_place_field_and_remedy(folder: Path, rest: str, message: str) -> None:
    file = write(folder, "m.yaml", FT.format(name="m", rest=rest))
    assert any(message in p for p in problems(file)), problems(file)


def test_a_wrong_item_gives_one_message(folder: Path) -> None:
    rest = "algorithm: {type: fine_tune, parameters: {layers: [x]}}\n"
    assert len(problems(write(folder, "m.yaml", FT.format(name="m", rest=rest)))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "not a map"),
        ("name: x\n", "kind: missing; expected one of model, task, method"),
        ("kind: metod\nname: x\n", "expected one of model, task, method, suite, reference, gate; "
         "did you mean 'method'?"),
        ("kind: method\n", "name: missing"),
        ("kind: method\nname: ft-m\nalgorithm: {type: none}\n", "name: 'ft-m' is the name of a built-in method"),
        ("kind: method\nname: Ft M\nalgorithm: {type: none}\n", "name: got 'Ft M'"),
        ("kind: suite\nname: s\nblocks: [{tasks: [atlas-smal-edit]}]\n", "did you mean 'atlas-small-edit'?"),
        ("kind: task\nname: t\nextends: atlas-small-edit\nmetrics: [reliability]\n", "unknown metric 'reliability'"),
        ("kind: task\nname: t\nextends: quickstart-grade\nprotocol: {type: edit}\n", "yields graded_image"),
        ("kind: reference\nname: r\ntask: eyeq-grading\nrows:\n- {method: m, values: {a: 1.0, b: 2.0, mean: 1.7}, "
         "source: {title: t}, aggregates: {mean: {of: [a, b], digits: 1}}}\n", "its parts have the mean 1.5"),
    ],
)  # fmt: skip
def test_problems_of_whole_specs(folder: Path, text: str, message: str) -> None:
    file = write(folder, "m.yaml", text)
    assert any(message in p for p in problems(file)), problems(file)


def test_a_long_cycle_is_named(folder: Path) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "a")):
        write(folder, f"specs/{name}.yaml", FT.format(name=name, rest=f"extends: {parent}\n"))
    with pytest.raises(SpecError, match="cycle a -> b -> c -> a"):
        validate("specs/a.yaml")


def test_all_problems_of_a_file_at_once(folder: Path) -> None:
    rest = "algorithm: {type: fine_tune, parameters: {layers: [x]}, lr: -1, typo: 1}\n"
    assert len(problems(write(folder, "m.yaml", FT.format(name="m", rest=rest)))) == 3


def test_a_broken_file_stops_only_what_needs_it(folder: Path) -> None:
    write(folder, "specs/bad.yaml", "kind: method\nname: [")
    write(folder, "specs/good.yaml", FT.format(name="good", rest="extends: ft-m\n"))
    validate("specs/good.yaml")
    with pytest.raises(UsageError, match=r"unknown method 'bad'.*\n.*bad\.yaml:3:1: not valid YAML"):
        library().get("method", "bad")


def test_the_shipped_specs_are_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert not library().broken


def test_identity_holds_what_can_change_a_result_and_nothing_else(folder: Path) -> None:
    write(
        folder, "specs/a.yaml", FT.format(name="a", rest="extends: ft-m\ntitle: X\ndescription: Y\nfidelity: variant\n")
    )
    write(folder, "specs/b.yaml", FT.format(name="b", rest="extends: ft-m\nalgorithm: {steps: 26}\n"))
    known = library()
    base, same, other = (identity(resolve(known, known.get("method", n)).spec) for n in ("ft-m", "a", "b"))
    assert base == same != other
    assert base["algorithm"]["version"] == 1


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "lr", "kind", "name", "algorithm", "parameters", "layers", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    ),
    st.sampled_from(["model", "task", "method", "suite", "reference", "gate"]),
)
def test_no_data_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, body: object, kind: str) -> None:
    import json

    file = tmp_path_factory.mktemp("spec") / "s.yaml"
    field = {
        "model": "source",
        "task": "protocol",
        "method": "algorithm",
        "suite": "blocks",
        "reference": "rows",
        "gate": "metrics",
    }
    file.write_text(f"kind: {kind}\nname: x\n{field[kind]}: {json.dumps(body)}\n", encoding="utf-8")
    try:
        validate(file)
    except SpecError as error:
        assert str(error).startswith(str(file))  # noqa: PT017 - any other exception is the failure
