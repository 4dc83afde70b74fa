"""The condition of a sentence: its value, its two gradients, its report, and the way it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ppgn.conditions import words
from ppgn.conditions.caption import Caption
from ppgn.errors import InputError
from tests.networks.test_captioner import images, shipped, tiny


def test_value_is_the_sum_over_words_and_end() -> None:
    captioner = tiny()
    expected = captioner.log_probs(images(), torch.tensor([1, 2, 0])).sum(1)
    for gradient in ("full", "truncated"):
        assert torch.equal(Caption(captioner, "A dog.", gradient)(images()), expected)


def test_the_full_gradient_is_that_of_the_value() -> None:
    condition = Caption(tiny(), "a dog runs")
    assert torch.autograd.gradcheck(condition, images(2).requires_grad_())


def test_the_truncated_gradient_is_the_captioner_s() -> None:
    captioner, tokens = tiny(), torch.tensor([1, 2, 3, 0])
    x = images().requires_grad_()
    (found,) = torch.autograd.grad(Caption(captioner, "a dog runs", "truncated")(x).sum(), x)
    (expected,) = torch.autograd.grad(captioner.log_probs(x, tokens, truncated=True).sum(), x)
    assert torch.equal(found, expected)
    (full,) = torch.autograd.grad(Caption(captioner, "a dog runs")(x).sum(), x)
    assert not torch.allclose(found, full, rtol=0.05)


def test_rows_are_independent() -> None:
    condition, x = Caption(tiny(), "a dog"), images(5)
    alone = torch.cat([condition(row[None]) for row in x])
    torch.testing.assert_close(condition(x), alone, rtol=0, atol=1e-14)


def test_describe_reports_plain_numbers_and_what_the_captioner_says() -> None:
    captioner = tiny()
    condition = Caption(captioner, "a dog")
    rows = condition.describe(images())
    log_p = captioner.log_probs(images(), torch.tensor([1, 2, 0]))
    for row, values, text in zip(rows, log_p, captioner.captions(images()), strict=True):
        assert row["log_prob"] == pytest.approx(float(values.sum()))
        assert row["word_prob"] == pytest.approx(sum(values.exp().tolist()) / 3)
        assert row["caption"] == text
    assert json.loads(json.dumps(rows)) == rows


def test_another_sentence_to_the_same_captioner() -> None:
    condition = Caption(tiny(), "a dog", "truncated")
    other = condition.with_target("dog runs")
    assert (other.name, other.gradient, other.tokens.tolist()) == ("dog runs", "truncated", [2, 3, 0])
    assert other.captioner is condition.captioner
    with pytest.raises(InputError, match=r"'dogg' \(nearest: dog\)"):
        condition.with_target("a dogg")
    with pytest.raises(InputError, match="unknown gradient 'exact'"):
        Caption(tiny(), "a dog", "exact")


def test_few_photographs_show_a_sentence() -> None:
    assert Caption(tiny(), "a dog").rare


def test_words_ask_for_a_sentence(tmp_path: Path) -> None:
    captioner = shipped()
    captioner.save(tmp_path / "mine.safetensors")
    settings = {"captioner.name": str(tmp_path / "mine.safetensors")}
    for gradient in ("truncated", "full"):
        condition = words.condition("caption", "A dog, runs!", settings).with_gradient(gradient)
        assert (condition.name, condition.gradient) == ("A dog, runs!", gradient)
        assert condition.tokens.tolist() == [1, 2, 3, 0]
    x = torch.rand(2, 3, 16, 16)
    expected = captioner.log_probs(x, captioner.encode("a dog runs")).sum(1)
    torch.testing.assert_close(condition(x), expected, atol=0.01, rtol=0)
    with pytest.raises(InputError, match="does not know 'cat'"):
        words.condition("caption", "a cat", settings)
