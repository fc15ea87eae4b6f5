"""A door for strangers who have one short question: few at once, none for long."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

_MOST: Final = 100
"""Connections at once."""

_LONGEST: Final = 15.0
"""Seconds for a connection in all, however busy its client keeps it."""

CallLater = Callable[..., IDelayedCall]


class _Brief(ProtocolWrapper):
    factory: "BriefFactory"
    _end: IDelayedCall

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._end = self.factory.call_later(_LONGEST, transport.abortConnection)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end.active():
            self._end.cancel()
        super().connectionLost(reason)


class BriefFactory(WrappingFactory):
    """Bounds the connections of another factory in number and in time."""

    protocol = _Brief
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, call_later: CallLater) -> None:
        super().__init__(wrapped)
        self.call_later = call_later

    def buildProtocol(  # type: ignore[override]  # Twisted's own may give None, too
        self, addr: IAddress | None
    ) -> ProtocolWrapper | None:
        """None beyond the bound: the connection is closed at once."""
        return None if len(self.protocols) >= _MOST else super().buildProtocol(addr)
