"""Object store servers on loopback, with simulated failures.

moto serves Amazon's API, and Google's XML API, which is similar. The Azure server below stores blobs, and does not
check signatures.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from werkzeug.serving import WSGIRequestHandler, make_server

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Faults:
    """A proxy in which ``fault(environ)`` names the failure of a request.

    Failures are "reset", "throttled" (429), "busy" (503), "cut" (half of the body) and "slow"; None: no failure.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        self.fault: Callable[[dict[str, Any]], str | None] = lambda environ: None
        self.seen: Counter[str] = Counter()
        """Faults, and requests by method and path."""

    def reset(self) -> None:
        self.fault, self.seen = lambda environ: None, Counter()

    def first(self, faults: Iterable[str], path: str = "") -> None:
        """Makes the first requests of each method whose path contains ``path`` fail, with one fault after the other."""
        left = {method: list(faults) for method in ("GET", "HEAD", "PUT")}

        def fault(environ: dict[str, Any]) -> str | None:
            queue = left.get(environ["REQUEST_METHOD"], [])
            return queue.pop(0) if queue and path in environ["PATH_INFO"] else None

        self.fault = fault

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.seen[f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"] += 1
        fault = self.fault(environ)
        if fault is None:
            return self.inner(environ, start)
        self.seen[fault] += 1
        if fault == "reset":
            self._reset(environ)
        if fault in ("busy", "throttled"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start({"busy": "503 Slow Down", "throttled": "429 Too Many Requests"}[fault], [("Content-Length", "0")])
            return [b""]
        body = b"".join(self.inner(environ, start))
        return self._slowly(body) if fault == "slow" else [body[: len(body) // 2]]

    @staticmethod
    def _reset(environ: dict[str, Any]) -> None:
        connection = environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with open(os.devnull) as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), connection.fileno())  # closes the socket, to which the server still refers
        raise ConnectionResetError

    @staticmethod
    def _slowly(body: bytes) -> Iterator[bytes]:
        step = max(1, len(body) // 5)
        for at in range(0, len(body), step):
            time.sleep(0.02)
            yield body[at : at + step]


def let_in(inner: Application) -> Application:
    """A server that treats every request as its owner's, like moto with Amazon's signatures."""

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS"):
            environ["HTTP_AUTHORIZATION"] = "AWS any:any"
        return inner(environ, start)

    return application


class Blobs:
    """The required subset of Azure Blob Storage: GET and HEAD with ranges, PUT, and lists in pages of three."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[str, dict[str, bytes]] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        container, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")[2].partition("/")
        if query.get("comp") == "list":
            return self._list(container, query, start)
        if environ["REQUEST_METHOD"] == "PUT":
            return self._put(f"{container}/{key}", query, environ, start)
        return self._get(f"{container}/{key}", environ, start)

    def _get(self, name: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = self.blobs.get(name)
        if body is None:
            start("404 Not Found", [("Content-Length", "0"), ("x-ms-error-code", "BlobNotFound")])
            return [b""]
        status, size = "200 OK", len(body)
        headers = [("ETag", f'"{hash(body):x}"'), ("Last-Modified", "Mon, 01 Jul 2024 10:00:00 GMT")]
        headers += [("x-ms-blob-type", "BlockBlob"), ("Accept-Ranges", "bytes")]
        wanted = environ.get("HTTP_RANGE") or environ.get("HTTP_X_MS_RANGE")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1 if last else size, size)
            status, body = "206 Partial Content", body[int(first) : stop]
            headers.append(("Content-Range", f"bytes {first}-{stop - 1}/{size}"))
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _put(self, name: str, query: dict[str, str], environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if query.get("comp") == "block":
            self.parts.setdefault(name, {})[query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            parts = self.parts.pop(name)
            self.blobs[name] = b"".join(parts[id_] for id_ in re.findall(r">([^<>]+)</Uncommitted>", body.decode()))
        else:
            self.blobs[name] = body
        start("201 Created", [("Content-Length", "0"), ("ETag", '"new"')])
        return [b""]

    def _list(self, container: str, query: dict[str, str], start: Any) -> Iterable[bytes]:
        root = f"{container}/"
        keys = sorted(name.removeprefix(root) for name in self.blobs if name.startswith(root + query.get("prefix", "")))
        page = [key for key in keys if key > query.get("marker", "")]
        blobs = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>Mon, 01 Jul 2024 10:00:00 GMT</Last-Modified>"
            f"<Content-Length>{len(self.blobs[root + key])}</Content-Length><Content-Type>x</Content-Type>"
            "<Etag>1</Etag></Properties></Blob>"
            for key in page[:3]
        )
        marker = page[2] if len(page) > 3 else ""
        body = (
            f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{escape(marker)}</NextMarker></EnumerationResults>"
        )
        start("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body.encode()]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(application: Application) -> Iterator[int]:
    """Runs a server in a thread; yields its port."""

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
