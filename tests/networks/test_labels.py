from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppgn.errors import InputError
from ppgn.networks import labels

IMAGENET = labels.imagenet()


def test_the_table_is_that_of_imagenet() -> None:
    assert len(IMAGENET) == len(set(IMAGENET)) == 1000
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 497: "church", 980: "volcano", 999: "toilet tissue"}
    for index, name in known.items():
        assert IMAGENET[index].split(",")[0] == name


def test_the_table_is_that_of_the_data(shared: Path) -> None:
    for entry in json.loads((shared / "data" / "imagenet1k_classes.json").read_text()):
        names = [name.strip() for name in IMAGENET[entry["index"]].split(",")]
        assert entry["name"] in names


@pytest.mark.parametrize(
    ("target", "index"),
    [
        ("junco", 13),
        ("snowbird", 13),  # a synonym
        ("junco, snowbird", 13),  # the whole label
        ("Golden_Retriever", 207),
        ("golden-retriever", 207),
        ("jack o lantern", 607),  # jack-o'-lantern
        ("St Bernard", 247),  # Saint Bernard, St Bernard
        ("crayfish", 124),  # a synonym of the spiny lobster as well
        ("Cardigan", 264),  # the dog
        ("cardigan", 474),  # the garment
        ("crane bird", 134),
        ("maillot, tank suit", 639),
        ("gold fish", 1),  # as one word
        ("17", 17),
        (" 17 ", 17),
        (17, 17),
        (999, 999),
    ],
)
def test_find(target: str | int, index: int) -> None:
    assert labels.find(IMAGENET, target) == index


def test_every_class_is_found_by_its_whole_label_unless_that_is_ambiguous() -> None:
    ambiguous = {index for index, label in enumerate(IMAGENET) if label in ("crane", "maillot")}
    assert len(ambiguous) == 2
    for index in set(range(0, 1000, 37)) - ambiguous:
        assert labels.find(IMAGENET, IMAGENET[index]) == index


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("crane", r"may mean 134 \(crane, crane bird\), 517 \(crane\); give the index"),
        ("maillot", r"may mean 638 \(maillot\), 639 \(maillot, tank suit"),
        ("CARDIGAN", r"may mean 264 .*, 474 "),
        ("volcanoo", "unknown class 'volcanoo'; nearest: volcano"),
        ("goldfish, volcano", "unknown class 'goldfish, volcano'"),
        ("", "unknown class ''"),
        ("1000", "class index 1000 is out of range: expected 0 to 999"),
        (1000, "expected 0 to 999"),
        ("dog", r"'dog', but 118 go by it: Chihuahua, .*; target=\"any:dog\""),  # a kind of thing, no class
        ("puppy", "but 1 goes by it: axolotl"),
        ("music", "said of iPod"),  # in its definition
        (-1, "class index -1 is out of range"),
        (1.0, "class 1.0: expected a name or an index"),
        (True, "class True: expected"),
        (None, "class None: expected"),
    ],
)
def test_find_refuses(target: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labels.find(IMAGENET, target)  # type: ignore[arg-type]


def test_the_table_is_that_of_the_libraries() -> None:
    from timm.data.imagenet_info import ImageNetInfo
    from torchvision.models import get_weight

    distinct = get_weight("ResNet18_Weights.DEFAULT").meta["categories"]
    for label, synonyms, name in zip(IMAGENET, ImageNetInfo("imagenet-1k").label_descriptions(), distinct, strict=True):
        assert label in (synonyms, f"{synonyms}, {name}")


def test_kinds_of_things_hold_their_classes() -> None:
    assert labels.members(IMAGENET, "dog") == labels.members(IMAGENET, "Dogs") == tuple(range(151, 269))
    assert labels.members(IMAGENET, "feline") == tuple(range(281, 294))
    assert labels.parents(207)[:3] == ["retriever", "sporting dog", "hunting dog"]
    assert labels.members(["red dog", "cat", "dogma"], "dog") == (0,)  # other labels: by the word
    assert labels.search(IMAGENET, "hound")[:3] == [160, 161, 162]
    assert labels.members(IMAGENET, "unicorn") == ()


def test_any_of_several() -> None:
    assert labels.find_any(IMAGENET, "junco") == (13,)
    assert labels.find_any(IMAGENET, "any:junco, robin,12") == (12, 13, 15)
    assert set(range(151, 269)) < set(labels.find_any(IMAGENET, "any:dog,cat"))
    assert labels.find_any(None, "any:2,0", 3) == (0, 2)
    with pytest.raises(InputError, match="unknown class 'unicorn'"):
        labels.find_any(IMAGENET, "any:dog,unicorn")
    with pytest.raises(InputError, match="all 3 classes"):
        labels.find_any(None, "any:2,0,1", 3)


def test_without_labels_an_index_will_do() -> None:
    assert labels.find(None, "3", classes=5) == 3
    with pytest.raises(InputError, match="expected 0 to 4"):
        labels.find(None, 5, classes=5)
    with pytest.raises(InputError, match="class 'beach': this network has no class names; give an index from 0 to 4"):
        labels.find(None, "beach", classes=5)


def test_short_names_stay_unique() -> None:
    assert labels.short(["junco, snowbird", "crane, crane bird", "crane"]) == ("junco", "crane, crane bird", "crane")
    assert len(set(labels.short(IMAGENET))) == 1000


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.json", '["beach", "bakery/shop"]'),
        ("names.json", '{"name": "a network", "classes": ["beach", "bakery/shop"]}'),
        ("names.json", '{"1": "bakery/shop", "0": "beach"}'),
        ("names.txt", "beach\n bakery/shop \n"),
    ],
)
def test_read(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    names = labels.read(tmp_path / file)
    assert names == labels.read(["beach", "bakery/shop"]) == ("beach", "bakery/shop")
    assert labels.find(names, "Bakery shop") == 1


@pytest.mark.parametrize("text", ["{", "3", '{"1": "a"}', '{"classes": 3}', "[1, 2]"])
def test_read_refuses(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(InputError, match=r"names\.json': expected a JSON list of names"):
        labels.read(tmp_path / "names.json")
    with pytest.raises(InputError, match="no such file"):
        labels.read(tmp_path / "none.txt")
