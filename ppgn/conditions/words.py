"""Conditions in words: "goldfish" of "imagenet", "imagenet:castle & ~0.5*places:snowfield", "mine.py:Red | unit:17"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppgn import building, paths
from ppgn.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

    from ppgn.conditions.base import Condition

_TARGET = r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^&|~()*]*[^&|~()*\s]))"""
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*
    |(?P<name>[A-Za-z_]\w*)\s*(?::\s*{_TARGET})?
    |(?P<operator>[&|~()])
    )\s*""",
    re.VERBOSE,
)
# module:Class or file.py:Class, and perhaps a target; a leading ~ is Not unless a path begins with it.
_OUTSIDE = re.compile(rf"\s*(?P<name>(?:~(?=/))?[\w./-]+:[A-Za-z_]\w*)\s*(?::\s*{_TARGET})?\s*")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"|": operator.or_, "&": operator.and_}


def condition(
    what: Any = "imagenet", target: str | int | None = None, settings: Mapping[str, Any] | None = None
) -> Any:
    """What to draw, as a `ppgn.conditions.base.Condition`: images (B, 3, H, W) in [0, 1] -> log p(y | x), (B,).

    what: a name ("imagenet", "places", "unit", "caption", "torchscript"), "module:Class" or "file.py:Class", each alone
        or with ":TARGET", combined by & | ~ WEIGHT* ( ); a mapping with `_target_`; an nn.Module or any callable.
    target: the class, unit or sentence to ask for, where `what` leaves it open.
    settings: what differs from conf/condition/NAME.yaml, {"network.size": 128}; below its NAME in an expression of
        several, {"places": {"network.size": 224}}.

    Raises `InputError` for what cannot be read, found or built. Combinations: see `ppgn.conditions.algebra`.
    """
    return conditions(what, [target], settings=settings)[0]


def conditions(
    what: Any,
    targets: Sequence[str | int | None],
    *,
    settings: Mapping[str, Any] | None = None,
    gradient: str = "full",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> list[Condition]:
    """The condition of every target as `condition` makes it, in evaluation mode; they share networks where they can.

    `what` may also be a mapping {"expression": text, NAME: settings}. `gradient` is one of
    `ppgn.conditions.base.GRADIENTS`. What was built here is frozen. An object given is moved, not copied.
    """
    from ppgn.conditions.base import as_condition

    if isinstance(what, Mapping) and "expression" in what:
        settings, what = {k: v for k, v in what.items() if k != "expression"} | dict(settings or {}), what["expression"]
    if isinstance(what, str):
        tree = parse(what) if is_expression(what) else Leaf(what, None)
        names = dict.fromkeys(leaf.name for leaf in leaves(tree))
        chosen = {name: (settings or {}).get(name, settings if len(names) == 1 else None) for name in names}
        makers = {name: _Maker(name, chosen[name], name if is_expression(what) else None) for name in names}
        asked = any(leaf.target is None and makers[leaf.name].asks for leaf in leaves(tree))

        def make(target: str | int | None) -> Condition:
            def of(leaf: Leaf) -> Condition:
                maker = makers[leaf.name]
                return maker(leaf.target if leaf.target is not None or not maker.asks else target)

            return build(tree, of)
    elif isinstance(what, Mapping):
        make = _Maker(what, settings)
        asked = make.asks
    else:
        asked = hasattr(what, "with_target")

        def make(target: str | int | None) -> Condition:
            return as_condition(what if target is None else what.with_target(target))

    if not asked and any(target is not None for target in targets):
        shown = what if isinstance(what, str) else type(what).__name__
        raise InputError(f"target={targets[0]} is not asked for: '{shown}' says all that is to be drawn; leave it out")
    made = (make(target).with_gradient(gradient).to(device, dtype) for target in targets)
    return [one.eval().requires_grad_(False) if isinstance(what, str | Mapping) else one for one in made]


class _Maker:
    """Makes the condition of a name or a mapping for one target after the other, as few networks as possible."""

    def __init__(self, given: Any, settings: Mapping[str, Any] | None, member: str | None = None) -> None:
        self.node = building.merged(building.node("condition", given), settings or {})
        self.member = member
        parameter = building.parameters(self.node["_target_"]).get("target")
        self.asks = parameter is not None
        self.needs = parameter is not None and parameter.default is parameter.empty and "target" not in self.node
        self.first: Any = None

    def __call__(self, target: str | int | None) -> Condition:
        from ppgn.conditions.base import as_condition

        if target is not None and not self.asks:
            raise InputError(f"'{self.node['_target_']}' takes no target, so not '{target}' either; leave it out")
        if target is None and self.needs:
            raise InputError("nothing to draw: add target=NAME, for example target=goldfish")
        if self.first is not None and (target is None or hasattr(self.first, "with_target")):
            return as_condition(self.first if target is None else self.first.with_target(target))
        try:
            self.first = building.build(self.node if target is None else {**self.node, "target": target})
        except InputError as error:
            # The keys of a member of an expression lie one deeper than those of a condition that stands alone.
            deeper = rf"condition.{self.member}." if self.member and ":" not in self.member else "condition."
            raise InputError(re.sub(r"\bcondition\.(?=\w+[.=])", deeper, str(error))) from error
        return as_condition(self.first)


@dataclass(frozen=True)
class Leaf:
    """One condition: a name of conf/condition or "module:Class", and its target, None where the run's is meant."""

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
    """Whether a text is more than the name of a condition."""
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
    """The combined condition; `make` makes its leaves from left to right."""
    if isinstance(node, Leaf):
        return make(node)
    first, *rest = (build(operand, make) for operand in node.operands)
    if node.operator == "*":
        return node.weight * first
    combined: Condition = _OPERATORS[node.operator](first, *rest) if rest else ~first
    return combined


