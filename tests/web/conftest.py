"""The page's server, in a thread, with the tiny model, photographs and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from ppgn.web import jobs, serving
from ppgn.web.calls import Place


@dataclass(frozen=True)
class Site:
    """A server that runs: its address, what its pages may use, and its queue."""

    address: str
    place: Place
    queue: jobs.Queue


@pytest.fixture(scope="session")
def site(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    uvicorn = pytest.importorskip("uvicorn", reason="the extra web is not installed")
    pytest.importorskip("starlette", reason="the extra web is not installed")
    folder = tmp_path_factory.mktemp("serve")
    place, queue = serving.place_of(folder / "out", tiny), jobs.Queue(["cpu"])
    config = uvicorn.Config(serving.application(place, queue), log_level="warning", timeout_graceful_shutdown=1)
    config.port = 0
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Site(f"http://127.0.0.1:{socket.getsockname()[1]}", place, queue)
    queue.close()
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 60 x 40 pixels."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(path)
    return path
