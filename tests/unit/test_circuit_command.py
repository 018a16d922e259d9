"""`benchwright circuit`: what it finds, prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchwright.adapters.circuits.found import Asked, Found, find_circuit
from benchwright.adapters.circuits.scorers.params import Scorer
from benchwright.adapters.circuits.written import SENSE, dot_text, strongest, warnings
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.alone import Wanted
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError

TASK = ("--task", "atlas-small-circuit")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four pairs on the embedded world."""
    from benchwright.adapters.circuits.sources.params import WorldRelations

    data = WorldRelations(type="world_relations", world="atlas-small", relations=("born_in",))
    questions = [q for q in data.load({}, None) if " " not in q.answers[0]]
    by_words: dict[int, list[Any]] = {}
    for question in questions:
        by_words.setdefault(len(question.clean.split()), []).append(question)
    some = next(group for group in by_words.values() if len({q.answers for q in group}) >= 2 and len(group) >= 5)
    rows = [
        {"id": f"p{i}", "clean": q.clean, "corrupt": other.clean, "answer": q.answers[0], "wrong": other.answers[0]}
        for i, (q, other) in enumerate((q, o) for q in some for o in some if q.answers[0] != o.answers[0])
    ][:4]
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps({"examples": {"born": rows, "few": rows[:2]}}), encoding="utf-8")
    return file


def circuit(*words: str, method: str = "eap") -> Result:
    fixed = ["circuit", "--model", "atlas-small", "--method", method]
    return CliRunner().invoke(app, [*fixed, *words], catch_exceptions=True)


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def found(method: str = "eap", **asked: Any) -> Found:
    asked.setdefault("task", "atlas-small-circuit")
    return find_circuit(Wanted("atlas-small", method), Asked(**asked), lambda text: None)


def variant(tmp_path: Path, **algorithm: Any) -> str:
    """A file with `eap` changed."""
    file = tmp_path / "mine.yaml"
    spec = {"kind": "method", "name": "mine", "extends": "eap", "algorithm": algorithm}
    file.write_text(json.dumps(spec), encoding="utf-8")
    return str(file)


def test_scores_intervals_circuit_and_values_are_written(pairs: Path) -> None:
    result = said(circuit("--pairs", f"{pairs}:born", "--json", "--save", "s.json", "--top-k", "25"))
    kept = json.loads(Path("s.json").read_text(encoding="utf-8"))
    assert result.pop("cpu_s") > 0
    assert result == kept
    assert (kept["format"], kept["kind"], kept["model"], kept["n"]) == (1, "circuit-scores", "atlas-small", 4)
    assert kept["method"]["name"] == "eap"
    assert kept["method"]["scorer"] == {"type": "gradient", "at": "clean"}
    graph = Graph(**kept["graph"])
    assert list(kept["edges"]) == list(graph.names())
    assert list(kept["intervals"]) == list(kept["edges"])
    assert all(low <= kept["edges"][name] <= high for name, (low, high) in kept["intervals"].items())
    # The circuit: the 25 largest scores, pruned.
    order = sorted(kept["edges"], key=lambda name: -abs(kept["edges"][name]))
    assert set(kept["chosen"]) == set(order[:25])
    pruned = graph.prune(graph.mask(order[:25]))
    assert set(kept["circuit"]) == {graph.name(s, d) for s, d in np.argwhere(pruned)}
    v = kept["values"]
    assert v["faithfulness"] == pytest.approx((v["circuit"] - v["empty"]) / (v["model"] - v["empty"]), rel=1e-5)


def test_intervals_are_those_of_the_mean_over_pairs(tmp_path: Path) -> None:
    of = found(limit=12)
    by_pair = of.attribution.by_pair.astype(np.float64)
    assert of.pairs == len(by_pair) > 2
    assert of.scores == pytest.approx(by_pair.mean(0), abs=1e-7)
    assert of.spread == pytest.approx(1.96 * np.sqrt(by_pair.var(0, ddof=1) / len(by_pair)), abs=1e-7)
    sizes = found(variant(tmp_path, reduction="mean_magnitude"), limit=12)
    assert np.abs(sizes.scores) == pytest.approx(np.abs(by_pair).mean(0), abs=1e-6)
    assert sizes.spread == pytest.approx(1.96 * np.abs(by_pair).std(0, ddof=1) / len(by_pair) ** 0.5, abs=1e-6)


