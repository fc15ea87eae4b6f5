"""Whom to ask."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from submitd.dns.answer import Unanswered
from submitd.dns.servers import (
    ConfiguredServers,
    NameServer,
    NameServers,
    Reading,
    SystemServers,
    parse_resolv_conf,
)
from tests.support.awaited import awaited


def now(source: NameServers) -> tuple[NameServer, ...]:
    return awaited(source.current())


async def at_once(look: Callable[[], Reading | None]) -> Reading | None:
    return look()


def test_configured_servers_are_asked_in_their_order_and_believed() -> None:
    source = ConfiguredServers([("127.0.0.1", 5353), ("2001:db8::53", 53)])

    assert now(source) == (
        NameServer("127.0.0.1", 5353, trusted=True),
        NameServer("2001:db8::53", 53, trusted=True),
    )
    assert [str(server) for server in now(source)] == [
        "127.0.0.1:5353",
        "[2001:db8::53]:53",
    ]


def test_nobody_to_ask_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no name server"):
        ConfiguredServers([])


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", [("127.0.0.1", True)]),
        ("search example.org\n", [("127.0.0.1", True)]),
        ("nameserver 192.0.2.53\n", [("192.0.2.53", False)]),
        ("nameserver\t127.0.0.53 # here\n", [("127.0.0.53", True)]),
        ("#nameserver 192.0.2.1\n; nameserver 192.0.2.2\n", [("127.0.0.1", True)]),
        ("nameserver ns.example.org\nnameserver ::1", [("::1", True)]),
        ("nameserver\nnameserver fe80::1%eth0\n", [("fe80::1%eth0", False)]),
        (
            "nameserver 192.0.2.1\noptions edns0 trust-ad\nnameserver 192.0.2.2\n",
            [("192.0.2.1", True), ("192.0.2.2", True)],
        ),
        (
            "".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 6)),
            [("192.0.2.1", False), ("192.0.2.2", False), ("192.0.2.3", False)],
        ),
    ],
)
def test_resolv_conf_names_servers_and_says_whether_they_are_believed(
    text: str, servers: list[tuple[str, bool]]
) -> None:
    """resolv.conf(5): three at most; AD of another host only with trust-ad."""
    assert parse_resolv_conf(text) == tuple(
        NameServer(host, 53, trusted=trusted) for host, trusted in servers
    )


def test_the_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.2\n")
    clock = Clock()
    source = SystemServers(clock, at_once, file)
    assert now(source) == (NameServer("127.0.0.2"),)

    file.write_text("nameserver 127.0.0.33\n")
    assert now(source) == (NameServer("127.0.0.2"),)
    clock.advance(5)
    assert now(source) == (NameServer("127.0.0.33"),)


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.2\n")
    times = (10**18, 10**18)
    os.utime(file, ns=times)
    clock = Clock()
    source = SystemServers(clock, at_once, file)
    now(source)

    # Same length, same times: if it were read, the new address would show.
    with file.open("r+") as same_file:
        same_file.write("nameserver 127.0.0.3\n")
    os.utime(file, ns=times)
    clock.advance(5)

    assert now(source) == (NameServer("127.0.0.2"),)


def test_without_the_file_this_host_is_asked(tmp_path: Path) -> None:
    assert now(SystemServers(Clock(), at_once, tmp_path / "none")) == (
        NameServer("127.0.0.1"),
    )


def test_a_file_that_cannot_be_read_leaves_what_was_known(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.2\n")
    clock = Clock()
    source = SystemServers(clock, at_once, file)
    now(source)

    file.unlink()
    file.mkdir()
    clock.advance(5)

    assert now(source) == (NameServer("127.0.0.2"),)


def test_a_file_that_never_could_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    """Nobody said to ask this host."""
    with pytest.raises(Unanswered, match="no name server is known"):
        now(SystemServers(Clock(), at_once, tmp_path))


def test_many_questions_at_once_look_at_the_file_once(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.2\n")
    looks: list[Deferred[None]] = []

    async def later(look: Callable[[], Reading | None]) -> Reading | None:
        looks.append(Deferred())
        await looks[-1]
        return look()

    source = SystemServers(Clock(), later, file)
    found: list[tuple[NameServer, ...]] = []
    for _ in range(3):
        Deferred.fromCoroutine(source.current()).addCallback(found.append)
    looks[0].callback(None)

    assert len(looks) == 1
    assert found == [(NameServer("127.0.0.2"),)] * 3
