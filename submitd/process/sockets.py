"""Listening sockets: bound once by the supervisor, shared by its workers."""

import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from twisted.internet.endpoints import quoteStringArgument, serverFromString

from submitd.config.sections import Config
from submitd.config.serving import ListenerSection

_BACKLOG: Final = 1024


class CannotBind(Exception):
    """A port cannot be had. The message names listener, address and why."""


@frozen
class BindAddress:
    """Where a listener listens: what tells two sockets apart."""

    host: str
    port: int


@frozen
class Bound:
    """The sockets that a configuration needs."""

    listeners: Mapping[str, Sequence[socket.socket]]
    challenge: Sequence[socket.socket]
    """Where an authority's question is awaited."""


def addresses_of(listener: ListenerSection) -> tuple[BindAddress, ...]:
    """The sockets that a listener needs; ``*`` needs one of each family."""
    return _addresses(listener.address, listener.port)


def challenge_addresses(config: Config) -> tuple[BindAddress, ...]:
    """The sockets that an authority's question needs, if one is awaited."""
    port = config.acme.awaited_on
    if not config.tls.acme or port is None:
        return ()
    return _addresses(config.acme.address, port)


def _addresses(address: str, port: int) -> tuple[BindAddress, ...]:
    if address == "*":
        hosts = ("0.0.0.0", "::") if socket.has_dualstack_ipv6() else ("0.0.0.0",)  # noqa: S104
        return tuple(BindAddress(host, port) for host in hosts)
    return (BindAddress(address, port),)


def _needed(config: Config) -> Iterator[tuple[str, BindAddress]]:
    """Each socket, and the table that wants it."""
    for name, listener in config.listener.items():
        for where in addresses_of(listener):
            yield f"[listener.{name}]", where
    for where in challenge_addresses(config):
        yield "[acme]", where


class Sockets:
    """All listening sockets of the server, kept over reloads."""

    def __init__(self) -> None:
        self._open: dict[BindAddress, socket.socket] = {}

    def bind(self, config: Config) -> Bound:
        """All sockets that it needs; those that are open already are kept.

        Raises:
            CannotBind: nothing changed.
        """
        fresh: dict[BindAddress, socket.socket] = {}
        try:
            for table, where in _needed(config):
                if where not in self._open and where not in fresh:
                    fresh[where] = _listen(table, where)
        except CannotBind:
            for one in fresh.values():
                one.close()
            raise
        self._open.update(fresh)
        return Bound(
            {
                name: [self._open[where] for where in addresses_of(listener)]
                for name, listener in config.listener.items()
            },
            [self._open[where] for where in challenge_addresses(config)],
        )

    def close_unused(self, config: Config) -> None:
        """Close what no listener of ``config`` needs any more."""
        needed = {where for _, where in _needed(config)}
        for where in self._open.keys() - needed:
            self._open.pop(where).close()

    def close(self) -> None:
        """Close them all."""
        for one in self._open.values():
            one.close()
        self._open.clear()

    @property
    def own_addresses(self) -> frozenset[tuple[str, int]]:
        """(host, port) of each socket, wildcard hosts as bound."""
        return frozenset(
            (one.getsockname()[0], one.getsockname()[1]) for one in self._open.values()
        )


def _listen(table: str, where: BindAddress) -> socket.socket:
    if where.host.startswith("systemd:"):
        return _passed(table, where.host.removeprefix("systemd:"))
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((where.host, where.port))
        one.listen(_BACKLOG)
        one.setblocking(False)
    except OSError as problem:
        one.close()
        raise CannotBind(
            f"{table}: cannot listen on {where.host} port {where.port}: "
            f"{_explained(problem)}"
        ) from problem
    return one


def _explained(problem: OSError) -> str:
    match problem.errno:
        case errno.EADDRINUSE:
            return "another program uses this port"
        case errno.EACCES:
            return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case _:
            return problem.strerror or str(problem)


def _passed(table: str, wanted: str) -> socket.socket:
    from twisted.internet import reactor

    # Twisted has taken what systemd says of its sockets out of the environment, and
    # tells of it by endpoints. (Their family is not looked at: they are open.)
    description = f"systemd:domain=INET:name={quoteStringArgument(wanted)}"
    try:
        endpoint: Any = serverFromString(reactor, description)
    except KeyError as problem:
        raise CannotBind(
            f"{table}: systemd passed no socket named {wanted}; "
            "FileDescriptorName= in the socket's unit is its name"
        ) from problem
    one = socket.socket(fileno=os.dup(endpoint.fileno))
    # systemd's block. A worker would wait for a client that another one has taken.
    one.setblocking(False)
    return one
