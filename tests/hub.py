"""A Hub on this machine: a real server that gives a folder's files the way huggingface_hub asks for them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


class Hub(http.server.SimpleHTTPRequestHandler):
    """The few answers of a Hub that a download asks for; what no repository of its has is not found."""

    #: What paths of repositories that are there begin with.
    repositories = "/"

    def log_message(self, *_: object) -> None:
        pass

    def send_head(self) -> Any:
        name = self.path.rpartition("/")[2]
        path = Path(self.directory) / name
        if self.path.startswith("/gated/"):
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to model gated/encoder is restricted")
            self.end_headers()
            return None
        known = self.path.startswith(self.repositories)
        if not known or "/resolve/" not in self.path or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.end_headers()
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", f'"{name}"')
        self.end_headers()
        return path.open("rb")


@contextmanager
def served(folder: Path, handler: type[Hub] = Hub) -> Iterator[str]:
    """Serve a folder; gives the server's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
