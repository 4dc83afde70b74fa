"""Commands at random: every verb, every key that its function or its parts take, values that suit and that do not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ppgn import paths
from ppgn.cli import fields, help

TINY = ["model=small.safetensors", "condition=torchscript", "condition.path=classifier.ts", "condition.size=16"]
TINY += ["device=cpu", "steps=2", "seeds=0-1"]
TRAIN = ["data.root=arrays", "data.names=[set]", "steps=1", "trainer.accelerator=cpu", "data.batch_size=4"]
ENCODING = ["model=model.safetensors", *TINY[1:]]
RANDOM = ["network=torchvision/resnet18", "weights=null", "size=32", "device=cpu"]
SEARCH = ["generations=2", "population=3", "batch_size=2", "device=cpu", "timeout=1"]
LEAST = ["least.object=1", "least.colour=1", "least.scene=1", "least.texture=1"]
CARD = ["layer=layer3", "data=photos", "n=1", "k=0", "seeds=0", "side=32", "evaluations=2", "method=gradient"]
CARD += ["model=model.safetensors"]
# Commands that work, or would if `data` were given, within a second or so.
WORKING: dict[str, list[list[str]]] = {
    "sample": [
        [*TINY, "target=1", "sampler=annealed"],
        [*TINY, "target=[1,2]", "sampler=ppgn", "resume=true"],
        [*ENCODING, "target=1", "init=photo.png", "strength=0.5"],
    ],
    "inpaint": [[*ENCODING, "target=1", "image=photo.png"], [*ENCODING, "target=1", "image=photo.png", "mask=random"]],
    "facets": [[*ENCODING, "target=1", "images=photos", "k=2", "nearest=2"]],
    "maximize": [[*RANDOM, "unit=1", "layer=layer3", "method=[maco,pixels]", "seeds=0", "side=32", "evaluations=2"]],
    "invert": [[*RANDOM, "image=photo.png", "layer=layer3", "model=model.safetensors", "method=all", "steps=2"]],
    "search": [
        [*SEARCH, "score=mine.py:Red", "method=genetic", "model=small.safetensors"],
        [*SEARCH, "target=1", *ENCODING[:4]],
    ],
    "deconv": [[*RANDOM, "image=photo.png", "layer=layer3", "unit=1", "method=gradient"]],
    "patches": [[*RANDOM, "data=photos", "layer=layer3", "unit=[1,2]", "n=2", "method=gradient"]],
    "dissect": [[*RANDOM, *LEAST, "data=pack", "layer=layer1", "permutations=2", "side=8"]],
    "card": [[*RANDOM, *CARD, "unit=1"], [*RANDOM, *CARD, "units=0-1", "n=2", "k=2"]],
    "evaluate": [["device=cpu", "steps=1", "seeds=0", "model=small.safetensors"]],
    "train": [
        ["prior", *TRAIN, "prior=image_dae", "prior.widths=[4,4]", "model=null", "size=16"],
        ["prior", *TRAIN, "prior=mixture", "model=model.safetensors", "prior.components=2", "rounds=1"],
        ["generator", *TRAIN[1:]],
        ["captioner", *TRAIN[1:]],
        ["pack", "data=photos", "size=16", "rows=4"],
    ],
    "units": [["network=efficientnet_lite0"]],
}
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "1.5",
    "1e-9",
    "1e308",
    "-1e308",
    "nan",
    "inf",
    "-inf",
    "null",
    "true",
    "false",
]
SHAPES = [
    "",
    "''",
    "[]",
    "{}",
    "[1]",
    "[1,2]",
    "[a,b]",
    "[null]",
    "{a:1}",
    "{a:{b:[1]}}",
    "[[1]]",
    "???",
    "${seed}",
    "a,b",
]
SHAPES += [
    "${",
    "(",
    ")",
    "((1",
    "~",
    "a&b",
    "1..2",
    "0-3,2",
    "'",
    '"',
    "\\",
    "%s",
    "{0}",
    "größe",
    "\n",
    "\x00",
    "a" * 300,
]
SHAPES += ["(" * 1500, "[" * 1500, "\udcff", "9" * 5000, "{_target_:os.getcwd}", "{_target_:3}"]
FILES = [
    "photo.png",
    "photos",
    "arrays",
    "words.txt",
    "fifo",
    "none",
    "none.png",
    ".",
    "/dev",  # a folder with no picture; "/" holds all that this machine has, whose dissection is work, no hang
    "~",
    "..",
    "model.safetensors",
]
FILES += ["small.safetensors", "classifier.ts", "mine.py:Red", "mine.py:Blue", "mine.py", "none.py:X", "weights.pth"]
FILES += [
    "os:getcwd",
    "math:pi",
    "ppgn.generators.identity:Identity",
    "words.txt/x",
    "/proc/x",
    "/dev/null",
    "/dev/zero",
]
# Keys whose large values are work, not mistakes; and keys that would leave this process or the machine.
COUNTS = {
    "evaluations",
    "side",
    "steps",
    "views",
    "seeds",
    "size",
    "n",
    "count",
    "warmup",
    "corrections",
    "rounds",
    "previews",
    "epochs",
    "generations",
    "population",
    "repeats",
    "permutations",
}
LEAVES = {"devices", "num_nodes", "compile", "strategy", "minutes", "workers", "network", "name", "profiler", "logger"}
LEAVES |= {"timeout", "segmenter", "cluster"}


def keys(verb: str, words: list[str]) -> dict[str, fields.Field]:
    """What a command takes, as its help and its checks find it."""
    if verb == "train":
        shown = help._program(f"train_{words[0]}", {})
        return {field.name: field for field in shown}
    if not (paths.conf() / f"{verb}.yaml").is_file():
        return {}
    typed = dict(word.split("=", 1) for word in words)
    _, known, own = fields.command(verb, typed)
    every = known | own
    for part in fields.PARTS:
        if part in known:
            name = typed.get(part, str(known[part].default))
            every |= {f"{part}.{key}": field for key, field in fields.of_part(part, name).items()}
    return every


@st.composite
def values(draw: st.DrawFn, key: str, field: fields.Field) -> str:
    """A value of a key: its default, one of a group of options, a number, a file, or what suits nowhere."""
    last = key.rpartition(".")[2]
    options = paths.options(key) if (paths.conf() / key).is_dir() else []
    kinds: list[Any] = [st.sampled_from(SHAPES), st.sampled_from(FILES)]
    kinds += [st.sampled_from(NUMBERS)] * (1 if last in COUNTS else 3)
    kinds += [st.sampled_from(options)] * 2 if options else []
    if last not in COUNTS | LEAVES:
        kinds += [st.just(str(field.default)), st.integers().map(str), st.floats().map(str), st.text(max_size=8)]
    text: str = draw(st.one_of(kinds))
    return text


@st.composite
def commands(draw: st.DrawFn) -> list[str]:
    """The words of a command: one that works, with up to three of its keys changed or mistyped."""
    verb = draw(st.sampled_from([*help.VERBS, *["sample"] * 4, *["inpaint"] * 2]))
    words = list(draw(st.sampled_from(WORKING.get(verb, [[]]))))
    if verb == "evaluate":
        what = fields.of_file(paths.conf() / "evaluate.yaml")["what"].help.split(", ")
        words.append(f"what={draw(st.sampled_from(what))}")
    known = {key: field for key, field in keys(verb, words).items() if key.rpartition(".")[2] not in LEAVES}
    for _ in range(draw(st.integers(0, 3)) if known else 0):
        key = draw(st.sampled_from(sorted(known)))
        field = known[key]
        change = draw(st.sampled_from(["value"] * 8 + ["typo", "below", "add", "force", "delete", "bare"]))
        value = draw(values(key, field))
        typed = {"typo": key[:-1], "below": f"{key}.a", "add": f"+{key}", "force": f"++{key}.a", "delete": f"~{key}"}
        words = [word for word in words if word.partition("=")[0] != key or "=" not in word]
        words.append(key if change == "bare" else f"{typed.get(change, key)}={value}")
    return [verb, *words, *draw(st.sampled_from([[]] * 30 + [["--help"], ["--multirun"], ["word"], ["--seeds=3"]]))]
