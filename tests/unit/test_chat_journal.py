"""What was paid for is kept: across kills, torn lines and processes; and asked for once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from chat_fixtures import Says, ask, serving

from benchwright.adapters.chat.asking import Account, Asking
from benchwright.adapters.chat.journal import Journal
from benchwright.adapters.chat.params import Prices, Replayed
from benchwright.adapters.chat.requests import Reply, Request, failed
from benchwright.adapters.chat.structured import json_values
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.digests import FileDigests
from benchwright.errors import DataError, ModelError, RunError


@dataclass
class Model:
    """Says the last message back, in upper case, and remembers what it was asked."""

    fingerprint: str = "model"
    prices: Prices | None = None
    replies: dict[str, Reply] = field(default_factory=dict)
    """Others, by the last message; taken once."""
    asked: list[str] = field(default_factory=list)
    paid: bool = True

    def started(self) -> Model:
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for i, request in reversed(list(enumerate(requests))):
            self.asked.append(request.last)
            yield i, self.replies.pop(request.last, Reply(request.last.upper(), "stop", 10, 2, latency_s=0.5))

    def verify(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


def texts(replies: Sequence[Reply]) -> list[str]:
    return [reply.text for reply in replies]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "below" / "journal.jsonl")


def test_a_second_run_asks_only_for_what_is_missing(journal: Journal) -> None:
    prices = Prices(input_per_million=1.0, output_per_million=2.0)
    model = Model(prices=prices, replies={"b": failed("http 500: oh", retries=3)})
    first = Asking(model, journal)
    replies = first.ask([ask("a"), ask("b"), ask("a", purpose="other"), ask("c")])
    assert texts(replies) == ["A", "", "A", "C"]
    assert model.asked == ["c", "b", "a"]
    assert first.account == Account(4, 1, 3, {"http 500": 1}, 20, 4, 28e-6, 0.0, "USD")
    second = Asking(model, Journal(journal.file))
    again = second.ask([ask("a"), ask("b"), ask("c"), ask("a", sample=1)])
    assert texts(again) == ["A", "B", "C", "A"]
    assert model.asked[3:] == ["a", "b"]
    assert [r.from_journal for r in again] == [True, False, True, False]
    assert second.account == Account(4, 2, 0, {}, 20, 4, 28e-6, 28e-6, "USD")
    assert again[0] == replace(replies[0], from_journal=True)


def test_a_reply_is_journaled_before_it_is_handed_on(journal: Journal) -> None:
    """What progress is told of is on the disk already."""
    lines: list[int] = []
    Asking(Model(), journal, lambda account: lines.append(len(journal.file.read_bytes().splitlines()))).ask(
        [ask("a"), ask("b")]
    )
    assert lines == [1, 2]


def test_what_a_line_says(journal: Journal) -> None:
    request = ask("a", purpose="score")
    reply = Reply('ü "\n\ud800 \u2028', "length", 5, None, 0.25, 1.5, logprobs={"1": -0.5}, retries=2)
    journal.add("m", request, reply)
    (line,) = journal.file.read_text(encoding="ascii").splitlines()
    kept = {"text": reply.text, "finish_reason": "length", "prompt_tokens": 5, "completion_tokens": None}
    kept |= {"cost": 0.25, "latency_s": 1.5, "logprobs": {"1": -0.5}, "contains": None}
    assert json.loads(line) == {"model": "m", "key": request.key, "purpose": "score", "reply": kept}
    assert Journal(journal.file).get("m", request.key) == replace(reply, retries=0, from_journal=True)
    assert journal.get("other", request.key) is None
    assert journal.get("m", ask("b").key) is None


def test_a_reply_that_was_of_no_use_is_asked_for_again(journal: Journal) -> None:
    journal.add("m", ask("a"), Reply("nonsense"))
    journal.add("m", ask("b"), Reply("B"))
    journal.forget("m", ask("a"))
    for reader in (journal, Journal(journal.file)):
        assert reader.get("m", ask("a").key) is None
        assert reader.get("m", ask("b").key) is not None
    journal.add("m", ask("a"), Reply("A"))
    for reader in (journal, Journal(journal.file)):
        assert (found := reader.get("m", ask("a").key)) is not None
        assert found.text == "A"


@pytest.mark.parametrize("torn", [1, 40, 100_000])
def test_a_torn_last_line_is_no_reply_and_goes_with_the_next(journal: Journal, torn: int) -> None:
    journal.add("m", ask("a"), Reply("A"))
    whole = journal.file.read_bytes()
    with journal.file.open("ab") as stream:
        stream.write((whole[:-1] + b"x" * torn)[:torn])
    fresh = Journal(journal.file)
    assert fresh.get("m", ask("a").key) is not None
    fresh.add("m", ask("b"), Reply("B"))
    assert fresh.file.read_bytes().startswith(whole + b'{"model"')
    assert [json.loads(line)["reply"]["text"] for line in fresh.file.read_bytes().splitlines()] == ["A", "B"]
    assert [r and r.text for r in (fresh.get("m", ask(t).key) for t in "abc")] == ["A", "B", None]


def test_a_file_that_is_torn_from_its_beginning(journal: Journal) -> None:
    journal.file.parent.mkdir()
    journal.file.write_bytes(b'{"model": "m", "ke')
    assert journal.get("m", ask("a").key) is None
    journal.add("m", ask("a"), Reply("A"))
    assert len(journal.file.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("line", ['{"model": "m"}', "nonsense", "[]", '{"model": "m", "key": "xy", "reply": {}}', ""])
def test_a_line_that_is_none_is_named(journal: Journal, line: str) -> None:
    journal.add("m", ask("a"), Reply("A"))
    with journal.file.open("a") as stream:
        stream.write(line + "\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"journal\.jsonl: line 2: not a line of a journal"):
            Journal(journal.file).get("m", ask("b").key)


def test_the_first_reply_to_a_request_stays_the_reply(journal: Journal) -> None:
    other = Journal(journal.file)
    journal.add("m", ask("a"), Reply("first"))
    other.add("m", ask("a"), Reply("second"))
    for one in (journal, other, Journal(journal.file)):
        found = one.get("m", ask("a").key)
        assert found is not None
        assert found.text == "first"


def test_a_journal_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="journal of replies cannot be written"):
        Journal(tmp_path / "file" / "journal.jsonl").add("m", ask("a"), Reply("A"))
    with pytest.raises(RunError, match="journal of replies cannot be read"):
        Asking(Model(), Journal(tmp_path / "file" / "journal.jsonl")).ask([ask("a")])


def test_a_full_disk_leaves_no_half_of_a_line(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.add("m", ask("a"), Reply("A"))
    before = journal.file.read_bytes()
    from benchwright.adapters.chat import journal as module

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        journal.add("m", ask("b"), Reply("B"))
    assert journal.file.read_bytes() == before


def test_processes_may_add_at_once(journal: Journal) -> None:
    program = """
        import sys; from pathlib import Path
        from benchwright.adapters.chat.journal import Journal
        from benchwright.adapters.chat.requests import Reply, Request
        journal = Journal(Path(sys.argv[1]))
        for i in range(30):
            journal.add("m", Request((("user", f"{sys.argv[2]} {i}"),)), Reply(sys.argv[2] * 5000))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(journal.file)]
    workers = [subprocess.Popen([*command, name]) for name in "xy"]
    assert [worker.wait() for worker in workers] == [0, 0]
    found = [journal.get("m", ask(f"{name} {i}").key) for name in "xy" for i in range(30)]
    assert [r and r.text for r in found] == [name * 5000 for name in "xy" for _ in range(30)]
    assert len(journal.file.read_bytes().splitlines()) == 60