class _Parser:
    """Recursive descent over the tokens of a text: operators, weights and leaves, each with the place it stands at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[int, str | float | Leaf]] = [*self._tokens(), (len(text), "")]

    def _tokens(self) -> Iterator[tuple[int, str | float | Leaf]]:
        known, place = paths.options("condition"), 0
        while place < len(self.text.rstrip()):
            token = _OUTSIDE.match(self.text, place)
            if token is None or token["name"].partition(":")[0] in known or not building.exists(token["name"]):
                token = _TOKEN.match(self.text, place)
                if token is None:
                    raise self._error(place)
                if token["name"] and token["name"] not in known:
                    raise unknown("condition", token["name"], known, "or give module:Class or file.py:Class")
            found = token.groupdict()
            if found["name"]:
                target = next((found[kind] for kind in ("double", "single", "bare") if found[kind] is not None), None)
                yield place, Leaf(found["name"], target)
            else:
                yield place, float(found["weight"]) if found["weight"] else found["operator"]
            place = token.end()

    def _error(self, place: int) -> InputError:
        rest = self.text[place:].strip()
        where = f"at '{rest}'" if rest else "at its end"
        expected = 'expected NAME:TARGET with & | ~ WEIGHT* ( ), for example "imagenet:castle & 0.5*places:snowfield"'
        return InputError(f"cannot read condition={self.text} {where}; {expected}")

    def _take(self, operator: str) -> bool:
        """Whether this operator comes next; it is then taken."""
        comes = self.tokens[0][1] == operator
        if comes:
            del self.tokens[0]
        return comes

    def parse(self) -> Node:
        node = self._binary("|&")
        if not self._take(""):
            raise self._error(self.tokens[0][0])
        return node

    def _binary(self, operators: str) -> Node:
        """Operands of the first operator, which binds least."""
        if not operators:
            return self._unary()
        node = self._binary(operators[1:])
        while self._take(operators[0]):
            node = Branch(operators[0], (node, self._binary(operators[1:])))
        return node

    def _unary(self) -> Node:
        if self._take("~"):
            return Branch("~", (self._unary(),))
        if self._take("("):
            node = self._binary("|&")
            if not self._take(")"):
                raise self._error(self.tokens[0][0])
            return node
        place, token = self.tokens[0]
        if isinstance(token, str):
            raise self._error(place)
        del self.tokens[0]
        return token if isinstance(token, Leaf) else Branch("*", (self._unary(),), token)
