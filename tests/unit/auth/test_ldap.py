"""The connections to the directory, where log-ins give up waiting."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.ldap import Directory, Filter, Server


class Transport:
    aborted = False

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True


class Client:
    """A connection that answers when the test says so."""

    def __init__(self) -> None:
        self.connected = 1
        self.transport = Transport()
        self.binding: Deferred[None] = Deferred()

    def bind(self, dn: str, password: bytes) -> Deferred[None]:  # noqa: ARG002
        return self.binding


class Servers:
    """Stands in for `DirectoryServers`."""

    time_out = 5.0

    def __init__(self) -> None:
        self.connecting: list[Deferred[Client]] = []

    async def connect(self, prepare: object = None) -> Client:  # noqa: ARG002
        self.connecting.append(Deferred())
        return await self.connecting[-1]


def directory() -> tuple[Directory, Servers]:
    servers = Servers()
    known = Directory(
        Clock(),
        servers,  # type: ignore[arg-type]
        bind_dn="",
        bind_password="",
        connections=1,
    )
    return known, servers


def begun(coroutine: Any) -> tuple[Deferred[Any], list[Any]]:  # noqa: ANN401
    outcome: list[Any] = []
    running: Deferred[Any] = Deferred.fromCoroutine(coroutine)
    running.addBoth(outcome.append)
    return running, outcome


def test_who_gives_up_waiting_spoils_nothing_for_the_others() -> None:
    """Not even the one that began to connect: a log-in has a time of its own."""
    known, servers = directory()
    first, gone = begun(known._shared())
    _, waits = begun(known._shared())
    first.cancel()
    assert gone[0].check(CancelledError)
    assert waits == []
    servers.connecting[0].errback(DirectoryUnavailable("down"))
    assert waits[0].check(DirectoryUnavailable)
    # And when the directory is back, so are the log-ins.
    _, third = begun(known._shared())
    client = Client()
    servers.connecting[1].callback(client)
    assert third == [client]
    _, fourth = begun(known._shared())
    assert fourth == [client]


def test_a_fault_that_nobody_foresaw_does_not_stay() -> None:
    known, servers = directory()
    _, first = begun(known._shared())
    servers.connecting[0].errback(ZeroDivisionError())
    assert first[0].check(ZeroDivisionError)
    _, second = begun(known._shared())
    servers.connecting[1].callback(Client())
    assert isinstance(second[0], Client)


def test_a_connection_that_broke_is_made_anew() -> None:
    known, servers = directory()
    begun(known._shared())
    client = Client()
    servers.connecting[0].callback(client)
    client.connected = 0
    begun(known._shared())
    assert len(servers.connecting) == 2


def test_a_bind_that_nobody_waits_for_any_more_is_given_up() -> None:
    known, servers = directory()
    binding, outcome = begun(known.bind("uid=alice", "x"))
    client = Client()
    servers.connecting[0].callback(client)
    binding.cancel()
    assert outcome[0].check(CancelledError)
    assert client.transport.aborted
    # Its turn is another's.
    _, second = begun(known.bind("uid=alice", "x"))
    fresh = Client()
    servers.connecting[1].callback(fresh)
    fresh.binding.callback(None)
    assert second == [True]


@pytest.mark.parametrize("connected_first", [True, False])
def test_a_closed_directory_keeps_no_connection(connected_first: bool) -> None:
    known, servers = directory()
    begun(known._shared())
    client = Client()
    if connected_first:
        servers.connecting[0].callback(client)
        known.close()
    else:
        known.close()
        servers.connecting[0].callback(client)
    assert client.transport.aborted


def test_an_empty_password_is_never_tried() -> None:
    """RFC 4513 section 5.1.2: such a bind succeeds without proving anything."""
    known, servers = directory()
    _, outcome = begun(known.bind("uid=alice", ""))
    assert outcome[0].check(ValueError)
    assert servers.connecting == []


def test_servers_are_named_by_url() -> None:
    assert Server.parse("ldap://a.example") == Server("a.example", 389, False)
    assert Server.parse("ldaps://a.example") == Server("a.example", 636, True)
    assert str(Server.parse("ldap://a.example:1389")) == "a.example:1389"
    for url in ("http://a.example", "ldap://", "a.example"):
        with pytest.raises(ValueError, match="no ldap"):
            Server.parse(url)


@pytest.mark.parametrize("template", ["", "uid={login}", "((uid={login})", "(uid"])
def test_what_is_no_filter_is_told(template: str) -> None:
    with pytest.raises(ValueError, match="no LDAP filter"):
        Filter(template, ["login"])
