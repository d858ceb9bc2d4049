"""Conditions and formulas over other variables of a space: ``placement == disaggregated``, ``= 8 // pools.prefill.tp``.

Known: the paths of variables; numbers; words (the names that variables take, in quotes where they hold more than letters, digits,
``_`` and ``.``); ``none``, ``true``, ``false``; ``+ - * / // %``, ``min`` and ``max``; in conditions also ``== != < <= > >=``, ``in``,
``not in``, ``and``, ``or``, ``not``. A comparison with a variable that has no meaning there is false. Python reads the text (`ast`),
nothing else of Python is known, and nothing is executed.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError

LITERALS: Mapping[str, Any] = {"null": "none", "true": True, "false": False}
"""Words that are not taken as they stand."""

_GRAMMAR = ("and", "or", "not", "in", "min", "max")
_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip
_COMPARISONS: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many, ast.NotIn: lambda one, many: one not in many,
}  # fmt: skip
_WORD = re.compile(r"'[^']*'|\"[^\"]*\"|(?<![\w.])[A-Za-z_][\w.*]*")
_TOUCHING = re.compile(r"['\"]\s*['\"]")
_MARK = re.compile(r"_path_(\d+)_$")


@dataclass(frozen=True, slots=True)
class Expression:
    """A text over ``names``, the paths that it reads, in order of appearance."""

    text: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    def value(self, values: Mapping[str, Any]) -> Any:
        """What the text comes to; absent paths are None. ``ArithmeticError`` or ``TypeError`` where there is no such value."""
        return _value(_tree(self.text, self.names), {name: values.get(name) for name in self.names}, self.names)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether a condition is true; one that compares what has no value is not."""
        try:
            return bool(self.value(values))
        except (ArithmeticError, TypeError):
            return False


def expression(text: str, known: Iterable[str], where: str) -> Expression:
    """The expression of a text over the paths ``known``; ``SpaceError`` for a name or a form that is none."""
    paths = sorted(known, key=len, reverse=True)
    marked, names = _marked(text, paths, where)
    try:
        if _TOUCHING.search(marked):  # which Python would join
            raise ValueError
        tree = ast.parse(marked.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise SpaceError(f"{where}: {text!r} cannot be read; names that hold a - or start with a digit stand in quotes") from None
    _check(tree, text, where)
    if not names:
        raise SpaceError(f"{where}: {text!r} names no variable; {nearest(text, paths)}")
    return Expression(text.strip(), names)


def compared(found: Expression) -> list[tuple[str, Any]]:
    """Each path that a condition compares with a value, and that value: what a misspelt name shows up in."""
    pairs: list[tuple[str, Any]] = []
    for node in ast.walk(_tree(found.text, found.names)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        paths = [found.names[int(match[1])] for side in sides if isinstance(side, ast.Name) and (match := _MARK.match(side.id))]
        flat = [item for side in sides for item in (side.elts if isinstance(side, ast.List | ast.Tuple) else [side])]
        pairs += [(path, item.value) for path in paths for item in flat if isinstance(item, ast.Constant)]
    return pairs


def _marked(text: str, paths: list[str], where: str) -> tuple[str, tuple[str, ...]]:
    """The text with each known path replaced by a name that Python reads, and each bare word by a string."""
    names: list[str] = []

    def mark(match: re.Match[str]) -> str:
        if match[0] not in names:
            names.append(match[0])
        return f"_path_{names.index(match[0])}_"

    def word(match: re.Match[str]) -> str:
        found = match[0]
        if found[0] in "'\"" or found in _GRAMMAR or _MARK.match(found):
            return found
        if found.lower() in LITERALS:
            return repr(LITERALS[found.lower()])
        if found.startswith(("pools.", "services.", "stages.", "repeats.", "handoff.")):
            raise SpaceError(f"{where}: {found!r} in {text!r} is not varied; {nearest(found, paths)}")
        return repr(found)

    known = "|".join(map(re.escape, paths)) or "(?!)"
    return _WORD.sub(word, re.sub(rf"(?<![\w.'\"])(?:{known})(?![\w.])", mark, text)), tuple(names)


def _check(tree: ast.expr, text: str, where: str) -> None:
    allowed = (ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Compare, ast.List, ast.Tuple, ast.Constant,
               ast.Name, ast.Call, ast.Load, *_ARITHMETIC, *_COMPARISONS)  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            fine = isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and node.args and not node.keywords
        elif isinstance(node, ast.Constant):
            fine = isinstance(node.value, bool | int | float | str | None)
        else:
            fine = isinstance(node, allowed)
        if not fine:
            raise SpaceError(f"{where}: {text!r} holds more than values, comparisons, and, or, not, in, + - * / // %, min and max")


@lru_cache(maxsize=1024)
def _tree(text: str, names: tuple[str, ...]) -> ast.expr:
    marked, _ = _marked(text, sorted(names, key=len, reverse=True), "expression")
    # Marks are numbered by appearance, which is how `names` are ordered.
    return ast.parse(marked.strip(), mode="eval").body


def _value(node: ast.expr, values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            found = _MARK.match(node.id)
            assert found is not None
            return values[names[int(found[1])]]
        case ast.List() | ast.Tuple():
            return [_value(item, values, names) for item in node.elts]
        case ast.BoolOp():
            parts = (bool(_value(item, values, names)) for item in node.values)
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        case ast.UnaryOp():
            inner = _value(node.operand, values, names)
            return not inner if isinstance(node.op, ast.Not) else -inner
        case ast.BinOp():
            return _ARITHMETIC[type(node.op)](_value(node.left, values, names), _value(node.right, values, names))
        case ast.Call():
            assert isinstance(node.func, ast.Name)
            return (min if node.func.id == "min" else max)(_value(item, values, names) for item in node.args)
        case ast.Compare():
            return _compared(node, values, names)
    raise TypeError(ast.dump(node))


def _compared(node: ast.Compare, values: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    left = _value(node.left, values, names)
    for sign, item in zip(node.ops, node.comparators, strict=True):
        right = _value(item, values, names)
        if left is None or right is None:  # a variable without meaning
            return False
        try:
            if not _COMPARISONS[type(sign)](left, right):
                return False
        except TypeError:  # words are neither more nor less than numbers
            return False
        left = right
    return True
