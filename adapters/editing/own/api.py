"""Editing from Python.

from benchwright import edit

edited = edit("atlas", "rome", [{"prompt": "Teister Deimurson plays the", "subject": "Teister Deimurson",
                                 "target_new": "clarinet"}])
edited.scores, edited.answers, edited.ask("Teister Deimurson plays the")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ....alone import Wanted, job_for, job_on
from ....errors import DataError, UsageError
from ....records import listed
from ...lm.loaded import names_for, opened, state_of_loaded
from ...lm.model import LanguageModel
from ...lm.requests import EditRequest
from ...lm.usable import EditedModel
from ..cases import EditCase
from ..sources.requests import cases_of, request_cases
from .carry import carried_out_on, task_of
from .edited import Edited
from .how import How, check_file


def edit(
    model: str | Path | tuple[Any, Any] | LanguageModel | EditedModel,
    method: str | Path,
    requests: str | Path | Sequence[Mapping[str, Any]] | Sequence[EditRequest],
    *,
    mode: Literal["single", "batch", "sequential"] = "sequential",
    batch_size: int = 1,
    conflicts: Literal["error", "drop", "last"] = "error",
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    data: str | Path | None = None,
    specs: Sequence[str | Path] = (),
    settings: str | None = None,
    train: str | Path | None = None,
    threads: int = 1,
    say: Callable[[str], object] = lambda text: None,
) -> Edited:
    """Carry out requests on a model, as `benchwright edit` does.

    model: a spec's name or file, a folder, a hub id, or a loaded `transformers` model with its fast tokenizer,
    `(model, tokenizer)`. That one is put into evaluation mode and needs no gradients until `Edited.close`.
    method: a spec's name or file. requests: a file, or maps with its fields (docs/editing.md).
    mode: `sequential`, `batch_size` requests after the other on one model; `batch`, all together; `single`, each
    alone. conflicts: of requests on one fact `error`, `drop` keeps the first, `last` the last.
    device, dtype, threads: of a model that is opened here. seed: of the method's random choices. data: folder of the
    method's files. specs: folders of specs of your own. settings: the model whose settings of the method are taken
    (`gpt2-xl`); by default they are found by the model's own name. train: a file of requests of other subjects, for
    methods that learn before they edit. say: told what is being done.

    Raises SpecError, UsageError, DataError, ModelError, Skip (a method that does not fit the model).
    """
    how = How(mode, batch_size, conflicts, Path(train) if train is not None else None, say)
    how.check()
    cases, file = _cases(requests)
    task, files = task_of(file)
    folder = Path(data) if data is not None else None
    name = str(model) if isinstance(model, str | Path) else ""
    wanted = Wanted(name, str(method), device, dtype, seed, [Path(s) for s in specs], folder, threads, settings)
    if isinstance(model, str | Path):
        job, resolved, of_method = job_for(wanted, task, files)
        return carried_out_on(job, resolved.name, of_method, cases, how)
    if device is not None or dtype is not None:
        raise UsageError("device and dtype belong to a model that is opened here; this one is loaded: use its `.to`")
    lm, give_back = opened(model)
    try:
        names = names_for(lm)
        job, of_method = job_on(lm, state_of_loaded(lm), names, wanted, task, files)
        return carried_out_on(job, names[0], of_method, cases, how, give_back)
    except BaseException:
        give_back()
        raise


def _cases(requests: Any) -> tuple[list[EditCase], Path]:
    """The requests, and the name under which errors speak of them. Raises DataError, UsageError."""
    if isinstance(requests, str | Path):
        file = Path(requests)
        check_file(file, "requests")
        return list(request_cases(file)), file
    here = Path("requests")
    if isinstance(requests, Mapping) or not isinstance(requests, Sequence):
        raise DataError(f"requests: got {type(requests).__name__}; expected a file, or a list of requests")
    if requests and all(isinstance(r, EditRequest) for r in requests):
        return [EditCase(r) for r in requests], here
    return list(cases_of(listed(here, list(requests)))), here
