"""CIRS, how much reasoning there is in the Python code of an answer (Bi et al. 2023, "When Do Program-of-Thoughts Work
for Reasoning?", arXiv 2308.15452).

Score = structure × logic. Structure is the sigmoid of the mean of three z-scores over the data set: nodes, depth and
kinds of nodes of the syntax tree. Logic is the sigmoid of the z-score of D·V: D = (n1 / 2)(N2 / n2) is Halstead's
difficulty (n1 different operators, N2 operands, n2 of them different), V is McCabe's cyclomatic number, decisions + 1.
Operators and operands are read off the syntax tree: statements, operations, calls, subscripts and attributes are
operators, names and constants operands. The paper prints the sigmoid of D·V itself, which is 1 for nearly all code.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FENCED = re.compile(r"^[ \t]*```[ \t]*(?:python3?|py)\b[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.I | re.M | re.S)
_TOO_MUCH = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python raises for a text that it cannot parse; the last two for one that is nested too deep."""
_DECISIONS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
_OPERATORS = (ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.stmt, ast.Call, ast.Subscript, ast.Attribute)


class Complexity(NamedTuple):
    """What a piece of code counts."""

    nodes: int
    depth: int
    """Of the syntax tree; its root alone is 1."""
    kinds: int
    logic: float
    """D·V."""


class Cirs(NamedTuple):
    """Scores of several pieces of code, each of shape (pieces,)."""

    structure: NDArray[np.float64]
    logic: NDArray[np.float64]

    @property
    def score(self) -> NDArray[np.float64]:
        """In (0, 1)."""
        return self.structure * self.logic


def cirs(pieces: Sequence[Complexity], epsilon: float = 0.0) -> Cirs:
    """Scores relative to each other; `epsilon` is added to variances. What does not vary at all has the z-score 0."""
    shape = _z(np.array([p[:3] for p in pieces], float).reshape(-1, 3), epsilon)
    logic = _z(np.array([p.logic for p in pieces], float), epsilon)
    return Cirs(1 / (1 + np.exp(-shape.mean(axis=1))), 1 / (1 + np.exp(-logic)))


def _z(values: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    if not len(values):
        return values
    spread = np.sqrt(values.var(axis=0) + epsilon)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)


def complexity(answer: str) -> Complexity | None:
    """Of the code in fences marked python or py (the last one may be open); None where none of it can be parsed."""
    tree = parsed("\n".join(code for block in _FENCED.findall(answer) if parsed(code := dedent(block))))
    if tree is None or not tree.body:
        return None
    nodes = list(ast.walk(tree))
    decisions = sum(isinstance(node, _DECISIONS) for node in nodes)
    decisions += sum(len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
    decisions += sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    operators = {type(node) for node in nodes if isinstance(node, _OPERATORS)}
    operands = [operand for node in nodes for operand in _operands(node)]
    return Complexity(*_shape(tree), _difficulty(len(operators), len(operands), len(set(operands))) * (decisions + 1))


def _operands(node: ast.AST) -> Iterator[str]:
    """Names and constants that a node itself holds."""
    if isinstance(node, ast.Constant):
        yield repr(node.value)
    for field in ("id", "attr", "arg", "name"):
        if isinstance(name := getattr(node, field, None), str):
            yield name


def _difficulty(operators: int, operands: int, different: int) -> float:
    return operators / 2 * (operands / different) if different else 0.0


def parsed(code: str) -> ast.Module | None:
    """The syntax tree; None for what is no Python."""
    try:
        return _parse(code)
    except _TOO_MUCH:
        return None


def _parse(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stranger's "\d" is nothing that the user can mend
        return ast.parse(code)


def _shape(tree: ast.AST) -> tuple[int, int, int]:
    """Nodes, depth and kinds of nodes, level by level: a tree may be deeper than Python recurses."""
    nodes, depth, kinds = 0, 0, set[type]()
    level: list[ast.AST] = [tree]
    while level:
        nodes, depth = nodes + len(level), depth + 1
        kinds.update(map(type, level))
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return nodes, depth, len(kinds)


# EasyInstruct

_ROUNDS = 100
_BRANCHES = (ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler)


def complexity_easyinstruct(answer: str) -> Complexity | None:
    """As EasyInstruct counts it: only fences written ```python; lines with a syntax error are commented out; operators
    are runs of `-+*/%=<>!` and operands all identifiers, also keywords and words in comments and strings; the
    cyclomatic number counts `break`, `continue` and `try`, but no comprehension, conditional expression, `and` or `or`.

    None where it skips the row: no code, or none that can be parsed after that.
    """
    code = "\n".join(re.findall(r"```python([\s\S]+?)```", answer))
    code = _commented("\n".join(line for line in code.split("\n") if line))
    if not code or parsed(code) is None:
        return None
    code = "\n".join(re.findall(r"```python([\s\S]*?)```", f"```python\n{code}\n```")).strip()
    tree = parsed(code)
    if tree is None:
        return None
    operators = re.findall(r"[-+*/%=<>!]+", code)
    operands = re.findall(r"\b[A-Za-z_][A-Za-z0-9_]*\b", code)
    branches = 1 + sum(isinstance(node, _BRANCHES) for node in ast.walk(tree))
    return Complexity(*_shape(tree), _difficulty(len(set(operators)), len(operands), len(set(operands))) * branches)


def _commented(code: str) -> str:
    """The code with each line at which the parser stops made a comment, as long as that leads anywhere."""
    lines = code.split("\n")
    for _ in range(_ROUNDS):
        try:
            _parse("\n".join(lines))
        except SyntaxError as error:
            if error.lineno is None or error.lineno > len(lines):
                break
            lines[error.lineno - 1] = "# " + lines[error.lineno - 1]
        except _TOO_MUCH:
            break
        else:
            break
    return "\n".join(lines)
