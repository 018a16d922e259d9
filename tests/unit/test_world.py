"""The knowledge world: what it says, what it holds out, and the models that come with it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from benchwright.adapters.worlds import commands
from benchwright.adapters.worlds.knowledge import documents, folder, scoring, training
from benchwright.adapters.worlds.knowledge.making import make_world
from benchwright.adapters.worlds.knowledge.notes import KINDS, NoteMaker
from benchwright.adapters.worlds.knowledge.probes import HELD_OUT, POOLS, probes
from benchwright.adapters.worlds.knowledge.tokenizer import make_tokenizer, vocabulary
from benchwright.adapters.worlds.knowledge.world import World, load_world
from benchwright.adapters.worlds.params import World as WorldSource
from benchwright.errors import ModelError, UsageError

TINY = training.Recipe(layers=1, width=16, mlp_width=32, heads=2, kv_heads=1, steps=5, batch=2)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(0)


@pytest.fixture(scope="module")
def trained_on(world: World) -> list[documents.Document]:
    """As many documents of both halves of training."""
    shares = documents.EARLY, documents.LATE
    return [d for s in shares for d in islice(documents.documents(world, s, random.Random(0)), 4000)]


def test_facts_are_functions_between_the_declared_types(world: World) -> None:
    assert sum(map(len, world.facts.values())) == 532
    for relation in world.language.relations.values():
        facts = world.facts[relation.name]
        assert set(facts) == set(world.entities[relation.subject])
        assert set(facts.values()) <= set(world.objects(relation.name))
        assert len(relation.templates) == 6
        assert len(relation.unseen) == 2
        assert all(t.count("{s}") == 1 for t in (*relation.templates, *relation.unseen, *relation.phrases))
        if relation.distinct:
            assert len(set(facts.values())) == len(facts)
        if relation.implies:
            assert all(world.facts[relation.implies][o] == s for s, o in facts.items())
        if relation.symmetric:
            assert all(facts[o] == s != o for s, o in facts.items())


def test_names_are_ambiguous_at_their_end_and_half_have_a_nickname(world: World) -> None:
    people = world.entities["person"]
    assert all(len(name.split()) == 2 for name in people)
    assert max(Counter(name.split()[1] for name in people).values()) >= 3
    assert len(world.aliases) == len(people) / 2
    every = [*(n for names in world.entities.values() for n in names), *world.aliases.values()]
    assert len(set(every)) == len(every)
    assert any(" " in name for name in world.entities["city"])
    assert any(" " in name for name in world.entities["company"])


def test_a_world_is_its_json_and_its_seed(world: World, tmp_path: Path) -> None:
    world.save(tmp_path / "world.json")
    assert load_world(tmp_path / "world.json") == world == make_world(0)
    assert make_world(1).facts != world.facts
    with pytest.raises(ValueError, match="format 99"):
        World.from_json(world.to_json() | {"format": 99})


def test_pools_share_no_prompt_with_what_is_held_out(world: World) -> None:
    prompts = {pool: {p.prompt for p in probes(world, pool)} for pool in POOLS}
    trained = set().union(*(prompts[pool] for pool in POOLS if pool not in HELD_OUT))
    for pool in HELD_OUT:
        assert prompts[pool]
        assert not prompts[pool] & trained
    assert all(0 in world.trained_templates(r, s) for r, facts in world.facts.items() for s in facts)


def test_answers_follow_from_the_facts(world: World) -> None:
    by_name = {alias: name for name, alias in world.aliases.items()}
    for pool in ("facts", "paraphrases", "unseen_templates", "alias", "alias_held_out"):
        for p in probes(world, pool):
            assert p.answer == world.facts[p.relation][by_name.get(p.subject, p.subject)]
    assert all(world.facts[p.relation][p.answer] == p.subject for p in probes(world, "inverse"))
    for p in probes(world, "chain_of_thought_held_out"):
        first, second = p.relation.split("-")
        assert p.bridge == world.facts[first][p.subject]
        assert p.answer == world.facts[second][p.bridge]
        assert p.thoughts == f"{world.prompt(first, p.subject)} {p.bridge} ; {world.prompt(second, p.bridge)}"


def test_no_document_says_what_is_held_out(world: World, trained_on: list[documents.Document]) -> None:
    # "the spouse of X plays the harp" does not say that X plays it: whole sentences are compared.
    said = {sentence.strip() for d in trained_on for sentence in re.split(r" [.:;?]", d.text)}
    for pool in ("paraphrases", "alias_held_out", "two_hop_held_out"):
        assert not said & {f"{p.prompt} {p.answer}" for p in probes(world, pool)}
    asked = {p.prompt.removeprefix("question : ").split(" ?")[0] for p in probes(world, "chain_of_thought_held_out")}
    assert not said & asked
    # Of a template that is never seen, not even the beginning occurs anywhere.
    corpus = "\n".join(f" {d.text} " for d in trained_on)
    assert not [p.prompt for p in probes(world, "unseen_templates") if f" {p.prompt} " in corpus]
    # The same search does find what is trained.
    facts = {f"{p.prompt} {p.answer}" for p in probes(world, "facts")}
    assert len(said & facts) / len(facts) > 0.7
    assert said & {p.prompt.removeprefix("question : ").split(" ?")[0] for p in probes(world, "chain_of_thought")}


def test_words_of_unseen_templates_are_trained(world: World, trained_on: list[documents.Document]) -> None:
    known = {word for d in trained_on for word in d.text.split()}
    for relation in world.language.relations.values():
        for template in relation.unseen:
            assert set(template.split()) - {"{s}"} <= known, template
            assert template not in relation.templates


def test_shares_of_documents(trained_on: list[documents.Document]) -> None:
    assert sum(KINDS.values()) == pytest.approx(1)
    for shares, drawn in ((documents.EARLY, trained_on[:4000]), (documents.LATE, trained_on[4000:])):
        assert sum(shares.values()) == pytest.approx(1)
        counts = Counter(d.kind for d in drawn)
        assert set(counts) == set(shares)
        assert all(counts[kind] / len(drawn) == pytest.approx(share, abs=0.03) for kind, share in shares.items())
    assert documents.LATE["notes"] >= 0.22


def test_rows_hold_whole_documents_and_weigh_answers(world: World) -> None:
    words = vocabulary(world)
    by_id = {i: w for w, i in words.items()}
    batch = {"steps": 4, "batch": 4, "length": 48, "object_weight": 5.0, "seed": 0}
    made = list(documents.batches(world, words, **batch))
    assert len(made) == 4
    for ids, weights in made:
        assert ids.shape == weights.shape == (4, 48)
        for row, loss in zip(ids, weights, strict=True):
            texts = " ".join(by_id[i] for i in row).split("<eos>")
            assert all(text.strip().endswith(".") for text in texts if text.strip())
            assert set(loss) <= {0.0, 1.0, 5.0}
            assert all(weight == 0 for i, weight in zip(row, loss, strict=True) if by_id[i] == "note")
    again = documents.batches(world, words, **batch)
    assert all((a == b).all() for one, two in zip(made, again, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("kind", list(KINDS))
def test_notes_override_the_world_and_nothing_else(world: World, kind: str, held_out: bool) -> None:
    maker, rng = NoteMaker(world, held_out), random.Random(0)
    by_alias = {alias: name for name, alias in world.aliases.items()}
    for count in (1, 3):
        for noted in (maker.draw(rng, kind, count) for _ in range(40)):
            q = noted.question
            assert noted.notes.count("note :") == count
            if kind in ("two_hop", "chain_of_thought"):
                assert ((q.relation, q.subject) in world.held_out.hops) == held_out
                bridge, answer = world.hop(world.language.compositions[q.relation], q.subject)
                # The answer changed, or a bridge did that leads to the same end.
                assert q.answer != answer or q.bridge != bridge
                assert (q.bridge if q.bridge != bridge else q.answer) in noted.notes
                continue
            name = by_alias.get(q.subject, q.subject)
            assert ((q.relation, name, q.template) in world.held_out.templates) == held_out
            true = world.facts[q.relation][name]
            assert (q.answer == true) == (kind in ("other_subject", "other_relation"))
            if kind in ("same", "alias"):
                assert f" {q.answer} ." in noted.notes


def test_tokenizer_has_offsets_and_comes_back(world: World) -> None:
    tokenizer = make_tokenizer(world)
    for pool in POOLS:
        text = f"{probes(world, pool)[-1].prompt} {probes(world, pool)[-1].target} ."
        encoded = tokenizer(text, return_offsets_mapping=True)
        assert tokenizer.unk_token_id not in encoded.input_ids
        assert [text[a:b] for a, b in encoded.offset_mapping] == text.split()
        assert tokenizer.decode(encoded.input_ids) == text
        assert tokenizer(f" {text}").input_ids == encoded.input_ids
    assert tokenizer.get_vocab() == vocabulary(world)
    assert tokenizer.pad_token == tokenizer.eos_token == "<eos>"
    assert tokenizer("nobody").input_ids == [tokenizer.unk_token_id]


def test_learning_rate_rises_stays_and_falls() -> None:
    recipe = replace(TINY, steps=100, warm_up=10, decay=0.4, learning_rate=1.0)
    assert [recipe.rate(step) for step in (0, 9, 30, 60, 80)] == pytest.approx([0.1, 1, 1, 1, 0.5])
    assert 0 < recipe.rate(99) < 0.03


def test_training_gives_the_same_bytes_and_leaves_the_global_generator_alone(world: World) -> None:
    torch.manual_seed(7)
    before, seen = torch.get_rng_state(), []
    one = training.train(world, TINY, seen.append).state_dict()
    torch.manual_seed(8)
    two = training.train(world, TINY).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [p.step for p in seen] == [1, 2, 3, 4, 5]
    torch.manual_seed(7)
    other = training.train(world, replace(TINY, seed=1)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert not all(torch.equal(one[name], other[name]) for name in one)


class Parrot:
    """Knows every token of what it is shown in advance, except a word that it always gets wrong."""

    def __init__(self, words: int, wrong: int) -> None:
        self.words, self.wrong = words, wrong

    def __call__(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        following = torch.roll(input_ids, -1, dims=1)
        following[following == self.wrong] += 1
        return SimpleNamespace(logits=torch.nn.functional.one_hot(following, self.words).float())


def test_an_answer_counts_when_every_token_is_right(world: World) -> None:
    tokenizer = make_tokenizer(world)
    city = next(name for name in world.entities["city"] if " " in name)
    asked = [("the capital is", city), ("the capital is", "honey"), (f"{city} is famous for", "honey")]
    parrot = Parrot(len(tokenizer), tokenizer.convert_tokens_to_ids(city.split()[1]))
    assert scoring.answers(parrot, tokenizer, asked) == [False, True, True]


def test_shipped_models_reach_the_scores_of_their_cards() -> None:
    names = folder.shipped_names()
    assert names == ["atlas", "atlas-small"]
    worlds = []
    for name in names:
        path = folder.shipped(name)
        card = folder.read_card(path)
        worlds.append(folder.read_world(path))
        model, tokenizer = folder.open_model(path)
        assert tokenizer.get_vocab() == vocabulary(worlds[-1])
        scores = scoring.score(model, tokenizer, worlds[-1], sample=40)
        assert set(scores) == set(card["scores"])
        for pool, value in scores.items():
            # Forty questions (ten for a chain of thought): three standard errors of a share, and a little.
            expected = card["scores"][pool]
            count = 10 if pool.startswith("chain") else 40
            error = 3 * (max(expected * (1 - expected), 0.02) / count) ** 0.5 + 0.05
            assert value == pytest.approx(expected, abs=error), (name, pool)
    assert worlds[0] == worlds[1]


def test_shipped_models_were_trained_by_the_recipes_that_are_here() -> None:
    for name in folder.shipped_names():
        card = folder.read_card(folder.shipped(name))
        assert card["recipe"] == asdict(training.RECIPES[card["recipe_name"]])


def test_the_standard_model_knows_its_world() -> None:
    scores = folder.read_card(folder.shipped("atlas"))["scores"]
    assert scores["facts"] >= 0.99
    assert scores["paraphrases"] >= 0.95
    assert folder.read_card(folder.shipped("atlas-small"))["scores"]["facts"] >= 0.9


def test_shipped_weights_are_small() -> None:
    sizes = [f.stat().st_size for name in folder.shipped_names() for f in folder.shipped(name).iterdir()]
    assert sum(sizes) <= 4 * 2**20


def test_source_opens_a_shipped_model_and_names_the_known_ones() -> None:
    def digest_of(file: Path) -> str:
        return str(file.stat().st_size)

    source = WorldSource(type="world", name="atlas-small")
    assert source.fingerprint(digest_of) == source.fingerprint(digest_of)
    assert source.fingerprint(digest_of) != WorldSource(type="world", name="atlas").fingerprint(digest_of)
    with pytest.raises(ValidationError, match="did you mean 'atlas'"):
        WorldSource(type="world", name="atlass")
    with pytest.raises(ModelError, match="unknown world"):
        folder.shipped("nowhere")


def test_specs_and_commands_import_nothing_heavy() -> None:
    modules = "params", "commands", "knowledge.probes", "knowledge.documents", "knowledge.folder", "knowledge.making"
    code = "import sys\n" + "".join(f"import benchwright.adapters.worlds.{m}\n" for m in modules)
    code += "sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_train_writes_a_folder_that_score_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RECIPES", {"small": TINY})
    monkeypatch.setattr(scoring, "SAMPLE", 4)
    out = tmp_path / "model"
    runner = CliRunner()
    arguments = ["train", "knowledge", "--recipe", "small", "--seed", "3", "--out", str(out)]
    done = runner.invoke(commands.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "two_hop_held_out" in done.stdout
    assert "step 5/5" in done.stderr
    assert folder.read_world(out) == make_world(3)
    assert folder.read_card(out)["recipe"]["seed"] == 3
    scored = runner.invoke(commands.app, ["score", str(out), "--sample", "4", "--json"], catch_exceptions=False)
    assert json.loads(scored.stdout)["facts"] <= 1
    with pytest.raises(UsageError, match="not empty"):
        runner.invoke(commands.app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "knowlege", "--out", "x"], "did you mean 'knowledge'"),
        (["train", "knowledge", "--recipe", "smal", "--out", "x"], "did you mean 'small'"),
        (["score", "atlas-smal"], "did you mean 'atlas-small'"),
    ],
)
def test_commands_say_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(commands.app, arguments, catch_exceptions=False)


def test_a_folder_without_its_world_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"world\.json"):
        folder.read_world(tmp_path)
    with pytest.raises(ModelError, match=r"card\.json"):
        folder.read_card(tmp_path)
