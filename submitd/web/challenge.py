"""The HTTP server that an authority asks in an http-01 challenge (RFC 8555 8.3)."""

from collections.abc import Mapping
from typing import Final

from twisted.web.http import Request
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from twisted.web.static import Data

from submitd.web.site import Nothing, QuietSite

_MOST_PATIENCE: Final = 15
"""Seconds that a client may keep us waiting."""


class _Tokens(Resource):
    def __init__(self, authorizations: Mapping[str, str]) -> None:
        super().__init__()
        self._authorizations = authorizations

    def getChild(self, path: bytes, request: Request) -> IResource:  # noqa: ARG002
        token = path.decode("ascii", "replace")
        if (authorization := self._authorizations.get(token)) is None:
            return notFound()
        return Data(authorization.encode("ascii"), "application/octet-stream")


def make_challenge_site(authorizations: Mapping[str, str]) -> Site:
    """``/.well-known/acme-challenge/TOKEN``, as long as the token is in there."""
    root, known = Nothing(), Nothing()
    root.putChild(b".well-known", known)
    known.putChild(b"acme-challenge", _Tokens(authorizations))
    return QuietSite(root, timeout=_MOST_PATIENCE)
