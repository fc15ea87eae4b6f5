"""Small questions to web servers: HTTPS alone, bounded in size and in time."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlencode

from OpenSSL import SSL
from service_identity.exceptions import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import platformTrust
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from submitd.auth.errors import DirectoryUnavailable

_MOST_OCTETS: Final = 512 * 1024

_FAULTS: Final = (
    TimedOut,
    CancelledError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    SSL.Error,
    CertificateError,
    VerificationError,
    OSError,
)


class _TooLarge(Exception):
    """More came than is taken."""


class _Body(Protocol):
    """Collects a response, up to a bound."""

    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._octets = b""

    def _stop(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > _MOST_OCTETS and not self.done.called:
            self.done.errback(_TooLarge("the answer is too large"))
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(self._octets)
        else:
            self.done.errback(reason)


class HttpsClient:
    """Asks, and follows no redirection: that would be another server's answer."""

    def __init__(self, reactor: Any, trust: Any, time_out: float) -> None:  # noqa: ANN401
        """``trust``: who may vouch for servers; None: the system's authorities.

        ``time_out``: seconds for a question and its answer.
        """
        self._reactor = reactor
        self._time_out = time_out
        self._agent = Agent(
            reactor,
            BrowserLikePolicyForHTTPS(platformTrust() if trust is None else trust),
            connectTimeout=time_out,
        )

    async def get(self, url: str) -> bytes:
        """What is there.

        Raises:
            DirectoryUnavailable: anything but an answer of 200.
        """
        return await self._ask(b"GET", url, {}, None)

    async def post(
        self, url: str, form: Mapping[str, str], authorization: str
    ) -> bytes:
        """The answer to a form; ``authorization``: field value, or empty.

        Raises:
            DirectoryUnavailable: as `get`.
        """
        headers = {"Content-Type": ["application/x-www-form-urlencoded"]}
        if authorization:
            headers["Authorization"] = [authorization]
        return await self._ask(b"POST", url, headers, urlencode(form).encode())

    async def _ask(
        self,
        method: bytes,
        url: str,
        headers: Mapping[str, list[str]],
        content: bytes | None,
    ) -> bytes:
        asking = Deferred.fromCoroutine(self._exchange(method, url, headers, content))
        try:
            return await asking.addTimeout(self._time_out, self._reactor)
        except (*_FAULTS, _TooLarge) as problem:
            raise DirectoryUnavailable(f"{url}: {_words(problem)}") from problem

    async def _exchange(
        self,
        method: bytes,
        url: str,
        headers: Mapping[str, list[str]],
        content: bytes | None,
    ) -> bytes:
        response: Any = await self._agent.request(
            method,
            url.encode("ascii"),
            Headers({"Accept": ["application/json"], **headers}),
            None if content is None else FileBodyProducer(BytesIO(content)),
        )
        body = _Body()
        response.deliverBody(body)
        octets = await body.done
        if response.code != 200:
            raise DirectoryUnavailable(f"{url}: the answer is {response.code}")
        return octets


def _words(problem: BaseException) -> str:
    inner = getattr(problem, "reasons", None)
    cause = inner[0].value if inner else problem
    if isinstance(cause, TimedOut | CancelledError):
        return "no answer in time"
    return f"{type(cause).__name__} {cause}".strip()[:200]
