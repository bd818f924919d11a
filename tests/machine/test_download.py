"""Downloads that several processes want, and servers that send something else."""

import errno
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from sksimclr._machine.download import download, is_served

DATA = np.random.default_rng(0).bytes(200_000)
HALF = len(DATA) // 2


class Handler(BaseHTTPRequestHandler):
    """Answer GET as the server's next answer does; the last one goes on for ever."""

    def do_GET(self):
        """Note which bytes are asked for, and answer."""
        server = self.server
        server.asked.append(self.headers.get("Range", ""))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self)

    def log_message(self, *args):
        """Keep the test output clean."""


def send(handler, status, body, **headers):
    """Send an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler):
    """Send the file."""
    send(handler, 200, DATA, Content_Length=len(DATA))


def half(handler):
    """Break off in the middle."""
    send(handler, 200, DATA[:HALF], Content_Length=len(DATA))


def rest(handler):
    """Send what is asked for."""
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    text = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    length = len(DATA) - start
    send(handler, 206, DATA[start:], Content_Length=length, Content_Range=text)


@pytest.fixture
def serve():
    """Return a function that starts a server with some answers."""
    servers = []

    def start(*answers):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.asked = list(answers), []
        server.url = f"http://127.0.0.1:{server.server_port}/file"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def path(tmp_path):
    """Return where to download to, in a folder of its own."""
    return tmp_path / "home" / "file"


def get(server, path, **params):
    """Download without pauses."""
    defaults = {"n_retries": 0, "delay": 0, "max_bytes": 10**6}
    download(server.url, path, **(defaults | params))


def part_of(path):
    """Return the partial file, with its folder made."""
    path.parent.mkdir(exist_ok=True)
    return path.with_name("file.part")


@pytest.mark.parametrize("has_locks", [True, False])
def test_two_at_once_get_the_same_right_file(serve, path, monkeypatch, has_locks):
    """One waits for the other; where nothing can be locked, each has its own part."""
    fcntl = pytest.importorskip("fcntl")
    if not has_locks:

        def no_lock(*args):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", no_lock)
    begun, go_on = threading.Event(), threading.Event()

    def slow(handler):
        send(handler, 200, DATA[:HALF], Content_Length=len(DATA))
        begun.set()
        go_on.wait(10)
        handler.wfile.write(DATA[HALF:])

    server = serve(slow, whole)
    errors = []

    def run():
        try:
            get(server, path)
        except Exception as error:
            errors.append(error)

    first, second = threading.Thread(target=run), threading.Thread(target=run)
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.3)
    assert second.is_alive() == has_locks
    go_on.set()
    first.join(10)
    second.join(10)
    assert errors == [] and server.asked == [""] * (1 if has_locks else 2)
    assert path.read_bytes() == DATA and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        f"bytes 0-{len(DATA) - 1}/{len(DATA)}",
        f"bytes {HALF + 1}-{len(DATA) - 1}/{len(DATA)}",
        f"bytes {HALF}-{len(DATA) - 2}/{len(DATA)}",
        f"bytes {HALF}-{len(DATA) - 1}/*",
        "",
    ],
    ids=["first", "later", "short", "unknown", "none"],
)
def test_other_bytes_than_asked_for_are_not_appended(serve, path, text):
    """The download starts over instead."""

    def other(handler):
        body = DATA[HALF:]
        send(handler, 206, body, Content_Length=len(body), Content_Range=text)

    server = serve(half, other, whole)
    with pytest.warns(UserWarning, match="broke off"):
        get(server, path, n_retries=2)
    assert server.asked == ["", f"bytes={HALF}-", ""]
    assert path.read_bytes() == DATA


def test_the_rest_is_appended(serve, path):
    """Where it is what was asked for."""
    server = serve(half, rest)
    with pytest.warns(UserWarning, match="broke off"):
        get(server, path, n_retries=1)
    assert server.asked == ["", f"bytes={HALF}-"]
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("says_so", [True, False])
def test_more_than_the_limit_is_refused(serve, path, says_so):
    """At once where the size is announced, else as soon as it is exceeded."""
    written = []

    def large(handler):
        handler.send_response(200)
        if says_so:
            handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            for _ in range(1000):
                written.append(handler.wfile.write(DATA))
        except OSError:  # the client has enough
            pass

    server = serve(large)
    with pytest.raises(OSError, match=r"Refused.* has .*, expected at most 1,000,000"):
        get(server, path, n_retries=3)
    assert len(server.asked) == 1 and list(path.parent.iterdir()) == []


def test_a_partial_file_beyond_the_limit_is_not_gone_on_with(serve, path):
    """Whoever left it there; what comes replaces it."""
    part_of(path).write_bytes(bytes(2 * len(DATA)))
    server = serve(whole)
    get(server, path, max_bytes=len(DATA))
    assert server.asked == [""] and path.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "fifo", "folder"])
@pytest.mark.skipif(os.name != "posix", reason="links and pipes of Unix")
def test_what_lies_in_place_of_the_partial_file_is_not_written_to(
    serve, path, tmp_path, kind
):
    """Links of both kinds, pipes and folders are refused by name, without a wait."""
    part, other = part_of(path), tmp_path / "other"
    if kind != "dangling":
        other.write_bytes(b"precious")
    if kind in ("symbolic", "dangling"):
        part.symlink_to(other)
    elif kind == "hard":
        os.link(other, part)
    elif kind == "fifo":
        os.mkfifo(part)
    else:
        part.mkdir()
    server = serve(whole)
    with pytest.raises(OSError, match=r"file\.part'.* Remove it"):
        get(server, path)
    assert server.asked == [] and not path.exists()
    assert (
        not other.exists() if kind == "dangling" else other.read_bytes() == b"precious"
    )


def test_a_full_disk_is_an_error_with_the_name_of_the_file(serve, path, monkeypatch):
    """What was written until then stays, to go on with."""
    from sksimclr._machine import download as module

    def full(file, data):
        file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write_all", full)
    with pytest.raises(OSError) as raised:
        get(serve(whole), path)
    assert raised.value.filename == str(part_of(path))
    assert part_of(path).read_bytes() == DATA[:10]


@pytest.mark.parametrize("between", [(), ("https://c.example",), ("http://c.example",)])
@pytest.mark.parametrize("final", ["https://a.example/file", "http://a.example/file"])
def test_https_that_leads_to_http_is_not_followed(path, monkeypatch, between, final):
    """It counts as not served, and is an error where it is all the same."""

    class Answer(SimpleNamespace):
        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

    raw = SimpleNamespace(stream=lambda *args, **params: iter([DATA]))
    hops = [SimpleNamespace(url=url) for url in between]
    answer = Answer(
        url=final, history=hops, ok=True, status_code=200, headers={}, raw=raw
    )
    answer.raise_for_status = lambda: None
    monkeypatch.setattr(requests, "head", lambda *args, **params: answer)
    monkeypatch.setattr(requests, "get", lambda *args, **params: answer)
    server = SimpleNamespace(url="https://b.example/file")
    is_safe = all(url.startswith("https:") for url in (*between, final))
    assert is_served(server.url) == is_safe
    if is_safe:
        get(server, path)
        assert path.read_bytes() == DATA
    else:
        with pytest.raises(OSError, match="leads to http.* without https"):
            get(server, path)
        assert list(path.parent.iterdir()) == []


def test_what_cannot_be_asked_is_not_served(serve):
    """No server, and one that refuses."""
    assert not is_served("http://127.0.0.1:1/file")
    assert not is_served(serve(whole).url)  # it answers HEAD with 501
