"""A Hugging Face hub of one folder, over HTTPS: `python hub.py --models DIR --port 8443 --certificate F --key F [--token T]`.

`DIR/acme/tiny-chat/…` is served as the repository `acme/tiny-chat`. It answers what huggingface_hub and vLLM ask when they
download a model: the repository's description, its tree, and its files. Nothing but Python is needed, so it runs on the base
image as well as in a test.
"""

import argparse
import hashlib
import http.server
import json
import signal
import ssl
import sys
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK = 1024 * 1024
LARGE = 10 * 1024 * 1024  # the hub keeps bigger files in LFS, whose entity tag is the content's SHA-256


class Hub:
    """The repositories under one folder; each has a single commit, named by its content."""

    def __init__(self, models: Path) -> None:
        self._models = models.resolve()

    def files(self, repository: str) -> dict[str, Path] | None:
        """Return a repository's files by their path in it; None when there is no such repository."""
        folder = (self._models / repository).resolve()
        if not folder.is_relative_to(self._models) or not folder.is_dir() or folder == self._models:
            return None
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def commit(self, repository: str) -> str:
        """Return the 40 hex digits of the repository's commit."""
        files = self.files(repository) or {}
        return hashlib.sha1("".join(f"{name}:{digest(path)}" for name, path in files.items()).encode(), usedforsecurity=False).hexdigest()


@cache
def digest(path: Path) -> str:
    """Return the file's SHA-256; the models do not change while they are served."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for one hub, to those who have the token where there is one."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    token: str | None = None

    def do_HEAD(self) -> None:
        """Answer without a body: how huggingface_hub learns a file's size, tag and commit."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with the body."""
        self._answer(body=True)

    def do_POST(self) -> None:
        """Answer a question about certain paths of a tree."""
        length = int(self.headers.get("content-length", "0"))
        self._paths = parse_qs(self.rfile.read(length).decode()).get("paths", [])
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/health":
            self._json({}, body=body)
            return
        if self.token is not None and self.headers.get("authorization") != f"Bearer {self.token}":
            self._refuse(HTTPStatus.UNAUTHORIZED, "GatedRepo", "Access to this model is restricted: send its token.")
            return
        match path.strip("/").split("/"):
            case ["api", "models", owner, name]:
                self._describe(f"{owner}/{name}", body=body)
            case ["api", "models", owner, name, "revision", _]:
                self._describe(f"{owner}/{name}", body=body)
            case ["api", "models", owner, name, "tree" | "paths-info" as question, _, *inside]:
                self._tree(f"{owner}/{name}", "/".join(inside), self._paths if question == "paths-info" else None)
            case [owner, name, "resolve", _, *inside] if inside:
                self._file(f"{owner}/{name}", "/".join(inside), body=body)
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", "There is nothing here.")

    def _describe(self, repository: str, *, body: bool) -> None:
        files = self.hub.files(repository)
        if files is None:
            self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", f"There is no repository {repository}.")
            return
        about = {"id": repository, "modelId": repository, "sha": self.hub.commit(repository), "private": False, "gated": False, "tags": []}
        self._json({**about, "downloads": 0, "siblings": [{"rfilename": name} for name in files]}, body=body)

    def _tree(self, repository: str, inside: str, only: list[str] | None) -> None:
        files = self.hub.files(repository)
        if files is None:
            self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", f"There is no repository {repository}.")
            return
        wanted = {n: p for n, p in files.items() if (n in only if only is not None else n.startswith(inside))}
        self._json([_entry(name, path) for name, path in wanted.items()], body=True)

    def _file(self, repository: str, name: str, *, body: bool) -> None:
        files = self.hub.files(repository)
        if files is None or name not in files:
            code = "RepoNotFound" if files is None else "EntryNotFound"
            self._refuse(HTTPStatus.NOT_FOUND, code, f"{name} is not in {repository}.", commit=self.hub.commit(repository))
            return
        path = files[name]
        size = path.stat().st_size
        first, last = _range(self.headers.get("range", ""), size)
        partial = (first, last) != (0, size - 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("content-length", str(last - first + 1))
        self.send_header("content-type", "application/octet-stream")
        self.send_header("accept-ranges", "bytes")
        if partial:
            self.send_header("content-range", f"bytes {first}-{last}/{size}")
        self.send_header("etag", f'"{digest(path)}"')
        self.send_header("x-repo-commit", self.hub.commit(repository))
        self.end_headers()
        if body:
            with path.open("rb") as stream:
                stream.seek(first)
                left = last - first + 1
                while left and (chunk := stream.read(min(CHUNK, left))):
                    self.wfile.write(chunk)
                    left -= len(chunk)

    def _json(self, value: Any, *, body: bool, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, code: str, message: str, *, commit: str = "") -> None:
        headers = {"x-error-code": code, "x-error-message": message} | ({"x-repo-commit": commit} if commit else {})
        self._json({"error": message}, body=self.command != "HEAD", status=status, headers=headers)


def _entry(name: str, path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": digest(path)[:40]}
    return entry | ({"lfs": {"oid": digest(path), "size": size, "pointerSize": 134}} if size > LARGE else {})


def _range(header: str, size: int) -> tuple[int, int]:
    if not header.startswith("bytes="):
        return 0, size - 1
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first or 0), min(int(last), size - 1) if last else size - 1


def server(
    models: Path, port: int, *, certificate: Path | None = None, key: Path | None = None, token: str | None = None
) -> http.server.HTTPServer:
    """Return a hub that listens on every address; `serve_forever()` runs it."""
    handler = type("ThisHub", (Handler,), {"hub": Hub(models), "token": token})
    made = http.server.ThreadingHTTPServer(("", port), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--token")
    options = parser.parse_args()
    # As a container's first process it would otherwise not even notice SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server(options.models, options.port, certificate=options.certificate, key=options.key, token=options.token).serve_forever()


if __name__ == "__main__":
    main()
