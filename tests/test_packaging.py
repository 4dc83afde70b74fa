"""A wheel carries all it needs: built and installed into a clean environment, it samples from any directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    """The output of a command in a directory, undisturbed by how the tests found the package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel, which sees the dependencies of this one but not its ppgn."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Path files in the folders named here are not read, so an editable install over there stays unseen.
    here = [place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(here) + "\n")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    return folder


def test_wheel_has_conf_checkpoints_and_training_code_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "checkpoints", "train"):
        every = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
        files = [path.relative_to(ROOT).as_posix() for path in every]
        assert files
        assert {f"ppgn/{file}" for file in files} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ppgn"}


def test_wheel_and_sdist_are_fit_for_a_registry(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "uv.lock", "ppgn/cli/__init__.py", "conf/sample.yaml", "tests/test_packaging.py"} <= inside
    assert {"checkpoints/natural64.safetensors", "train/generator.py"} <= inside
    said = run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=tmp_path)
    assert said.count("PASSED") == 2


def test_the_lock_file_is_of_these_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (own,) = (p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if p["name"] == "ppgn")
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    asked = {(canonicalize_name(wish.name), wish.specifier) for wish in map(Requirement, texts)}
    locked = {(one["name"], SpecifierSet(one.get("specifier", ""))) for one in own["metadata"]["requires-dist"]}
    assert locked == asked, "run `uv lock`"


def test_installed_wheel_samples_from_another_directory(environment: Path, tmp_path: Path) -> None:
    places = "import ppgn.paths; print(ppgn.__file__, ppgn.paths.conf(), ppgn.paths.checkpoints())"
    for place in run(environment / "bin" / "python", "-c", places, cwd=tmp_path).split():
        assert Path(place).is_relative_to(environment)

    words = ["condition=imagenet", "target=goldfish", "seeds=0-1", "steps=2"]
    said = run(environment / "bin" / "ppgn", "sample", *words, cwd=tmp_path)
    assert said.startswith("2 samples in ")
    out = tmp_path / "outputs" / "imagenet-goldfish"
    assert sorted(path.name for path in out.iterdir()) == [
        "config.yaml",
        "grid.png",
        "images",
        "report.json",
        "samples.safetensors",
    ]
    assert load_file(out / "samples.safetensors")["images"].shape == (2, 3, 64, 64)
    report = json.loads((out / "report.json").read_text())
    assert [row["seed"] for row in report["samples"]] == [0, 1]
    assert all(len(row["top5"]) == 5 for row in report["samples"])


def test_installed_wheel_trains_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    for program in ("generator", "prior", "captioner"):
        text = run(environment / "bin" / "ppgn", "train", program, "--help", cwd=tmp_path)
        assert text.startswith(f"usage: ppgn train {program} data.root=DATA")
        assert "data.batch_size=" in text
    (tmp_path / "photos").mkdir()
    for split in ("train", "val"):
        np.save(
            tmp_path / "photos" / f"{split}_images.npy",
            np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8),
        )
    words = [
        "prior=image_dae",
        "model=null",
        "size=8",
        "prior.widths=[4,4]",
        "steps=2",
        "data.root=.",
        "data.names=[photos]",
    ]
    said = run(environment / "bin" / "ppgn", "train", "prior", *words, "trainer.accelerator=cpu", cwd=tmp_path)
    assert all(line.startswith("step 2: ") for line in said.splitlines())
    assert (tmp_path / "runs" / "prior" / "pixels.safetensors").is_file()
