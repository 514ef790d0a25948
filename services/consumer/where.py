"""The expressions of WHERE, such as `status >= 500 and path.startswith('/api')`. Pure.

An expression is checked in whole when it is read, by its syntax tree: names are fields of the record, operands fit
their operators, and there is no arithmetic but on numbers. So nothing in it can reach out of the record or grow: no
attribute but a field or a method of the table, no power, no repeated text. simpleeval then evaluates the tree that is
parsed once; it knows of nothing but what is in the tables here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import simpleeval
from pydantic import AwareDatetime, BaseModel

from shared.schemas import AccessRecord

MAX_CHARACTERS = 1_000
MAX_DEPTH = 30
TIME_PARTS = ("year", "month", "day", "hour", "minute", "second")
# What the evaluation of a checked expression may raise: a field that is null, a key or an index that is not there, text
# that is no number, a division by zero.
NO_ANSWER = (simpleeval.InvalidExpression, TypeError, ValueError, LookupError, ArithmeticError)

# What an operator may do with a value. A model is a kind of its own; `any` is known at the record only.
Kind = Literal["number", "text", "flag", "null", "time", "list", "mapping", "any"] | type[BaseModel]

FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"len": len, "int": int, "lower": str.lower}
_TAKES: Mapping[str, tuple[Kind, ...]] = {
    "len": ("text", "list"),
    "int": ("text", "number"),
    "lower": ("text",),
}
_RETURNS: Mapping[str, Kind] = {"len": "number", "int": "number", "lower": "text"}
# How many arguments each takes, all of them text, and what it returns.
METHODS: Mapping[str, tuple[int, Kind]] = {"startswith": (1, "flag"), "endswith": (1, "flag"), "lower": (0, "text")}
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_MEMBERSHIP = (ast.In, ast.NotIn)


class Where:
    """A checked expression. Raises ValueError, with the place and the fields that exist, when it is none."""

    def __init__(self, expression: str) -> None:
        self._expression = expression.replace("\n", " ").strip()
        try:
            self._tree = _parse(self._expression)
        except _Fault as fault:
            raise ValueError(_point_at(self._expression, fault)) from fault
        self._evaluator = simpleeval.SimpleEval(functions=dict(FUNCTIONS), allowed_attrs=_allowed_attributes())

    def matches(self, record: AccessRecord) -> bool:
        """Raises one of NO_ANSWER where the record lacks what the expression asks for."""
        self._evaluator.names = record.__dict__
        return bool(self._evaluator.eval(self._expression, self._tree))


class _Fault(ValueError):
    """Something at `column`, from 0, is not allowed."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column


def _point_at(expression: str, fault: _Fault) -> str:
    """The problem, with a caret below the place on a line of its own, and what may stand there."""
    # One sign for one: a tab would put the caret elsewhere.
    shown = "".join(sign if sign.isprintable() else " " for sign in expression[: MAX_CHARACTERS + 1])
    return (
        f"{fault}, at column {fault.column + 1}:\n    {shown}\n    {' ' * fault.column}^\n"
        f"Fields: {', '.join(AccessRecord.model_fields)}. Functions: {', '.join(FUNCTIONS)}. "
        f"Methods of text: {', '.join(METHODS)}"
    )


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_CHARACTERS:
        raise _Fault(MAX_CHARACTERS, f"it is longer than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        # Python says 0 for the end of the expression.
        raise _Fault(error.offset - 1 if error.offset else len(expression), error.msg) from error
    except (ValueError, RecursionError, MemoryError, SystemError) as error:  # of what is nested too deeply
        raise _Fault(0, f"it cannot be parsed ({error})") from error
    try:
        _kind_of(tree, 0)
    except _Fault as fault:
        # The places of a tree count bytes.
        characters = len(expression.encode()[: fault.column].decode(errors="ignore"))
        raise _Fault(characters, str(fault)) from fault
    folded: ast.expr = _Folded().visit(tree)
    return folded


class _Folded(ast.NodeTransformer):
    """Lists of constants become constants: made once, and simpleeval need not know how to make them."""

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Tuple | ast.List):
            constants: Any = tuple(ast.literal_eval(node))  # as the compiler folds them; the stubs know no tuple
            return ast.copy_location(ast.Constant(constants), node)
        return self.generic_visit(node)


