"""A client of the HTTP API, in the standard library alone: what the commands are made of, and for scripts in Python.

shaper = Client()                 the one that is running
shaper.set("delay", {"time": "50ms"})
for event in shaper.events():
    print(event)
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from select import poll
from struct import Struct
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from shaper.control.listen import SUFFIX, find, running
from shaper.errors import ShaperError, UsageError

__all__ = ["Client", "running"]

TIMEOUT = 10.0
"""Seconds to wait for an answer."""
PERIOD = 0.1
"""Seconds between two looks at a shaper that ends, and whose process can't be watched."""
TOKEN = "SHAPER_TOKEN"
"""The environment variable with the token for TCP."""
_timeval = Struct("@ll")


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A busy server's backlog may be full. With a timeout of Python's, connect(2) would not wait.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval.pack(int(TIMEOUT), 0))
        self.sock.connect(os.fspath(self._path))
        self.sock.settimeout(self.timeout)


class EventStream:
    """What happens, event by event."""

    def __init__(self, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connection, self._response = connection, response

    def read(self) -> dict[str, Any] | None:
        """The next event; waits for it. None when shaper has ended, or the stream was closed."""
        try:
            event: dict[str, Any] | None = json.loads(self._response.readline() or "null")
        except (OSError, HTTPException, ValueError):
            return None
        return event

    def close(self) -> None:
        """End it; also a `read` that waits in another thread."""
        if self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Client:
    """A running shaper. Each call makes a connection of its own, so threads may share a client.

    Args:
        where: the shaper's name, the URL of `--listen`, or a Unix socket; not needed if a single shaper is running.
        token: what `--token-file` has; by default the value of $SHAPER_TOKEN.

    Attributes:
        name: how it was found, for messages.

    Raises:
        ShaperError: none is running, or none with this name.
        UsageError: several are running, and none was named.
    """

    def __init__(self, where: str | Path | None = None, *, token: str | None = None) -> None:
        self._token = token if token is not None else os.environ.get(TOKEN)
        self._url, self._path = "", Path()
        if isinstance(where, str) and where.startswith(("http://", "https://")):
            self.name, self._url = where, urlsplit(where).netloc
        elif where is not None and os.path.sep in str(where):
            self.name, self._path = Path(where).name.removesuffix(SUFFIX), Path(where)
        else:
            self.name = str(where) if where is not None else _only_one()
            path = find(self.name)
            if path is None:
                raise ShaperError(f"no shaper named '{self.name}' is running; {_running_ones()}")
            self._path = path

    def status(self) -> dict[str, Any]:
        """What it is doing; see `shaper.live.state.Status`."""
        return self._object("GET", "/v1/status")

    def pipeline(self) -> list[dict[str, Any]]:
        """Its stages; see `shaper.live.state.Stage`."""
        return self._list("GET", "/v1/pipeline")

    def replace(self, specs: Sequence[str]) -> list[dict[str, Any]]:
        """Replace the pipeline; returns the new stages."""
        return self._list("PUT", "/v1/pipeline", {"policies": list(specs)})

    def stage(self, name: str) -> dict[str, Any]:
        """One stage."""
        return self._object("GET", f"/v1/pipeline/{quote(name, safe='')}")

    def set(self, stage: str, options: Mapping[str, str]) -> dict[str, Any]:
        """Change options of a stage, given as text; returns the stage."""
        return self._object("PATCH", f"/v1/pipeline/{quote(stage, safe='')}", dict(options))

    def pause(self) -> dict[str, Any]:
        """Let packets pass at once; returns the status."""
        return self._object("POST", "/v1/pause")

    def resume(self) -> dict[str, Any]:
        """Shape again; returns the status."""
        return self._object("POST", "/v1/resume")

    def release(self) -> dict[str, Any]:
        """Send all held packets on now; returns the status."""
        return self._object("POST", "/v1/release")

    def stop(self) -> dict[str, Any]:
        """End it; returns the status."""
        return self._object("POST", "/v1/stop")

    def end(self) -> None:
        """End it, and wait until it has ended."""
        process = _process(self.status()["pid"])
        self.stop()
        if process is not None:
            waiting = poll()
            waiting.register(process)
            waiting.poll()
            os.close(process)
            return
        with suppress(ShaperError):
            while self.status():
                time.sleep(PERIOD)

    def flows(self, limit: int = 100) -> list[dict[str, Any]]:
        """Its flows; see `shaper.live.state.Flow`."""
        return self._list("GET", f"/v1/flows?{urlencode({'limit': limit})}")

    def events(
        self, *, kinds: Sequence[str] = (), packets_per_second: int = 100
    ) -> Generator[dict[str, Any], None, None]:
        """What happens from now on, until shaper ends; see `shaper.live.state.Event`.

        Args:
            kinds: only these: packet, change, warning, failure, state.
            packets_per_second: show this many packets at most.
        """
        with closing(self.open_events(kinds=kinds, packets_per_second=packets_per_second)) as stream:
            while (event := stream.read()) is not None:
                yield event

    def open_events(self, *, kinds: Sequence[str] = (), packets_per_second: int = 100) -> EventStream:
        """The stream that `events` reads, for those who want to end it from another thread."""
        query = urlencode({"kind": list(kinds), "packets_per_second": packets_per_second}, doseq=True)
        connection = self._connection(timeout=None)
        try:
            return EventStream(connection, self._ask(connection, "GET", f"/v1/events?{query}"))
        except BaseException:
            connection.close()
            raise

    def metrics(self) -> str:
        """What Prometheus would be given."""
        with closing(self._connection()) as connection:
            return self._ask(connection, "GET", "/metrics").read().decode()

    def _object(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._json(method, path, body)
        assert isinstance(answer, dict)
        return answer

    def _list(self, method: str, path: str, body: object = None) -> list[dict[str, Any]]:
        answer = self._json(method, path, body)
        assert isinstance(answer, list)
        return answer

    def _json(self, method: str, path: str, body: object) -> object:
        with closing(self._connection()) as connection:
            try:
                return json.loads(self._ask(connection, method, path, body).read())
            except (OSError, HTTPException, ValueError) as error:
                raise ShaperError(f"shaper '{self.name}' ended before it had answered") from error

    def _connection(self, timeout: float | None = TIMEOUT) -> HTTPConnection:
        return HTTPConnection(self._url, timeout=timeout) if self._url else _UnixConnection(self._path, timeout)

    def _ask(self, connection: HTTPConnection, method: str, path: str, body: object = None) -> HTTPResponse:
        """Send a request; the response, if it is no error."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        content = None
        if body is not None:
            headers["Content-Type"], content = "application/json", json.dumps(body)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
        except (TimeoutError, BlockingIOError) as error:
            raise ShaperError(f"shaper '{self.name}' gave no answer for {TIMEOUT:g} s") from error
        except PermissionError as error:
            raise ShaperError(f"shaper '{self.name}' is another user's; run this as that user, or with sudo") from error
        except (OSError, HTTPException) as error:
            raise ShaperError(f"shaper '{self.name}' can't be reached: {error}") from error
        if response.status < 400:
            return response
        with closing(response):
            detail = _detail(response)
        raise (UsageError if response.status < 500 else ShaperError)(detail)


def _process(pid: int) -> int | None:
    """A file descriptor of the shaper's process, see pidfd_open(2); None if it isn't seen from here."""
    try:
        # Another machine's, or another PID namespace's, has this number for something else.
        return os.pidfd_open(pid) if b"shaper" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except OSError:
        return None


def _detail(response: HTTPResponse) -> str:
    """The line of an error."""
    try:
        return str(json.loads(response.read())["detail"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"HTTP status {response.status} {response.reason}"


def _only_one() -> str:
    names = running()
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(f"several shapers are running; name one of {', '.join(names)}")
    raise ShaperError("no shaper is running that you may control; if it runs as root, use sudo")


def _running_ones() -> str:
    names = running()
    return f"there is {', '.join(names)}" if names else "there is none that you may control; if it is root's, use sudo"
