"""`benchwright import-hparams`: another library's hyper-parameters as method specs, and nothing dropped in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from benchwright.adapters.editing.own.importing.reading import Imported, converted
from benchwright.adapters.editing.own.importing.table import ELSEWHERE, names
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError
from benchwright.loading.library import Library, within_reach

ROME = """\
alg_name: "ROME"
model_name: "./hugging_cache/gpt2-xl"
device: 0
layers: [17]
fact_token: "subject_last"
v_num_grad_steps: 20
v_lr: 5e-1
v_loss_layer: 47
v_weight_decay: 0.5
clamp_norm_factor: 4
kl_factor: 0.0625
mom2_adjustment: false
context_template_length_params: [[5, 10], [10, 10]]
mom2_dataset: "wikipedia"
rewrite_module_tmp: "transformer.h.{}.mlp.c_proj"
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return within_reach(())


def algorithm(found: Imported) -> dict[str, Any]:
    """What the written spec says, as numbers and not as texts."""
    said: dict[str, Any] = yaml.safe_load(found.text)
    assert said["extends"] == found.extends
    return said.get("algorithm", {})


def test_a_file_becomes_a_spec_that_says_what_it_says(folder: Path) -> None:
    (folder / "gpt2-xl.yaml").write_text(ROME, encoding="utf-8")
    result = run("gpt2-xl.yaml", "--out", "mine.yaml")
    assert result.exit_code == 0, result.exception
    said = yaml.safe_load((folder / "mine.yaml").read_text(encoding="utf-8"))
    assert (said["kind"], said["extends"]) == ("method", "rome-no-covariance")
    value = {"steps": 20, "lr": 0.5, "loss_layer": 47, "weight_decay": 0.5, "clamp_norm_factor": 4, "kl_factor": 0.0625}
    assert said["algorithm"] == {"site": {"layers": [17]}, "value": value | {"context_lengths": [5, 5, 10, 10]}}
    assert "ignored (where it ran): alg_name, model_name, device" in result.stderr
    assert "ignored (mom2_adjustment is False): mom2_dataset" in result.stderr
    assert "NOT carried over" not in result.stderr
    assert CliRunner().invoke(app, ["validate", "mine.yaml"]).exit_code == 0


def test_what_is_not_carried_over_is_named_with_its_reason(folder: Path) -> None:
    text = ROME.replace("mom2_adjustment: false", "mom2_adjustment: true\nnew_key: 3")
    (folder / "odd.yaml").write_text(text.replace("subject_last", "subject_first"), encoding="utf-8")
    result = run("odd.yaml")
    assert result.exit_code == 0, result.exception
    said = yaml.safe_load(result.stdout)
    assert said["extends"] == "rome"
    assert said["description"].endswith("not carried over: fact_token, new_key, mom2_dataset.")
    assert "NOT carried over: fact_token: 'subject_first'; here it is always 'subject_last'" in result.stderr
    assert "NOT carried over: new_key: not known for this algorithm" in result.stderr


@pytest.mark.parametrize(
    ("name", "values", "extends", "expected"),
    [
        (
            "FT",
            {"layers": [0], "objective_optimization": "target_new", "norm_constraint": "5e-4"},
            "ft-m",
            {"parameters": {"layers": [0]}, "max_change": 5e-4},
        ),
        (
            "FT",
            {"layers": [21], "objective_optimization": "prompt_last", "norm_constraint": False},
            "ft-l",
            {"parameters": {"layers": [21]}, "max_change": None},
        ),
        (
            "GRACE",
            {"inner_params": ["transformer.h[35].mlp.c_fc.weight"], "eps": 1.0, "replacement": "replace_prompt"},
            "grace",
            {"site": {"module": "mlp_up", "layer": 35}, "epsilon": 1.0, "replace": "prompt"},
        ),
        (
            "WISE",
            {"retrieve": True, "act_margin": [5.0, 20.0, 10.0], "inner_params": ["x.layers[27].mlp.down_proj.weight"]},
            "wise-retrieve",
            {
                "margins": {"alpha": 5.0, "beta": 20.0, "gamma": 10.0},
                "site": {"module": "mlp_down", "layer": 27},
            },
        ),
        (
            "MEND",
            {"inner_params": [f"h.{i}.mlp.{m}.weight" for i in (46, 47) for m in ("c_proj", "c_fc")], "lr": "1e-6"},
            "mend",
            {"modules": ["mlp_down", "mlp_up"], "layers": [46, 47], "training": {"lr": 1e-6}},
        ),
        (
            "ULTRAEDIT",
            {"inner_params": ["model.layers.9.mlp.up_proj", "model.layers.8.mlp.up_proj"], "token": "mask"},
            "ultraedit",
            {"sites": [{"module": "mlp_up", "layers": [8, 9]}], "tokens": "all"},
        ),
        (
            "R-ROME",
            {"layers": [5], "mom2_adjustment": False},
            "r-rome",
            {"site": {"layers": [5]}, "solve": {"covariance": None}},
        ),
        ("MELO", {"grace": {"num_iter": 50, "init_radius": 0.5}}, "melo", {"steps": 50, "radius": 0.5}),
        ("DINM", {"layers": [], "kl_factor": 0.1}, "dinm-easyedit", {"layer": "raw", "edit_weight": 0.1}),
    ],
)
def test_values_are_put_where_they_belong(
    library: Library, name: str, values: dict[str, Any], extends: str, expected: dict[str, Any]
) -> None:
    found = converted({"alg_name": name, **values}, Path("m.yaml"), None, library)
    assert (found.extends, algorithm(found)) == (extends, expected)
    assert not found.left