def _allowed_attributes() -> dict[type, set[str]]:
    """For simpleeval, by the type of the value: the same as is checked here, looked at once more."""
    allowed: dict[type, set[str]] = {str: set(METHODS), datetime: set(TIME_PARTS)}
    models: list[type[BaseModel]] = [AccessRecord]
    while models:
        model = models.pop()
        allowed[model] = set(model.model_fields)
        kinds = (_kind_of_annotation(one.annotation) for one in model.model_fields.values())
        models += [kind for kind in kinds if isinstance(kind, type)]
    return allowed


def _kind_of(node: ast.expr, depth: int) -> Kind:
    """The kind of what the node evaluates to. Raises _Fault for what is not allowed."""
    if depth > MAX_DEPTH:
        raise _Fault(node.col_offset, f"it is nested deeper than {MAX_DEPTH}")
    check = _CHECKS.get(type(node))
    if check is None:
        raise _Fault(node.col_offset, f"{type(node).__name__} is not allowed")
    return check(node, depth + 1)


def _named(kind: Kind) -> str:
    return kind.__name__.lower() if isinstance(kind, type) else kind


def _require(node: ast.expr, depth: int, *kinds: Kind) -> Kind:
    kind = _kind_of(node, depth)
    if kind not in (*kinds, "any"):
        raise _Fault(node.col_offset, f"this is {_named(kind)}, where {' or '.join(map(_named, kinds))} is needed")
    return kind


def _constant(node: ast.Constant, _depth: int) -> Kind:
    kinds: dict[type, Kind] = {str: "text", bool: "flag", int: "number", float: "number", NoneType: "null"}
    if type(node.value) not in kinds:
        raise _Fault(node.col_offset, f"{node.value!r} is neither text nor a number")
    return kinds[type(node.value)]


def _written_list(node: ast.Tuple | ast.List, _depth: int) -> Kind:
    for element in node.elts:
        if not isinstance(element, ast.Constant):
            raise _Fault(element.col_offset, "a list is made of constants")
        _constant(element, 0)
    return "list"


def _name(node: ast.Name, _depth: int) -> Kind:
    return _field(AccessRecord, node.id, node.col_offset)


def _field(model: type[BaseModel], name: str, column: int) -> Kind:
    if name not in model.model_fields:
        of = "" if model is AccessRecord else f" of {_named(model)}, which has {', '.join(model.model_fields)}"
        raise _Fault(column, f"there is no field {name}{of}")
    return _kind_of_annotation(model.model_fields[name].annotation)


