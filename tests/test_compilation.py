"""Compiled networks against the same uncompiled; whatever needs a compiler is skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from ppgn.compilation import Compiled, check_compiler, compiled_classifiers
from ppgn.conditions.classifier import Classifier
from ppgn.conditions.unit import Unit
from ppgn.errors import InputError
from ppgn.generators.resnet import ResNet
from ppgn.model import PPGN
from ppgn.networks.network import Network, Preprocessing
from ppgn.posterior import Posterior
from ppgn.priors.gaussian import Gaussian
from ppgn.samplers import presets, rows
from tests.tiny import TinyCondition

QUICK = "aot_eager"  # traced and differentiated as for the compiler, then run by PyTorch


def has_compiler() -> bool:
    with suppress(InputError):
        check_compiler()
        return True
    return False


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
needs_compiler = pytest.mark.skipif(not has_compiler(), reason="torch.compile finds no C++ compiler here")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled is left from one test to the next."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def generator() -> ResNet:
    """Codes of 6 -> images 3x4x4."""
    torch.manual_seed(0)
    made = ResNet(6, [8], [0]).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.data.normal_(std=0.3)
    return made


def test_a_compiler_that_fails_is_one_line(generator: ResNet) -> None:
    def failing(*_: object) -> Callable[..., object]:
        raise OSError("no Python.h\nand more")

    with pytest.raises(InputError, match=r"compile=true fails here \(.*no Python.h.*\); leave compile at false"):
        Compiled(generator, failing)(codes(2))


def codes(count: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def condition() -> TinyCondition:
    return TinyCondition(1, dtype=torch.float32)


def network() -> Network:
    """Images (B, 3, 4, 4) -> logits (B, 4), by way of five channels."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU6(), nn.Flatten(), nn.Linear(80, 4))
    return Network(body, Preprocessing(size=4), name="tiny")


@needs_compiler
def test_an_evaluation_is_the_same_up_to_rounding(generator: ResNet) -> None:
    target = Posterior(generator, Gaussian(), condition())
    compiled = target.compiled()
    assert compiled.code_shape == (6,)
    expected, found = (rows.tensors(each.evaluate(codes(3))) for each in (target, compiled))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert expected["condition_grad"].abs().max() > 0.01


@needs_compiler
def test_chains_of_compiled_networks_end_where_the_others_do(
    generator: ResNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Posterior.compiled
    monkeypatch.setattr(Posterior, "compiled", lambda self: plain(self, QUICK))
    settings = {"sampler": presets.annealed(steps=3), "batch_size": 2}
    one, two = (PPGN(generator).sample(condition(), range(3), compile=c, **settings) for c in (False, True))
    torch.testing.assert_close(two.codes, one.codes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(two.log_prob, one.log_prob, rtol=1e-4, atol=1e-4)


@needs_compiler
def test_smaller_batches_are_not_compiled_for(generator: ResNet) -> None:
    compiled = Compiled(generator, QUICK)
    runs: list[int] = []
    run = compiled._run
    compiled._run = lambda x: runs.append(len(x)) or run(x)
    for count in (2, 1, 4, 2, 4):
        torch.testing.assert_close(compiled(codes(count)), generator(codes(count)), rtol=1e-4, atol=1e-5)
    assert runs == [2, 4, 4]


@needs_compiler
def test_classifiers_are_compiled_wherever_they_stand_and_units_are_not() -> None:
    shared = network()
    classifier, unit = Classifier(shared, 2), Unit(network(), "0", 3)
    scripted = Classifier(Network(torch.jit.trace(nn.Flatten(), torch.zeros(1, 3, 4, 4)), Preprocessing(), name="s"), 0)
    asked = classifier & 0.5 * (~classifier.with_target(1) | unit) & scripted
    compiled = compiled_classifiers(asked, QUICK)
    bodies = [module for module in compiled.modules() if isinstance(module, Compiled)]
    assert [body.network for body in bodies] == [shared.body]  # one for both targets, and no copy of the weights
    assert not any(isinstance(module, Compiled) for module in asked.modules())
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    for each in (asked, compiled):
        value = each(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        if each is asked:
            expected = value, gradient
    torch.testing.assert_close((value, gradient), expected, rtol=1e-4, atol=1e-5)
    assert sum(body.rows for body in bodies) == 2
    other = TinyCondition(0)
    assert compiled_classifiers(other, QUICK).index == 0


@needs_compiler
def test_a_network_whose_layers_are_read_is_not_compiled_even_if_a_classifier_asks_it_too() -> None:
    shared = network()
    asked = Classifier(shared, 2) & Unit(shared, "0", 3)
    compiled = compiled_classifiers(asked, QUICK)
    assert not any(isinstance(module, Compiled) for module in compiled.modules())
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(compiled(x), asked(x))


@needs_compiler
def test_the_same_network_is_compiled_once(generator: ResNet) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    target = Posterior(generator, Gaussian(), condition())
    for _ in range(2):
        target.compiled(backend).evaluate(codes(2))
    assert len(graphs) == 1


def test_without_a_compiler_it_is_refused(generator: ResNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = "compile=true needs a C\\+\\+ compiler and there is no 'no-such-compiler'; leave compile at false"
    with pytest.raises(InputError, match=message):
        Posterior(generator, Gaussian(), condition()).compiled()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="compile=true needs a C"):
        check_compiler()
