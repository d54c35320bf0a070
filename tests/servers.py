"""HTTP servers on loopback that answer what a test makes up."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]  # a status, and a text as it is or what becomes JSON; of a redirect the text is where to


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a server was asked."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # by their names in small letters


@contextmanager
def serving(answer: Callable[[Request], Answer], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve, each answer on a connection of its own; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            split, headers = urlsplit(self.path), {name.lower(): value for name, value in self.headers.items()}
            status, body = answer(Request(path=split.path, query=parse_qs(split.query), headers=headers))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815  what http.server looks for

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
