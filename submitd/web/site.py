"""Metrics for Prometheus and two health checks, over HTTP on loopback."""

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.web.http import INTERNAL_SERVER_ERROR, SERVICE_UNAVAILABLE, Request
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site

from submitd.observe.events import BUG, Events


class _Page(Resource):
    """A page whose text has to be waited for."""

    isLeaf = True

    def __init__(
        self, text: Callable[[Request], Awaitable[bytes]], events: Events
    ) -> None:
        super().__init__()
        self._text = text
        self._events = events

    def render_GET(self, request: Request) -> int:
        Deferred.fromCoroutine(self._render(request))
        return NOT_DONE_YET

    async def _render(self, request: Request) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        request.setHeader("content-type", "text/plain; charset=utf-8")
        try:
            octets = await self._text(request)
        except Exception as fault:  # noqa: BLE001
            # A scrape that trips a bug must say so, and be seen in the log.
            self._events.failure(BUG, fault)
            request.setResponseCode(INTERNAL_SERVER_ERROR)
            octets = b"internal error\n"
        if not gone:
            request.write(octets)
            request.finish()


class Nothing(Resource):
    """Where there is no page, there is nothing to see."""

    def getChild(self, path: bytes, request: Request) -> IResource:  # noqa: ARG002
        return notFound()


class QuietSite(Site):
    """Its requests are no news."""

    noisy = False

    def log(self, request: Request) -> None:
        pass


def make_site(
    registry: CollectorRegistry,
    gather: Callable[[], Awaitable[None]],
    unready: Callable[[], str],
    events: Events,
) -> Site:
    """``/metrics``, ``/healthz`` and ``/readyz``.

    ``gather`` brings the registry up to date; ``unready`` gives the reason
    why the server is not ready, or an empty text.
    """

    async def metrics(request: Request) -> bytes:
        await gather()
        request.setHeader("content-type", CONTENT_TYPE_LATEST)
        return generate_latest(registry)

    async def alive(_: Request) -> bytes:
        return b"ok\n"

    async def ready(request: Request) -> bytes:
        if reason := unready():
            request.setResponseCode(SERVICE_UNAVAILABLE)
            return f"not ready: {reason}\n".encode()
        return b"ok\n"

    root = Nothing()
    root.putChild(b"metrics", _Page(metrics, events))
    root.putChild(b"healthz", _Page(alive, events))
    root.putChild(b"readyz", _Page(ready, events))
    return QuietSite(root, timeout=30)
