"""An endpoint that refuses, dawdles, breaks off and talks nonsense; what is sent again, and when it is given up."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_fixtures import Says, ask, serving

from benchwright.adapters.chat.asking import Asking
from benchwright.adapters.chat.endpoint import Endpoint
from benchwright.adapters.chat.journal import Journal
from benchwright.adapters.chat.limits import Pace
from benchwright.adapters.chat.params import LiteLLM, OpenAI, Prices
from benchwright.adapters.chat.requests import Reply, Request
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import ModelError

KEY = "sk-verysecret0123456789"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def opened(url: str, **fields: Any) -> tuple[Endpoint, list[float]]:
    """The endpoint, and the list to which it adds what it would have waited, in seconds."""
    waited: list[float] = []
    spec = OpenAI(type="openai", model="m", base_url=url, **fields)
    weights = spec.fingerprint(lambda path: "")
    endpoint = spec.open(Opening("cpu", "float32", 1, weights, ArtifactStore(Path("nowhere"))))
    return replace(endpoint, pause=lambda s: waited.append(s) if s else None), waited


def answers(endpoint: Endpoint, requests: list[Request]) -> list[Reply]:
    found = dict(endpoint.answer(requests))
    return [found[i] for i in range(len(requests))]


def in_turn(*says: Says) -> Callable[[dict[str, Any], int], Says]:
    """One after the other, the last one for ever."""
    return lambda body, number: says[min(number, len(says) - 1)]


def test_what_is_sent_and_what_comes_back() -> None:
    tops = [{"token": " 4", "logprob": -0.1}, {"token": "4", "logprob": -2.5}, {"token": "x", "logprob": -3.0}]
    said = Says("vier 4 😀", finish_reason="length", logprobs={"content": [{"top_logprobs": tops}]})
    request = Request(
        (("system", "Be short."), ("user", "两 plus 两 \ud800?")), 5, 0.5, 0.9, ("\n",), 3, 2, {"type": "object"},
        "score", ("4", "5"),
    )  # fmt: skip
    with serving(in_turn(said)) as server:
        (reply,) = answers(opened(server.url)[0], [request])
        (bare,) = answers(
            opened(server.url, length_parameter="max_completion_tokens", omit=("temperature",))[0], [ask("x")]
        )
    assert server.bodies[0] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "两 plus 两 �?"}],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": 5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert server.bodies[1] == {
        "model": "m", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 512,
    }  # fmt: skip
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert (reply.text, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == (
        "vier 4 😀",
        "length",
        7,
        3,
    )
    assert reply.logprobs == {"4": -0.1}
    assert (reply.error, reply.retries, bare.logprobs) == ("", 0, None)


@pytest.mark.parametrize(
    ("trouble", "least_s"),
    [
        (Says(status=429, headers={"Retry-After": "7"}), 7.0),
        (Says(status=429, headers={"retry-after-ms": "2500"}), 2.5),
        (Says(status=503, headers={"Retry-After": "soon"}), 0.5),
        (Says(status=500), 0.5),
        (Says(status=408), 0.5),
        (Says(status=409), 0.5),
        (Says(cut=True), 0.5),
        (Says(delay_s=0.6), 0.5),
    ],
    ids=["429", "429-ms", "503", "500", "408", "409", "cut", "slow"],
)
def test_what_may_pass_is_sent_again(trouble: Says, least_s: float) -> None:
    with serving(in_turn(trouble, Says("at last"))) as server:
        endpoint, waited = opened(server.url, timeout_s=0.2)
        (reply,) = answers(endpoint, [ask("x")])
    assert (reply.text, reply.retries, len(server.bodies)) == ("at last", 1, 2)
    assert len(waited) == 1
    assert least_s <= waited[0] <= max(least_s, 1.0)


def test_a_date_to_wait_for_is_understood() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with serving(in_turn(Says(status=429, headers={"Retry-After": date}), Says())) as server:
        endpoint, waited = opened(server.url)
        answers(endpoint, [ask("x")])
    assert 25 < waited[0] <= 30


def test_waits_grow_are_scattered_and_come_to_an_end() -> None:
    with serving(in_turn(Says("busy", status=503))) as server:
        endpoint, waited = opened(server.url, retries=8, concurrency=1)
        first, other = answers(endpoint, [ask("x"), ask("y")])
    assert first.error == "http 503: busy"
    assert (first.kind, first.finish_reason, first.retries, len(server.bodies)) == ("http 503", "error", 8, 18)
    for n, seconds in enumerate(waited[:8]):
        assert min(60, 2**n) / 2 <= seconds <= min(60, 2**n)
    assert waited[:8] != waited[8:]
    assert other.retries == 8


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Says("no such field", status=400), "http 400: no such field"),
        (Says("no such model", status=404), "http 404: no such model"),
        (Says("odd", status=422), "http 422: odd"),
        (Says(f"Incorrect key: {KEY[:5]}***", status=401), "http 401: the key in OPENAI_API_KEY was refused"),
        (Says(f"not for {KEY}", status=403), "http 403: the key in OPENAI_API_KEY was refused"),
        (Says(status=429, headers={"Retry-After": "9000"}), "http 429: the endpoint asks to wait 9000 s"),
        (Says(status=429, raw=b'{"error": {"message": "broke", "code": "insufficient_quota"}}'), "http 429: broke"),
        (Says(raw=b'{"choices": [{"mess'), "not an answer: no JSON"),
        (Says(raw=b"<html>hello</html>", headers={"Content-Type": "text/html"}), "base_url usually ends in /v1"),
        (Says(raw=b'{"error": "overloaded"}'), "not an answer: no choices in"),
        (Says(raw=b'{"choices": []}'), "not an answer: no choices in"),
        (Says(raw=b"[" * 100_000), "not an answer: no JSON"),
        (Says(raw=b'{"choices": [{"message": {"content": [1]}}]}'), "not an answer: the content is no text"),
        (Says(raw=b"\xff\xfe"), "not an answer: no JSON"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_not_sent_again(said: Says, message: str) -> None:
    with serving(in_turn(said)) as server:
        endpoint, waited = opened(server.url)
        (reply,) = answers(endpoint, [ask("x")])
    assert message in reply.error
    assert KEY[:5] not in reply.error
    assert (len(server.bodies), waited, reply.retries) == (1, [], 0)


def test_an_answer_without_content_or_usage_is_one() -> None:
    with serving(in_turn(Says(raw=b'{"choices": [{"message": {"content": null}, "finish_reason": null}]}'))) as server:
        (reply,) = answers(opened(server.url)[0], [ask("x")])
    assert (reply.error, reply.text, reply.finish_reason, reply.prompt_tokens) == ("", "", "stop", None)


def closed_port() -> str:
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{stream.getsockname()[1]}/v1"


def test_an_endpoint_that_is_down_is_given_up_at_once_and_tried_again_by_the_next_run() -> None:
    endpoint, waited = opened(closed_port(), retries=1, give_up_after=3, concurrency=1)
    replies = answers(endpoint, [ask(str(i)) for i in range(50)])
    assert [r.kind for r in replies] == ["connection"] * 3 + ["down"] * 47
    assert "refused" in replies[0].error
    assert replies[-1].error.startswith("down: 3 requests failed one after the other, the last with connection")
    assert len(waited) == 3
    assert [r.kind for r in answers(endpoint, [ask("x")])] == ["down"]
    assert [r.kind for r in answers(endpoint.started(), [ask("x")])] == ["connection"]


def test_requests_that_are_wrong_themselves_do_not_bring_an_endpoint_down() -> None:
    with serving(lambda body, number: Says(status=400 if number < 4 else 200)) as server:
        endpoint, _ = opened(server.url, give_up_after=2, concurrency=1)
        kinds = [r.kind for r in answers(endpoint, [ask(str(i)) for i in range(6)])]
    assert kinds == ["http 400"] * 4 + [""] * 2


def test_a_success_between_failures_counts() -> None:
    with serving(lambda body, number: Says(status=404 if number % 2 else 200)) as server:
        endpoint, _ = opened(server.url, give_up_after=2, concurrency=1)
        kinds = [r.kind for r in answers(endpoint, [ask(str(i)) for i in range(6)])]
    assert kinds == ["", "http 404"] * 3


def test_replies_are_in_the_order_of_requests_whatever_the_order_in_which_they_come() -> None:
    def echo(body: dict[str, Any], number: int) -> Says:
        said = body["messages"][0]["content"]
        return Says(said, delay_s=0.15 if said == "0" else 0.01)

    requests = [ask(str(i)) for i in range(12)]
    with serving(echo) as server:
        endpoint, _ = opened(server.url, concurrency=4)
        arrived = [i for i, _ in endpoint.answer(requests)]
        assert [r.text for r in Asking(endpoint).ask(requests)] == [str(i) for i in range(12)]
    assert arrived[0] != 0
    assert sorted(arrived) == list(range(12))
    assert 2 <= server.most_at_once <= 4


def test_nothing_is_sent_ahead_of_what_has_been_taken() -> None:
    with serving(in_turn(Says())) as server:
        endpoint, _ = opened(server.url, concurrency=1)
        coming = endpoint.answer([ask(str(i)) for i in range(5)])
        for taken in range(1, 4):
            next(coming)
            assert len(server.bodies) == taken
        coming.close()
        assert len(server.bodies) == 3


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_a_pace_keeps_to_its_limit_in_every_minute() -> None:
    clock = Clock()
    pace, times = Pace(30, clock), []
    for _ in range(100):
        clock.wait(pace.reserve(1))
        times.append(clock.now)
    assert times[:4] == [0, 2, 4, 6]
    assert max(sum(t <= u < t + 60 for u in times) for t in times) == 30
    clock.wait(1000)  # nothing is saved up
    assert [pace.reserve(1), pace.reserve(1)] == [0, 2]


def test_tokens_that_were_not_used_are_given_back() -> None:
    pace = Pace(600, Clock())
    assert pace.reserve(600) == 0
    pace.correct(-590)
    assert pace.reserve(5) == pytest.approx(1.0)


def test_an_endpoint_keeps_to_its_limits() -> None:
    clock = Clock()
    with serving(in_turn(Says())) as server:
        endpoint, _ = opened(server.url, requests_per_minute=6, concurrency=1)
        timed = replace(endpoint, clock=clock, pause=clock.wait, requests=Pace(6, clock))
        answers(timed, [ask(str(i)) for i in range(4)])
        assert clock.now == 30
        # 10 tokens of each answer are what counts, not the 600 that it might have had.
        clock.now = 0
        endpoint, _ = opened(server.url, tokens_per_minute=60, concurrency=1)
        timed = replace(endpoint, clock=clock, pause=clock.wait, tokens=Pace(60, clock))
        answers(timed, [ask(str(i), max_tokens=600) for i in range(4)])
        assert clock.now == pytest.approx(30, abs=1e-6)
    assert opened(closed_port(), requests_per_minute=6)[0].requests.per_minute == 6


def test_a_key_is_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "tok-another-secret")
    says = [
        Says(f"Incorrect API key provided: {KEY}", status=401),
        Says(f"you sent {KEY} and tok-another-secret", status=400),
        Says(raw=f"<html>{KEY}".encode()),
        Says("fine"),
    ]
    journal = Journal(tmp_path / "journal.jsonl")
    with serving(in_turn(*says)) as server:
        endpoint, _ = opened(server.url, concurrency=1)

        def broken(body: dict[str, Any]) -> str:
            import openai

            raise openai.APIConnectionError(request=SimpleNamespace()) from ValueError(f"bad header {KEY}")  # type: ignore[arg-type]

        asking = Asking(endpoint, journal)
        replies = asking.ask([ask(str(i)) for i in range(4)])
        replies += answers(replace(endpoint, send=broken), [ask("x")])
    assert [r.kind for r in replies] == ["http 401", "http 400", "not an answer", "", "connection"]
    assert "you sent [secret] and [secret]" in replies[1].error
    shown = [repr(x) for x in (replies, endpoint, asking, asking.account.to_json(), endpoint.spec)]
    shown += [journal.file.read_text(), *capfd.readouterr(), endpoint.spec.model_dump_json()]
    assert not [text for text in shown if KEY[3:] in text or "another-secret" in text]


def test_keys_that_no_header_can_hold_are_refused_unquoted(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (f"{KEY}\nx", f"{KEY}é", f"{KEY} {KEY}"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(ModelError, match="OPENAI_API_KEY") as caught:
            opened("http://localhost:1/v1")
        assert KEY not in str(caught.value)


def test_without_a_key_only_an_endpoint_of_ones_own_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    spec = OpenAI(type="openai", model="m")
    opening = Opening("cpu", "float32", 1, "w", ArtifactStore(Path("nowhere")))
    with pytest.raises(ModelError, match=r"OPENAI_API_KEY is not set.*api_key_env.*base_url"):
        spec.open(opening)
    with serving(in_turn(Says())) as server:
        before = spec.fingerprint(lambda path: "")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert spec.fingerprint(lambda path: "") != before
        assert answers(spec.open(opening), [ask("x")])[0].text == "fine"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://user:pass@host/v1")
    with pytest.raises(ModelError, match="without user") as caught:
        spec.open(opening)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://u:p@host/v1", "https://host/v1?key=abc", "host/v1", "ftp://host"])
def test_an_address_that_could_hold_a_key_is_no_spec(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAI(type="openai", model="m", base_url=url)


def test_a_raw_prompt_is_refused_before_anything_is_sent() -> None:
    with serving(in_turn(Says())) as server:
        with pytest.raises(ModelError, match="cannot take a raw prompt"):
            answers(opened(server.url)[0], [ask("x"), Request((("raw", "<user>"),))])
        assert server.bodies == []


def test_prices_are_what_the_spec_says() -> None:
    prices = Prices(input_per_million=2.0, output_per_million=10.0, currency="EUR")
    with serving(in_turn(Says(), Says(raw=b'{"choices": [{"message": {"content": "x"}}]}'))) as server:
        asking = Asking(opened(server.url, prices=prices, concurrency=1)[0])
        assert asking.ask([ask("a")])[0].cost == pytest.approx(7 * 2e-6 + 3 * 1e-5)
        assert (asking.account.cost, asking.account.currency) == (pytest.approx(44e-6), "EUR")
        # The second one tells no usage: what it cost is unknown, and so is the sum.
        assert asking.ask([ask("b")])[0].cost is None
        assert asking.account.cost is asking.account.prompt_tokens is None
        unpriced = Asking(opened(server.url)[0])
        unpriced.ask([ask("a")])
        assert unpriced.account.cost is None


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for the library, and the arguments of its calls."""
    calls: list[dict[str, Any]] = []

    def completion(**arguments: Any) -> Any:
        calls.append(arguments)
        return SimpleNamespace(model_dump_json=lambda: Says("lite").body().decode())

    monkeypatch.setitem(sys.modules, "litellm", SimpleNamespace(completion=completion))  # type: ignore[arg-type]
    return calls


def test_litellm_is_asked_without_retries_of_its_own(
    litellm: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "abcdefgh")
    spec = LiteLLM(type="litellm", model="provider/m", api_key_env="MY_KEY", timeout_s=3)
    (reply,) = answers(spec.open(Opening("cpu", "float32", 1, "w", ArtifactStore(Path("nowhere")))), [ask("x")])
    assert (reply.text, reply.prompt_tokens) == ("lite", 7)
    assert {n: litellm[0][n] for n in ("model", "api_key", "timeout", "num_retries", "max_retries")} == {
        "model": "provider/m", "api_key": "abcdefgh", "timeout": 3, "num_retries": 0, "max_retries": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "library", "extra"),
    [
        (OpenAI(type="openai", model="m"), "openai", "api"),
        (LiteLLM(type="litellm", model="m"), "litellm", "litellm"),
    ],
)
def test_a_missing_library_is_told_with_its_extra(
    spec: OpenAI | LiteLLM, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"pip install 'benchwright\[{extra}\]'"):
        spec.open(Opening("cpu", "float32", 1, "w", ArtifactStore(Path("nowhere"))))
