"""What a page is told of chains, and what it shows of their results."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import ppgn
from ppgn import progress
from ppgn.web import jobs
from ppgn.web.calls import Call, Place, inpaint
from ppgn.web.jobs import Job
from ppgn.web.watching import FRAMES, Watcher, encoded, work
from tests.outside import mine

RED = f"{mine.__file__}:Red"

CHAINS: dict[str, Any] = {"sampler": "annealed", "steps": 4, "seeds": "0-2", "batch_size": 2}


def frames(job: Job) -> list[dict[str, Any]]:
    return [event for event in job.since(0) if event["kind"] == "frame"]


def test_chains_are_seen_step_by_step_and_as_they_would_be_without(tiny: Path, tmp_path: Path) -> None:
    given = CHAINS | {"model": str(tiny / "model.safetensors"), "condition": RED, "target": None}
    job = Job(work(Call("sample", given), lambda verb: tmp_path / verb))
    job.device = "cpu"
    told = job.work(job)
    kinds = [event["kind"] for event in job.since(0)]
    assert kinds[0] == "call"
    assert "said" in kinds
    first, last = frames(job)[0], frames(job)[-1]
    assert (first["step"], first["steps"], first["seeds"], first["judge"]) == (1, 4, [0, 1], None)
    assert (last["step"], last["seeds"], len(last["pictures"]), len(last["log_p"])) == (4, [2], 1, 1)
    same = ppgn.sample(**given, device="cpu")
    assert last["log_p"] == [round(same.log_prob[2].item(), 4)]
    assert [row["file"] for row in told["pictures"]] == [f"images/seed-000{seed}.png" for seed in range(3)]
    assert all((tmp_path / "sample" / row["file"]).is_file() for row in told["pictures"])
    assert told["folder"] == "sample"


def test_a_judge_looks_on_where_it_knows_the_class(tiny: Path, tmp_path: Path) -> None:
    given = CHAINS | {"model": str(tiny / "model.safetensors"), "target": "goldfish", "seeds": "0", "steps": 2}
    job = Job(work(Call("sample", given), lambda verb: tmp_path / verb))
    job.device = "cpu"
    told = job.work(job)
    judged = frames(job)[-1]["judge"][0]
    assert judged == pytest.approx(told["pictures"][0]["judge"]["log_prob"], abs=0.01)


def test_a_long_walk_has_few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgn.web.watching.APART", 0)
    job = Job(lambda job: None)
    watcher = Watcher(job)
    state: Any = type(
        "S",
        (),
        {"evaluation": type("E", (), {"image": torch.rand(1, 3, 4, 4), "log_condition": torch.tensor([float("nan")])})},
    )
    for step in range(1, 1001):
        watcher.step(step, 1000, state, [7])
    assert len(frames(job)) <= FRAMES + 3
    assert frames(job)[0]["log_p"] == [None]


def test_a_cancelled_job_ends_inside_the_run_and_keeps_its_batches(tiny: Path, tmp_path: Path) -> None:
    class Impatient(Watcher):
        def step(self, step: int, steps: int, state: Any, seeds: Any) -> None:
            walked.append((tuple(seeds), step))
            if tuple(seeds) == (2,) and step == 2:
                self.job.cancel()
            super().step(step, steps, state, seeds)

    walked: list[Any] = []
    job = Job(lambda job: None)
    job.state = jobs.RUNNING
    given = CHAINS | {"model": str(tiny / "model.safetensors"), "condition": RED, "out": tmp_path}
    with pytest.raises(KeyboardInterrupt, match="2 of 3 seeds are finished"), progress.followed(Impatient(job)):
        ppgn.sample(None, **given)
    assert walked[-1] == ((2,), 2)
    assert len(ppgn.open_samples(tmp_path)) == 2


def test_a_hole_is_filled_at_full_size(tiny: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    form = {"image": "photo.png", "model": "model.safetensors", "seeds": "0-1", "steps": "2"}
    call = inpaint(form, Place(tmp_path, tiny))
    job = Job(work(call, lambda verb: tmp_path / verb))
    job.device = "cpu"
    told = job.work(job)
    assert told["size"] == [60, 40]
    assert {row["seed"] for row in told["pictures"]} == {0, 1}
    with Image.open(tmp_path / "inpaint" / told["pictures"][0]["file"]) as completed:
        assert completed.size == (60, 40)


def test_a_picture_for_a_page_is_small() -> None:
    text = encoded(torch.zeros(3, 300, 600, dtype=torch.uint8))
    with Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))) as shown:
        assert shown.size == (256, 128)
