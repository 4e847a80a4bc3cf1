"""Expressions of untrusted files: evaluated without Python's ``eval``, by a walk over their tree.

Numbers, texts, lists, dictionaries, arithmetic, comparisons and calls of given functions only.
There are no attributes of objects, so that no expression can reach the interpreter.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

LONGEST = 10_000
"""Maximum characters of an expression."""
_BITS = 10_000
"""Maximum bits of an integer power."""
_TEXT_METHODS = frozenset(
    ("capitalize", "count", "endswith", "find", "join", "lower", "lstrip", "replace", "rstrip")
    + ("split", "startswith", "strip", "title", "upper")
)
_DICTIONARY_METHODS = frozenset(("get", "items", "keys", "values"))


def evaluate(expression: str, names: Mapping[str, Any], functions: Collection[Any]) -> Any:
    """Return the value of an expression.

    Args:
        expression: in Python's syntax.
        names: variables, functions, and mappings whose keys are written with a dot.
        functions: those that may be called.

    Raises:
        ValueError: it is too long, or uses anything but values, operators and these functions.
        NameError: a name is not defined.
        Exception: as raised by the operators and functions.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"an expression of {len(expression)} characters")
    tree = ast.parse(expression.strip(), mode="eval")
    return _Evaluation(names, functions).value(tree.body)


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and base.bit_length() * abs(exponent) > _BITS:
        raise ValueError("a power that is too large")
    return base**exponent


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class _Evaluation:
    """The values of the nodes of one expression."""

    def __init__(self, names: Mapping[str, Any], functions: Collection[Any]) -> None:
        self._names = names
        self._functions = {id(function) for function in functions}
        self._kinds: dict[type[ast.AST], Callable[[Any], Any]] = {
            ast.Constant: lambda node: node.value,
            ast.Name: lambda node: _named(self._names, node.id),
            ast.List: lambda node: [self.value(item) for item in node.elts],
            ast.Tuple: lambda node: tuple(self.value(item) for item in node.elts),
            ast.Dict: self._dictionary,
            ast.UnaryOp: lambda node: _operator(node.op)(self.value(node.operand)),
            ast.BinOp: self._binary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._comparison,
            ast.IfExp: self._conditional,
            ast.Subscript: lambda node: self.value(node.value)[self.value(node.slice)],
            ast.Slice: lambda node: slice(
                *map(self._optional, (node.lower, node.upper, node.step))
            ),
            ast.Attribute: self._member,
            ast.Call: self._call,
        }

    def value(self, node: ast.AST) -> Any:
        """Return the value of a node."""
        kind = self._kinds.get(type(node))
        if kind is None:
            name = type(node).__name__.lower()
            raise ValueError(f"a {name}, which is not supported")
        return kind(node)

    def _optional(self, node: ast.AST | None) -> Any:
        return None if node is None else self.value(node)

    def _dictionary(self, node: ast.Dict) -> Any:
        if None in node.keys:
            raise ValueError("an unpacked dictionary, which is not supported")
        keys = [self._optional(key) for key in node.keys]
        return dict(zip(keys, map(self.value, node.values), strict=True))

    def _binary(self, node: ast.BinOp) -> Any:
        return _operator(node.op)(self.value(node.left), self.value(node.right))

    def _boolean(self, node: ast.BoolOp) -> Any:
        decides = isinstance(node.op, ast.Or)
        value: Any = None
        for operand in node.values:
            value = self.value(operand)
            if bool(value) == decides:
                break
        return value

    def _comparison(self, node: ast.Compare) -> Any:
        left = self.value(node.left)
        result: Any = True
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            result = _operator(op)(left, right)
            if not result:
                break
            left = right
        return result

    def _conditional(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _member(self, node: ast.Attribute) -> Any:
        base = self.value(node.value)
        if not isinstance(base, dict):
            raise ValueError(f"the attribute '{node.attr}', which is not supported")
        return _named(base, node.attr)

    def _call(self, node: ast.Call) -> Any:
        function = self._function(node.func)
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("unpacked arguments, which are not supported")
        positional = [self.value(argument) for argument in node.args]
        named = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        return function(*positional, **named)

    def _function(self, node: ast.AST) -> Any:
        """Return the function of a call: one of those given, or a method of a text or mapping."""
        if isinstance(node, ast.Attribute):
            base = self.value(node.value)
            if isinstance(base, str) and node.attr in _TEXT_METHODS:
                return getattr(base, node.attr)
            known = isinstance(base, dict) and node.attr in _DICTIONARY_METHODS
            if known and node.attr not in base:
                return getattr(base, node.attr)
        function = self.value(node)
        if id(function) not in self._functions:
            raise ValueError(f"a call of '{ast.unparse(node)}', which is not supported")
        return function


def _named(names: Mapping[str, Any], name: str) -> Any:
    try:
        return names[name]
    except (KeyError, AttributeError):
        raise NameError(f"name '{name}' is not defined") from None


def _operator(node: ast.AST) -> Callable[..., Any]:
    if type(node) not in _OPERATORS:
        raise ValueError(f"the operator {type(node).__name__.lower()}, which is not supported")
    return _OPERATORS[type(node)]
