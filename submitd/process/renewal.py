"""The certificate from an authority: ordered, and renewed before it ends."""

from collections.abc import Callable, Sequence
from random import Random
from socket import socket
from typing import Any, Final

from attrs import asdict
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from submitd.observe.events import (
    BUG,
    CERTIFICATE_ISSUED,
    CERTIFICATE_NOT_ISSUED,
    Events,
)
from submitd.process.order import Order
from submitd.process.program import PipedProcess
from submitd.tls.challenge import ProofTls
from submitd.web.brief import BriefFactory
from submitd.web.challenge import make_challenge_site

_FIRST_DELAY: Final = 300.0
_LONGEST_DELAY: Final = 6 * 3600.0
_JITTER: Final = 0.1
"""Not everybody's server is to ask at the same time."""

_ERRAND_TIME: Final = 600.0
"""Seconds after which an errand is ended by force."""


class Renewal(Service):
    """Sends for the certificate; shows the proofs that the authority looks for."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several reactor interfaces at once
        events: Events,
        on_issued: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._events = events
        self._on_issued = on_issued
        self._order: Order | None = None
        self._authorizations: dict[str, str] = {}
        self._proof_tls: ProofTls | None = None
        self._sockets: list[socket] = []
        self._ports: list[IListeningPort] = []
        self._chance = Random()  # noqa: S311 - when, not a secret
        self._failures = 0
        self._next: IDelayedCall | None = None
        self._errand: _Errand | None = None
        self._one_at_a_time = DeferredLock()

    def use(self, order: Order | None, sockets: Sequence[socket]) -> None:
        """From now on; None: none is ordered. ``sockets`` are bound and stay open."""
        if order == self._order and list(sockets) == self._sockets:
            return
        self._close_ports()
        self._sockets = list(sockets)
        self._order = order
        self._failures = 0
        if order is not None:
            # Everybody can come to that port, and it is the supervisor's.
            factory = BriefFactory(
                self._factory(order.challenge), self._reactor.callLater
            )
            for one in sockets:
                port = self._reactor.adoptStreamPort(one.fileno(), one.family, factory)
                self._ports.append(port)
        self._plan(0.0)

    def stopService(self) -> None:
        """End what is under way."""
        super().stopService()
        self._close_ports()
        self._plan(None)
        if self._errand is not None:
            self._errand.kill()

    async def renew(self, *, force: bool) -> str:
        """Do it now; what is wrong, or an empty text.

        ``force``: even where it is not due.
        """
        await self._one_at_a_time.acquire()
        try:
            # A reload, or a stop, may have come while we waited.
            if not self.running:
                return "the server stops"
            if (order := self._order) is None:
                return "there is no [tls] acme = true in the configuration"
            return await self._renew(order, force=force)
        finally:
            self._one_at_a_time.release()

    async def _renew(self, order: Order, *, force: bool) -> str:
        self._plan(None)
        self._errand = errand = _Errand(
            self._reactor,
            {"show-http-01": self._show_http, "show-tls-alpn-01": self._show_tls},
        )
        try:
            done = await errand.run(order, force=force)
        finally:
            self._errand = None
            self._authorizations.clear()
            if self._proof_tls is not None:
                self._proof_tls.clear()
        return self._settle(order, **done)

    def _settle(
        self, order: Order, did: str, again_in: float, ends: str, problem: str
    ) -> str:
        if not self.running:
            return problem
        names = ", ".join(order.names)
        if did == "failed":
            again_in = min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY)
            self._failures += 1
            self._events.emit(
                CERTIFICATE_NOT_ISSUED,
                names=names,
                authority=order.authority,
                problem=problem,
                retry_in=round(again_in),
            )
        else:
            self._failures = 0
        if did == "issued":
            self._events.emit(
                CERTIFICATE_ISSUED, names=names, ends=ends, problem=problem or None
            )
            self._on_issued()
        # Later, never earlier: it would not be due yet.
        self._plan(again_in * self._chance.uniform(1, 1 + _JITTER))
        return problem if did == "failed" else ""

    def _plan(self, delay: float | None) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        if delay is not None and self._order is not None:
            self._next = self._reactor.callLater(delay, self._begin)

    def _begin(self) -> None:
        work = Deferred.fromCoroutine(self.renew(force=False))
        work.addErrback(lambda failure: self._events.failure(BUG, failure.value))

    # What the authority looks for

    def _factory(self, challenge: str) -> IProtocolFactory:
        if challenge == "http-01":
            return make_challenge_site(self._authorizations)
        self._proof_tls = ProofTls()
        nothing = Factory.forProtocol(Protocol)
        factory = TLSMemoryBIOFactory(self._proof_tls, False, nothing)
        factory.noisy = False
        return factory

    def _show_http(self, token: str, authorization: str) -> None:
        self._authorizations[token] = authorization

    def _show_tls(self, name: str, certificate: str, key: str) -> None:
        if self._proof_tls is None:
            raise RuntimeError("nobody listens for a tls-alpn-01 challenge")
        self._proof_tls.show(name, certificate.encode("ascii"), key.encode("ascii"))

    def _close_ports(self) -> None:
        for port in self._ports:
            port.stopListening()
        self._ports.clear()


class _Errand(PipedProcess):
    """The process that talks to the authority: `submitd.process.acme`."""

    def __init__(self, reactor: Any, handlers: dict[str, Callable[..., Any]]) -> None:  # noqa: ANN401
        super().__init__(reactor, {**handlers, "done": self._is_done})
        self._done: Deferred[dict[str, Any]] = Deferred()

    async def run(self, order: Order, *, force: bool) -> dict[str, Any]:
        """From start to end; gives an `acme.Outcome` as plain values."""
        self.start("submitd.process.acme")
        self.pipe.tell("errand", order=asdict(order), force=force)
        alarm = self._reactor.callLater(_ERRAND_TIME, self.kill)
        try:
            return await self._done
        finally:
            if alarm.active():
                alarm.cancel()

    def _is_done(self, **outcome: Any) -> None:  # noqa: ANN401
        if not self._done.called:
            self._done.callback(outcome)

    def over(self, how: str) -> None:
        problem = f"the order was broken off: {how}"
        self._is_done(did="failed", again_in=0.0, ends="", problem=problem)
