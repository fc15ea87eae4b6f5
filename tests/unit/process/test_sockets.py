import errno
import os
import socket
from collections.abc import Iterator

import pytest
from attrs import evolve

from submitd.config.sections import Config
from submitd.config.serving import ListenerSection
from submitd.process.sockets import (
    BindAddress,
    CannotBind,
    Sockets,
    addresses_of,
)
from tests.support.dns_peers import free_port


def config(**listeners: tuple[str, int]) -> Config:
    return evolve(
        Config(),
        listener={
            name: ListenerSection(address=address, port=port)
            for name, (address, port) in listeners.items()
        },
    )


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close()


def test_an_address_needs_one_socket_and_a_star_one_of_each_family() -> None:
    assert addresses_of(ListenerSection(address="::1", port=5)) == (
        BindAddress("::1", 5),
    )
    star = addresses_of(ListenerSection(address="*", port=5))
    assert star[0] == BindAddress("0.0.0.0", 5)
    if socket.has_dualstack_ipv6():
        assert star[1:] == (BindAddress("::", 5),)


def test_clients_reach_what_was_bound(sockets: Sockets) -> None:
    port = free_port()

    bound = sockets.bind(config(submission=("127.0.0.1", port)))

    assert list(bound.listeners) == ["submission"]
    with socket.create_connection(("127.0.0.1", port), 10):
        pass
    assert sockets.own_addresses == {("127.0.0.1", port)}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_star_listens_on_both_families_with_sockets_of_their_own(
    sockets: Sockets,
) -> None:
    port = free_port()

    bound = sockets.bind(config(submission=("*", port)))

    assert [one.family for one in bound.listeners["submission"]] == [
        socket.AF_INET,
        socket.AF_INET6,
    ]
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), 10):
            pass


def test_a_reload_keeps_what_is_open_and_closes_what_is_not_needed(
    sockets: Sockets,
) -> None:
    kept, gone, new = (("127.0.0.1", free_port()) for _ in range(3))
    before = sockets.bind(config(a=kept, b=gone)).listeners

    after = sockets.bind(config(renamed=kept, c=new)).listeners
    sockets.close_unused(config(renamed=kept, c=new))

    assert after["renamed"][0] is before["a"][0]
    assert before["b"][0].fileno() == -1
    assert sockets.own_addresses == {kept, new}


def test_a_port_in_use_is_named_and_nothing_changes(sockets: Sockets) -> None:
    free = ("127.0.0.1", free_port())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()

        with pytest.raises(CannotBind) as refusal:
            sockets.bind(config(first=free, second=taken))

    assert str(refusal.value) == (
        f"[listener.second]: cannot listen on 127.0.0.1 port {taken[1]}: "
        "another program uses this port"
    )
    assert sockets.own_addresses == frozenset()
    sockets.bind(config(first=free))


def test_an_address_of_another_machine_is_said_to_be_none_of_ours(
    sockets: Sockets,
) -> None:
    with pytest.raises(CannotBind, match="this machine has no such address"):
        sockets.bind(config(a=("192.0.2.1", 2525)))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "ports below 1024 need root or CAP_NET_BIND_SERVICE"),
        (errno.ENOBUFS, "No buffer space available"),
    ],
)
def test_other_reasons_are_told_too(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("submitd.process.sockets.socket.socket.bind", refuse)

    with pytest.raises(CannotBind, match=said):
        sockets.bind(config(a=("127.0.0.1", 587)))


def test_a_passed_socket_that_is_not_there_is_told(sockets: Sockets) -> None:
    with pytest.raises(CannotBind, match="systemd passed no socket named smtp; "):
        sockets.bind(config(a=("systemd:smtp", 0)))