def test_the_whole_model_is_wholly_faithful_and_a_tenth_is_the_default() -> None:
    whole = found(limit=12, top_k=343, curve=True)
    assert whole.circuit.sum() == len(whole.graph.edges) == 343
    assert whole.values["faithfulness"] == pytest.approx(1.0, abs=1e-4)
    assert whole.values["hit10.circuit"] == whole.values["hit10.model"]
    assert whole.curve[-1] == pytest.approx((1.0, 1.0, 1.0, 1.0), abs=1e-4)
    assert [x for x, *_ in whole.curve] == sorted({x for x, *_ in whole.curve})
    default = found(limit=12)
    assert (default.circuit == found(limit=12, top_k=34).circuit).all()
    assert 0 < default.circuit.sum() <= 34
    assert default.curve == []


def test_a_threshold_takes_every_score_that_is_large_enough(tmp_path: Path) -> None:
    method = variant(tmp_path, prune=False)
    of = found(method, limit=12, threshold=0.2)
    names = {name for name, score in zip(of.names, of.scores, strict=True) if abs(score) >= 0.2}
    assert {of.graph.name(s, d) for s, d in np.argwhere(of.circuit)} == names
    assert of.spec["selector"] == {"type": "threshold", "by": "magnitude", "threshold": 0.2}


def test_keys_and_values_of_each_query_head_stand_apart_when_asked() -> None:
    grouped, apart = found(limit=8), found(limit=8, ungroup=True)
    assert (grouped.graph.kv_heads, apart.graph.kv_heads) == (2, 4)
    assert apart.spec["keys_and_values"] == "per_query_head"
    one = dict(zip(grouped.names, grouped.scores, strict=True))
    each = dict(zip(apart.names, apart.scores, strict=True))
    together = each["m0->a2.h2<v>"] + each["m0->a2.h3<v>"]
    assert one["m0->a2.kv1<v>"] == pytest.approx(together, abs=1e-5)


def test_nodes_are_written_as_nodes_and_scores_of_all_pairs_have_no_interval() -> None:
    nodes = said(circuit(*TASK, "--limit", "8", "--json", method="nap"))
    assert "edges" not in nodes
    assert list(nodes["nodes"])[:3] == ["input", "a0.h0", "a0.h1"]
    assert list(nodes["intervals"]) == list(nodes["nodes"])
    chance = said(circuit(*TASK, "--limit", "8", "--json", method="random-edges"))
    assert chance["intervals"] == {}
    assert len(chance["edges"]) == 343


