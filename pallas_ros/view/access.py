"""Who may look at the viewer: a browser on this machine that was sent here by nobody else, or one
that brings the token.
"""

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
    """What a request is answered with: a status and a text, further headers, or where it is
    ``passed`` nothing.
    """

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the request is let through."""
        return self.status == 200


PASSED = Answer()


class Access:
    """Judges requests by their address and headers.

    ``Host`` must be a name of this machine: a page of another site that has its own name resolved
    to this machine does not get in. ``Origin``, which a browser sends along with what a page asks
    for,
    must be the same: no other page reads the viewer. With a token, the page is opened once as
    ``http://host:port/?token=...``, and a cookie carries the token from then on. It is not
    encrypted: over a network that is not trusted, use an SSH tunnel.
    """

    def __init__(self, host: str, token: str = "") -> None:
        """``host`` is the address that is listened on.

        Raises:
            PallasError: the token is shorter than 8 characters, or not of letters and digits.
        """
        if token and (len(token) < 8 or not token.isalnum() or not token.isascii()):
            raise PallasError("the viewer's token must be 8 or more letters and digits")
        self._token = token
        self._names = {*LOCAL_NAMES, host.lower()}
        self._open = host not in LOCAL_NAMES
        if self._open:
            self._names |= {socket.gethostname().lower(), f"{socket.gethostname()}.local".lower()}

    def judge(self, path: str, headers: Iterable[tuple[str, str]]) -> Answer:
        """The answer to a request for ``path`` with ``headers`` (name and value of each)."""
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
        if self._fits(_asked(path)):
            cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            return Answer(302, "", {"Location": "/", "Set-Cookie": cookie})
        if any(self._fits(_carried(cookie)) for cookie in given.get("cookie", [])):
            return PASSED
        return Answer(
            403, "This viewer requires its token: open the address that `pallas view` printed.\n"
        )

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _is_ours(self, host: str) -> bool:
        """Whether ``Host`` names this machine; no foreign page has a bare address as its name."""
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


def _asked(path: str) -> str:
    """The token in the address; nothing where there is none, or no address."""
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
