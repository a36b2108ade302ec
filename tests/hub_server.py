"""A Hugging Face hub on this machine, for tests of downloads: the part of it that they ask for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants


class Hub:
    """What the hub has, what goes wrong there, and what it was asked for."""

    def __init__(self) -> None:
        self.revisions: dict[tuple[str, str], str] = {}
        """Commit by repository and revision."""
        self.folders: dict[tuple[str, str], Path] = {}
        """Folder by repository and commit."""
        self.cut: dict[str, int] = {}
        """File names to bytes after which the connection breaks, once."""
        self.out_of_order: set[str] = set()
        """Files that get status 500."""
        self.gated: set[str] = set()
        """Repositories whose terms nobody accepted."""
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and Range of each request, in order."""
        self.answer: bytes | None = None
        """What the API says to every question, with status 200, instead of the truth."""

    def add(self, repository: str, folder: Path, *, revision: str = "main") -> str:
        """Offer a folder as a repository's revision; gives its commit."""
        commit = hashlib.sha1(f"{repository} {revision}".encode()).hexdigest()
        self.folders[repository, commit] = folder
        self.revisions[repository, revision] = commit
        self.revisions[repository, commit] = commit
        return commit

    def downloads(self) -> list[str]:
        """Names of the files whose contents were asked for, in order."""
        gets = [path for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]
        return [path.split("/", 5)[-1] for path in gets]

    def ranges(self, file: str) -> list[str | None]:
        """The ranges that were asked for of one file, in order; None is the whole of it."""
        return [
            span for method, path, span in self.asked if method == "GET" and path.endswith(file)
        ]


@contextmanager
def hub_within_reach(cache: Path) -> Iterator[Hub]:
    """A hub that answers in a thread, and an empty cache, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_PROXY", "127.0.0.1")
            patch.setattr(constants, "ENDPOINT", url)
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_CACHE", str(cache))
            patch.setattr(constants, "HF_HUB_OFFLINE", False)
            close_session()
            yield hub
            close_session()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, unquote(path), self.headers.get("Range")))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            self._tell("/".join(parts[2:4]), *(parts[4:6] or ["revision", "main"]))
        elif "resolve" in parts:
            self._give("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404, b"", {})

    def _tell(self, repository: str, what: str, revision: str) -> None:
        """What the API says of a repository: its commit and files, or the tree of them."""
        if self.hub.answer is not None:
            return self._send(200, self.hub.answer, {"Content-Type": "text/html"})
        folder = self._folder(repository, revision)
        if folder is None:
            return
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in files]
        answer: object = {
            "id": repository,
            "sha": self.hub.revisions[repository, revision],
            "siblings": [{"rfilename": name} for name in names],
        }
        if what == "tree":
            answer = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}
                for name, path in zip(names, files, strict=True)
            ]
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _give(self, repository: str, revision: str, name: str) -> None:
        """A file, or the part of it that is asked for."""
        folder = self._folder(repository, revision)
        if folder is None:
            return
        commit = {"X-Repo-Commit": self.hub.revisions[repository, revision]}
        if not (folder / name).is_file():
            self._send(404, b"", commit | {"X-Error-Code": "EntryNotFound"})
        elif name in self.hub.out_of_order and self.command == "GET":
            self._send(500, b"", commit)
        else:
            content = (folder / name).read_bytes()
            headers = commit | {"ETag": f'"{_etag(folder / name)}"', "Accept-Ranges": "bytes"}
            span = self.headers.get("Range")
            if span is None:
                cut = self.hub.cut.pop(name, None) if self.command == "GET" else None
                self._send(200, content, headers, cut=cut)
            else:
                begin = int(span.removeprefix("bytes=").rstrip("-"))
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                self._send(206, content[begin:], headers)

    def _folder(self, repository: str, revision: str) -> Path | None:
        commit = self.hub.revisions.get((repository, revision))
        if repository in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif commit is not None:
            return self.hub.folders[repository, commit]
        elif any(known == repository for known, _ in self.hub.revisions):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        return None

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], *, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):  # a client that gave up
                self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True


def _etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
