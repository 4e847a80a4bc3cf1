"""Access control of the viewer: admits same-origin requests on this machine, or the token."""

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from pallas_ros.body.errors import PallasError

COOKIE = "pallas_token"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Answer:
    """Response to a request: status, text and headers; empty if the request is ``passed``."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the request is admitted."""
        return self.status == 200


PASSED = Answer()


class Access:
    """Admits or rejects requests by their address and headers.

    ``Host`` must be a name of this machine, which prevents DNS rebinding. ``Origin``, if the
    browser sends it, must be the viewer itself, which prevents cross-site requests. With a token,
    the page is opened once as ``http://host:port/?token=...``; afterwards, a cookie carries the
    token. The connection is not encrypted: over an untrusted network, use an SSH tunnel.
    """

    def __init__(self, host: str, token: str = "") -> None:
        """``host`` is the address to listen on.

        Raises:
            PallasError: the token is shorter than 8 characters, or not of letters and digits.
        """
        if token and (len(token) < 8 or not token.isalnum() or not token.isascii()):
            raise PallasError("the viewer's token must be 8 or more letters and digits")
        self._token = token
        self._names = {*LOCAL_NAMES, host.lower()}
        self._open = host not in LOCAL_NAMES
        if self._open:
            name = socket.gethostname()
            self._names |= {own.lower() for own in (name, f"{name}.local", socket.getfqdn())}

    def judge(self, path: str, headers: Iterable[tuple[str, str]]) -> Answer:
        """The response to a request for ``path`` with ``headers`` (name-value pairs)."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.lower(), []).append(value.strip())
        hosts = given.get("host", [])
        origins = given.get("origin", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Answer(403, "This viewer does not answer to that host name.\n")
        if any(not _same_place(origin, hosts[0]) for origin in origins):
            return Answer(403, "This viewer cannot be embedded in other pages.\n")
        if not self._token:
            return PASSED
        if self._fits(_requested_file(path)):
            cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            return Answer(302, "", {"Location": "/", "Set-Cookie": cookie})
        if any(self._fits(_carried(cookie)) for cookie in given.get("cookie", [])):
            return PASSED
        return Answer(
            403, "This viewer requires its token: open the address that `pallas view` printed.\n"
        )

    def _fits(self, given: str) -> bool:
        # bytes that are not UTF-8 arrive as surrogates
        return hmac.compare_digest(given.encode(errors="backslashreplace"), self._token.encode())

    def _is_ours(self, host: str) -> bool:
        """Whether ``Host`` names this machine; an IP address cannot be the name of another site."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._open


def _same_place(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _requested_file(path: str) -> str:
    """The token in the address; empty if there is none or the address is invalid."""
    try:
        return parse_qs(urlsplit(path).query).get("token", [""])[0]
    except ValueError:
        return ""


def _carried(cookie: str) -> str:
    try:
        morsel = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