_RUN = """
    import sys; from pathlib import Path
    from benchwright.adapters.chat.asking import Asking
    from benchwright.adapters.chat.journal import Journal
    from benchwright.adapters.chat.params import OpenAI
    from benchwright.adapters.chat.requests import Request
    from benchwright.artifacts import ArtifactStore
    from benchwright.components import Opening
    spec = OpenAI(type="openai", model="m", base_url=sys.argv[1], concurrency=1)
    endpoint = spec.open(Opening("cpu", "float32", 1, "weights", ArtifactStore(Path("nowhere"))))
    asking = Asking(endpoint, Journal(Path(sys.argv[2])))
    print([r.text for r in asking.ask([Request((("user", str(i)),)) for i in range(8)])], asking.account.from_journal)
"""


def test_a_run_that_was_killed_pays_for_nothing_twice(journal: Journal) -> None:
    running: list[subprocess.Popen[str]] = []

    def says(body: dict[str, Any], number: int) -> Says:
        if number == 4:
            os.kill(running[0].pid, signal.SIGKILL)
            running[0].wait()
        return Says(body["messages"][0]["content"] + "!")

    with serving(says) as server:
        command = [sys.executable, "-c", textwrap.dedent(_RUN), server.url, str(journal.file)]
        running.append(subprocess.Popen(command, text=True, stdout=subprocess.PIPE))
        running[0].communicate()
        assert running[0].returncode == -signal.SIGKILL
        assert len(journal.file.read_bytes().splitlines()) == 4
        second = subprocess.run(command, text=True, capture_output=True, check=True)
    assert second.stdout.strip() == f"{[f'{i}!' for i in range(8)]} 4"
    # The fifth never got its answer, so it is asked twice and paid once; no other is.
    assert [b["messages"][0]["content"] for b in server.bodies] == ["0", "1", "2", "3", "4", "4", "5", "6", "7"]


