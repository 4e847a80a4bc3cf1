"""A viser server that admits only requests that `Access` admits, has no sharing, and reports
rejected requests in one line.

viser has no settings for this. Here, its `websockets` server is created with an additional check of
each request, a smaller message limit and a separate log; requests for a public tunnel are ignored.
"""

import asyncio
import contextlib
import http
import io
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import viser
import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pallas_ros.body.errors import PallasError
from pallas_ros.view.access import Access

MESSAGE_LIMIT = 1 << 16
"""Maximum size in bytes of a message from a browser; the value of a slider takes about a hundred.
"""
REPEAT_S = 5.0


class Complaints:
    """Logs a sentence at most once per `REPEAT_S`, so that repeated attempts do not flood the
    log.
    """

    def __init__(self, out: Callable[[str], object] | None = None) -> None:
        self._out = out or (lambda line: print(line, file=sys.stderr, flush=True))
        self._last: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """Log a sentence in one line."""
        now = time.monotonic()
        if now - self._last.get(sentence, -REPEAT_S) >= REPEAT_S:
            self._last = {k: t for k, t in self._last.items() if now - t < REPEAT_S}
            self._last[sentence] = now
            self._out(f"pallas: {sentence}")


class ViewServer(viser.ViserServer):
    """The server of viser without sharing."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Reject requests for a public tunnel."""
        return None

    def disconnect_share_url(self) -> None:
        """Do nothing, since sharing is disabled."""


def open_server(host: str, port: int, access: Access) -> viser.ViserServer:
    """Listen on ``host``, at ``port`` or the next free one.

    Raises:
        PallasError: the address cannot be bound, or this version of viser cannot be protected.
    """
    _check_address(host)
    complaints = Complaints()
    with _guarded(access, complaints) as made, contextlib.redirect_stdout(io.StringIO()):
        server = ViewServer(host=host, port=port, verbose=False)  # it prints a banner
    if not made:
        server.stop()
        raise PallasError("the viewer cannot secure this version of viser: install 1.1")
    return server


def _check_address(host: str) -> None:
    """Reject an address that does not belong to this machine; viser would search for a free port
    forever.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise PallasError(f"the viewer cannot listen on {host[:80]}: {error.strerror}") from None


@contextlib.contextmanager
def _guarded(access: Access, complaints: Complaints) -> Iterator[list[str]]:
    """Context in which `websockets` servers are created with request checks; yields a list that
    contains the address of the server once it is created.
    """
    serve = websockets.asyncio.server.serve
    made: list[str] = []

    def guarded(handler: Any, host: str, port: int, **options: Any) -> Any:
        made.append(host)
        inner = options.pop("process_request")
        return serve(
            _sober(handler, complaints),
            host,
            port,
            **{
                **options,
                "process_request": _checked(inner, access, complaints),
                "max_size": MESSAGE_LIMIT,
                "logger": _Log(complaints),
            },
        )

    websockets.asyncio.server.serve = guarded  # type: ignore[assignment,misc]
    try:
        yield made
    finally:
        websockets.asyncio.server.serve = serve  # type: ignore[misc]


def _checked(
    inner: Callable[[ServerConnection, Request], Response | None] | None,
    access: Access,
    complaints: Complaints,
) -> Callable[[ServerConnection, Request], Response | None]:
    """Wrap viser's response to requests with the access check."""

    def process(connection: ServerConnection, request: Request) -> Response | None:
        answer = access.judge(request.path, request.headers.raw_items())
        if answer.passed:
            response = None if inner is None else inner(connection, request)
            if response is not None:
                response.headers["X-Frame-Options"] = "SAMEORIGIN"
            return response
        if answer.status == 403:
            complaints.say(f"a request was refused: {answer.text.strip()}")
        response = connection.respond(http.HTTPStatus(answer.status), answer.text)
        for name, value in answer.headers.items():
            response.headers[name] = value
        return response

    return process


def _sober(
    handler: Callable[[ServerConnection], Awaitable[None]], complaints: Complaints
) -> Callable[[ServerConnection], Awaitable[None]]:
    """Wrap viser's connection handler, so that no input of a browser causes a traceback."""

    def on_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.say(
            f"a browser's message was not understood ({_kind(context.get('exception'))})"
        )

    async def handle(connection: ServerConnection) -> None:
        asyncio.get_running_loop().set_exception_handler(on_error)
        try:
            await handler(connection)
        except ConnectionClosed:
            return
        except Exception as error:  # of viser's reading of what a browser sent
            complaints.say(f"a browser's message was not understood ({_kind(error)})")
            await connection.close(1007, "not understood")

    return handle


class _Log(logging.Logger):
    """Log handler of `websockets`: one line for an invalid request, nothing else."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__("pallas.view", logging.ERROR)
        self._complaints = complaints

    def addFilter(self, _: Any) -> None:  # viser adds one that hides such requests
        """Ignore filters."""

    def handle(self, record: logging.LogRecord) -> None:
        """Log a record in one line."""
        kind = _kind(record.exc_info[1] if record.exc_info else None)
        self._complaints.say(f"a request was refused: it does not come from a browser ({kind})")


def _kind(error: BaseException | None) -> str:
    return type(error).__name__ if error is not None else "unknown"
