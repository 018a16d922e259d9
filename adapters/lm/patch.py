"""A change to a language model, as a value: it can be applied, undone, stacked, combined, saved and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from ...errors import DataError
from .architecture import Linear
from .forward import by_row, replaced, tensor_of
from .inserts import INSERTS, Insert
from .model import LanguageModel
from .prompts import PROMPTS, Prompts

if TYPE_CHECKING:
    from .decoding import Decoding, Fixed

_INSERT, _DECODING = "insert", "decoding"
"""First words of the names of tensors in a file: `insert:MODULE:NAME`, `decoding:NAME`."""


@dataclass(frozen=True)
class LowRank:
    """A change of a weight as a product; `left @ right` has the shape of the weight as stored."""

    left: torch.Tensor
    """Shape (rows, rank)."""
    right: torch.Tensor
    """Shape (rank, columns)."""

    def dense(self) -> torch.Tensor:
        """The product, in float32."""
        return self.left.float() @ self.right.float()


Delta: TypeAlias = torch.Tensor | LowRank


def dense(delta: Delta) -> torch.Tensor:
    """A change of a weight in full."""
    return delta.dense() if isinstance(delta, LowRank) else delta


@dataclass(frozen=True)
class Patch:
    """Changes of weights, modules inserted behind others, and what is done with a prompt. Empty, it changes nothing."""

    deltas: Mapping[str, Delta] = field(default_factory=dict)
    """Parameter name to the change of the weight as stored, in float32."""
    inserts: Mapping[str, Insert] = field(default_factory=dict)
    """Module name to what is done with its output."""
    prompts: Prompts | None = None
    """What the model is given in place of a prompt."""
    decoding: Decoding | Fixed | None = None
    """How an answer's tokens are chosen, where not greedily (writing.py)."""
    notes: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What its maker tells of it (a located layer, losses), as JSON data; no part of what it does."""

    def prompt(self, text: str) -> str:
        """The prompt that the model is given in place of `text`."""
        return self.prompts.prompt(text) if self.prompts else text

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """The model changed, inside `with`; afterwards bit for bit as before.

        The originals are saved and copied back: subtracting a change does not restore the last bits.
        """
        parameters: dict[str, Any] = {name: lm.model.get_parameter(name) for name in self.deltas}
        originals = {name: p.detach().clone() for name, p in parameters.items()}
        before = lm.patched
        with ExitStack() as hooks:
            try:
                with torch.no_grad():
                    for name, p in parameters.items():
                        # In float32, then rounded once: in a half-precision model small changes would else be lost.
                        p.copy_(p.float() + dense(self.deltas[name]).to(p.device))
                for name, insert in self.inserts.items():
                    hooks.enter_context(_inserted(lm, name, insert))
                lm.patched = True
                yield
            finally:
                lm.patched = before
                with torch.no_grad():
                    for name, parameter in parameters.items():
                        parameter.copy_(originals[name])

    def then(self, later: Patch) -> Patch:
        """This patch and a later one, made on the model that this one had changed: changes of weights add up; of the
        same inserted module, and of what is done with prompts, the later one stands."""
        deltas = dict(self.deltas)
        for name, delta in later.deltas.items():
            deltas[name] = _sum(deltas[name], delta) if name in deltas else delta
        return Patch(
            deltas,
            {**self.inserts, **later.inserts},
            later.prompts or self.prompts,
            later.decoding or self.decoding,
        )

    def scaled(self, strength: float) -> Patch | None:
        """The patch at a part of its strength: changes of weights, vectors and factors of decoding times `strength`;
        what is done with prompts stays. None where nothing has a strength, or a part has none."""
        inserts = {name: insert.scaled(strength) for name, insert in self.inserts.items()}
        decoding = self.decoding.scaled(strength) if self.decoding else None
        kept = {name: insert for name, insert in inserts.items() if insert is not None}
        nothing = not (self.deltas or inserts or decoding)
        if nothing or len(kept) < len(inserts) or (self.decoding is not None and decoding is None):
            return None
        return Patch({n: _times(d, strength) for n, d in self.deltas.items()}, kept, self.prompts, decoding)

    @property
    def around(self) -> Patch:
        """What surrounds the weights: inserted modules and what is done with prompts."""
        return Patch(inserts=self.inserts, prompts=self.prompts)

    @property
    def stackable(self) -> bool:
        """Whether `stacked` can run it beside others: low-rank changes of projections, or prompts alone."""
        return not self.inserts and not self.decoding and all(isinstance(d, LowRank) for d in self.deltas.values())

    def slim(self, lm: LanguageModel) -> Patch:
        """The same patch, small full changes of projections written as products, so that it can be stacked."""
        return replace(self, deltas={name: _slim(lm, name, delta) for name, delta in self.deltas.items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that it consists of but texts: full changes by parameter name, inserted modules' tensors."""
        found = {name: dense(d).detach().float().cpu().contiguous() for name, d in self.deltas.items()}
        for module, insert in self.inserts.items():
            for name, tensor in insert.tensors().items():
                # Copies: one vector may stand behind many modules, and a file holds no tensor twice.
                found[f"{_INSERT}:{module}:{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in self.decoding.tensors().items() if self.decoding else ():
            found[f"{_DECODING}:{name}"] = tensor.detach().float().cpu().contiguous()
        return found

    def description(self) -> str:
        """What `tensors` does not hold, as JSON: kinds and options of inserted modules, prompts."""
        inserts = {m: {"type": i.type, **i.options()} for m, i in self.inserts.items()}
        prompts = {"type": self.prompts.type, **self.prompts.to_json()} if self.prompts else None
        said: dict[str, Any] = {"inserts": inserts, "prompts": prompts}
        if self.decoding:
            said["decoding"] = {"type": self.decoding.type, **self.decoding.options()}
        return json.dumps(said, sort_keys=True)

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], description: str) -> Patch:
        """What `tensors` and `description` were taken from."""
        said = json.loads(description)
        inserts = {}
        for module, options in said["inserts"].items():
            start = f"{_INSERT}:{module}:"
            own = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            inserts[module] = INSERTS[options.pop("type")].of(own, options)
        prompts, decoding = said["prompts"], None
        if choice := said.get("decoding"):
            # Here and not above: ways of decoding are made of patches.
            from .decoding import DECODINGS

            start = f"{_DECODING}:"
            own = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            decoding = DECODINGS[choice.pop("type")].of(own, choice)
        return cls(
            {n: t for n, t in tensors.items() if not n.startswith((f"{_INSERT}:", f"{_DECODING}:"))},
            inserts,
            PROMPTS[prompts.pop("type")].of(prompts) if prompts else None,
            decoding,
        )

    def save(self, file: Path) -> None:
        """Write it as safetensors; what is no tensor stands in the metadata."""
        from safetensors.torch import save_file

        save_file(self.tensors(), file, metadata={"patch": self.description()})

    @classmethod
    def load(cls, file: Path) -> Patch:
        """Read what `save` wrote. Raises DataError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt") as stored:
                said = (stored.metadata() or {}).get("patch")
                if said is None:
                    raise DataError(f"{file}: is no patch (its metadata do not say what it consists of)")
                names = stored.keys()
                return cls.of({n: stored.get_tensor(n) for n in names}, said)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{file}: cannot be read as safetensors ({error})") from error

    def digest(self) -> str:
        """Hex digest of the content: equal for equal patches."""
        state = hashlib.blake2b(self.description().encode(), digest_size=16)
        for name, tensor in sorted(self.tensors().items()):
            state.update(f"{name}{tuple(tensor.shape)}".encode())
            state.update(tensor.numpy().tobytes())
        return state.hexdigest()


def save_each(file: Path, patches: Mapping[str, Patch]) -> None:
    """Write patches that stand each alone: tensors as `NAME/PARAMETER`, the rest in the metadata, by name."""
    from safetensors.torch import save_file

    tensors = {f"{name}/{n}": t for name, patch in patches.items() for n, t in patch.tensors().items()}
    said = json.dumps({name: patch.description() for name, patch in patches.items()})
    save_file(tensors, file, metadata={"patches": said})


SLIM = 2**16
"""Numbers up to which a full change is small: stacked, each row of a batch has a copy of it."""


def _slim(lm: LanguageModel, name: str, delta: Delta) -> Delta:
    kind = type(lm.model.get_submodule(name.rpartition(".")[0])).__name__
    if isinstance(delta, LowRank) or delta.dim() != 2 or delta.numel() > SLIM or kind not in ("Linear", "Conv1D"):
        return delta
    rows, columns = delta.shape
    unit = torch.eye(min(rows, columns), dtype=delta.dtype, device=delta.device)
    return LowRank(unit, delta) if rows <= columns else LowRank(delta, unit)


def can_stack(lm: LanguageModel, patches: Sequence[Patch]) -> bool:
    """Whether several models, each changed by one of the patches, can be asked in one pass.

    In half precision a change that is added to an output is rounded otherwise than one that is added to the weight:
    those models are asked one by one.
    """
    exact = next(lm.model.parameters()).dtype.itemsize >= 4
    return exact and len(patches) > 1 and all(patch.stackable for patch in patches)


def _times(delta: Delta, strength: float) -> Delta:
    return LowRank(strength * delta.left, delta.right) if isinstance(delta, LowRank) else strength * delta


def _sum(first: Delta, second: Delta) -> torch.Tensor:
    # In full, also of low ranks: a stream that continues from a checkpoint then has the same bits as one that did not.
    later = dense(second)
    return dense(first).to(later.device) + later


@contextmanager
def _inserted(lm: LanguageModel, name: str, insert: Insert) -> Iterator[None]:
    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        assert lm.asked is not None, "an inserted module needs to know where the prompts end: use forward.py"
        count, hidden = len(lm.asked.prompt_ends), tensor_of(output)
        given = args[0] if args else kwargs["hidden_states"]
        passed = insert(by_row(given, count), by_row(hidden, count), lm.asked)
        return replaced(output, passed.reshape(hidden.shape))

    handle = lm.model.get_submodule(name).register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def stacked(lm: LanguageModel, patches: Sequence[Patch]) -> Iterator[None]:
    """Many stackable patches at once: row i of a batch is computed with patch `owners[i]` (forward.py).

    No weight is written: each row's low-rank change is added to the projection's output.
    """
    names = list(dict.fromkeys(name for patch in patches for name in patch.deltas))
    before = lm.patched
    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(_stacked_weight(lm, name, [p.deltas.get(name) for p in patches]))
        try:
            lm.patched = True
            yield
        finally:
            lm.patched = before


@contextmanager
def _stacked_weight(lm: LanguageModel, name: str, deltas: Sequence[Delta | None]) -> Iterator[None]:
    module = lm.model.get_submodule(name.rpartition(".")[0])
    projection = Linear(name, module, transposed=type(module).__name__ == "Conv1D")
    weight = projection.stored(module.weight)
    rank = max(d.left.shape[1] for d in deltas if isinstance(d, LowRank))
    out = weight.new_zeros(len(deltas), weight.shape[0], rank)
    into = weight.new_zeros(len(deltas), rank, weight.shape[1])
    for i, delta in enumerate(deltas):
        if isinstance(delta, LowRank):
            left, right = (delta.right.T, delta.left.T) if projection.transposed else (delta.left, delta.right)
            out[i, :, : left.shape[1]] = left.to(weight)
            into[i, : right.shape[0]] = right.to(weight)

    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        assert lm.asked is not None, "stacked patches need to know whose row is whose: use forward.py"
        owners = lm.asked.owners
        inside = by_row(args[0], len(owners)) @ into[owners].transpose(1, 2)
        return output + (inside @ out[owners].transpose(1, 2)).reshape(output.shape)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
