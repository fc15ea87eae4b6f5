"""Logging in with a real directory behind it: slapd, over TLS, with its faults."""

import smtplib
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread
from tests.support.slapd import Slapd, person, role

pytestmark = [pytest.mark.integration, pytest.mark.peers("slapd")]

Peer = Callable[[str], Path]

# userPassword opens the account, mailPassword the mail: `openssl passwd -1`.
PEOPLE: Final = (
    person(
        "carla",
        mail="Carla.Doe@example.org",
        userPassword="account of carla",
        mailPassword="$1$Zk1yBSQL$7cj96.u7eMN6AOTUkGEe01",
    ),
    person("dirk", mail="dirk@example.org", userPassword="account of dirk"),
    person("erna", userPassword="{CRYPT}*LK*", mailPassword="{PLAIN}mail of erna"),
    person(
        "fritz",
        userPassword="account of fritz",
        mailPassword="{PLAIN}mail of fritz",
        accountStatus="inactive 2020-01-01",
    ),
    person(
        "gerd",
        userPassword="account of gerd",
        mailPassword="{PLAIN}mail of gerd",
        shadowExpire="1",
    ),
    person(
        "hanna",
        userPassword="account of hanna",
        mailPassword="{PLAIN}mail of hanna",
        mailDisableMessage="on leave",
    ),
    person("ida", mailPassword="{PLAIN}mail of ida"),
    role(
        "press",
        "groupOfNames",
        "mail: press@example.org",
        "member: uid=carla,ou=users,dc=example,dc=org",
    ),
    role("office", "device", "mail: office@example.org", "memberUid: dirk"),
)

CONFIG: Final = """
[ldap]
servers = [{servers}]
ca_file = "{ca}"
base = "ou=users,dc=example,dc=org"
bind_dn = "cn=submitd,ou=services,dc=example,dc=org"
bind_password_file = "reader"
login_domains = ["example.org"]
lock_filter = "(mailDisableMessage=*)"
time_out = "1s"
check = "{check}"
[senders.rule.attributes]
attributes = ["mail"]
[senders.rule.roles]
base = "ou=roles,dc=example,dc=org"
filter = "(|(member={{dn}})(memberUid={{login}}))"
"""


def directory(peer: Peer, folder: Path, **facts: str) -> Slapd:
    """One that is not started yet."""
    return Slapd(peer("slapd"), folder, free_port(), PEOPLE, **facts)


@asynccontextmanager
async def serving(
    folder: Path,
    *servers: Slapd,
    urls: tuple[str, ...] = (),
    check: str = "bind",
    cache: str = "0s",
) -> AsyncIterator[OneProcess]:
    """A server of ours that asks these directories; they are running."""
    ca = b""
    for one in servers:
        ca += (await in_thread(one.prepare)).read_bytes()
        await in_thread(one.start)
    (folder / "directories.pem").write_bytes(ca)
    (folder / "reader").write_text("reader\n")
    more = CONFIG.format(
        servers=", ".join(f'"{url}"' for url in urls or [one.url for one in servers]),
        ca=folder / "directories.pem",
        check=check,
    )
    log_in = f'cache = "{cache}"\ncache_failures = "0s"'
    server = OneProcess(reactor, folder, more, log_in=log_in)
    try:
        async with server:
            yield server
    finally:
        for one in servers:
            await in_thread(one.stop)


def answer(server: OneProcess, user: str, password: str) -> tuple[int, bytes]:
    """What AUTH was answered. Blocks."""
    try:
        server.logged_in(user, password).quit()
    except smtplib.SMTPAuthenticationError as refusal:
        return refusal.smtp_code, bytes(refusal.smtp_error)  # type: ignore[arg-type]
    return 235, b""


async def log_in(server: OneProcess, user: str, password: str) -> tuple[int, bytes]:
    """The same, awaited."""
    return await in_thread(lambda: answer(server, user, password))


async def code(server: OneProcess, user: str, password: str) -> int:
    """Its code alone."""
    return (await log_in(server, user, password))[0]


@in_reactor
async def test_people_log_in_by_binding_however_they_write_their_name(
    tmp_path: Path, peer: Peer
) -> None:
    slapd = directory(peer, tmp_path / "ldap")
    async with serving(tmp_path, slapd) as server:
        for name in ("carla", "CARLA", "carla@example.org", "Carla@EXAMPLE.org"):
            assert await code(server, name, "account of carla") == 235
        await server.until(lambda: server.log.count(" login=carla ") >= 4)
        assert await code(server, "carla@example.net", "account of carla") == 535