def test_replay_says_what_was_said_and_nothing_else(journal: Journal) -> None:
    Asking(Model("one"), journal).ask([ask("a"), ask("b")])
    opening = Opening("cpu", "float32", 1, "w", ArtifactStore(Path("nowhere")))
    source = Replayed(type="replay", journal=str(journal.file))
    size = journal.file.stat().st_size
    asking = Asking(source.open(opening), journal)
    assert texts(asking.ask([ask("b"), ask("a")])) == ["B", "A"]
    assert (asking.account.from_journal, asking.account.prompt_tokens) == (2, 0)
    with pytest.raises(ModelError, match=f"no reply to the request {ask('c').key} with the purpose 'score'.*'c'"):
        asking.ask([ask("c", purpose="score")])
    assert journal.file.stat().st_size == size
    before = source.fingerprint(FileDigests(Path("none")).of)
    Asking(Model("two"), journal).ask([ask("a")])
    assert source.fingerprint(FileDigests(Path("none")).of) != before
    with pytest.raises(ModelError, match="2 models; say whose with `model`: one, two"):
        source.open(opening)
    assert texts(Asking(source.model_copy(update={"model": "two"}).open(opening)).ask([ask("a")])) == ["A"]
    with pytest.raises(ModelError, match="no replies of the model 'three'"):
        source.model_copy(update={"model": "three"}).open(opening)
    with pytest.raises(DataError, match="no such journal"):
        Replayed(type="replay", journal="nowhere.jsonl").open(opening)


_SCORE = {"type": "object", "properties": {"score": {"type": "integer", "maximum": 5}}, "required": ["score"]}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ('{"score": 4}', 4),
        ('Sure! Here:\n```json\n{"score": 4}\n```\nAnything else?', 4),
        ('As asked in [1], {curly} first: {"score": 4}', 4),
        ('{"score": 4} and then {"score": 5}', 4),
        ('{"score": 9} no, {"score": 3}', 3),
    ],
)
def test_a_value_is_found_whatever_stands_around(said: str, value: int) -> None:
    model = Model(replies={"rate": Reply(said)})
    (answer,) = Asking(model).structured([ask("rate", schema=_SCORE)])
    assert (answer.value, answer.wrong) == ({"score": value}, "")
    assert model.asked == ["rate"]


def test_what_breaks_the_schema_is_asked_for_once_more_with_the_reason(journal: Journal) -> None:
    bad = {"x": '{"score": 9}', "y": "I cannot", "z": "", "cut": '{"score": 1'}
    replies = {name: Reply(text, "length" if name == "cut" else "stop") for name, text in bad.items()}
    model = Model(replies={**replies, "down": failed("timeout: no"), "fine": Reply('{"score": 1}')})
    asking = Asking(model, journal)
    requests = [ask(name, schema=_SCORE) for name in ("x", "y", "z", "cut", "down", "fine")]

    seen: list[Request] = []
    answer = model.answer

    def second(asked: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        seen.extend(asked)
        for i, reply in answer(asked):
            again = len(asked[i].messages) == 3
            yield i, Reply('{"score": 2}' if "9" in asked[i].messages[1][1] else "no", "stop", 1, 1) if again else reply

    model.answer = second  # type: ignore[method-assign]
    found = asking.structured(requests)
    assert [a.value for a in found] == [{"score": 2}, None, None, None, None, {"score": 1}]
    assert [a.wrong for a in found[1:5]] == ["there is no JSON value in it"] * 3 + ["timeout: no"]
    assert (asking.account.reasked, asking.account.unparsed, asking.account.errors) == (4, 3, {"timeout": 1})
    assert len(seen) == 10
    told = {r.messages[0][1]: r.messages[1:] for r in seen if len(r.messages) > 1}
    assert "$.score: 9 is greater than the maximum of 5" in told["x"][1][1]
    assert '"required": ["score"]' in told["x"][1][1]
    assert [told[n][0][1] for n in ("x", "y", "z")] == ['{"score": 9}', "I cannot", "(empty)"]
    assert "cut off" in told["cut"][1][1]
    # All of it comes from the journal the next time: what was asked again, too. What failed is asked again.
    model.asked.clear()
    assert [a.value for a in asking.structured(requests[:4])] == [{"score": 2}, None, None, None]
    assert model.asked == []


def test_a_check_of_ones_own_and_an_answer_that_was_begun() -> None:
    begun = Request((("user", "rate"), ("assistant", '{"score": ')), schema=_SCORE)
    model = Model(replies={'{"score": ': Reply("4}")})
    (answer,) = Asking(model).structured([begun], lambda v: "even" if v["score"] % 2 == 0 else "")
    assert answer.value is None
    assert model.asked[1].startswith("This answer cannot be used: even.")


@pytest.mark.parametrize("text", ["", "[" * 100_000, "{" * 100_000, '{"a": ' * 50_000, "中文 🙂 \ud800 [", "7" * 5000])
def test_no_text_is_too_odd(text: str) -> None:
    assert list(json_values(text)) in ([], [7])
    (answer,) = Asking(Model(replies={"rate": Reply(text)})).structured([ask("rate", schema=_SCORE)])
    assert answer.value is None
    assert answer.wrong


def test_keys_tell_requests_apart() -> None:
    base = ask("a")
    others = [
        ask("b"), ask("a\ud800"), Request((("system", "a"),)), replace(base, max_tokens=5), replace(base, seed=1),
        replace(base, sample=1), replace(base, temperature=0.5), replace(base, stop=("x",)), replace(base, schema={}),
        replace(base, top_logprobs=("1",)), replace(base, top_p=0.5),
    ]  # fmt: skip
    assert len({r.key for r in (base, *others)}) == 12
    assert replace(base, purpose="x").key == replace(base, temperature=0).key == base.key
