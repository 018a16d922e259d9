"""What building blocks there are. Found, not listed: adding one touches no central file.

Discovered are the modules called `params.py` and the modules in folders called `methods/` or `interventions/`, below
`benchwright.adapters` and below the packages that third parties register as entry points in the group
`benchwright.adapters`; and for the command line the modules called `commands.py`, whose `COMMANDS` maps names to
commands. A plug-in that cannot be imported is a warning that names its distribution.
"""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, reduce
from importlib import import_module, metadata
from operator import or_
from types import ModuleType
from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, create_model

from .components import GROUPS, Component
from .errors import BenchwrightError
from .kinds import KINDS, Spec, component_fields

ENTRY_POINTS = "benchwright.adapters"
BUILTIN = "benchwright.adapters"
_MODULE, _COMMANDS, _FOLDERS = "params", "commands", ("methods", "interventions")


@dataclass
class Registry:
    """Building blocks by group and type, and the plug-ins that could not be read."""

    components: dict[str, dict[str, type[Component]]] = field(default_factory=lambda: {g: {} for g in GROUPS})
    """Of the four groups that specs name, and of those that only other building blocks name (stages of a pipeline)."""
    broken: dict[str, str] = field(default_factory=dict)
    """Distribution name to the reason."""

    def add(self, component: type[Component]) -> None:
        """Register a class. Raises BenchwrightError when another one has its group and type."""
        names = get_args(component.model_fields["type"].annotation)
        if len(names) != 1:
            raise BenchwrightError(f"{component.__module__}.{component.__name__}: `type` must be a Literal of one name")
        (name,) = names
        known = self.components.setdefault(component.group, {}).setdefault(name, component)
        if known is not component:
            raise BenchwrightError(
                f"{component.group} type {name!r} is defined twice: {known.__module__} and {component.__module__}"
            )

    @cached_property
    def kinds(self) -> dict[str, type[Spec]]:
        """The spec classes, their building blocks narrowed to the discovered ones."""
        return {kind: self._narrowed(kind) for kind in KINDS}

    @cached_property
    def adapters(self) -> dict[str, TypeAdapter[Any]]:
        """Validators of resolved specs, by kind."""
        return {kind: TypeAdapter(spec) for kind, spec in self.kinds.items()}

    def _narrowed(self, kind: str) -> type[Spec]:
        fields: dict[str, Any] = {}
        for name, group in component_fields(kind).items():
            original = KINDS[kind].model_fields[name]
            fields[name] = (self._any_of(group), Field(description=original.description))
        if not fields:
            return KINDS[kind]
        return create_model(KINDS[kind].__name__, __base__=KINDS[kind], __doc__=KINDS[kind].__doc__, **fields)

    def _any_of(self, group: str) -> Any:
        """The union of the discovered building blocks of a group, told apart by their `type`."""
        classes = tuple(self._filled(c) for c in self.components[group].values())
        union: Any = reduce(or_, classes)
        return Annotated[union, Field(discriminator="type")] if len(classes) > 1 else union

    def _filled(self, component: type[Component]) -> type[Component]:
        """The class, where fields that hold a list of building blocks take the discovered ones."""
        fields: dict[str, Any] = {}
        for name, info in component.model_fields.items():
            inner = next(iter(get_args(info.annotation)), None)
            if inspect.isclass(inner) and issubclass(inner, Component) and inner.model_fields["type"].annotation is str:
                fields[name] = (tuple[self._any_of(inner.group), ...], info)  # type: ignore[misc]
        if not fields:
            return component
        filled: type[Component] = create_model(
            component.__name__, __base__=component, __module__=component.__module__, __doc__=component.__doc__, **fields
        )
        return filled


def discover(package: ModuleType) -> Iterator[type[Component]]:
    """Component classes of `package`, in a stable order. Imports only the modules that the rule above names."""
    yield from _classes(package)
    for name in _below(package):
        *folders, module = name.removeprefix(f"{package.__name__}.").split(".")
        if module == _MODULE or (folders and folders[-1] in _FOLDERS and not module.startswith("_")):
            yield from _classes(import_module(name))


def commands() -> dict[str, Any]:
    """The commands of families and of plug-ins, by name: functions and `typer.Typer` groups."""
    found = _commands(import_module(BUILTIN))
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            found = {**_commands(entry.load()), **found}  # what is built in keeps its name
        except Exception:  # noqa: BLE001 - `registry` tells of it, when something is asked of the plug-in
            continue
    return found


def _commands(package: ModuleType) -> dict[str, Any]:
    modules = [n for n in _below(package) if n.endswith(f".{_COMMANDS}")] if hasattr(package, "__path__") else []
    return {name: command for module in modules for name, command in import_module(module).COMMANDS.items()}


def _below(package: ModuleType) -> list[str]:
    """Names of all modules of a package, sorted."""
    return sorted(i.name for i in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=_raise))


def _raise(name: str) -> None:
    """A package that cannot be imported is an error, not a package without modules."""
    raise  # noqa: PLE0704 - called by pkgutil while it handles the package's own exception


def _classes(module: ModuleType) -> Iterator[type[Component]]:
    for _, value in inspect.getmembers(module, inspect.isclass):
        own = value.__module__ == module.__name__
        if own and issubclass(value, Component) and value.model_fields["type"].annotation is not str:
            yield value


@cache
def registry() -> Registry:
    """The building blocks of Benchwright and of every installed plug-in."""
    found = Registry()
    for component in discover(import_module(BUILTIN)):
        found.add(component)
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        distribution = entry.dist.name if entry.dist else entry.value
        try:
            loaded = entry.load()
            for component in list(discover(loaded) if hasattr(loaded, "__path__") else _classes(loaded)):
                found.add(component)
        except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way; it must not stop the others
            found.broken[distribution] = f"{type(error).__name__}: {error}"
            warnings.warn(f"plug-in {distribution} cannot be loaded ({found.broken[distribution]})", stacklevel=2)
    return found
