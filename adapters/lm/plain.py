"""Plain calls of a patched model, by `transformers` itself: inserted modules are told where the prompts end.

A pass without a cache behind it is taken for prompts, one token behind a cache for a step of their answers: this is how
`generate` calls a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

from ...errors import ModelError
from .generation import cache_name
from .model import Asked, LanguageModel


@contextmanager
def plainly_asked(lm: LanguageModel) -> Iterator[None]:
    """Inside `with`, the `transformers` model may be called, and may `generate`, as if it had no inserted modules.

    Of a call without a cache the whole text is the prompt. Raises ModelError, in the call, where prompt and answer
    cannot be told apart: several tokens behind a cache, a batch whose mask does not show the padding, or `generate`
    without a cache.
    """
    carried: dict[object, torch.Tensor] = {}
    ours = False
    cache = cache_name(lm.model)

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal carried, ours
        ours = lm.asked is None
        if ours:
            lm.asked = asked = _asked(args, kwargs, cache, carried)
            carried = asked.carried

    def after(*_: Any) -> None:
        if ours:
            lm.asked = None

    handles = [
        lm.model.register_forward_pre_hook(before, with_kwargs=True),
        lm.model.register_forward_hook(after, always_call=True),
    ]
    known = vars(lm.model).get("generate")
    lm.model.generate = _with_cache(lm.model)
    try:
        yield
    finally:
        del lm.model.generate
        if known is not None:
            lm.model.generate = known
        for handle in handles:
            handle.remove()


def _asked(args: tuple[Any, ...], kwargs: Mapping[str, Any], cache: str, carried: dict[object, torch.Tensor]) -> Asked:
    """What the rows of a pass are; `carried`: what the pass before decided. Raises ModelError."""
    given = kwargs.get("input_ids") if kwargs.get("input_ids") is not None else kwargs.get("inputs_embeds")
    given = args[0] if given is None else given
    rows, length = given.shape[:2]
    owners = torch.zeros(rows, dtype=torch.long, device=given.device)
    # transformers 5.24 calls by the new name what callers may still call by the old one.
    past = kwargs.get(cache) if kwargs.get(cache) is not None else kwargs.get("past_key_values")
    if past is not None and past.get_seq_length() > 0:
        if length > 1:
            raise ModelError(
                f"{length} tokens behind a cache: an edited model with inserted modules cannot tell prompt and answer; "
                "generate without prefill chunks, without an assistant, and from the whole prompt"
            )
        return Asked(torch.full_like(owners, -1), owners, None, carried)
    mask = kwargs.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:
        inside = mask.to(given.device) != 0
        places = torch.arange(length, device=given.device)
        return Asked((inside * places).argmax(1), owners, inside.int().argmax(1), {})
    if mask is not None and rows > 1:
        raise ModelError("an edited model with inserted modules needs an attention mask of shape (rows, tokens)")
    return Asked(torch.full_like(owners, length - 1), owners, None, {})


def _with_cache(model: Any) -> Any:
    """The model's `generate`, which refuses to do without a cache: every step would look like a new prompt."""
    generate = model.generate

    @wraps(generate)
    def generating(*args: Any, **kwargs: Any) -> Any:
        settings = kwargs.get("generation_config") or model.generation_config
        if kwargs.get("use_cache", getattr(settings, "use_cache", True)) is False:
            raise ModelError("an edited model with inserted modules generates with a cache only; leave use_cache on")
        return generate(*args, **kwargs)

    return generating
