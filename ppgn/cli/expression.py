"""Conditions combined in words: "imagenet:castle & ~0.5*places:snowfield"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ppgn import paths
from ppgn.conditions.base import Condition
from ppgn.errors import InputError, unknown

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*
    |(?P<name>[A-Za-z_]\w*)\s*(?::\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^&|~()*]*[^&|~()*\s])))?
    |(?P<operator>[&|~()])
    )\s*""",
    re.VERBOSE,
)
_OPERATORS: dict[str, Callable[[Condition, Condition], Condition]] = {"|": operator.or_, "&": operator.and_}


@dataclass(frozen=True)
class Leaf:
    """One condition: an option of conf/condition and its target, None where it is the one of the whole run."""

    name: str
    target: str | None


@dataclass(frozen=True)
class Branch:
    """An operator, "&", "|", "~" or "*", and what it is applied to; "*" has a weight."""

    operator: str
    operands: tuple[Node, ...]
    weight: float = 1.0


Node = Leaf | Branch


def is_expression(text: str) -> bool:
    """Whether what stands behind `condition=` is more than the name of a condition."""
    return re.search(r"[:&|~*()\s]", text.strip()) is not None


def parse(text: str) -> Node:
    """Read NAME:TARGET, w * a, ~a, a & b, a | b and parentheses, binding in this order, as in Python.

    A target with one of &|~()* in it stands in quotes. Raises `InputError` that says where the text stops making sense,
    and for an unknown NAME.
    """
    return _Parser(text).parse()


def leaves(node: Node) -> list[Leaf]:
    """The conditions of an expression from left to right."""
    return [node] if isinstance(node, Leaf) else [leaf for operand in node.operands for leaf in leaves(operand)]


def build(node: Node, make: Callable[[Leaf], Condition]) -> Condition:
    """The combined condition, its leaves made by `make` from left to right."""
    if isinstance(node, Leaf):
        return make(node)
    first, *rest = (build(operand, make) for operand in node.operands)
    if node.operator == "*":
        return node.weight * first
    return _OPERATORS[node.operator](first, *rest) if rest else ~first


class _Parser:
    """Recursive descent over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.at = 0

    def _tokens(self) -> Iterator[re.Match[str]]:
        place = 0
        while place < len(self.text.rstrip()):
            token = _TOKEN.match(self.text, place)
            if token is None:
                raise self._error(self.text[place:])
            yield token
            place = token.end()

    def _error(self, rest: str) -> InputError:
        where = f"at '{rest.strip()}'" if rest.strip() else "at its end"
        expected = 'expected NAME:TARGET with & | ~ WEIGHT* ( ), for example "imagenet:castle & 0.5*places:snowfield"'
        return InputError(f"cannot read condition={self.text} {where}; {expected}")

    def _next(self, *operators: str) -> str:
        """The operator that comes next, taken, if it is one of these, else ""."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is None or token["operator"] not in operators:
            return ""
        self.at += 1
        return token["operator"]

    def parse(self) -> Node:
        node = self._binary("|&")
        if self.at < len(self.tokens):
            raise self._error(self.text[self.tokens[self.at].start() :])
        return node

    def _binary(self, operators: str) -> Node:
        """Operands of the first operator, which binds least."""
        if not operators:
            return self._unary()
        node = self._binary(operators[1:])
        while self._next(operators[0]):
            node = Branch(operators[0], (node, self._binary(operators[1:])))
        return node

    def _unary(self) -> Node:
        if self._next("~"):
            return Branch("~", (self._unary(),))
        if self._next("("):
            node = self._binary("|&")
            if not self._next(")"):
                raise self._error(self.text[self.tokens[self.at].start() :] if self.at < len(self.tokens) else "")
            return node
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is None or token["operator"]:
            raise self._error(self.text[token.start() :] if token else "")
        self.at += 1
        if token["weight"]:
            return Branch("*", (self._unary(),), float(token["weight"]))
        if token["name"] not in paths.options("condition"):
            raise unknown("condition", token["name"], paths.options("condition"))
        target = next((token[kind] for kind in ("double", "single", "bare") if token[kind] is not None), None)
        return Leaf(token["name"], target)
