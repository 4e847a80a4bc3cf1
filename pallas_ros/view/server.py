"""A viser server that lets in only whom `Access` lets in, shares nothing, and says in a line what
it refuses.

viser has no settings for any of this. What is done here: its `websockets` server is made with a
check of each request in front of viser's own, with smaller messages and a log of our own; its
requests for a public tunnel are answered with nothing.
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
"""Bytes of a message from a browser: a slider's value has a hundred."""
REPEAT_S = 5.0


class Complaints:
    """Says a sentence once, and again after `REPEAT_S` at the earliest: repeated attempts do not
    flood the log.
    """

    def __init__(self, out: Callable[[str], object] | None = None) -> None:
        self._out = out or (lambda line: print(line, file=sys.stderr, flush=True))
        self._last: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """Say it in one line."""
        now = time.monotonic()
        if now - self._last.get(sentence, -REPEAT_S) >= REPEAT_S:
            self._last = {k: t for k, t in self._last.items() if now - t < REPEAT_S}
            self._last[sentence] = now
            self._out(f"pallas: {sentence}")


class ViewServer(viser.ViserServer):
    """viser's server without its sharing."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse: nobody makes this machine open a public tunnel."""
        return None

    def disconnect_share_url(self) -> None:
        """Nothing is shared."""


def open_server(host: str, port: int, access: Access) -> viser.ViserServer:
    """Listen on ``host``, and on ``port`` or the next one that is free.

    Raises:
        PallasError: the address cannot be listened on, or this version of viser cannot be
            protected.
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
    """Refuse an address that is not this machine's; viser would look for a free port on it for
    ever.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise PallasError(f"the viewer cannot listen on {host[:80]}: {error.strerror}") from None


@contextlib.contextmanager
def _guarded(access: Access, complaints: Complaints) -> Iterator[list[str]]:
    """While a server is made, have `websockets` check requests first; yields a list that holds the
    server's address once it was.
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
    """viser's answer to a request, for those that may have it."""

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
    """viser's connection, of which nothing that a browser sends makes a traceback."""

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
    """The log of `websockets`: a line for a request that is none, nothing else."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__("pallas.view", logging.ERROR)
        self._complaints = complaints

    def addFilter(self, _: Any) -> None:  # viser adds one that hides such requests
        """Take none."""

    def handle(self, record: logging.LogRecord) -> None:
        """Say it in a line."""
        kind = _kind(record.exc_info[1] if record.exc_info else None)
        self._complaints.say(f"a request was refused: it does not come from a browser ({kind})")


def _kind(error: BaseException | None) -> str:
    return type(error).__name__ if error is not None else "unknown"
