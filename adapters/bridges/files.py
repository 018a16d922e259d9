"""Task files of one's own: read as data, and looked at before lm-eval sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...errors import DataError, unknown

FORMATS = {"json", "csv", "parquet", "arrow", "text"}
"""Of files: what `datasets` takes in place of a data set's name."""
NOT_CODE = "a folder of tasks is data: use templates, and the metrics and filters of lm-eval"


def check_folder(folder: Path) -> None:
    """Every task file of the folder is YAML without code, includes none from elsewhere, and no name is given twice.
    Raises DataError with file and line: lm-eval would leave out a broken file without a word."""
    names: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.yaml")):
        said = _read(file)
        includes = said.get("include") or []
        for include in includes if isinstance(includes, list) else [includes]:
            inside(folder, file.parent, include, f"{file}: include")
        name = said.get("group", said.get("task"))
        if isinstance(name, str) and names.setdefault(name, file) is not file:
            raise DataError(f"{file}: {name!r} is also the name of a task in {names[name]}")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:
        mark = error.problem_mark
        raise DataError(f"{file}:{mark.line + 1 if mark else 1}: has a YAML tag (`!function`); {NOT_CODE}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise DataError(f"{file}:{mark.line + 1 if mark else 1}: not YAML ({error.problem})") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    if not isinstance(said, dict):
        raise DataError(f"{file}: expected a map, the settings of a task")
    return said


def inside(folder: Path, base: Path, name: object, what: str) -> Path:
    """A file or folder that a task file below `base` names. Raises DataError when it is none, or not in `folder`: what
    lies elsewhere is no part of a cell's identity."""
    found = (base / str(name)).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise DataError(f"{what}: {name} is not in {folder}; what a task needs lies in its folder")
    if not found.exists():
        raise DataError(f"{what}: {found}: no such file; names are relative to the task file")
    return found


def settled(settings: Mapping[str, Any], folder: Path, base: Path, cache: Path) -> dict[str, Any]:
    """Settings of a task, or of a group and its members, with data files by absolute path and metrics that lm-eval has.

    `base`: where the task file lies; lm-eval would look in the working directory. `cache`: where `datasets` may write.
    Raises DataError.
    """
    made, name = dict(settings), settings.get("task")
    if isinstance(name, list):
        made["task"] = [settled(m, folder, base, cache) if isinstance(m, dict) else m for m in name]
    what = f"lm-eval task {name!r}" if isinstance(name, str) else f"lm-eval group {settings.get('group')!r}"
    for metric in settings.get("metric_list") or ():
        _check_metric(metric, what)
    options = dict(settings.get("dataset_kwargs") or {})
    options.pop("trust_remote_code", None)
    local = {k: _placed(v, folder, base, what) for k, v in options.items() if k in ("data_files", "data_dir")}
    path = settings.get("dataset_path")
    here = isinstance(path, str) and path not in FORMATS and (path.startswith((".", "/")) or (base / path).is_dir())
    if here:
        made["dataset_path"] = str(inside(folder, base, path, what))
    if local or here:
        options |= {**local, "cache_dir": str(cache)}
    if options or "dataset_kwargs" in settings:
        made["dataset_kwargs"] = options
    return made


def _placed(names: Any, folder: Path, base: Path, what: str) -> Any:
    if isinstance(names, dict):
        return {split: _placed(value, folder, base, what) for split, value in names.items()}
    if isinstance(names, list):
        return [_placed(value, folder, base, what) for value in names]
    return str(inside(folder, base, names, what))


def _check_metric(metric: Any, what: str) -> None:
    from lm_eval.api.metrics import mean  # noqa: F401 - fills the registry
    from lm_eval.api.registry import metric_registry

    name = metric.get("metric") if isinstance(metric, dict) else metric
    if not isinstance(metric, dict) or name is None:
        raise DataError(f"{what}: metric_list: expected maps with `metric`, got {metric!r}")
    if metric.get("hf_evaluate"):
        raise DataError(f"{what}: metric {name!r}: `hf_evaluate` fetches code from the hub; {NOT_CODE}")
    if name not in metric_registry:
        raise DataError(f"{what}: {unknown('metric', str(name), list(metric_registry))}")
