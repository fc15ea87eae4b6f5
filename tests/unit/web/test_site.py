"""Metrics and health as a scraper sees them: over HTTP."""

import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from prometheus_client import CollectorRegistry, Gauge
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread

from submitd.web.site import make_site
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents


class Server:
    """What stands behind the pages."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.gauge = Gauge("answer", "An answer.", registry=self.registry)
        self.events = RecordedEvents()
        self.reason = ""
        self.fault: Exception | None = None
        self.port = 0
        self.asked: Deferred[None] = Deferred()
        self.figures: Deferred[None] = succeed(None)

    async def gather(self) -> None:
        if not self.asked.called:
            self.asked.callback(None)
        await self.figures
        if self.fault:
            raise self.fault
        self.gauge.set(42)

    async def get(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type, body."""

        def fetch() -> tuple[int, str, bytes]:
            url = f"http://127.0.0.1:{self.port}{path}"
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status, answer.headers["content-type"], answer.read()
            except urllib.error.HTTPError as refusal:
                with refusal:
                    kind = str(refusal.headers["content-type"])
                    return refusal.code, kind, refusal.read()

        return await deferToThread(fetch)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    from twisted.internet import reactor

    server = Server()
    site: Any = make_site(
        server.registry, server.gather, lambda: server.reason, server.events
    )
    port = cast("IReactorTCP", reactor).listenTCP(0, site, interface="127.0.0.1")
    server.port = cast("IPv4Address", port.getHost()).port
    try:
        yield server
    finally:
        await maybeDeferred(port.stopListening)


@in_reactor
async def test_metrics_are_gathered_anew_for_each_scrape() -> None:
    async with serving() as server:
        status, kind, body = await server.get("/metrics")

    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert b"answer 42.0" in body


@in_reactor
async def test_who_is_alive_says_so() -> None:
    async with serving() as server:
        server.reason = "starting"
        assert await server.get("/healthz") == (
            200,
            "text/plain; charset=utf-8",
            b"ok\n",
        )


@in_reactor
async def test_who_is_not_ready_says_why() -> None:
    async with serving() as server:
        ready = await server.get("/readyz")
        server.reason = "no worker is ready"
        unready = await server.get("/readyz")

    assert ready[::2] == (200, b"ok\n")
    assert unready[::2] == (503, b"not ready: no worker is ready\n")


@in_reactor
async def test_a_bug_is_an_error_for_the_scraper_and_seen_in_the_log() -> None:
    async with serving() as server:
        server.fault = ZeroDivisionError("x")
        status, _, body = await server.get("/metrics")

    assert (status, body) == (500, b"internal error\n")
    assert server.events.faults == [server.fault]


@in_reactor
async def test_there_is_nothing_else_to_see() -> None:
    async with serving() as server:
        status, _, _ = await server.get("/queue")

    assert status == 404


@in_reactor
async def test_a_scraper_that_has_left_is_answered_no_more() -> None:
    from twisted.internet import reactor

    async with serving() as server:
        server.figures = Deferred()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", server.port)
        client = await connectProtocol(endpoint, Protocol())
        assert client.transport is not None
        client.transport.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.asked
        client.transport.abortConnection()
        status, _, _ = await server.get("/healthz")
        server.figures.callback(None)

    assert status == 200
    assert server.events.names == []