def test_the_model_is_untouched_afterwards_also_by_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchwright.adapters.circuits import found as module

    opened: list[Any] = []
    job_for = module.job_for

    def watched(*arguments: Any) -> Any:
        result = job_for(*arguments)
        opened.append(result[0].models["subject"])
        return result

    monkeypatch.setattr(module, "job_for", watched)
    found(limit=6, ungroup=True, curve=True)
    monkeypatch.setattr(module, "model_values", lambda study: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found(limit=6, ungroup=True)
    assert [lm.verify() for lm in opened] == [[], []]


def test_the_same_command_writes_the_same_bytes_whatever_the_batch() -> None:
    texts = []
    for batch in ("64", "64", "3"):
        files = ("--save", "s.json", "--dot", "c.dot", "--html", "c.html")
        assert circuit(*TASK, "--limit", "10", "--batch", batch, *files).exit_code == 0
        texts.append([Path(name).read_bytes() for name in files[1::2]])
    assert texts[0] == texts[1]
    first, last = (json.loads(files[0]) for files in (texts[0], texts[2]))
    assert first["circuit"] == last["circuit"]
    assert list(first["edges"].values()) == pytest.approx(list(last["edges"].values()), abs=1e-5)


def test_page_and_graph_show_the_circuit(pairs: Path, read_page: Callable[[str], Any]) -> None:
    words = ("--pairs", f"{pairs}:born", "--top-k", "30", "--save", "s.json", "--dot", "c.dot", "--html", "c.html")
    result = circuit(*words)
    assert result.exit_code == 0, result.exception
    kept = json.loads(Path("s.json").read_text(encoding="utf-8"))
    html = Path("c.html").read_text(encoding="utf-8")
    seen = read_page(html)
    assert (seen.scripts, seen.loads) == (0, [])
    assert len(re.findall(r'aria-label="(Circuit|Faithfulness of|Nodes of)', html)) == 3
    assert any("eap on atlas-small, 4 pairs: 30 edges chosen" in text for text in seen.texts)
    assert any("useful is negative" in text for text in seen.texts)
    (row, *_) = json.loads(pairs.read_text(encoding="utf-8"))["examples"]["born"]
    for words in ("right above wrong", "Hit@1", "this circuit", "gradient, at clean", *row.values()):
        assert words in seen.texts or words == row["id"], words
    graph = Graph(**kept["graph"])
    ends = sum(max(1, len(graph.nodes_of(graph.edge(name)[1]))) for name in kept["circuit"])
    text = Path("c.dot").read_text(encoding="utf-8")
    assert text.count(" -> ") == ends
    assert (text.startswith("digraph circuit {\n"), text.endswith("}\n")) == (True, True)
    for words in ("eap on atlas-small, 4 pairs", "95 % interval", "faithfulness", "Hit@10", "30 edges chosen"):
        assert words in result.stdout


def test_a_circuit_of_dead_ends_is_warned_of_and_a_greedy_one_has_none(tmp_path: Path) -> None:
    result = circuit(*TASK, "--limit", "12", "--top-k", "1", "--html", "c.html")
    assert result.exit_code == 0, result.exception
    assert "1 edges chosen, 0 left without dead ends" in result.stdout
    assert "warning: the 1 edges that were chosen do not reach from input to logits" in result.stderr
    assert '<p class="verdict bad">Warning: the 1 edges' in Path("c.html").read_text(encoding="utf-8")
    whole = found(variant(tmp_path, selector={"type": "greedy", "by": "magnitude"}), limit=12, top_k=30)
    assert warnings(whole) == []
    assert len(list(strongest(whole))) == 20
    dead = found(limit=12, top_k=1)
    assert [row[3] for row in strongest(dead)][:2] == ["dead end", "no"]


def test_a_model_that_cannot_do_the_task_is_warned_of(pairs: Path) -> None:
    rows = json.loads(pairs.read_text(encoding="utf-8"))["examples"]["born"]
    wrong = [row | {"answer": row["wrong"], "wrong": row["answer"]} for row in rows]
    pairs.write_text(json.dumps(wrong), encoding="utf-8")
    of = found(task=None, pairs=pairs, curve=True)
    assert of.values["accuracy.model"] == of.values["hit1.model"] == 0
    assert of.values["accuracy.empty"] == of.values["hit1.empty"] == 1
    assert np.isnan(of.values["faithfulness"])
    said = " ".join(warnings(of))
    assert "the target is no higher for the model" in said
    assert "the right answer above the wrong one on 0 % of the pairs" in said
    assert warnings(found(limit=12)) == []
    assert found(limit=12).values["hit1.model"] == 1
    kept = replace(found(limit=12), surrounded=True)
    assert warnings(kept) == ["the model keeps inserted modules or a prompt: the graph is that of the path taken"]


def test_it_is_said_of_every_scorer_what_its_scores_are() -> None:
    kinds = get_args(get_args(Scorer)[0])
    assert set(SENSE) == {get_args(kind.model_fields["type"].annotation)[0] for kind in kinds}


def test_it_is_said_that_relations_are_put_together() -> None:
    said: list[str] = []
    find_circuit(Wanted("atlas", "random-edges"), Asked(task="atlas-circuit", limit=6), said.append)
    assert said[0].startswith("task atlas-circuit finds a circuit for each relation; here one is found")


def test_progress_of_the_scoring_ends(pairs: Path) -> None:
    seen: list[tuple[int, int]] = []
    asked = Asked(pairs=pairs, examples="few")
    find_circuit(Wanted("atlas-small", "exact"), asked, lambda text: None, lambda *at: seen.append(at))
    assert seen[0][0] == 0 < seen[0][1]
    assert seen[-1] == (1, 1)


def test_graphviz_text_is_quoted() -> None:
    nodes = [{"id": 'a"b\\', "layer": 0, "kind": "head"}, {"id": "m0", "layer": 0, "kind": "mlp", "note": "memory"}]
    edges = [{"source": 'a"b\\', "target": "m0", "weight": -2.0}, {"source": "m0", "target": "m0", "weight": 1.0}]
    text = dot_text({"title": 'T"', "nodes": nodes, "edges": edges})
    assert '"a\\"b\\\\" -> "m0" [penwidth=4.00, color="#1f5fa8", tooltip="-2"];' in text
    assert '"m0" -> "m0" [penwidth=2.25, color="#c2571a", tooltip="1"];' in text
    assert '"m0" [label="m0\\nmemory", style=rounded];' in text


def test_pairs_of_ones_own_are_never_left_out_and_those_of_a_task_are_counted(pairs: Path) -> None:
    (row, *_) = json.loads(pairs.read_text(encoding="utf-8"))["examples"]["born"]
    longer = row | {"id": "long", "corrupt": row["corrupt"] + " of the"}
    pairs.write_text(json.dumps([row, longer]), encoding="utf-8")
    refused = circuit("--pairs", str(pairs))
    assert isinstance(refused.exception, BenchwrightError)
    assert "question 'long': clean and corrupt prompt have different numbers of tokens" in str(refused.exception)
    of = found(limit=7)
    assert of.pairs + sum(of.skipped.values()) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "either --pairs FILE or --task NAME"),
        (("--pairs", "P", "--task", "atlas-small-circuit"), "either --pairs FILE or --task NAME"),
        (("--pairs", "P", "--data", "x"), "it belongs to --task"),
        (("--pairs", "P:born", "--top-k", "3", "--threshold", "1"), "--top-k and --threshold are two ways"),
        (("--pairs", "P:born", "--top-k", "344"), "--top-k 344: atlas-small has 343 edges"),
        (("--pairs", "P:born", "--save", "no/s.json"), "--save no/s.json: there is no folder no"),
        (("--pairs", "P:born", "--dot", "no/s.dot"), "--dot no/s.dot: there is no folder no"),
        (("--pairs", "P:born", "--html", "."), "--html .: is a folder; name a file in it"),
        (("--pairs", "nowhere.json"), "--pairs nowhere.json: no such file"),
        (("--pairs", "nowhere.json:born"), "--pairs nowhere.json: no such file"),
        (("--pairs", "."), "--pairs .: is a folder"),
        (("--pairs", "P:"), "write the name of the examples behind the colon"),
        (("--pairs", "P"), "holds several examples; choose one of born, few"),
        (("--pairs", "P:borm"), "unknown examples 'borm'; did you mean 'born'?"),
        (("--pairs", "P:born", "--model", "atlas-smal"), "unknown model 'atlas-smal'; did you mean 'atlas-small'?"),
        (("--pairs", "P:born", "--method", "eap-jg"), "unknown method 'eap-jg'; did you mean 'eap-"),
        (("--pairs", "P:born", "--method", "ft-m"), "method 'ft-m' cannot be used here: it consumes edit_requests"),
        (("--pairs", "P:born", "--method", "logit-lens"), "benchwright run look-atlas logit-lens --model atlas-small"),
        (("--pairs", "P:born", "--device", "gpu"), "device: got 'gpu'"),
        (("--task", "atlas-small-circiut"), "did you mean 'atlas-small-circuit'?"),
        (("--task", "circuit-truth-small"), "prompts with answers are needed"),
        (("--task", "known-facts"), "needs the data file"),
        (("--task", "atlas-small-circuit", "--data", "nowhere"), "--data nowhere: no such file or folder"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(pairs: Path, words: tuple[str, ...], message: str) -> None:
    result = circuit(*(word.replace("P", str(pairs), 1) if word.startswith("P") else word for word in words))
    assert isinstance(result.exception, BenchwrightError), result.stdout
    assert result.exception.exit_code == 2
    assert message in str(result.exception)
    assert sorted(p.name for p in Path().iterdir() if p.name != "cache") == ["pairs.json"]
