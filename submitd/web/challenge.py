"""The HTTP server that an authority asks in an http-01 challenge (RFC 8555 8.3)."""

from collections.abc import Mapping
from io import BytesIO

from twisted.web.http import Request
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request as SiteRequest
from twisted.web.server import Site

from submitd.web.site import Nothing, QuietSite


class _Question(SiteRequest):
    """Asks without a body: one that comes is kept nowhere."""

    def gotLength(self, length: int | None) -> None:  # noqa: ARG002
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        pass


class _Authorization(Resource):
    isLeaf = True

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def render(self, request: Request) -> bytes:
        request.setHeader("content-type", "application/octet-stream")
        return self._text.encode("ascii")


class _Tokens(Resource):
    def __init__(self, authorizations: Mapping[str, str]) -> None:
        super().__init__()
        self._authorizations = authorizations

    def getChild(self, path: bytes, request: Request) -> IResource:  # noqa: ARG002
        token = path.decode("ascii", "replace")
        if (authorization := self._authorizations.get(token)) is None:
            return notFound()
        return _Authorization(authorization)


def make_challenge_site(authorizations: Mapping[str, str]) -> Site:
    """``/.well-known/acme-challenge/TOKEN``, as long as the token is in there."""
    root, known = Nothing(), Nothing()
    root.putChild(b".well-known", known)
    known.putChild(b"acme-challenge", _Tokens(authorizations))
    return QuietSite(root, requestFactory=_Question)
