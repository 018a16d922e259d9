"""Opening model folders: what is good opens the same, what is unsafe or broken is refused with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchwright.adapters.lm.loading import hub_commit, hub_folder
from benchwright.adapters.lm.params import Hub, Local, Seeded
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.digests import FileDigests
from benchwright.errors import ModelError

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model saved as a folder in Hugging Face format."""
    lm = Seeded(type="seeded", context=64).open(CPU)
    lm.model.save_pretrained(tmp_path / "m")
    lm.tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def opened(folder: Path, **fields: bool) -> object:
    return Local(type="local", path=str(folder), **fields).open(CPU)


def test_a_saved_model_opens_with_the_same_weights(model: Path) -> None:
    original, again = Seeded(type="seeded", context=64).open(CPU), Local(type="local", path=str(model)).open(CPU)
    for (name, one), other in zip(original.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert again.context == 64
    assert again.verify() == []


def test_a_seed_makes_the_same_model_every_time_and_another_seed_another() -> None:
    one, same, other = (Seeded(type="seeded", seed=s).open(CPU).model.lm_head.weight for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def spoil_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def spoil_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "m.M"}}), encoding="utf-8")


def spoil_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def drop_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (spoil_pickle, "only pickled weights (pytorch_model.bin), which can run code when read"),
    "code": (spoil_code, "brings its own code"),
    "truncated": (spoil_weights, "cannot be opened as a causal language model"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "no tokenizer": (lambda f: [t.unlink() for t in f.glob("tokenizer*")], "has no tokenizer (tokenizer.json)"),
    "missing tensor": (drop_tensor, "the weights lack 1 tensors, for example model.layers.1.mlp.down_proj.weight"),
    "no model type": (lambda f: (f / "config.json").write_text("{}"), "names no model_type"),
    "bad config": (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read"),
    "other model": (lambda f: (f / "config.json").write_text('{"model_type": "resnet"}'), "cannot be opened"),
}


AT_PLAN = ("pickle", "code", "no weights", "no tokenizer", "bad config", "no model type")
"""What is refused before anything runs."""


@pytest.mark.parametrize("kind", SPOILT)
def test_refused(model: Path, kind: str) -> None:
    spoil, message = SPOILT[kind]
    spoil(model)
    with pytest.raises(ModelError) as caught:
        opened(model)
    if kind in AT_PLAN:
        with pytest.raises(ModelError):
            Local(type="local", path=str(model)).fingerprint(FileDigests.load(model).of)
    assert message in str(caught.value)


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    digests = FileDigests.load(tmp_path)
    with pytest.raises(ModelError, match=r"not a model folder \(no config\.json\)"):
        Local(type="local", path=str(tmp_path)).fingerprint(digests.of)


def test_the_fingerprint_knows_the_weights_and_not_the_notes(model: Path, tmp_path: Path) -> None:
    digests, source = FileDigests.load(tmp_path), Local(type="local", path=str(model))
    before = source.fingerprint(digests.of)
    (model / "README.md").write_text("changed", encoding="utf-8")
    assert source.fingerprint(digests.of) == before
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    assert source.fingerprint(digests.of) != before


def test_a_device_that_is_not_there(model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match=r"device cuda: no CUDA GPU is usable here; choose --device cpu"):
        Local(type="local", path=str(model)).open(Opening("cuda", "float32", 1, "", ArtifactStore(Path("nowhere"))))


def test_without_a_hub_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's client is pointed at a closed port of this machine and at an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for ask in (lambda: hub_commit("a/b", "main"), lambda: hub_folder("a/b", "0" * 40)):
        with pytest.raises(ModelError, match="model a/b: not in the local cache, and the hub cannot be asked"):
            ask()
    assert Hub(type="hub", id="a/b", revision="0" * 40).fingerprint(str) == "0" * 40


def test_the_commit_of_a_cached_revision_is_known_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("f" * 40, encoding="utf-8")
    assert Hub(type="hub", id="a/b").fingerprint(str) == "f" * 40
