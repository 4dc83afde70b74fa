"""The server: what it answers, whom it answers, and what it never gives away."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ppgn.errors import InputError
from ppgn.web import serving
from tests.web.conftest import Site

OWN = {"x-ppgn": "1"}


def ask(site: Site, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(site.address + path, data, sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def told(site: Site, path: str, data: Any = None) -> Any:
    """What the server says as JSON; an object is sent as JSON."""
    body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
    return json.loads(ask(site, path, body, **({} if data is None else OWN))[1])


def events(site: Site, job: str) -> list[dict[str, Any]]:
    """All events of a job, to its end."""
    with urllib.request.urlopen(f"{site.address}/api/jobs/{job}/events", timeout=60) as stream:
        return [json.loads(line[6:]) for line in stream.read().decode().splitlines() if line.startswith("data: ")]


def finished(site: Site, verb: str, form: dict[str, Any]) -> list[dict[str, Any]]:
    return events(site, told(site, "/api/jobs", {"verb": verb, "form": form})["job"])


def test_the_page_names_no_other_address(site: Site) -> None:
    status, body, headers = ask(site, "/")
    assert status == 200
    text = body.decode() + "".join(path.read_text() for path in serving.PAGE.iterdir())
    assert {*re.findall(r"https?://[\w./-]+", text)} == {"http://www.w3.org/2000/svg"}
    assert "default-src 'self'" in headers["content-security-policy"]
    about = json.loads(body.decode().partition('id="about">')[2].partition("</script>")[0])
    assert "natural64" in about["models"]
    assert "model.safetensors" in about["models"]


@pytest.mark.parametrize("name", [path.name for path in serving.PAGE.iterdir() if path.suffix != ".html"])
def test_every_part_of_the_page_is_there(site: Site, name: str) -> None:
    status, _, headers = ask(site, f"/{name}")
    assert status == 200
    assert headers["content-type"].split(";")[0] in (
        "text/javascript",
        "application/javascript",
        "text/css",
        "image/svg+xml",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/..%2f..%2fetc%2fpasswd",
        "/files/../../../etc/passwd",
        "/files/..%2f..%2f..%2fetc%2fpasswd",
        "/files/%2fetc%2fpasswd",
        "/files/.lock",
        "/files/" + "x" * 3000 + ".png",
        "/files/%00.png",
        "/cards/natural64.safetensors",
        "/cards/..%2fpyproject.toml",
        "/folder/uploads.zip",
        "/folder/..zip",
        "/api/jobs/none/events",
    ],
)
def test_nothing_else_is_given_away(site: Site, path: str) -> None:
    assert ask(site, path)[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({**OWN, "origin": "http://evil.example"}, 403),
        ({**OWN, "host": "evil.example"}, 421),
        ({**OWN, "host": "127.0.0.1.evil.example"}, 421),
        (OWN, 400),
    ],
)
def test_no_other_site_can_ask_through_a_browser(site: Site, headers: dict[str, str], status: int) -> None:
    assert ask(site, "/api/jobs", b"{}", **headers)[0] == status


def test_classes_are_found_by_synonym_and_kind(site: Site) -> None:
    rows = told(site, "/api/classes?pattern=snowbird")
    assert [row["word"] for row in rows] == ["junco"]
    assert rows[0]["kinds"].startswith("finch")
    dogs = told(site, "/api/classes?pattern=dog")
    assert dogs[0] == {"word": "any:dog", "names": "any dog", "kinds": "one of 118 classes"}
    assert len(dogs) <= 1 + serving.LISTED
    assert {row["word"] for row in told(site, "/api/classes?pattern=crane")} >= {"134", "517"}  # two of one name
    assert [row["word"] for row in told(site, "/api/classes?pattern=coast&condition=places")] == ["coast"]
    assert told(site, "/api/classes?pattern=unicorn") == []
    assert "torchscript" in told(site, "/api/classes?condition=torchscript")["error"]


def test_layers_and_cards(site: Site) -> None:
    assert ["bn2", 1280, "5x5"] in told(site, "/api/layers?network=efficientnet_lite1")
    assert "command line" in told(site, "/api/layers?network=mine.py:net")["error"]
    card = told(site, "/api/card?model=natural64")
    assert card["text"].startswith("# natural64")
    assert card["about"]["code"] == "512"
    assert told(site, "/api/card?model=model.safetensors")["text"] == "random weights"
    assert "unknown model" in told(site, "/api/card?model=/etc/passwd")["error"]


def test_a_photo_comes_in_and_its_mask_is_made_as_large(site: Site, photo: Path) -> None:
    up = told(site, "/api/upload", photo.read_bytes())
    assert (up["width"], up["height"]) == (60, 40)
    assert ask(site, f"/files/{up['name']}")[1] == photo.read_bytes()
    buffer, painted = io.BytesIO(), Image.new("RGBA", (30, 20))
    painted.paste("red", (0, 0, 15, 20))
    painted.save(buffer, "png")
    mask = told(site, f"/api/upload?of={up['name']}", buffer.getvalue())
    with Image.open(io.BytesIO(ask(site, f"/files/{mask['name']}")[1])) as made:
        assert (made.size, made.getpixel((5, 5)), made.getpixel((55, 5))) == ((60, 40), 255, 0)


@pytest.mark.parametrize("kind", ["text", "gif", "wide", "large", "empty"])
def test_a_bad_upload_is_one_line_and_leaves_nothing(site: Site, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site.place.folder / "uploads"
    before = sorted(folder.iterdir()) if folder.exists() else []
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000) if kind == "wide" else (8, 8)).save(buffer, "gif" if kind == "gif" else "png")
    monkeypatch.setattr(serving, "MOST_BYTES", 100_000 if kind == "large" else 10**8)
    data = {"text": b"not a picture", "empty": b"", "large": bytes(200_000)}.get(kind, buffer.getvalue())
    said = {
        "text": "not an image",
        "gif": "convert it",
        "wide": "64 megapixels",
        "large": "0 MB",
        "empty": "not an image",
    }
    error = told(site, "/api/upload", data)["error"]
    assert said[kind] in error
    assert str(folder) not in error
    assert (sorted(folder.iterdir()) if folder.exists() else []) == before


def test_a_run_can_be_downloaded_and_is_gone_on_from(site: Site) -> None:
    form = {"what": "class", "targets": ["goldfish"], "seeds": "0", "steps": "1", "model": "model.safetensors"}
    done = finished(site, "sample", form)
    call, last = next(one for one in done if one["kind"] == "call"), done[-1]
    assert last["state"] == "done"
    assert call["command"].startswith("ppgn sample target=goldfish")
    picture = f"{call['folder']}/{last['result']['pictures'][0]['file']}"
    assert ask(site, f"/files/{picture}")[1].startswith(b"\x89PNG")
    packed = zipfile.ZipFile(io.BytesIO(ask(site, f"/folder/{call['folder']}.zip")[1]))
    assert {f"{call['folder']}/{name}" for name in ("grid.png", "report.json", "samples.safetensors")} <= {
        *packed.namelist()
    }
    near = finished(site, "sample", {**form, "init": picture, "strength": 0.3})
    assert near[-1]["state"] == "done"


def test_a_class_that_is_none_is_one_line(site: Site) -> None:
    done = finished(site, "sample", {"what": "class", "targets": ["goldfihs"], "model": "model.safetensors"})
    assert done[-1]["state"] == "failed"
    assert "nearest: goldfish" in done[-1]["text"]


def test_stop_ends_a_run_within_a_step_and_the_next_one_begins(site: Site) -> None:
    form = {"what": "class", "targets": ["goldfish"], "seeds": "0", "steps": "9999", "model": "model.safetensors"}
    job = told(site, "/api/jobs", {"verb": "sample", "form": form})["job"]
    with urllib.request.urlopen(f"{site.address}/api/jobs/{job}/events", timeout=60) as stream:
        while b'"frame"' not in stream.readline():
            pass
        ask(site, f"/api/jobs/{job}/cancel", b"", **OWN)
        rest = stream.read().decode().splitlines()
    assert json.loads([line for line in rest if line][-1][6:])["state"] == "cancelled"
    assert len([line for line in rest if '"frame"' in line]) <= 2


def test_a_key_keeps_strangers_out(site: Site, tmp_path: Path) -> None:
    status = {}

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    def get(query: bytes = b"", cookie: bytes = b"") -> dict[str, Any]:
        got: dict[str, Any] = {}

        async def send(message: Any) -> None:
            got.update(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        headers = [(b"host", b"somewhere:80"), (b"cookie", cookie)]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": query,
            "headers": headers,
            "scheme": "http",
        }
        scope |= {"server": ("somewhere", 80)}
        import asyncio

        asyncio.run(serving._Guard(inner, "secret", "0.0.0.0")(scope, receive, send))
        return got

    status["none"], status["wrong"] = get()["status"], get(b"key=wrong")["status"]
    entered = get(b"key=secret")
    cookie = next(value for name, value in entered["headers"] if name == b"set-cookie")
    status["key"], status["cookie"] = entered["status"], get(cookie=cookie.partition(b";")[0])["status"]
    assert status == {"none": 401, "wrong": 401, "key": 303, "cookie": 200}
    assert b"HttpOnly" in cookie
    assert b"samesite=strict" in cookie.lower()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"host": "0.0.0.0"}, "give share=true as well"),
        ({"host": "192.168.0.1"}, "give share=true as well"),
        ({"share": True}, "give host=0.0.0.0 too"),
        ({"port": -1}, "port=-1"),
        ({"port": 70000}, "port=70000"),
        ({"models": "none"}, "models=none is no folder"),
        ({"data": "none"}, "none"),
        ({"device": "tpu"}, "unknown device"),
        ({"out": "/proc/x"}, "/proc"),
    ],
)
def test_refuses_before_it_listens(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    monkeypatch.setattr(serving, "listen", lambda *given: pytest.fail("listens"))
    with pytest.raises(InputError, match=message):
        serving.serve(**{"out": tmp_path, **given})


def test_a_port_that_is_taken_is_one_line(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give another port"):
        serving.serve(port=int(site.address.rpartition(":")[2]), out=tmp_path)


def test_two_servers_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="the extra web is not installed")

    def listen(*given: Any) -> None:
        with pytest.raises(InputError, match="another run is at work"):
            serving.serve(out=tmp_path, device="cpu")

    monkeypatch.setattr(serving, "listen", listen)
    serving.serve(out=tmp_path, device="cpu")
