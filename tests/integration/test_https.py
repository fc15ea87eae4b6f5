"""Small questions to web servers: no answer but a right one is taken."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.https import HttpsClient
from submitd.tls.client import load_trust
from tests.support.certificates import make_certificate
from tests.support.in_reactor import in_reactor
from tests.support.issuer import Issuer

pytestmark = pytest.mark.integration


@asynccontextmanager
async def answering(folder: Path) -> AsyncIterator[Issuer]:
    """A web server on loopback."""
    issuer = Issuer(reactor, folder)
    try:
        yield issuer
    finally:
        await issuer.close()


def client(ca: Path | None, time_out: float = 5.0) -> HttpsClient:
    return HttpsClient(reactor, None if ca is None else load_trust(ca), time_out)


@in_reactor
async def test_an_answer_is_taken_whole(tmp_path: Path) -> None:
    async with answering(tmp_path) as issuer:
        issuer.answer = b"x" * (512 * 1024)
        assert await client(issuer.ca).get(f"{issuer.url}/keys") == issuer.answer


@in_reactor
async def test_an_answer_has_a_bound(tmp_path: Path) -> None:
    async with answering(tmp_path) as issuer:
        issuer.answer = b"x" * (512 * 1024 + 1)
        with pytest.raises(DirectoryUnavailable, match="too large"):
            await client(issuer.ca).get(f"{issuer.url}/keys")


@pytest.mark.parametrize("status", [302, 307, 401, 404, 500, 503])
@in_reactor
async def test_an_answer_is_one_of_200_and_no_hint_elsewhere(
    tmp_path: Path, status: int
) -> None:
    async with answering(tmp_path) as issuer:
        issuer.fault = status
        with pytest.raises(DirectoryUnavailable, match=str(status)):
            await client(issuer.ca).get(f"{issuer.url}/keys")
        assert issuer.asked == ["/keys"]


@in_reactor
async def test_a_question_has_an_end(tmp_path: Path) -> None:
    async with answering(tmp_path) as issuer:
        issuer.is_silent = True
        with pytest.raises(DirectoryUnavailable, match="no answer in time"):
            await client(issuer.ca, 0.3).get(f"{issuer.url}/keys")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
@in_reactor
async def test_a_broken_answer_is_none(tmp_path: Path, said: bytes) -> None:
    ca = make_certificate(tmp_path, "cert.pem", "key.pem", ["localhost"])

    class Broken(Protocol):
        def dataReceived(self, data: bytes) -> None:  # noqa: ARG002
            self.transport.write(said)  # type: ignore[union-attr]
            self.transport.loseConnection()  # type: ignore[union-attr]

    context = DefaultOpenSSLContextFactory(
        str(tmp_path / "key.pem"), str(ca), SSL.TLS_SERVER_METHOD
    )
    port: Any = reactor.listenSSL(  # type: ignore[attr-defined]
        0, Factory.forProtocol(Broken), context, interface="127.0.0.1"
    )
    url = f"https://localhost:{port.getHost().port}/"
    web = client(ca)
    try:
        for asked in (web.get(url), web.post(url, {"token": "x"}, "")):
            with pytest.raises(DirectoryUnavailable):
                await asked
    finally:
        await port.stopListening()


@in_reactor
async def test_a_server_that_is_not_the_one_is_told_nothing(tmp_path: Path) -> None:
    """Neither one with another name, nor one that nobody vouches for."""
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_certificate(other, "cert.pem", "key.pem", ["localhost"])
    async with answering(tmp_path) as issuer:
        wrong_name = issuer.url.replace("localhost", "127.0.0.2")
        for web, url in (
            (client(stranger), issuer.url),
            (client(None), issuer.url),
            (client(issuer.ca), wrong_name),
        ):
            with pytest.raises(DirectoryUnavailable):
                await web.post(f"{url}/introspect", {"token": "x"}, "")
        assert issuer.asked == []


@in_reactor
async def test_a_server_that_is_not_there_is_no_refusal(tmp_path: Path) -> None:
    async with answering(tmp_path) as issuer:
        url = issuer.url
    with pytest.raises(DirectoryUnavailable, match="refused"):
        await client(issuer.ca).get(f"{url}/keys")