@in_reactor
async def test_no_and_nobody_look_alike(tmp_path: Path, peer: Peer) -> None:
    """RFC 4954 section 6: 535 5.7.8, whoever it was."""
    async with serving(tmp_path, directory(peer, tmp_path / "ldap")) as server:
        wrong = await log_in(server, "carla", "wrong")
        assert wrong[0] == 535
        assert wrong[1].startswith(b"5.7.8 ")
        # Nobody; one without a password; names that are filters and patterns.
        for name in ("nobody", "ida", "*", "car*", "carla)(uid=*", "\\2a", "carla "):
            refused = await log_in(server, name, "wrong")
            assert refused == wrong, name
        for name in ("*", "car*", "c*)(uid=carla", ")("):
            assert await code(server, name, "account of carla") == 535, name


@in_reactor
async def test_a_stored_hash_is_compared_and_the_accounts_password_is_not(
    tmp_path: Path, peer: Peer
) -> None:
    slapd = directory(peer, tmp_path / "ldap")
    async with serving(tmp_path, slapd, check="hash") as server:
        assert await code(server, "carla", "mail of carla") == 235
        assert await code(server, "carla", "account of carla") == 535
        assert await code(server, "dirk", "account of dirk") == 535
        assert await code(server, "ida", "mail of ida") == 235
        assert await code(server, "nobody", "mail of ida") == 535


@in_reactor
async def test_a_locked_account_sends_no_mail(tmp_path: Path, peer: Peer) -> None:
    """Whatever the mail password says, and in the words of a wrong password."""
    slapd = directory(peer, tmp_path / "ldap")
    async with serving(tmp_path, slapd, check="hash") as server:
        wrong = await log_in(server, "carla", "wrong")
        for name in ("erna", "fritz", "gerd", "hanna"):
            assert await log_in(server, name, f"mail of {name}") == wrong, name
            await server.logs(f"[account-locked] login={name} ")


@in_reactor
async def test_addresses_are_those_of_the_entry_and_of_its_roles(
    tmp_path: Path, peer: Peer
) -> None:
    """A role by the member's DN or name; another's role and address are refused."""

    def replies(server: OneProcess, user: str, *paths: str) -> list[tuple[int, bytes]]:
        answers = []
        with server.logged_in(user, f"account of {user}") as client:
            for path in paths:
                answers.append(client.mail(path))
                client.rset()
        return answers

    async with serving(tmp_path, directory(peer, tmp_path / "ldap")) as server:
        carla = await in_thread(
            lambda: replies(
                server,
                "carla",
                "Carla.Doe@example.org",
                "press@example.org",
                "office@example.org",
                "dirk@example.org",
            )
        )
        dirk = await in_thread(
            lambda: replies(server, "dirk", "office@example.org", "press@example.org")
        )
        assert [one[0] for one in carla] == [250, 250, 553, 553]
        assert b"<office@example.org> is not yours" in carla[2][1]
        assert b"press@example.org" in carla[2][1]
        assert [one[0] for one in dirk] == [250, 553]


@in_reactor
async def test_what_a_role_sends_arrives(tmp_path: Path, peer: Peer) -> None:
    message = b"From: Press <press@example.org>\r\nSubject: x\r\n\r\nText.\r\n"

    def send(server: OneProcess) -> None:
        with server.logged_in("carla@example.org", "account of carla") as client:
            client.sendmail("press@example.org", ["bob@example.net"], message)

    async with serving(tmp_path, directory(peer, tmp_path / "ldap")) as server:
        await in_thread(lambda: send(server))
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert received.reverse_path == "press@example.org"
        assert b"From: Press <press@example.org>\r\n" in received.content


@pytest.mark.parametrize("check", ["bind", "hash"])
@in_reactor
async def test_a_directory_that_is_down_is_no_wrong_password(
    tmp_path: Path, peer: Peer, check: str
) -> None:
    """454 4.7.0 (RFC 4954 section 6); and it needs no restart of ours."""
    slapd = directory(peer, tmp_path / "ldap")
    password = "account of carla" if check == "bind" else "mail of carla"
    async with serving(tmp_path, slapd, check=check) as server:
        assert await code(server, "carla", password) == 235
        await in_thread(slapd.stop)
        refused = await log_in(server, "carla", password)
        assert refused[0] == 454
        assert refused[1].startswith(b"4.7.0 ")
        await server.logs("[directory-down]")
        await in_thread(slapd.start)
        # The old connections are stale, and nobody need notice.
        assert await code(server, "carla", password) == 235
        await in_thread(slapd.stop)
        await in_thread(slapd.start)
        assert await code(server, "carla", password) == 235
        assert await code(server, "carla", "wrong") == 535


