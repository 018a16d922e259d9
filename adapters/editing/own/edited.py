"""What became of requests: the edited model, what it says, and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, overload
from weakref import finalize

from safetensors import SafetensorError

from ....errors import UsageError, unknown
from ....job import Job
from ...lm.loaded import IN_FORCE, check_free
from ...lm.model import LanguageModel
from ...lm.patch import Patch, save_each
from ...lm.saving import save_folder
from ...lm.usable import asked, in_use
from ..cases import EditCase
from ..controls import Controls
from ..params import Edit
from ..probes import Reference
from ..scoring import answers, scored
from .how import check_new_folder
from .sequence import EditSequence


def _given_up(use: ExitStack, given_back: Callable[[], object]) -> None:
    use.close()
    given_back()


class Edited:
    """A model and the requests that were carried out on it.

    In mode `single` there is a model for each request, and `case_id` says which is meant; in the others there is one.
    The model itself is untouched, except inside `with edited.applied()` and from the first use of `edited.model` on.
    """

    def __init__(
        self,
        lm: LanguageModel,
        job: Job,
        names: tuple[str, str],
        spec: Mapping[str, Any],
        cases: Sequence[EditCase],
        known: Sequence[Reference],
        skipped: Counter[str],
        made: EditSequence | Mapping[str, Patch],
        mode: str,
        cpu_s: float,
        given_back: Callable[[], object] = lambda: None,
    ) -> None:
        self.lm, self.mode, self.cpu_s = lm, mode, cpu_s
        self.model_name, self.method_name = names
        self.spec = spec
        """The method as it was resolved for the model."""
        self.skipped: Mapping[str, int] = skipped
        """Requests that were left out, by reason."""
        self._job, self._cases, self._references = job, cases, known
        self._made = made if isinstance(made, EditSequence) else dict(made)
        self._gone: set[str] = set()
        self._use, self._given_back = ExitStack(), given_back
        # Also at the end of the program, while there still is something to put back with.
        finalize(self, _given_up, self._use, given_back)

    # What it says

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Metric to its mean `before` and `after` the edit, and `n`, the requests that it applies to."""
        found: dict[str, dict[str, Any]] = {}
        for metric in dict.fromkeys(m for row in self.rows for m in row["after"]):
            pairs = [(r["before"].get(metric), r["after"][metric]) for r in self.rows if metric in r["after"]]
            before = [b for b, _ in pairs if b is not None]
            found[metric] = {
                "before": fmean(before) if before else None,
                "after": fmean(a for _, a in pairs),
                "n": len(pairs),
            }
        return found

    @property
    def answers(self) -> dict[str, tuple[str, str]]:
        """Of each request, by its id, the greedy answer to its prompt before and after, as long as its target."""
        return {row["case_id"]: (row["answer_before"], row["answer_after"]) for row in self.rows}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """For each request its id, the request, answers and scores before and after."""
        with self._put_aside():
            return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        protocol = Edit(type="edit", mode="single", contrast=True)
        each = list(zip(self._cases, self._references, strict=True))
        alone = [([case], [known], Patch()) for case, known in each]
        # Before and after are means over the same probes.
        changed: frozenset[str] | None = None
        if isinstance(self._made, EditSequence):
            edits = [(list(self._cases), list(self._references), self._made.patch)]
            changed = frozenset(case.request.fact_id for case in self._cases if case.id not in self._gone)
        else:
            edits = [([case], [known], self._made[case.id]) for case, known in each]
        before, after = (
            {
                item: found
                for item, _, found in scored(self.lm, models, protocol, Controls(()), self._job, None, changed)
            }
            for models in (alone, edits)
        )
        for case in self._cases:
            patch = self.patch(case.id)
            with patch.applied(self.lm):
                said = answers(self.lm, case, patch)
            yield {
                "case_id": case.id,
                "request": f"{case.request.prompt} → {case.request.target_new}",
                "answer_before": answers(self.lm, case, Patch()),
                "answer_after": said,
                "before": before[case.id],
                "after": after[case.id],
            }

    def to_json(self) -> dict[str, Any]:
        """Everything but the patches."""
        return {
            "model": self.model_name,
            "method": self.method_name,
            "spec": self.spec,
            "mode": self.mode,
            "metrics": self.scores,
            "requests": self.rows,
            "left_out": dict(self.skipped),
            "edit_cpu_s": round(self.cpu_s, 4),
        }

    # The edited model

    def patch(self, case_id: str | None = None) -> Patch:
        """The change as a value. Raises UsageError where it is not clear which one is meant."""
        if isinstance(self._made, EditSequence):
            return self._made.patch
        if case_id is None and len(self._made) == 1:
            return next(iter(self._made.values()))
        if case_id is None:
            known = ", ".join(self._made)
            raise UsageError(
                f"mode `single` edits a model of its own for each request; say which one by its id ({known}), or "
                "choose mode `sequential` or `batch`"
            )
        self._known([case_id])
        return self._made[case_id]

    @contextmanager
    def applied(self, case_id: str | None = None) -> Iterator[Any]:
        """Inside `with`, the `transformers` model with the edits in force; afterwards bit for bit as before."""
        patch = self.patch(case_id)
        with self._put_aside(), in_use(self.lm, patch) as model:
            yield model

    @cached_property
    def model(self) -> Any:
        """The `transformers` model with the edits in force, from now on until `close`: for `generate` and calls."""
        check_free(self.lm.model, self)
        self.lm.model.__dict__[IN_FORCE] = self
        return self._use.enter_context(in_use(self.lm, self.patch()))

    @property
    def tokenizer(self) -> Any:
        return self.lm.tokenizer

    def prompt(self, text: str, case_id: str | None = None) -> str:
        """What the edited model is given in place of a prompt: in-context editors put notes before it."""
        return self.patch(case_id).prompt(text)

    @overload
    def ask(self, prompts: str, tokens: int = 20, case_id: str | None = None) -> str: ...
    @overload
    def ask(self, prompts: list[str], tokens: int = 20, case_id: str | None = None) -> list[str]: ...
    def ask(self, prompts: str | list[str], tokens: int = 20, case_id: str | None = None) -> str | list[str]:
        """Greedy answers of the edited model, of at most so many tokens."""
        with self.applied(case_id):
            return asked(self.lm, prompts, self.patch(case_id), tokens)

    # The way back, and what is kept

    def rollback(self, *ids: str, last: int | None = None) -> None:
        """Take back all requests, those with these ids, or the last so many; the others stay carried out.

        Exact: the model is as if they had never been made, which of weights means bit for bit. What came after one of
        them in a sequence is carried out again, which costs as much as it did. Raises UsageError for an unknown id.
        """
        if ids and last is not None:
            raise UsageError("rollback: say ids or `last`, not both")
        if last is not None and last < 1:
            raise UsageError(f"rollback: last is {last}; expected at least 1")
        self._known(ids)
        standing = [case_id for case_id in self._ids if case_id not in self._gone]
        gone = ids or (standing if last is None else standing[-last:])
        self._gone |= set(gone)
        in_force = "model" in vars(self)
        self._withdraw()
        if isinstance(self._made, EditSequence):
            self._made.without(frozenset(gone))
        else:
            self._made |= dict.fromkeys(gone, Patch())
        vars(self).pop("rows", None)
        if in_force:
            self.model  # noqa: B018 - in force again, without what was taken back

    def save(self, path: str | Path) -> None:
        """Write the edited model as a folder, or, to a file `….safetensors`, its change alone. Raises UsageError."""
        target = Path(path)
        if target.suffix == ".safetensors":
            self.save_delta(target)
        else:
            self.save_model(target)

    def save_delta(self, file: Path) -> None:
        """Write the changes of the stored weights: `"{case_id}/{parameter}"` in mode `single`, else `"{parameter}"`.

        What is no change of a weight (inserted modules, prompts) stands beside them, as `Patch.save` writes it. Raises
        UsageError.
        """
        with _writing(file):
            if isinstance(self._made, EditSequence):
                self._made.patch.save(file)
            else:
                save_each(file, self._made)

    def save_model(self, folder: Path) -> None:
        """Write the edited model in Hugging Face format, with what surrounds its weights beside them (saving.py).

        `benchwright.load_edited` and any `--model` read it. Raises UsageError, also where a folder cannot hold it.
        """
        check_new_folder(folder)
        patch = self.patch()
        with self._put_aside(), _writing(folder):
            save_folder(self.lm, patch, folder)

    def close(self) -> None:
        """Take the edits out of force. A model that was handed over loaded is as it was."""
        self._withdraw()
        self._given_back()

    def __enter__(self) -> Edited:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _ids(self) -> tuple[str, ...]:
        return tuple(case.id for case in self._cases)

    def _known(self, ids: Sequence[str]) -> None:
        for case_id in ids:
            if case_id not in self._ids:
                raise UsageError(unknown("request", str(case_id), self._ids))

    def _withdraw(self) -> None:
        vars(self).pop("model", None)
        self._use.close()
        if self.lm.model.__dict__.get(IN_FORCE) is self:
            del self.lm.model.__dict__[IN_FORCE]

    @contextmanager
    def _put_aside(self) -> Iterator[None]:
        """Inside `with`, the model untouched, though it is in use."""
        in_force = "model" in vars(self)
        self._withdraw()
        check_free(self.lm.model)
        try:
            yield
        finally:
            if in_force:
                self.model  # noqa: B018 - in force again


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{target}: cannot be written ({error})") from error
