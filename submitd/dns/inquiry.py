"""One question on its way to the name servers (RFC 1035 section 7, RFC 5452)."""

import secrets
from collections import deque
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from submitd.dns.answer import Unanswered
from submitd.dns.message import (
    MalformedMessage,
    NotOurs,
    Question,
    Response,
    ResponseCode,
    encode_query,
    read_response,
    words_of,
)
from submitd.dns.servers import NameServer
from submitd.dns.transport import Channel, Network

_ROUNDS: Final = 2
"""How often each server is asked."""

_MOST_WRONG: Final = 10
"""Wrong answers on one port before we take it for an attack and go on by TCP,
where nobody off the path can answer (RFC 5452 section 9.2)."""

_WITHOUT_EDNS: Final = frozenset(
    {
        ResponseCode.FORMAT_ERROR,
        ResponseCode.NOT_IMPLEMENTED,
        ResponseCode.BAD_VERSION,
    }
)
_ANSWERS: Final = frozenset({ResponseCode.NO_ERROR, ResponseCode.NAME_ERROR})


class Inquiry:
    """Asks the servers in turn until one answers.

    A server that fails makes room for the next at once. One that is silent
    gets company after a while, and may still be the one that answers: what
    takes long is more often a far name server than a dead resolver.
    """

    def __init__(
        self,
        clock: IReactorTime,
        network: Network,
        question: Question,
        servers: Sequence[NameServer],
        time_out: float,
    ) -> None:
        """``time_out`` is what the whole may take, in seconds.

        It shares the time out among the servers; ending after it is the
        caller's, by cancelling.
        """
        self.question = question
        self.network = network
        self._clock = clock
        self._to_ask = deque(list(servers) * _ROUNDS)
        self._pause = time_out / len(self._to_ask)
        self._attempts: list[_Attempt] = []
        self._failed: dict[NameServer, str] = {}
        self._timer: IDelayedCall | None = None
        self._result: Deferred[tuple[Response, NameServer]] = Deferred(
            lambda _: self._give_up()
        )
        self.silent: set[NameServer] = set()
        """Servers that let another's turn come."""

    def start(self) -> Deferred[tuple[Response, NameServer]]:
        """Ask. Cancelling the result ends the inquiry.

        The result fails with `Unanswered` when every server has failed.
        """
        self._ask_next()
        return self._result

    @property
    def detail(self) -> str:
        """What each server did so far."""
        silent = {attempt.server: attempt.story for attempt in self._attempts}
        return "; ".join(
            f"{server}: {what}" for server, what in (self._failed | silent).items()
        )

    def _ask_next(self) -> None:
        self._timer = None
        self.silent.update(attempt.server for attempt in self._attempts)
        while self._to_ask:
            server = self._to_ask.popleft()
            if server in self._failed:
                continue
            attempt = _Attempt(self, server)
            try:
                attempt.by_datagram()
            except OSError as problem:
                self._failed[server] = problem.strerror or "cannot be reached"
                continue
            self._attempts.append(attempt)
            self._timer = self._clock.callLater(self._pause, self._ask_next)
            return
        if not self._attempts:
            *_, reason = self._failed.values()
            detail = self.detail
            self._close()
            self._result.errback(
                Unanswered(f"the name server failed: {reason}", detail)
            )

    def answered(self, attempt: "_Attempt", response: Response) -> None:
        self.silent.discard(attempt.server)
        self._close()
        self._result.callback((response, attempt.server))

    def failed(self, attempt: "_Attempt", reason: str) -> None:
        """This server is no help; those not asked yet get their turn now."""
        attempt.close()
        self._attempts.remove(attempt)
        self._failed[attempt.server] = reason
        if self._timer is not None:
            self._timer.cancel()
        self._ask_next()

    def _give_up(self) -> None:
        self.silent.update(attempt.server for attempt in self._attempts)
        self._close()

    def _close(self) -> None:
        for attempt in self._attempts:
            attempt.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Attempt:
    """The question at one server."""

    def __init__(self, inquiry: Inquiry, server: NameServer) -> None:
        self.server = server
        self._inquiry = inquiry
        self._channel: Channel | None = None
        self._by_stream = False
        self._edns = True
        self._wrong = 0
        self._query_id = 0

    @property
    def story(self) -> str:
        if self._wrong:
            return f"no answer, but {self._wrong} that were not for us"
        return "no answer"

    def by_datagram(self) -> None:
        """Raises: OSError."""
        octets = self._next_query()
        self._channel = self._inquiry.network.send_datagram(self.server, octets, self)

    def _next_by_stream(self) -> None:
        self._by_stream = True
        octets = self._next_query()
        self._channel = self._inquiry.network.send_stream(self.server, octets, self)

    def _next_query(self) -> bytes:
        self.close()
        self._query_id = secrets.randbits(16)
        return encode_query(self._query_id, self._inquiry.question, edns=self._edns)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def broken(self, reason: str) -> None:
        self._inquiry.failed(self, reason)

    def received(self, octets: bytes, source: tuple[str, int]) -> None:
        try:
            if not self._is_from_server(source):
                raise NotOurs("from elsewhere")
            response = read_response(octets, self._query_id, self._inquiry.question)
        except NotOurs:
            self._count_wrong()
        except MalformedMessage as problem:
            self._inquiry.failed(self, f"malformed answer: {problem}")
        else:
            self._take(response)

    def _is_from_server(self, source: tuple[str, int]) -> bool:
        host, port = source
        # The zone behind "%" names our interface; sources come without it.
        expected = self.server.host.partition("%")[0]
        return port == self.server.port and (
            host == expected
            # One IPv6 address can be written in many ways.
            or ip_address(host) == ip_address(expected)
        )

    def _count_wrong(self) -> None:
        self._wrong += 1
        if self._by_stream:
            self._inquiry.failed(self, "answers what was not asked")
        elif self._wrong >= _MOST_WRONG:
            self._next_by_stream()

    def _take(self, response: Response) -> None:
        if response.is_truncated:
            if self._by_stream:
                self._inquiry.failed(self, "truncated over TCP")
            else:
                self._next_by_stream()
        elif response.is_referral:
            self._inquiry.failed(self, "offers no recursion")
        elif response.code in _ANSWERS:
            self._inquiry.answered(self, response)
        elif response.code in _WITHOUT_EDNS and self._edns:
            self._edns = False
            self._ask_again()
        else:
            self._inquiry.failed(self, words_of(response.code))

    def _ask_again(self) -> None:
        """The same way, without what the server did not understand."""
        if self._by_stream:
            self._next_by_stream()
            return
        try:
            self.by_datagram()
        except OSError as problem:
            self._inquiry.failed(self, problem.strerror or "cannot be reached")
