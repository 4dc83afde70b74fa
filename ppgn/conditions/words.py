"""Conditions in words: "goldfish" of "imagenet", "imagenet:castle & ~0.5*places:mountain", "mine.py:Red | unit:17"."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppgn import building, files, paths
from ppgn.errors import InputError, unknown
from ppgn.networks import labels

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
) -> Condition:
    """What to draw, as a `ppgn.conditions.base.Condition`: images (B, 3, H, W) in [0, 1] -> log p(y | x), (B,).

    what: a name of conf/condition ("imagenet", "unit", ...), "module:Class" or "file.py:Class", each alone or with
        ":TARGET", combined by & | ~ WEIGHT* ( ); a mapping with `_target_`; an nn.Module or any callable. Of a module
        that is no condition, images to logits (B, K), `target` is a class.
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
    given, settings = what, dict(settings or {})
    if isinstance(what, Mapping) and "expression" in what:
        given, settings = what["expression"], {k: v for k, v in what.items() if k != "expression"} | settings
    tree: Node = Leaf("", None)
    named = {"": given}
    if isinstance(given, str):
        tree = parse(given) if is_expression(given) else Leaf(given, None)
        named = {leaf.name: leaf.name for leaf in leaves(tree)}
    below = isinstance(given, str) and is_expression(given)
    own = {n: settings.get(n, {} if len(named) > 1 else settings) if below else settings for n in named}
    makers = {n: _Maker(part, own[n]) for n, part in named.items()}

    def condition_of(target: str | int | None) -> Condition:
        def make(leaf: Leaf) -> Condition:
            maker = makers[leaf.name]
            try:
                return maker(target if leaf.target is None and maker.asks else leaf.target)
            except InputError as error:  # keys of a condition in an expression lie one deeper than where it is alone
                deeper = f"condition.{leaf.name}." if leaf is not tree or leaf.target is not None else "condition."
                raise InputError(re.sub(r"\bcondition\.(?=\w+[.=])", deeper, str(error))) from error

        made = build(tree, make).to(device, dtype)
        made = made if gradient == "full" else made.with_gradient(gradient)
        return made.eval().requires_grad_(False) if isinstance(given, str | Mapping) else made

    if not any(leaf.target is None and makers[leaf.name].asks for leaf in leaves(tree)) and set(targets) != {None}:
        shown = given if isinstance(given, str) else type(given).__name__
        raise InputError(f"target={targets[0]} is not asked for: '{shown}' says all that is to be drawn; leave it out")
    return [condition_of(target) for target in targets]


VOCABULARIES = ("imagenet", "places", "caption", "digits", "digit", "speaker")  # conditions that know what they can be


def vocabulary(condition: str = "imagenet") -> Sequence[str]:
    """The classes, or of "caption" the words, that a target of a condition can be; those of ImageNet with synonyms.

    Raises `InputError` for a condition that has none of its own.
    """
    if condition == "imagenet":
        return labels.imagenet()
    if condition in ("places", "caption"):
        name, key = {"places": ("places100", "labels"), "caption": ("captioner", "words")}[condition]
        listed: Sequence[str] = files.head(paths.checkpoints() / f"{name}.safetensors")[key]
        return listed
    if condition in VOCABULARIES:
        from ppgn.networks import digits

        return digits.LABELS["speaker" if condition == "speaker" else "digit"]
    expected = ", ".join(VOCABULARIES)
    raise InputError(f"condition={condition} has no classes of its own to list; expected {expected}")


def find(condition: str = "imagenet", pattern: str | None = None) -> list[int]:
    """The rows of `vocabulary` that are called `pattern`, in part, are such a kind of thing, or have it as a number.

    Raises `InputError` where there is none.
    """
    listed = vocabulary(condition)
    if pattern is None:
        return list(range(len(listed)))
    if pattern.isdecimal() and int(pattern) < len(listed):
        return [int(pattern)]
    found = labels.search(listed, pattern)
    if not found:
        raise unknown("class", pattern, [name.strip() for label in listed for name in label.split(",")])
    return found


class _Maker:
    """Makes the condition of a name, a mapping or an object for one target after another, networks shared."""

    def __init__(self, given: Any, settings: Mapping[str, Any]) -> None:
        self.first: Any = None
        self.network = False  # a classifier, of which `target` is a class
        self.node: dict[str, Any] = {}
        if isinstance(given, str | Mapping):
            self.node = building.merged(building.node("condition", given), settings)
            given = building.locate(self.node["_target_"])
            if isinstance(given, type) or inspect.isroutine(given):  # what makes a condition, not one itself
                target = inspect.signature(given).parameters.get("target")
                self.asks = target is not None
                self.needs = target is not None and target.default is target.empty and "target" not in self.node
                return
        from torch import nn

        from ppgn.conditions.base import Condition

        self.network = isinstance(given, nn.Module) and not isinstance(given, Condition)
        self.first, self.asks, self.needs = given, self.network or hasattr(given, "with_target"), False

    def __call__(self, target: str | int | None) -> Condition:
        from ppgn.conditions.base import Condition, Plain
        from ppgn.conditions.classifier import Classifier

        if target is not None and not self.asks:
            raise InputError(f"'{self.node['_target_']}' takes no target, so not '{target}' either; leave it out")
        if target is None and self.needs:
            raise InputError("nothing to draw: add target=NAME, for example target=goldfish")
        made = self.first
        if made is not None and target is not None and hasattr(made, "with_target"):
            made = made.with_target(target)
        elif self.network and target is not None:
            made = self.first = Classifier(made, target)
        elif made is None or target is not None:
            made = self.first = building.build(self.node if target is None else {**self.node, "target": target})
        return made if isinstance(made, Condition) else Plain(made)


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
    try:
        return _Parser(text).parse()
    except RecursionError:
        raise InputError(f"condition={text[:20]}... is nested too deeply; write it with fewer parentheses") from None


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
            if found["bare"] and re.search(r"\s(and|or|not|with)\s+(\S+\s+)*\w+\s*:", found["bare"]):
                raise InputError(f"cannot read condition={self.text}; & is and, | is or, ~ is not: a:b & c:d")
            if found["name"]:
                target = next((found[kind] for kind in ("double", "single", "bare") if found[kind] is not None), None)
                yield place, Leaf(found["name"], target)
            else:
                yield place, float(found["weight"]) if found["weight"] else found["operator"]
            place = token.end()

    def _error(self, place: int) -> InputError:
        rest = self.text[place:].strip()
        where = f"at '{rest}'" if rest else "at its end"
        expected = 'expected NAME:TARGET with & | ~ WEIGHT* ( ), for example "imagenet:castle & 0.5*places:mountain"'
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
