"""How specs combine: `extends`, then `for_models`, then the command line.

Maps merge, lists and scalars replace, and a map whose `type` changes replaces the whole map: the fields of another
type mean nothing to it.
"""

from __future__ import annotations

from typing import Any

from .tree import Path_, Tree

INHERITED_NEVER = ("name", "kind", "extends", "title", "description")
"""What a child does not take from its parent: these say which spec it is."""


def merged(base: Tree, over: Tree) -> Tree:
    """`over` laid on `base`, neither changed; each value keeps the place where it was written."""
    result = Tree(None, dict(base.marks), dict(base.keys), base.problems + over.problems)
    result.data = _merge(base.data, over.data, (), over, result)
    result.marks[()] = over.marks[()]
    return result


def subtree(tree: Tree, path: Path_) -> Tree:
    """The part of `tree` at `path` as a tree of its own."""
    data = tree.data
    for key in path:
        data = data[key]
    n = len(path)
    return Tree(
        data,
        {p[n:]: m for p, m in tree.marks.items() if p[:n] == path},
        {p[n:]: m for p, m in tree.keys.items() if p[:n] == path and len(p) > n},
    )


def without(tree: Tree, *names: str) -> Tree:
    """`tree` without these top-level entries."""
    return Tree(
        {k: v for k, v in tree.data.items() if k not in names},
        {p: m for p, m in tree.marks.items() if not p or p[0] not in names},
        {p: m for p, m in tree.keys.items() if p[0] not in names},
        tree.problems,
    )


def _merge(base: Any, over: Any, path: Path_, source: Tree, result: Tree) -> Any:
    both_maps = isinstance(base, dict) and isinstance(over, dict)
    if not both_maps or ("type" in over and over["type"] != base.get("type")):
        _replace_marks(path, source, result)
        return over
    combined = dict(base)
    for key, value in over.items():
        here = (*path, key)
        result.keys[here] = source.keys[here]
        if key in base:
            combined[key] = _merge(base[key], value, here, source, result)
        else:
            _replace_marks(here, source, result)
            combined[key] = value
    return combined


def _replace_marks(path: Path_, source: Tree, result: Tree) -> None:
    n = len(path)
    for ours, theirs in ((result.marks, source.marks), (result.keys, source.keys)):
        for stale in [p for p in ours if p[:n] == path and len(p) > n]:
            del ours[stale]
        ours.update({p: m for p, m in theirs.items() if p[:n] == path})