def _kind_of_annotation(annotation: Any) -> Kind:
    """Of a field that is there; that it may be null is known at the record only."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    plain: dict[Any, Kind] = {int: "number", float: "number", str: "text", AwareDatetime: "time"}
    containers: dict[Any, Kind] = {tuple: "list", dict: "mapping", Literal: "number"}
    origin = get_origin(annotation)
    if annotation in plain or origin in containers:
        return plain[annotation] if annotation in plain else containers[origin]
    inner = get_args(annotation)
    return _kind_of_annotation(inner[0] if origin is Annotated else next(one for one in inner if one is not NoneType))


def _attribute(node: ast.Attribute, depth: int) -> Kind:
    of = _kind_of(node.value, depth)
    column = node.value.end_col_offset or 0
    if isinstance(of, type):
        return _field(of, node.attr, column)
    if of == "time" and node.attr in TIME_PARTS:
        return "number"
    raise _Fault(column, f".{node.attr} is not there: this is {_named(of)}")


def _subscript(node: ast.Subscript, depth: int) -> Kind:
    if _require(node.value, depth, "mapping", "list") == "mapping":
        _require(node.slice, depth, "text")
        return "text"
    _require(node.slice, depth, "number")
    return "any"


def _call(node: ast.Call, depth: int) -> Kind:
    if node.keywords:
        raise _Fault(node.col_offset, "arguments have no names here")
    if isinstance(node.func, ast.Attribute):
        return _method(node, node.func, depth)
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise _Fault(node.col_offset, f"there is no such function; there are {', '.join(FUNCTIONS)}")
    if len(node.args) != 1:
        raise _Fault(node.col_offset, f"{node.func.id} takes one argument")
    _require(node.args[0], depth, *_TAKES[node.func.id])
    return _RETURNS[node.func.id]


def _method(node: ast.Call, method: ast.Attribute, depth: int) -> Kind:
    _require(method.value, depth, "text")
    column = method.value.end_col_offset or 0
    if method.attr not in METHODS:
        hint = "; write 'part' in path" if method.attr == "contains" else ""
        raise _Fault(column, f"text has no method {method.attr} here{hint}")
    count, returned = METHODS[method.attr]
    if len(node.args) != count:
        raise _Fault(column, f"{method.attr} takes {count or 'no'} argument{'' if count == 1 else 's'}")
    for argument in node.args:
        _require(argument, depth, "text")
    return returned


def _combination(node: ast.BoolOp, depth: int) -> Kind:
    for value in node.values:
        _kind_of(value, depth)
    return "any"


def _unary(node: ast.UnaryOp, depth: int) -> Kind:
    if isinstance(node.op, ast.Not):
        _kind_of(node.operand, depth)
        return "flag"
    if not isinstance(node.op, ast.USub):
        raise _Fault(node.col_offset, f"{type(node.op).__name__} is not allowed")
    return _require(node.operand, depth, "number")


def _arithmetic(node: ast.BinOp, depth: int) -> Kind:
    if not isinstance(node.op, _ARITHMETIC):
        raise _Fault(node.col_offset, f"{type(node.op).__name__} is not allowed")
    for operand in (node.left, node.right):
        _require(operand, depth, "number")
    return "number"


def _comparison(node: ast.Compare, depth: int) -> Kind:
    left, left_kind = node.left, _kind_of(node.left, depth)
    for operator, right in zip(node.ops, node.comparators, strict=True):
        right_kind = _kind_of(right, depth)
        _compare(operator, (left, left_kind), (right, right_kind))
        left, left_kind = right, right_kind
    return "flag"


def _compare(operator: ast.cmpop, left: tuple[ast.expr, Kind], right: tuple[ast.expr, Kind]) -> None:
    if isinstance(operator, _MEMBERSHIP):
        allowed = right[1] in ("list", "mapping", "any") or (right[1] == "text" and left[1] in ("text", "any"))
    elif isinstance(operator, ast.Is | ast.IsNot):
        allowed = right[1] == "null"
    else:
        ordered = not isinstance(operator, _ORDER) or left[1] in ("number", "text", "any")
        allowed = "any" in (left[1], right[1]) or (left[1] == right[1] and ordered)
        allowed = allowed or ("null" in (left[1], right[1]) and not isinstance(operator, _ORDER))
    if not allowed:
        compared = f"{_named(left[1])} and {_named(right[1])}"
        raise _Fault(right[0].col_offset, f"{compared} cannot be compared by {type(operator).__name__}")


_CHECKS: Mapping[type[ast.expr], Callable[[Any, int], Kind]] = {
    ast.Constant: _constant,
    ast.Tuple: _written_list,
    ast.List: _written_list,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Call: _call,
    ast.BoolOp: _combination,
    ast.UnaryOp: _unary,
    ast.BinOp: _arithmetic,
    ast.Compare: _comparison,
}
