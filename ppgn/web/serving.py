"""`serve`: the page as a server on this machine, that reads no other folder and asks no other address."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import secrets
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import ppgn
from ppgn import arguments, files, folders, paths, progress
from ppgn.conditions import words
from ppgn.errors import InputError, library
from ppgn.media import images
from ppgn.networks import labels, layout
from ppgn.photographs import Photographs
from ppgn.web import calls, jobs
from ppgn.web.calls import CALLS, Place, inside
from ppgn.web.watching import work

PAGE = Path(__file__).with_name("page")
MOST_BYTES = 64_000_000  # of an upload
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}  # of a photo: what every browser shows
LISTED = 40  # classes that match what was typed, at most
POLICY = "default-src 'self'; img-src 'self' data: blob:; media-src 'self'; object-src 'none'; base-uri 'none'; "
POLICY += "form-action 'self'; frame-ancestors 'none'"
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
COOKIE = "ppgn-key"
NEEDS = "ppgn serve needs starlette and uvicorn"
POLL = 0.05  # seconds between two looks at a job
Asgi = Callable[..., Awaitable[None]]


def serve(
    *,
    # -- where it listens --
    port: int = 7860,  # 0 takes one that is free
    host: str = "127.0.0.1",  # the address to listen at; one that others reach needs share=true
    share: bool = False,  # true lets other machines in, those that have the key in the address that is printed
    # -- what pages may use --
    models: Any = None,  # a folder whose .safetensors files are offered beside the models that come along
    data: Any = None,  # photographs for the cards of units: a folder of files or of val_images.npy
    device: Any = "auto",  # cpu, cuda or cuda:N; auto is every GPU, a job on each, or else the CPU
    out: Any = "outputs/serve",  # a folder, where every run gets one of its own; no other can be read
) -> None:
    """Serve the page until it is interrupted: sample, paint a hole, edit, look at units and models in a browser.

    One job runs at a time on each device, the others wait. A job ends at its next step when it is cancelled or when
    nobody has looked at it for five seconds, as after a tab was closed.

    Raises `InputError` for what cannot be used, and where starlette and uvicorn are not installed.
    """
    uvicorn = library("uvicorn", NEEDS, "web")
    arguments.whole("port", port, 0)
    if port > 65535:
        raise InputError(f"port={port} cannot be used; expected a whole number from 0 to 65535")
    local = is_local(host)
    if not local and not share:
        raise InputError(f"host={host} lets other machines in; if they shall, give share=true as well")
    if local and share:
        raise InputError(f"share=true lets other machines in, but host={host} is this one's own; give host=0.0.0.0 too")
    place = place_of(out, models, data)
    where = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())] if device == "auto" else []
    queue = jobs.Queue(where or [arguments.device(device)])
    key = secrets.token_urlsafe(16) if share else ""
    with folders.locked(place.folder):
        try:
            listen(uvicorn, application(place, queue, key=key, host=host), host, port, key)
        finally:
            queue.close()


def listen(uvicorn: Any, application: Asgi, host: str, port: int, key: str = "") -> None:
    """Answer at an address until interrupted. Raises `InputError` where it is taken or none of this machine's."""
    config = uvicorn.Config(application, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
    try:
        socket = config.bind_socket()
        socket.listen(128)  # whoever opens the address at once waits for the server
    except (OSError, SystemExit, OverflowError) as error:
        raise InputError(f"cannot listen at {host}:{port}; give another port, or port=0 for any") from error
    shown = f"[{host}]" if ":" in host else host
    progress.hush()
    address = f"http://{shown}:{socket.getsockname()[1]}/{f'?key={key}' if key else ''}"
    print(f"the page is at {address}   (Ctrl-C ends it)", flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[socket])


def is_local(host: str) -> bool:
    """Whether an address is one that this machine alone reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def place_of(out: Any, models: Any = None, data: Any = None) -> Place:
    """What pages may use. Raises `InputError` for folders that are none, and for one that cannot be written."""
    folder = Path(str(out)).expanduser()
    paths.check_writable(folder, 0)
    if models is not None and not Path(str(models)).expanduser().is_dir():
        raise InputError(f"models={models} is no folder; give one that holds .safetensors files")
    if data is not None:
        Photographs.find(data)
    return Place(folder, None if models is None else Path(str(models)).expanduser(), data)


def application(place: Place, queue: jobs.Queue, *, key: str = "", host: str = "127.0.0.1") -> Asgi:
    """The page as an ASGI application. key: what a browser must know to be answered, in ?key= at first."""
    library("starlette", NEEDS, "web")
    from starlette.applications import Starlette
    from starlette.routing import Route

    site = _Site(place, queue)
    routes = [Route("/", site.page), Route("/{name:str}", site.part), Route("/files/{name:path}", site.file)]
    routes += [Route("/folder/{name:str}.zip", site.folder), Route("/cards/{name:str}", site.picture)]
    routes += [Route(f"/api/{name}", getattr(site, name)) for name in ("classes", "layers", "card")]
    routes += [Route("/api/upload", site.upload, methods=["POST"]), Route("/api/jobs", site.ask, methods=["POST"])]
    routes += [Route("/api/jobs/{id:str}/events", site.events)]
    routes += [Route("/api/jobs/{id:str}/cancel", site.cancel, methods=["POST"])]
    return _Guard(Starlette(routes=routes, exception_handlers={InputError: _refused}), key, host)


def responses() -> Any:
    """The kinds of answers that starlette has, which is imported when it is needed."""
    return library("starlette.responses", NEEDS, "web")


class _Guard:
    """Lets through what a page of this server asks for: no other site, no other name, and with a key no stranger."""

    def __init__(self, inner: Asgi, key: str, host: str) -> None:
        self.inner, self.key, self.host = inner, key, host

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        from starlette.requests import Request

        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        request = Request(scope)
        answer: Any = self.inner
        if not self._named(request):
            answer = responses().PlainTextResponse("another name; use the address that ppgn serve has printed\n", 421)
        elif not self._own(request):
            answer = responses().PlainTextResponse("only the page itself may ask for this\n", 403)
        elif self.key and not secrets.compare_digest(request.cookies.get(COOKIE, ""), self.key):
            answer = responses().PlainTextResponse("use the address with ?key= that ppgn serve has printed\n", 401)
            if secrets.compare_digest(request.query_params.get("key", ""), self.key):
                answer = responses().RedirectResponse("/", 303)
                answer.set_cookie(COOKIE, self.key, httponly=True, samesite="strict")

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await answer(scope, receive, guarded)

    def _named(self, request: Any) -> bool:
        """Whether it was asked by a name of this machine, so that no other site's name leads here."""
        asked = request.url.hostname or ""
        return bool(self.key) or is_local(asked) or asked == self.host

    def _own(self, request: Any) -> bool:
        """Whether what changes something comes from the page, which alone can send this header and this origin."""
        if request.method in ("GET", "HEAD"):
            return True
        origin = request.headers.get("origin")
        return "x-ppgn" in request.headers and origin in (None, f"{request.url.scheme}://{request.headers['host']}")


async def _refused(request: Any, error: Exception) -> Any:
    return responses().JSONResponse({"error": " ".join(str(error).split())}, 400)


class _Site:
    """What the routes answer."""

    def __init__(self, place: Place, queue: jobs.Queue) -> None:
        self.place, self.queue = place, queue

    # The page

    async def page(self, request: Any) -> Any:
        about = json.dumps(await asyncio.to_thread(self._about), ensure_ascii=False).replace("<", "\\u003c")
        text = (PAGE / "index.html").read_text(encoding="utf-8").replace("{about}", about)
        return responses().HTMLResponse(text, headers={"cache-control": "no-store"})

    def _about(self) -> dict[str, Any]:
        """What the page's lists hold."""
        return {
            "version": ppgn.__version__,
            "models": [*files.shipped(calls.MODEL), *self.place.local()],
            "conditions": [name for name in words.VOCABULARIES if name not in ("caption", "digit")],  # digit is digits
            "samplers": paths.options("sampler"),
            "networks": list(calls.NETWORKS),
            "photographs": None if self.place.data is None else str(self.place.data),
            "devices": [str(device) for device in self.queue.devices],
        }

    async def part(self, request: Any) -> Any:
        """A script, style sheet or picture of the page."""
        return self._answer(PAGE, request.path_params["name"], (".js", ".css", ".svg"))

    async def file(self, request: Any) -> Any:
        """A file of a run, or an upload."""
        kinds = (".png", ".jpg", ".webp", ".wav", ".html", ".json", ".yaml", ".safetensors")
        return self._answer(self.place.folder, request.path_params["name"], kinds)

    async def picture(self, request: Any) -> Any:
        """A picture of a model's card."""
        return self._answer(paths.checkpoints(), request.path_params["name"], (".webp", ".png"))

    def _answer(self, folder: Path, name: str, kinds: tuple[str, ...]) -> Any:
        path = inside(folder, name)
        if path is None or path.suffix not in kinds or not path.is_file() or path.name.startswith("."):
            return responses().PlainTextResponse("no such file\n", 404)
        return responses().FileResponse(path, headers={"cache-control": "no-cache"})

    async def folder(self, request: Any) -> Any:
        """A run's folder in one file."""
        name = request.path_params["name"]
        path = inside(self.place.folder, name)
        if path is None or path.parent != self.place.folder.resolve() or not (path / "config.yaml").exists():
            return responses().PlainTextResponse("no such folder\n", 404)
        packed = await asyncio.to_thread(_zipped, path)
        shown = {"content-disposition": f'attachment; filename="{path.name}.zip"'}
        return responses().Response(packed, media_type="application/zip", headers=shown)

    # Lists

    async def classes(self, request: Any) -> Any:
        """The classes that match what was typed: the word to ask for, all names, and kinds of which they are."""
        return await _json(partial(_classes, request.query_params))

    async def layers(self, request: Any) -> Any:
        """The layers of a network: name, number of units, places."""
        name = calls.network_of(request.query_params.get("network", ""))

        def listed() -> Any:
            return [[layer, one.units, str(one)] for layer, one in layout.layers(name).items()]

        return await _json(listed)

    async def card(self, request: Any) -> Any:
        """What is known of a model: its card's text, and what its file says."""
        return await _json(partial(self._card, request.query_params.get("model", "")))

    def _card(self, name: str) -> Any:
        found = calls.model_of(name, self.place)
        if found.startswith("hf:"):
            model = ppgn.load(found)
            return {"name": model.name, "about": model.card, "text": model.card.get("description", "")}
        path = files.find("model", found, calls.MODEL)
        head, beside = files.head(path, calls.MODEL), path.with_suffix(".md")
        text = beside.read_text(encoding="utf-8") if beside.is_file() else head["card"].get("description", "")
        shapes = {part: "x".join(map(str, shape)) for part, shape in head.get("shapes", {}).items()}
        return {"name": name, "about": {**shapes, "size": f"{path.stat().st_size / 1e6:.1f} MB"}, "text": text}

    # Jobs

    async def upload(self, request: Any) -> Any:
        """Take a photo, or the mask of one, that is made as large as it -> its name, width and height."""
        data = bytearray()
        async for block in request.stream():
            data += block
            if len(data) > MOST_BYTES:
                raise InputError(f"this file has more than {MOST_BYTES // 10**6} MB; give a smaller one")
        return await _json(partial(self._upload, bytes(data), request.query_params))

    def _upload(self, data: bytes, asked: Any) -> Any:
        folder = self.place.folder / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"photo-{secrets.token_hex(4)}"
        draft.write_bytes(data)
        try:
            picture = images.load(draft)
            suffix = FORMATS.get(str(Image.open(draft).format))
            if suffix is None:
                raise InputError("this is no PNG, JPEG or WebP; convert it")
            photo = asked.get("of")
            if photo:
                size = images.load(self.place.upload(photo)).size  # upright
                alpha = picture.convert("RGBA").getchannel("A").resize(size, Image.Resampling.NEAREST)
                path = draft.with_name(f"{draft.name.replace('photo', 'mask')}.png")
                images.write(path, alpha.point(lambda value: 255 * (value > 127)))
                picture = alpha
            else:
                path = draft.rename(draft.with_suffix(suffix))
        except InputError as error:
            raise InputError(str(error).replace(f"'{draft}'", "this file")) from error
        finally:
            draft.unlink(missing_ok=True)
        return {"name": f"uploads/{path.name}", "width": picture.width, "height": picture.height}

    async def ask(self, request: Any) -> Any:
        """Put a job into the queue -> its number."""
        try:
            given = await request.json()
        except ValueError as error:
            raise InputError("cannot read what the page sent; load the page again") from error
        verb = str(given.get("verb")) if isinstance(given, dict) else ""
        if verb not in CALLS:
            raise InputError(f"unknown task '{verb[:40]}'")
        call = await asyncio.to_thread(CALLS[verb], given.get("form"), self.place)
        return await _json(lambda: {"job": self.queue.submit(work(call, self._new)).id})

    async def cancel(self, request: Any) -> Any:
        """End a job."""
        job = self.queue.jobs.get(request.path_params["id"])
        if job is not None:
            job.cancel()
        return responses().Response(status_code=204)

    async def events(self, request: Any) -> Any:
        """What a job tells, from its beginning, as it comes."""
        job = self.queue.jobs.get(request.path_params["id"])
        if job is None:
            return responses().PlainTextResponse("no such job\n", 404)
        fresh = {"cache-control": "no-store"}
        return responses().StreamingResponse(_stream(job), media_type="text/event-stream", headers=fresh)

    def _new(self, verb: str) -> Path:
        """A new folder for a run."""
        number = 1
        while True:
            folder = self.place.folder / f"{verb}-{number:04d}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return folder


async def _stream(job: jobs.Job) -> AsyncIterator[str]:
    """A job's events; while somebody reads them it is not abandoned."""
    job.watched(1)
    try:
        sent, quiet = 0, 0.0
        while True:
            over, events = job.over, job.since(sent)
            for event in events:
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
            sent, quiet = sent + len(events), 0.0 if events else quiet + POLL
            if over and not events:
                return
            if quiet > 5:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(POLL)
    finally:
        job.watched(-1)


async def _json(make: Callable[[], Any]) -> Any:
    """What `make` gives, made in a thread, as JSON."""
    return responses().JSONResponse(await asyncio.to_thread(make))


def _classes(asked: Any) -> list[dict[str, Any]]:
    condition, pattern = asked.get("condition", "imagenet"), asked.get("pattern", "").strip()[:100]
    listed = words.vocabulary(condition)
    main = [label.partition(",")[0] for label in listed]
    times = Counter(main)
    try:
        found = words.find(condition, pattern or None)
    except InputError:
        found = []
    kinds = len(labels.members(listed, pattern)) if pattern and condition != "caption" else 0
    rows: list[dict[str, Any]] = []
    if kinds > 1:
        rows.append({"word": f"any:{pattern}", "names": f"any {pattern}", "kinds": f"one of {kinds} classes"})
    first = sorted(found, key=lambda k: pattern.lower() not in listed[k].lower())  # by name before by kind
    for k in first[:LISTED]:
        kind = ", ".join(labels.parents(k)[:3]) if condition == "imagenet" else ""
        rows.append({"word": main[k] if times[main[k]] == 1 else str(k), "names": listed[k], "kinds": kind})
    return rows


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                archive.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()
