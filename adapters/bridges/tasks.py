"""lm-eval's tasks, found by name and built, with errors that say what is missing and how to provide it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import DataError
from .files import FORMATS, check_folder, settled
from .names import check_names, not_known, shipped
from .texts import check_greedy

FEWSHOT_SEED = 1234
"""Of the examples that stand before a question; lm-eval's own."""
REMEDY = (
    "nothing is downloaded here: fetch it where there is a network, so that it lies in Hugging Face's cache (HF_HOME), "
    "or name a `folder` with a task file whose `dataset_path: json` and `dataset_kwargs: {data_files: …}` name files "
    "in that folder"
)


@contextmanager
def opened(names: Sequence[str], folder: Path | None) -> Iterator[dict[str, Any]]:
    """lm-eval's task objects by name, groups and tags replaced by their tasks; fresh ones, since they keep state.

    Inside `with` their data may lie in a temporary folder. Raises DataError.
    """
    with TemporaryDirectory(prefix="benchwright-") as place:
        manager = _manager(names, folder, Path(place))
        tasks: dict[str, Any] = {}
        for name in names:
            found = _built(manager, name)
            if twice := tasks.keys() & found.keys():
                raise DataError(f"lm-eval task {min(twice)!r} is asked for twice: {name!r} is it, or has it too")
            tasks |= found
        yield tasks


def _manager(names: Sequence[str], folder: Path | None, place: Path) -> Any:
    from lm_eval.tasks import TaskManager

    if folder is not None:
        check_folder(folder)
    manager = TaskManager(include_path=folder and str(folder), include_defaults=False)
    index = manager.task_index
    for name, entry in index.items():
        if folder is not None and entry.yaml_path is not None:
            own = settled(entry.cfg, folder, Path(entry.yaml_path).parent, place)
            index[name] = replace(entry, cfg=own, yaml_path=None)
    asked = [*names, *(m for name in names if name in index for m in _members(index[name]))]
    if any(name not in index for name in asked):
        mine = list(index)
        if not shipped.cache_info().currsize:
            check_names([name for name in names if name not in index], mine, folder)
        index.update({name: entry for name, entry in shipped().items() if name not in index})
        for name in names:
            if name not in index:
                raise not_known(name, index, mine, folder)
    return manager


def _built(manager: Any, name: str) -> dict[str, Any]:
    try:
        tasks: dict[str, Any] = manager.load([name])["tasks"]
    # What a task raises depends on what it is made of: templates, data, Python of lm-eval's own.
    except Exception as error:
        entry = manager.task_index[name]
        for member in _members(entry):
            if member in manager.task_index:
                _built(manager, member)  # the one that is at fault says so
        raise DataError(f"lm-eval task {name!r}: {_reason(error, entry.cfg or {})}") from error
    for own, task in tasks.items():
        what = f"lm-eval task {own!r}"
        if getattr(task, "UNSAFE_CODE", False):
            raise DataError(f"{what}: runs code that the model writes, which is not done here")
        if getattr(task, "MULTIMODAL", False):
            raise DataError(f"{what}: asks about pictures or sounds; the model reads text")
        for metric, function in getattr(task, "_metric_fn_list", {}).items():
            if function is None and task.config.process_results is None:
                raise DataError(f"{what}: metric {metric!r} is fetched from the hub, which is not done here")
        if task.get_config("output_type") == "generate_until":
            check_greedy(task.get_config("generation_kwargs") or {}, own)
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return tasks


def _members(entry: Any) -> list[str]:
    """Names of what a tag or a group stands for."""
    said = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else None
    some = said if isinstance(said, list) else sorted(entry.tags) if entry.kind.name == "TAG" else []
    return [str(m.get("task", m.get("group"))) if isinstance(m, dict) else str(m) for m in some]


def _reason(error: BaseException, settings: Mapping[str, Any]) -> str:
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    # The last cause says most: of a data file that is broken, where.
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    text = f"{type(chain[-1]).__name__}: {' '.join(str(chain[-1]).split())}"
    for at in chain:
        if isinstance(at, ConnectionError | DatasetNotFoundError | DataFilesNotFoundError):
            named = settings.get("dataset_path")
            shown = f" {named!r}" if named and named not in FORMATS else ""
            return f"its data set{shown} is not on this machine ({text}); {REMEDY}"
    return f"cannot be built ({text})"
