"""A web server on this machine that can be slow, cut the line, lie, or refuse."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 2**14


@dataclass
class Site:
    """What the server does, to be changed while it runs.

    ``cuts`` are the bytes after which each of the next answers breaks off. ``gate``, if there is one, holds
    the second half of an answer back until it is set. ``slow`` is a pause in seconds after each piece.
    ``etag`` is left out where empty.
    """

    content: bytes
    address: str = ""
    etag: str = '"v1"'
    ranges: bool = True
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    gate: threading.Event | None = None
    slow: float = 0.0
    # The first byte that each request asked for.
    asked: list[int] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """A server that does not ask the network for this machine's name."""

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


@contextmanager
def serving(content: bytes) -> Iterator[Site]:
    """Serve ``content`` at every path until the block ends."""
    site = Site(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, site)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}/model.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        if site.gate is not None:
            site.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    """Answer one request as the site does just now."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    site.asked.append(start)
    if site.status != 200:
        handler.send_error(site.status)
        return
    if not site.ranges or handler.headers.get("If-Range", site.etag) != site.etag:
        start = 0
    whole = len(site.content)
    if start and start >= whole:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{whole}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
    handler.send_header("Content-Length", str(whole - start))
    if site.etag:
        handler.send_header("ETag", site.etag)
    handler.end_headers()
    body = site.content[start:]
    if site.cuts:
        body = body[: site.cuts.pop(0)]
    handler.close_connection = True
    half = len(body) // 2
    for start in range(0, len(body), PIECE):
        if site.gate is not None and start >= half:
            site.gate.wait(30)
        try:
            handler.wfile.write(body[start : start + PIECE])
        except OSError:  # who asked has gone
            return
        time.sleep(site.slow)