SHIPPED_APART = {"DeCo", "MEMIT-FE", "QLoRA", "EAMET", "SPHERE"}
"""Algorithms of the peer that have no entry in the table."""


def test_every_file_that_the_peer_ships_is_read(shared: Path, library: Library) -> None:
    """All values but those that are named, with the reason, are in the spec; each spec is valid for every model."""
    methods = json.loads((shared / "research" / "editing_hparams.json").read_text(encoding="utf-8"))["methods"]
    assert {name.lower() for name in methods} - {name.lower() for name in names()} == {n.lower() for n in SHIPPED_APART}
    left: dict[str, set[str]] = {}
    for name, models in methods.items():
        for model, values in models.items() if name not in SHIPPED_APART else ():
            if values.get("objective_optimization") == "promptz_last":  # so in the file of ChatGLM4
                continue
            found = converted({**values, "alg_name": name, "device": 0}, Path(f"{model}.yaml"), None, library)
            left.setdefault(name, set()).update(found.left)
            told = {key for keys in found.ignored.values() for key in keys} | found.left.keys()
            assert told | set(found.algorithm) or not values
    statistics = {"mom2_dataset", "mom2_n_samples"}
    assert {name: keys for name, keys in left.items() if keys} == {
        **dict.fromkeys(("AlphaEdit", "EMMET", "MEMIT", "PMET"), statistics),
        "IKE": {"k"},
        "LoRA": {"lora_dropout", "sh_lr", "target_modules"},
        "DPO": {"lora_dropout", "lora_type"},
        "SERAC": {"lr", "grad_clip", "freeze_cntr"},
        "MELO": {"grace.num_block", "lora.lora_alpha"},
        "MEND": {"iedit", "inner_params"},  # BLIP-2, T5 and the first Qwen have blocks of other names
    }


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("layers: [1]", (), "has no alg_name; say the algorithm with --algorithm"),
        ("layers: [1]", ("--algorithm", "ROMME"), "unknown algorithm 'ROMME'; did you mean 'ROME'?"),
        ("alg_name: ROME", (), "mom2_adjustment: expected true or false, it is missing"),
        ("alg_name: QLoRA", (), f"algorithm QLoRA has no method here: {ELSEWHERE['QLoRA']}"),
        ("- 1", (), "expected a map of hyper-parameters"),
        ("a: [", (), "not valid YAML"),
        ("alg_name: MEMIT\nlayers: [five]", (), "site.layers.0"),
        (ROME, ("--out", "no/mine.yaml"), "there is no folder no"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder: Path, text: str, words: tuple[str, ...], message: str) -> None:
    (folder / "h.yaml").write_text(text, encoding="utf-8")
    result = run("h.yaml", *words)
    assert isinstance(result.exception, BenchwrightError), result.exception
    assert result.exception.exit_code == 2
    assert message in str(result.exception)


def test_a_file_that_is_not_there(folder: Path) -> None:
    assert "nowhere.yaml: no such file" in str(run("nowhere.yaml").exception)
    assert "is a folder" in str(run(".").exception)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["import-hparams", *words])
