"""The door of the viewer where it listens on more than this machine: a connection passes with the right token only."""

import asyncio
import contextlib
import hmac
import threading
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from pallas_ros.body.errors import PallasError

COOKIE = "pallas_token"
HEAD_LIMIT = 16384
HEAD_SECONDS = 5.0


class Gate:
    """Listens on ``host:port`` and passes connections whose first request carries the token on to a server on this machine.

    The page is opened as ``http://host:port/?token=...``; a cookie then carries the token. It is not encrypted: over a network that
    is not trusted, use an SSH tunnel.
    """

    def __init__(self, host: str, port: int, inner_port: int, token: str) -> None:
        """Begin to listen.

        Raises:
            PallasError: the token is shorter than 8 characters, or the address cannot be listened on.
        """
        if len(token) < 8 or not token.isalnum():
            raise PallasError("the viewer's token must be 8 or more letters and digits")
        self._token, self._inner = token, inner_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._thread.start()
        try:
            opened = asyncio.run_coroutine_threadsafe(
                asyncio.start_server(self._connection, host, port, limit=HEAD_LIMIT), self._loop
            )
            self._server = opened.result()
        except OSError as error:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise PallasError(
                f"the viewer cannot listen on {host}:{port}: {error.strerror}"
            ) from None
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError
        ):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_SECONDS)
            way = self._judge(head)
            if way == "pass":
                await self._join(head, reader, writer)
            elif way == "welcome":
                cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                writer.write(
                    f"HTTP/1.1 302 Found\r\nLocation: /\r\nSet-Cookie: {cookie}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
            else:
                text = (
                    b"This viewer wants its token: open the address that `pallas view` printed.\n"
                )
                writer.write(
                    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                )
                writer.write(f"Content-Length: {len(text)}\r\n\r\n".encode() + text)
            await writer.drain()
        writer.close()

    def _judge(self, head: bytes) -> str:
        """``welcome`` with the token in the address, ``pass`` with it in the cookie, else nothing."""
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        given = parse_qs(urlsplit(parts[1]).query).get("token", []) if len(parts) == 3 else []
        if given and hmac.compare_digest(given[0].encode(), self._token.encode()):
            return "welcome"
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.strip().lower() == "cookie":
                with contextlib.suppress(CookieError):
                    morsel = SimpleCookie(value.strip()).get(COOKIE)
                    if morsel is not None and hmac.compare_digest(
                        morsel.value.encode(), self._token.encode()
                    ):
                        return "pass"
        return ""

    async def _join(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes both ways until either side ends."""
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner)
        inner_writer.write(head)

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()

        tasks = [
            asyncio.ensure_future(carry(reader, inner_writer)),
            asyncio.ensure_future(carry(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            inner_writer.close()
