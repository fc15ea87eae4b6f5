"""Listening sockets: bound once by the supervisor, shared by its workers."""

import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from submitd.config.sections import Config, ListenerSection

_BACKLOG: Final = 1024
_FIRST_PASSED: Final = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""


class CannotBind(Exception):
    """A port cannot be had. The message names listener, address and why."""


@frozen
class BindAddress:
    """Where a listener listens: what tells two sockets apart."""

    host: str
    port: int


def addresses_of(listener: ListenerSection) -> tuple[BindAddress, ...]:
    """The sockets that a listener needs; ``*`` needs one of each family."""
    if listener.address == "*":
        hosts = ("0.0.0.0", "::") if socket.has_dualstack_ipv6() else ("0.0.0.0",)  # noqa: S104
        return tuple(BindAddress(host, listener.port) for host in hosts)
    return (BindAddress(listener.address, listener.port),)


class Sockets:
    """All listening sockets of the server, kept over reloads."""

    def __init__(self) -> None:
        self._open: dict[BindAddress, socket.socket] = {}

    def bind(self, config: Config) -> dict[str, list[socket.socket]]:
        """The sockets of each listener; those that are open already are kept.

        Raises:
            CannotBind: nothing changed.
        """
        fresh: dict[BindAddress, socket.socket] = {}
        found: dict[str, list[socket.socket]] = {}
        try:
            for name, listener in config.listener.items():
                for where in addresses_of(listener):
                    if (one := self._open.get(where) or fresh.get(where)) is None:
                        fresh[where] = one = _listen(name, where)
                    found.setdefault(name, []).append(one)
        except CannotBind:
            for one in fresh.values():
                one.close()
            raise
        self._open.update(fresh)
        return found

    def close_unused(self, config: Config) -> None:
        """Close what no listener of ``config`` needs any more."""
        needed = {
            where
            for listener in config.listener.values()
            for where in addresses_of(listener)
        }
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


def _listen(name: str, where: BindAddress) -> socket.socket:
    if where.host.startswith("systemd:"):
        return _passed(name, where.host.removeprefix("systemd:"))
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
            f"[listener.{name}]: cannot listen on {where.host} port {where.port}: "
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


def passed_sockets(environ: Mapping[str, str]) -> dict[str, int]:
    """Descriptors that systemd passed to this process, by their names."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(environ.get("LISTEN_FDS", "0"))
    return {
        name: _FIRST_PASSED + number
        for number, name in zip(range(count), names, strict=False)
    }


def _passed(name: str, wanted: str) -> socket.socket:
    found = passed_sockets(os.environ)
    if wanted not in found:
        listed = ", ".join(sorted(found)) or "none"
        raise CannotBind(
            f"[listener.{name}]: systemd passed no socket named {wanted} (there are: "
            f"{listed})"
        )
    return socket.socket(fileno=os.dup(found[wanted]))
