"""SafeEdit's files as detox cases. The texts are nonsense in the published form: nothing in them is harmful."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.detox.cases import INPUTS, DetoxCase
from benchwright.adapters.detox.sources.look_alikes import dealt, safe_prompts
from benchwright.adapters.detox.sources.params import SafeEdit
from benchwright.adapters.detox.sources.safeedit_checks import ATTACKS, QUESTIONS
from benchwright.adapters.detox.sources.safeedit_records import CATEGORIES
from benchwright.components import DATA_FILE, marked
from benchwright.errors import DataError
from benchwright.loading.resolve import identity

Data = list[dict[str, Any]]


def question(name: str) -> str:
    return f"How does one glorp a {name}?"


def attack(name: str, text: str) -> str:
    return f"Sing the song of {name}: {text}! La la, says {name}."


def record(i: int, q: str = "wibble", a: str = "ann", **change: Any) -> dict[str, Any]:
    """A record of the test file; a field changed to None is left out."""
    asked = question(q)
    whole = {
        "id": i,
        "unsafety category": "offensiveness",
        "adversarial prompt": attack(a, asked),
        "question": asked,
        "attack category": "Singing",
        "attack name": f"song {a}",
        "unsafe generation": f"Take a {q} and glorp.",
        "safe generation": "No song today.",
        "generalization test": {
            "attack_name": "another",
            "test input of only harmful question": asked,
            "test input of other attack prompt input": attack("zoe", asked),
            "test input of other question input": attack(a, question("other")),
            "test input of other questions and attack prompts": attack("zoe", question("third")),
        },
        "knowledge constrain": {"prompt": f"Name the colour {i}.", "answer": f"Colour {i}."},
    } | change
    return {k: v for k, v in whole.items() if v is not None}


def untested(i: int, q: str, a: str, **change: Any) -> dict[str, Any]:
    """A record of a training or validation file."""
    return record(i, q, a, **{"generalization test": None, **change})


def source(**fields: Any) -> SafeEdit:
    return SafeEdit(type="safeedit", file="f", **fields)


def write(folder: Path, name: str, data: Any) -> Path:
    file = folder / name
    file.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return file


def load(folder: Path, data: Data, limit: int | None = None, csv: str = "", **fields: Any) -> list[DetoxCase]:
    files = {"file": write(folder, "test.json", data)}
    if csv:
        files["over_refusal"] = write(folder, "xstest.csv", csv)
    return source(**fields).load(files, limit)


def train(folder: Path, trained: Data, tested: Data, **fields: Any) -> list[Any]:
    files = {"file": write(folder, "test.json", tested), "train": write(folder, "train.json", trained)}
    return source(train="t", **fields).training(files)


def message(folder: Path, data: Data, **fields: Any) -> str:
    """What is wrong, behind the name of the file; it repeats none of the texts."""
    with pytest.raises(DataError) as caught:
        load(folder, data, **fields)
    assert "glorp" not in str(caught.value)
    assert "Sing" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder / 'test.json'}: ")


XSTEST = "id,prompt,type,label,focus,note\n" + "".join(
    f"{i},Wave {i}?,homonyms,{'unsafe' if i % 5 == 4 else 'safe'},,\n" for i in range(10)
)


def test_a_test_record(tmp_path: Path) -> None:
    first, second = load(tmp_path, [record(7), record(8, "wobble", "bob")])
    asked = question("wibble")
    assert tuple(first.inputs) == INPUTS
    assert list(first.inputs.values()) == [
        attack("ann", asked),
        asked,
        attack("zoe", asked),
        attack("ann", question("other")),
        attack("zoe", question("third")),
    ]
    request = first.request
    assert (request.id, request.prompt, request.subject) == ("7", attack("ann", asked), asked)
    assert (request.target_new, request.target_true) == ("No song today.", "Take a wibble and glorp.")
    assert (request.relation, request.keep) == ("offensiveness", (("Name the colour 7.", "Colour 7."),))
    assert (first.attack, second.attack) == ("song ann", "song bob")
    assert first.look_alikes == first.attacked_look_alikes == ()
    assert load(tmp_path, [record(7), record(8)], limit=1) == load(tmp_path, [record(7), record(8)])[:1]


def test_lines_of_json_are_read_too(tmp_path: Path) -> None:
    lines = write(tmp_path, "a.jsonl", "\n".join(json.dumps(record(i)) for i in range(2)))
    assert [case.request.id for case in source().load({"file": lines}, None)] == ["0", "1"]


def test_questions_and_attacks_have_names_that_show_no_text(tmp_path: Path) -> None:
    unnamed = {"attack name": None}
    data = [
        record(0, "wibble", "ann", **unnamed),
        record(1, "wibble", "bob", **unnamed),
        record(2, "wobble", "ann", **unnamed),
        # The same question and attack, written otherwise.
        record(
            3,
            question="how does  one glorp a WIBBLE?",
            **{"adversarial prompt": attack("ann", "How does one glorp a wibble"), "attack name": None},
        ),
    ]
    cases = load(tmp_path, data)
    assert len({c.question for c in cases}) == 2
    assert cases[0].question == cases[1].question == cases[3].question
    assert cases[0].attack == cases[2].attack != cases[1].attack
    for case in cases:
        assert case.question.startswith("q-")
        assert len(case.question) == 10
        assert len(case.attack) == 10
    assert cases[3].request.subject == "How does one glorp a wibble"


@pytest.mark.parametrize(
    "names",
    [
        ("kind", "kind"),  # a kind of attack, not one attack
        ("one", ""),  # not always given
        ("x" * 41, "y" * 41),  # texts
    ],
)
def test_an_attack_whose_name_names_no_single_attack_is_called_by_its_digest(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    data = [
        record(i, a=a, **{"attack name": name}) for i, (a, name) in enumerate(zip(("ann", "bob"), names, strict=True))
    ]
    cases = load(tmp_path, data)
    assert cases[1].attack.startswith("a-")
    assert len({c.attack for c in cases}) == 2


def test_two_names_for_one_attack_are_none(tmp_path: Path) -> None:
    cases = load(tmp_path, [record(0, **{"attack name": "one"}), record(1, "wobble", **{"attack name": "two"})])
    assert cases[0].attack == cases[1].attack
    assert cases[0].attack.startswith("a-")


def test_a_validation_file_has_no_generalization_tests(tmp_path: Path) -> None:
    cases = load(tmp_path, [untested(0, "wibble", "ann"), untested(1, "wobble", "ann")])
    assert dict(cases[1].inputs) == {"ds": attack("ann", question("wobble")), "only_q": question("wobble")}


TESTS = record(0)["generalization test"]
OTHER_Q, OTHER_AQ = "test input of other question input", "test input of other questions and attack prompts"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"id": 0}, "record 1 (of 2, from 0): id: expected one of its own, got '0' as in record 0 (of 2, from 0)"),
        ({"id": None}, "record 1 (of 2, from 0): id: expected a whole number or a text, got None"),
        ({"id": True}, "id: expected a whole number or a text, got True"),
        ({"question": None}, "record 1 (of 2, from 0): question: expected a text, it is missing"),
        ({"question": 4}, "question: expected a text, got 4; put it in quotes"),
        ({"adversarial prompt": " "}, "adversarial prompt: expected a text, got ' '"),
        ({"adversarial prompt": attack("ann", question("wobble"))},
         "record 1 (of 2, from 0): adversarial prompt: expected the record's `question` inside an attack"),
        ({"adversarial prompt": question("wibble")}, "expected the record's `question` inside an attack"),
        ({"safe generation": None}, "safe generation: expected a text, it is missing"),
        ({"unsafe generation": ""}, "unsafe generation: expected a text, got ''"),
        ({"attack name": 3}, "attack name: expected a text, got 3"),
        ({"knowledge constrain": None}, "knowledge constrain: expected a map, it is missing"),
        ({"knowledge constrain": {"prompt": "p"}},
         "record 1 (of 2, from 0): knowledge constrain: answer: expected a text, it is missing"),
        ({"generalization test": None}, "record 1 (of 2, from 0): generalization test: expected a map, it is missing"),
        ({"generalization test": {**TESTS, OTHER_AQ: None}},
         f"record 1 (of 2, from 0): generalization test: {OTHER_AQ}: expected a text, got None"),
        ({"generalization test": {**TESTS, OTHER_Q: attack("ann", question("wibble")).upper()}},
         f"generalization test: {OTHER_Q}: expected a prompt of its own, it is that of `adversarial prompt`"),
        ({"generalization test": {**TESTS, OTHER_AQ: TESTS[OTHER_Q]}},
         f"{OTHER_AQ}: expected a prompt of its own, it is that of `{OTHER_Q}`"),
        ({"unsafety category": "pornografy"}, "got 'pornografy'; did you mean 'pornography'?"),
        ({"unsafety category": "weather"}, "one of SafeEdit's nine, got 'weather'; known: offensiveness, bias"),
        ({"unsafety category": "physical and mental harm"}, "expected one of SafeEdit's nine"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_record_and_field(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in message(tmp_path, [record(0), record(1, **change)])


def test_no_list_of_records(tmp_path: Path) -> None:
    file = write(tmp_path, "test.json", "[3]")
    with pytest.raises(DataError, match=r"record 0 \(of 1, from 0\): \(all\): expected a map, got 3"):
        source().load({"file": file}, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Offensiveness", "offensiveness"), ("unfairness & bias", "bias"), ("Ethics_and_morality", "ethics")],
)
def test_a_category_may_have_a_longer_name(tmp_path: Path, name: str, expected: str) -> None:
    assert load(tmp_path, [record(0, **{"unsafety category": name})])[0].request.relation == expected


def test_look_alikes_are_dealt_evenly_and_alone_and_attacked(tmp_path: Path) -> None:
    data = [record(i, f"w{i}", a) for i, a in enumerate(("ann", "bob", "cy"))]
    cases = load(tmp_path, data, csv=XSTEST)
    safe = {f"Wave {i}?" for i in range(10) if i % 5 != 4}
    assert [len(c.look_alikes) for c in cases] == [3, 3, 3]
    times = Counter(text for c in cases for text in c.look_alikes)
    assert set(times) == safe
    assert set(times.values()) == {1, 2}
    for case, name in zip(cases, ("ann", "bob", "cy"), strict=True):
        assert case.attacked_look_alikes == tuple(attack(name, text) for text in case.look_alikes)
        assert len(set(case.look_alikes)) == 3
    # The limit changes nothing, and neither does the order of the prompts' file.
    assert load(tmp_path, data, limit=2, csv=XSTEST) == cases[:2]
    head, *rows = XSTEST.splitlines()
    assert load(tmp_path, data, csv="\n".join([head, *reversed(rows)])) == cases


def test_an_attack_that_asks_twice_is_put_around_a_look_alike_twice(tmp_path: Path) -> None:
    asked = question("wibble")
    (case,) = load(
        tmp_path, [record(0, **{"adversarial prompt": f"1 {asked} 2 {asked} 3"})], csv="prompt,label\nhi?,safe\n"
    )
    assert case.attacked_look_alikes == ("1 hi? 2 hi? 3",)
    assert case.request.subject == asked


def test_many_cases_share_few_look_alikes_evenly() -> None:
    hands = dealt([f"t{i}" for i in range(250)], [()] * 1350, "look-alike")
    assert {len(hand) for hand in hands} == {1}
    assert set(Counter(text for hand in hands for text in hand).values()) == {5, 6}
    assert [h for h in dealt(["a"], [("a",), ()], "s")] == [(), ()]
    assert dealt([], [(), ()], "s") == [(), ()]
    assert dealt(["a"], [], "s") == []


def test_instructions_are_those_of_other_cases(tmp_path: Path) -> None:
    cases = load(tmp_path, [record(i, f"w{i}") for i in range(7)])
    assert all(len(case.instructions) == 1 for case in cases)
    for case in cases:
        assert case.request.keep[0][0] not in case.instructions
    assert max(Counter(text for case in cases for text in case.instructions).values()) <= 2
    same = {"knowledge constrain": {"prompt": "p", "answer": "a"}}
    assert [c.instructions for c in load(tmp_path, [record(0, **same), record(1, **same)])] == [(), ()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompt,note\nx,y\n", "line 1: expected the columns prompt and label (or type)"),
        ("prompt,label\nx,save\n", "line 2: label: expected safe or unsafe, got 'save'"),
        ("prompt,label\nx,safe\n,safe\n", "line 3: prompt: expected a text, it is empty"),
        ("prompt,label\nx,unsafe\n", "no prompt is safe"),
        ("", "line 1: expected the columns"),
    ],
)
def test_what_is_wrong_with_look_alikes(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        safe_prompts(write(tmp_path, "x.csv", text))
    assert expected in str(caught.value)


def test_look_alikes_without_labels_are_known_by_their_type(tmp_path: Path) -> None:
    text = '\ufeffid,type,prompt\n1,homonyms,"Wave, please"\n2,contrast_homonyms,Stop\n'
    assert safe_prompts(write(tmp_path, "x.csv", text)) == ["Wave, please"]


def split(name: str, first: int = 0) -> Data:
    """A file as large as published: questions of each category, each under the same fifteen attacks."""
    make = record if name == "test" else untested
    pairs = [(c, q, a) for c in CATEGORIES for q in range(QUESTIONS[name]) for a in range(ATTACKS)]
    return [
        make(i, f"{c}-{first + q}", f"a{first + a}", **{"unsafety category": c}) for i, (c, q, a) in enumerate(pairs)
    ]


def test_published_counts(tmp_path: Path) -> None:
    test = split("test")
    cases = load(tmp_path, test, counts="published", csv=XSTEST)
    assert (len(cases), len({c.question for c in cases}), len({c.attack for c in cases})) == (1350, 90, 15)
    assert len(load(tmp_path, split("validation"), counts="published")) == 2700
    assert len(train(tmp_path, split("train", first=50), test, counts="published")) == 4050 + 270
    assert message(tmp_path, test[1:], counts="published") == (
        "expected 1350 (test) or 2700 (validation) records, as published, got 1349"
    )
    wrong = [*test[:-1], record(9999, "new", "a14", **{"unsafety category": "political"})]
    assert message(tmp_path, wrong, counts="published") == (
        "questions of political: expected 10, as published for the test split, got 11"
    )
    wrong = [*test[:-1], record(9999, "political-9", "a15", **{"unsafety category": "political"})]
    assert "attacks: expected 15, as published for the test split, got 16" in message(
        tmp_path, wrong, counts="published"
    )
    wrong = [*test[:-1], record(9999, "political-9", "a13", **{"unsafety category": "political"})]
    assert "attacks around question q-" in message(tmp_path, wrong, counts="published")
    with pytest.raises(DataError, match=r"train\.json: expected 4050 \(train\) or 2700 \(validation\) records"):
        train(tmp_path, [untested(0, "new", "new")], test, counts="published")


def test_training_requests(tmp_path: Path) -> None:
    trained = [untested(i, q, a) for i, (q, a) in enumerate((("x", "dan"), ("x", "eve"), ("y", "dan")))]
    requests = train(tmp_path, trained, [record(0)])
    prompts = [attack("dan", question("x")), question("x"), attack("eve", question("x")),
               attack("dan", question("y")), question("y")]  # fmt: skip
    assert [r.prompt for r in requests] == prompts
    assert [r.id for r in requests] == ["train-0", "train-0-question", "train-1", "train-2", "train-2-question"]
    assert {r.target_new for r in requests} == {"No song today."}
    assert [r.target_true for r in requests] == ["Take a x and glorp."] * 3 + ["Take a y and glorp."] * 2
    assert [len(r.keep) for r in requests] == [1, 0, 1, 1, 0]
    assert {r.relation for r in requests} == {"offensiveness"}
    assert source().training({"file": write(tmp_path, "test.json", [record(0)])}) == []


OVERLAPS = {
    "its question q-": untested(1, "wibble", "eve"),
    "its question": untested(1, "third", "eve"),  # asked as another question only
    "its attack a-": untested(1, "y", "ann", **{"attack name": "by another name"}),
    "its attack": untested(1, "y", "zoe"),  # used as another attack only
}


@pytest.mark.parametrize("why", OVERLAPS)
def test_training_and_test_are_apart(tmp_path: Path, why: str) -> None:
    good = untested(0, "x", "dan")
    trained, tested = [good, OVERLAPS[why]], [record(0, "else"), record(5)]
    with pytest.raises(DataError) as caught:
        train(tmp_path, trained, tested)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'train.json'}: record 1 (of 2, from 0): {why}")
    assert "of 2, from 0) of " in text
    assert text.endswith("`overlap: leave_out` leaves such records out")
    assert "glorp" not in text
    left = train(tmp_path, trained, tested, overlap="leave_out")
    assert [r.id for r in left] == ["train-0", "train-0-question"]
    with pytest.raises(DataError, match="every record shares its question or its attack with"):
        train(tmp_path, [OVERLAPS[why]], tested, overlap="leave_out")


def single(i: int, q: str, a: str = "", **change: Any) -> dict[str, Any]:
    asked = question(q)
    return {
        "id": i,
        "unsafety category": CATEGORIES[i % 9],
        "question": asked,
        "attack name": f"song {a}" if a else "None",
        "malicious input": attack(a, asked) if a else asked,
    } | change


def test_all_inputs_are_cases_of_one_input(tmp_path: Path) -> None:
    alone, attacked = load(tmp_path, [single(0, "x"), single(1, "x", "ann")], layout="all", csv=XSTEST)
    assert dict(alone.inputs) == {"only_q": question("x")}
    assert dict(attacked.inputs) == {"other_aq": attack("ann", question("x"))}
    assert (alone.attack, attacked.attack, alone.question) == ("none", "song ann", attacked.question)
    assert (alone.request.target_new, alone.request.target_true) == ("", None)
    assert (attacked.request.id, attacked.request.relation) == ("1", "bias")
    assert (len(alone.look_alikes), alone.attacked_look_alikes) == (4, ())
    assert attacked.attacked_look_alikes == tuple(attack("ann", text) for text in attacked.look_alikes)
    assert alone.instructions == ()
    with pytest.raises(DataError, match=r"its question q-.* is asked in record 0"):
        train(tmp_path, [untested(0, "x", "dan")], [single(0, "x")], layout="all")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"malicious input": None}, "malicious input: expected a text, got None"),
        ({"malicious input": "Good day."}, "malicious input: expected the record's `question`, alone or in an attack"),
        ({"attack name": "song"}, "attack name: expected 'None', since its input is the question alone"),
        (
            {"malicious input": attack("ann", question("x"))},
            "attack name: expected an attack's, since its input has one",
        ),
    ],
)
def test_what_is_wrong_with_single_inputs(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert f"record 1 (of 2, from 0): {expected}" in message(
        tmp_path, [single(0, "y"), single(1, "x", **change)], layout="all"
    )


def test_published_counts_of_all_inputs(tmp_path: Path) -> None:
    plain = [single(i, f"w{i}") for i in range(135)]
    attacked = [single(135 + i, f"w{i % 135}", f"a{i % 15}") for i in range(405)]
    assert len(load(tmp_path, plain + attacked, layout="all", counts="published")) == 540
    for data, expected in (
        (plain, "records: expected 540, as published, got 135"),
        (plain + [single(135 + i, f"w{i}", f"a{i % 14}") for i in range(405)], "attacks: expected 15"),
        (plain + [single(135 + i, f"w{i}") for i in range(405)], "attacks: expected 15, as published, got 0"),
        ([single(i, f"w{i}", f"a{i % 15}") for i in range(540)], "kinds of input: expected 2, as published, got 1"),
        ([r | {"unsafety category": "bias"} for r in plain + attacked], "categories: expected 9, as published, got 1"),
    ):
        assert expected in message(tmp_path, data, layout="all", counts="published")


def test_what_a_spec_can_say() -> None:
    assert marked(SafeEdit, DATA_FILE) == ["file", "train", "over_refusal"]
    assert SafeEdit.gated
    shown = {"type": "safeedit", "version": 1}
    assert identity(source()) == identity(source(train="t", over_refusal="x")) == shown
    assert identity(source(layout="all")) == {**shown, "layout": "all"}
