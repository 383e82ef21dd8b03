"""Webhooks on loopback, for alerts: what came is kept; each may answer, refuse, fail, or say nothing for ever."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Manner = Literal["takes", "fails", "hangs"]


class Hook:
    """One webhook: `got` is (path, JSON body) of every request."""

    def __init__(self, manner: Manner) -> None:
        self.manner: Manner = manner
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.free = threading.Event()
        self.port = 0

    @property
    def texts(self) -> str:
        """All that came, as one text."""
        return "\n".join(
            str(body.get("message") or body.get("text") or body.get("content") or body) for _, body in self.got
        )


@contextmanager
def hook(manner: Manner = "takes") -> Iterator[Hook]:
    """A webhook while it is open."""
    found = Hook(manner)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.got.append((self.path, json.loads(body)))
            if found.manner == "hangs":
                found.free.wait(60)
                return
            self.send_response(200 if found.manner == "takes" else 500)
            self.end_headers()
            self.wfile.write(b'{"ok": true, "result": {}}')

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.free.set()
        server.shutdown()
        server.server_close()
        thread.join()