@in_reactor
async def test_another_server_takes_over(tmp_path: Path, peer: Peer) -> None:
    first = directory(peer, tmp_path / "first")
    second = directory(peer, tmp_path / "second", scheme="ldaps")
    async with serving(tmp_path, first, second) as server:
        assert await code(server, "carla", "account of carla") == 235
        await in_thread(first.stop)
        assert await code(server, "carla", "account of carla") == 235
        assert await code(server, "carla", "wrong") == 535
        await in_thread(first.start)
        await in_thread(second.stop)
        assert await code(server, "carla", "account of carla") == 235


@in_reactor
async def test_a_server_that_says_nothing_is_passed_over(
    tmp_path: Path, peer: Peer
) -> None:
    """It takes connections, as a host does whose disk has died."""
    slapd = directory(peer, tmp_path / "ldap")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = (f"ldap://localhost:{silent.getsockname()[1]}", slapd.url)
        async with serving(tmp_path, slapd, urls=urls) as server:
            assert await code(server, "carla", "account of carla") == 235


@in_reactor
async def test_a_server_with_anothers_name_never_sees_a_password(
    tmp_path: Path, peer: Peer
) -> None:
    """RFC 4513 section 3.1.3, for StartTLS and for ldaps."""
    clear = directory(peer, tmp_path / "clear", name="other.example.org")
    implicit = directory(
        peer, tmp_path / "implicit", name="other.example.org", scheme="ldaps"
    )
    async with serving(tmp_path, clear, implicit) as server:
        assert await code(server, "carla", "account of carla") == 454
        await server.until(lambda: server.log.count("[directory-down]") >= 2)
        assert "DNSMismatch" in server.log


@in_reactor
async def test_a_server_that_nobody_vouches_for_is_not_asked(
    tmp_path: Path, peer: Peer
) -> None:
    trusted = directory(peer, tmp_path / "trusted")
    stranger = directory(peer, tmp_path / "stranger")
    await in_thread(stranger.prepare)
    await in_thread(stranger.start)
    try:
        async with serving(tmp_path, trusted, urls=(stranger.url,)) as server:
            assert await code(server, "carla", "account of carla") == 454
    finally:
        await in_thread(stranger.stop)


@in_reactor
async def test_many_log_ins_at_once_are_all_answered_right(
    tmp_path: Path, peer: Peer
) -> None:
    """Binds must not share a connection while one is in flight."""
    more_people = tuple(
        person(f"user{number}", userPassword=f"account of user{number}")
        for number in range(40)
    )
    slapd = Slapd(peer("slapd"), tmp_path / "ldap", free_port(), PEOPLE + more_people)
    async with serving(tmp_path, slapd) as server:

        def one(number: int) -> int:
            of = number if number % 4 else number + 1
            return answer(server, f"user{number}", f"account of user{of}")[0]

        def all_at_once() -> list[int]:
            # Not the reactor's threads: our server needs some of them.
            with ThreadPoolExecutor(40) as threads:
                return list(threads.map(one, range(40)))

        assert await in_thread(all_at_once) == [
            235 if number % 4 else 535 for number in range(40)
        ]


@in_reactor
async def test_a_new_password_and_a_lock_count_within_the_caches_time(
    tmp_path: Path, peer: Peer
) -> None:
    slapd = directory(peer, tmp_path / "ldap")
    async with serving(tmp_path, slapd, cache="1s") as server:
        assert await code(server, "carla", "account of carla") == 235
        await in_thread(
            lambda: slapd.change(
                "dn: uid=carla,ou=users,dc=example,dc=org\nchangetype: modify\n"
                "replace: userPassword\nuserPassword: new one\n"
            )
        )
        assert await code(server, "carla", "new one") == 235
        while await code(server, "carla", "account of carla") == 235:
            pass
        await in_thread(
            lambda: slapd.change(
                "dn: uid=carla,ou=users,dc=example,dc=org\nchangetype: modify\n"
                "add: accountStatus\naccountStatus: inactive 2026-01-01\n"
            )
        )
        while await code(server, "carla", "new one") == 235:
            pass
