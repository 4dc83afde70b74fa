"""Thresholds are exact, IoU is that of a loop over pixels, and chance is told from knowledge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppgn.visualize.concepts import Concepts
from ppgn.visualize.overlap import best_of, counted, linear, overlap, rotation, thresholds


def concepts(labels: Tensor, categories: list[str], kinds: Tensor | None = None) -> Concepts:
    count, names = len(labels), [f"c{number}" for number in range(len(categories))]
    pictures = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    return Concepts("made", pictures, labels, names, categories, torch.zeros(count) if kinds is None else kinds)


def planted(count: int = 80) -> tuple[Tensor, Concepts]:
    """Unit 0 lights up at concept 0, which lies in a corner of its own; units 1 and 2 at random."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.full((count, 3, 4, 4), -1, dtype=torch.int16)
    labels[:, 0] = 1
    corner = torch.randint(0, 4, (count,), generator=draw)
    for picture, place in zip(labels, corner.tolist(), strict=True):
        top, left = 2 * (place // 2), 2 * (place % 2)
        picture[0, top : top + 2, left : left + 2] = 0
    activations = torch.rand(count, 3, 4, 4, generator=draw)
    activations[:, 0] += 2 * (labels[:, 0] == 0)
    return activations, concepts(labels, ["object", "object"])


def test_the_quantile_is_exact() -> None:
    values = torch.randn(70, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    limit = thresholds(values, 0.05)
    above = (values > limit[:, None, None]).sum((0, 2, 3))
    assert above.tolist() == [int(0.05 * 70 * 9)] * 5


def test_iou_is_that_of_counting_pixels() -> None:
    activations, made = planted(20)
    found = overlap(activations, made, torch.tensor([True, True]), share=0.1, permutations=3)
    mask = activations > found.thresholds[:, None, None]
    for unit in range(3):
        for concept in range(2):
            there = made.labels[:, 0] == concept
            both = (mask[:, unit] & there).sum()
            assert found.iou[unit, concept] == pytest.approx(float(both / (mask[:, unit] | there).sum()))


def test_only_pictures_with_labels_of_the_category_count() -> None:
    activations, made = planted(20)
    labels = made.labels.clone()
    labels[10:, 0] = -1  # the second half has a scene alone
    labels[10:, 1] = 2
    halves = concepts(labels, ["object", "object", "scene"], torch.arange(20) // 10)
    found = overlap(activations, halves, torch.tensor([True] * 3), share=0.1, permutations=2)
    mask = activations > found.thresholds[:, None, None]
    there = labels[:10, 0] == 0
    both = (mask[:10, 0] & there).sum()
    assert found.iou[0, 0] == pytest.approx(float(both / (mask[:10, 0] | there).sum()))
    whole = mask[10:, 0].sum()
    assert found.iou[0, 2] == pytest.approx(float(whole / 160))
    assert torch.allclose(found.permuted[:, 1].max(), found.permuted[:, 1].max())


def test_a_planted_unit_is_beyond_chance_and_a_random_one_is_not() -> None:
    activations, made = planted()
    found = overlap(activations, made, torch.tensor([True, False]), share=0.1, permutations=100)
    assert found.detectors.tolist() == [True, False, False]
    assert found.labels[0] == 0
    said = found.counts()
    assert said["detectors"] == 3  # IoU above 0.04 says nothing here
    assert said["detectors_permuted"] == pytest.approx(3, abs=0.2)
    assert said["detectors_beyond_chance"] == said["unique_beyond_chance"] == 1


def test_a_rotation_keeps_lengths_and_mixes_units() -> None:
    activations, made = planted()
    turn = rotation(3, seed=1)
    turned = turn(activations)
    assert torch.allclose(turned.norm(dim=1), activations.norm(dim=1), atol=1e-5)
    found = overlap(activations, made, torch.tensor([True, True]), share=0.1, permutations=2, turn=turn)
    again = overlap(turned, made, torch.tensor([True, True]), share=0.1, permutations=2)
    assert torch.allclose(found.iou, again.iou, atol=0.02)


def test_labels_are_permuted_within_their_kind() -> None:
    labels = torch.full((40, 3, 4, 4), -1, dtype=torch.int16)
    labels[:20, 1], labels[20:, 1] = 0, 1
    activations = torch.rand(40, 2, 4, 4)
    activations[:20, 0] += 5
    apart = concepts(labels, ["scene", "texture"], torch.arange(40) // 20)
    found = overlap(activations, apart, torch.tensor([True, True]), share=0.2, permutations=5)
    assert torch.allclose(found.permuted[:, 0], found.best[0].expand(5))  # nothing to exchange inside a kind


def test_concepts_need_pictures() -> None:
    labels = torch.full((30, 3, 2, 2), -1, dtype=torch.int16)
    labels[:, 0, 0, 0], labels[:29, 0, 1, 1] = 0, 1
    labels[:20, 1], labels[20:, 1] = 2, 3
    made = concepts(labels, ["object", "object", "scene", "scene"])
    assert counted(made).tolist() == [True, False, True, False]
    assert counted(made, {"object": 29, "scene": 10}).tolist() == [True] * 4


def test_the_best_of_each_category() -> None:
    activations, made = planted()
    both = concepts(made.labels, ["object", "scene"])
    found = best_of(overlap(activations, both, torch.tensor([True, True]), permutations=1), both.categories)
    assert set(found) == {"object", "scene"}
    assert found["object"][1].tolist() == [0] * 3
    assert found["scene"][1].tolist() == [1] * 3


def test_a_linear_layer_is_told_from_one_behind_a_rectifier() -> None:
    values = torch.randn(10, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert linear(values)
    for rectified in (values.relu(), torch.nn.functional.silu(values), torch.nn.functional.gelu(values)):
        assert not linear(rectified)
