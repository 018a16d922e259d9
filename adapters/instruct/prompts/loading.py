"""Templates by name (shipped beside this module) or from a user's file, checked before anything is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from ....components import DataFile, Strict
from ....errors import Problem, SpecError, UsageError, unknown
from ....loading.problems import problems
from ....loading.tree import dotted, read_tree
from .template import Template, found

SHIPPED = Path(__file__).parent


class Prompt(Strict):
    """Which template is asked with: a shipped one, or a file."""

    template: Annotated[str, Field(min_length=1)] | None = None
    """Name of a shipped template."""
    file: DataFile | None = None
    """A template of one's own (YAML)."""
    values: dict[str, str] = Field(default_factory=dict)
    """Texts for the template's `values`."""
    examples: tuple[dict[str, str], ...] = ()
    """Worked examples in place of the template's own."""

    @model_validator(mode="after")
    def _is_one(self) -> Prompt:
        if (self.template is None) == (self.file is None):
            raise ValueError("expected `template` (the name of a shipped one) or `file`, and not both")
        if self.template is not None and self.template not in names():
            raise ValueError(unknown("template", self.template, names()))
        return self

    def opened(self, files: Mapping[str, Path]) -> Template:
        """The template with this spec's values and examples; `files` holds the stage's, this one's as `prompt.file`.

        Raises SpecError for a file that is no template, UsageError for values and examples that do not fit.
        """
        base = read_template(files["prompt.file"]) if self.template is None else shipped(self.template)
        return base.with_(self.values, self.examples)


def names() -> list[str]:
    """Names of the shipped templates."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def shipped(name: str) -> Template:
    """A shipped template. Raises UsageError for an unknown name."""
    if name not in names():
        raise UsageError(unknown("template", name, names()))
    return read_template(SHIPPED / f"{name}.yaml")


def read_template(file: Path) -> Template:
    """The template in a file. Raises SpecError with file, line and field of everything that is wrong."""
    tree = read_tree(file)
    if tree.problems:
        raise SpecError(tree.problems)
    try:
        template = Template.model_validate_json(json.dumps(tree.data))
    except ValidationError as error:
        raise SpecError(problems(error, tree, Template)) from error
    if wrong := [
        Problem(tree.mark(path), dotted(path), unknown("placeholder", name, known))
        for path, text, known in template.texts()
        for name in found(text)
        if name not in known
    ]:
        raise SpecError(wrong)
    return template
