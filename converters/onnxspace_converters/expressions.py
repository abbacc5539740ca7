"""Which text of a file may be evaluated as an expression: names, numbers and arithmetic, and the few functions of sizes.

Torch gives expressions of a stored program to `eval` and `exec`. So their syntax tree is compared with a list first.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator

_LONGEST = 20_000
_LARGEST_POWER = 64
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}")
_NAME = re.compile(r"[A-Za-z_]\w{0,255}", re.ASCII)
_SPECIAL = re.compile(r"__\w*__")
_NUMBER = re.compile(r"-?\d{1,400}(\.\d{0,400})?(e[+-]?\d{1,4})?")
_CHARACTERS = re.compile(r"[\w .,()\[\]'\"+\-*/%<>=!&|~]*", re.ASCII)
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Not, ast.Invert, ast.And, ast.Or,
    ast.BitAnd, ast.BitOr, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Load,
)  # fmt: skip
_STRUCTURE = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, *_OPERATORS)
_VALUES = frozenset({"true", "false", "True", "False", "oo", "int_oo", "inf", "nan", "zoo"})
_LEAVES = frozenset({"Symbol", "Integer", "Float", "Rational"})
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_SIZES = frozenset({
    "Add", "Mul", "Min", "Max", "Abs", "floor", "ceiling", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality",
    "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not", "FloorDiv", "CleanDiv", "CeilDiv",
    "ModularIndexing", "Where", "PythonMod", "Mod", "CeilToInt", "FloorToInt", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat",
    "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity", "IsNonOverlappingAndDenseIndicator",
})  # fmt: skip
_ASSUMPTIONS = frozenset({"positive", "negative", "nonnegative", "nonpositive", "integer", "real", "zero", "nonzero"})
_GUARD_FUNCTIONS = frozenset({"min", "max", "abs", "int", "float", "bool", "round"})
_MATHS = frozenset({"ceil", "floor", "trunc", "sqrt", "isnan"})
_OF_TENSORS = frozenset({"size", "stride", "storage_offset", "dim"})


class ExpressionError(ValueError):
    """An expression with something else than names, numbers and arithmetic."""


def is_name(text: str) -> bool:
    """Whether a text can be the name of a value in generated code, and nothing else.

    >>> is_name("conv2d_1"), is_name("x): import os")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None and not keyword.iskeyword(text) and _SPECIAL.fullmatch(text) is None


def check_size_expression(text: str) -> None:
    """Check an expression of symbolic sizes, as Torch stores them. Raises ExpressionError.

    >>> check_size_expression("Mul(Integer(4), Symbol('s0', positive=True, integer=True))")
    """
    _check(text, _size_node)


def check_guard(text: str) -> None:
    """Check a condition on the inputs of a program, as Torch stores them. Raises ExpressionError.

    >>> check_guard("L['x'].size()[0] % 2 == 0")
    """
    _check(text, _guard_node)


def _check(text: str, allowed: object) -> None:
    if len(text) > _LONGEST or _CHARACTERS.fullmatch(text) is None:
        raise ExpressionError("it is too long, or has characters of no expression")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError("it is not an expression") from error
    for node in _nodes(tree):
        if not (isinstance(node, _STRUCTURE) or _is_number(node) or allowed(node)):  # type: ignore[operator]
            raise ExpressionError(f"it has {_describe(node)}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            _check_power(node.right)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that a call's own check covers: the text in a leaf, and a function's name."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(_children(node))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id in _LEAVES):
            yield from node.args
        if isinstance(node.func, ast.Attribute) and not _is_math(node.func):
            yield node.func.value
    elif isinstance(node, ast.Subscript):
        yield node.value
    else:
        yield from ast.iter_child_nodes(node)


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)) and abs(node.value) < 2**1024


def _check_power(exponent: ast.AST) -> None:
    """Check that an exponent is a small number: a power of large numbers takes all memory."""
    inner = exponent.args[0] if isinstance(exponent, ast.Call) and len(exponent.args) == 1 else exponent
    inner = inner.operand if isinstance(inner, ast.UnaryOp) else inner
    if not (isinstance(inner, ast.Constant) and isinstance(inner.value, (int, float)) and inner.value <= _LARGEST_POWER):
        raise ExpressionError(f"it has a power that is not a number up to {_LARGEST_POWER}")


def _size_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _VALUES or _SYMBOL.fullmatch(node.id) is not None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    if node.func.id in _LEAVES:
        return _is_leaf(node)
    if node.func.id in _POWERS and len(node.args) == 2:
        _check_power(node.args[1])
        return not node.keywords
    return node.func.id in _SIZES and all(_is_flag(each, {"evaluate"}) for each in node.keywords)


def _is_leaf(node: ast.Call) -> bool:
    """Whether a call is a symbol with its assumptions, or a number."""
    assert isinstance(node.func, ast.Name)
    values = [each.value if isinstance(each, ast.Constant) else _negated(each) for each in node.args]
    if node.func.id == "Symbol":
        name = values[0] if len(values) == 1 else None
        return isinstance(name, str) and is_name(name) and all(_is_flag(each, _ASSUMPTIONS) for each in node.keywords)
    small = all(isinstance(v, (int, float)) or (isinstance(v, str) and _NUMBER.fullmatch(v) is not None) for v in values)
    return bool(values) and small and all(_is_precision(each) for each in node.keywords)


def _negated(node: ast.AST) -> int | float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_number(node.operand):
        return -node.operand.value  # type: ignore[attr-defined,no-any-return]
    return None


def _is_flag(given: ast.keyword, names: frozenset[str] | set[str]) -> bool:
    return given.arg in names and isinstance(given.value, ast.Constant) and isinstance(given.value.value, bool)


def _is_precision(given: ast.keyword) -> bool:
    value = given.value.value if isinstance(given.value, ast.Constant) else None
    return given.arg in ("precision", "dps") and isinstance(value, int) and 0 < value <= 1024


def _guard_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "L" or node.id in _VALUES or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Subscript):
        place = node.slice.value if isinstance(node.slice, ast.Constant) else None
        return isinstance(place, int) or (isinstance(place, str) and is_name(place))
    if not isinstance(node, ast.Call) or node.keywords:
        return False
    if isinstance(node.func, ast.Attribute):
        if _is_math(node.func):
            return node.func.attr in _MATHS
        return node.func.attr in _OF_TENSORS and not node.args
    return isinstance(node.func, ast.Name) and node.func.id in _GUARD_FUNCTIONS


def _is_math(function: ast.Attribute) -> bool:
    return isinstance(function.value, ast.Name) and function.value.id == "math"


def _describe(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return f"{text[:60]!r}" if len(text) <= 60 else f"{text[:59]!r} and more"
