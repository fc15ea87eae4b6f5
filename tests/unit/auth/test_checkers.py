"""Who proves to be whom: sources in order, "no" and "cannot tell" kept apart."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest
from ldaptor.protocols import pureldap
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.task import Clock

from submitd.auth.checkers import (
    DirectoryChecker,
    DirectoryHashChecker,
    NotTheirs,
    PasswordFileChecker,
    Proves,
    StackedChecker,
)
from submitd.auth.directory import lock_in
from submitd.auth.errors import AccountLocked, DirectoryUnavailable
from submitd.auth.files import TableFile
from submitd.auth.hashes import HashThreads
from submitd.auth.ldap import Entry, Filter
from submitd.auth.passwords import read_password_table
from tests.support.awaited import awaited
from tests.support.in_reactor import in_reactor
from tests.support.known_entries import KnownEntries, entry, people
from tests.support.mechanisms import PENCIL
from tests.support.recorded_events import RecordedEvents

TODAY: Final = date(2026, 6, 1)
ALICE: Final = entry("Alice")
DN: Final = ALICE.dn


@asynccontextmanager
async def hash_threads() -> AsyncIterator[HashThreads]:
    threads = HashThreads(reactor, 1)  # type: ignore[arg-type]
    threads.start()
    try:
        yield threads
    finally:
        threads.stop()


def test_a_bind_proves_and_the_directory_spells_the_name() -> None:
    checker = DirectoryChecker(people(KnownEntries([ALICE], {DN: "wonderland"})))
    assert awaited(checker.prove("Alice", "wonderland")) == "Alice"
    assert awaited(checker.prove("Alice@example.org", "wonderland")) == "Alice"
    assert awaited(checker.prove("Alice@EXAMPLE.org", "wonderland")) == "Alice"
    for login in ("Alice@example.net", "alic", "Alice@", "@example.org", " "):
        with pytest.raises(NotTheirs):
            awaited(checker.prove(login, "wonderland"))


@pytest.mark.parametrize(
    ("dn", "login"),
    [
        ("uid=alice,ou=users,dc=example", "alice"),
        ("UID=Alice+cn=Alice Liddell,ou=users,dc=example", "alice"),
        ("cn=Alice Liddell,ou=users,dc=example", "a.liddell"),
        ("uid=alicel,ou=users,dc=example", "a.liddell"),
        ("cn=Liddell+userid = Alice ,ou=users,dc=example", "alice"),
        ("uid=a\\2eliddell,dc=example", "a.liddell"),
        ("", "a.liddell"),
        ("no name at all", "a.liddell"),
    ],
)
def test_an_entry_with_several_names_is_one_login(dn: str, login: str) -> None:
    """Or each of them has limits of its own."""
    values = ["alice", "aliceliddell", "a.liddell"]
    for names in permutations(values):
        found = Entry(dn, {"uid": names})
        assert people(KnownEntries()).uid(found) == login
        checker = DirectoryChecker(people(KnownEntries([found], {dn: "wonderland"})))
        assert awaited(checker.prove(names[0], "wonderland")) == login


def test_an_entry_is_named_by_what_its_dn_says() -> None:
    for dn in ("uid=\\c3\\a4rger,dc=x", "uid=\u00c4rger,dc=x", "cn=x+uid=\u00e4rger"):
        assert Entry(dn, {}).is_named("\u00e4rger")
    assert Entry("uid=al  ice,dc=x", {}).is_named("al ice")
    assert not Entry("cn=x,uid=alice", {}).is_named("alice")


def test_an_unknown_user_costs_a_bind_too() -> None:
    """RFC 4954 section 9 would rather not tell which names exist."""
    known = KnownEntries([ALICE], {DN: "wonderland"})
    checker = DirectoryChecker(people(known))
    for login in ("Alice", "nobody-of-that-name"):
        known.asked.clear()
        with pytest.raises(NotTheirs) as refusal:
            awaited(checker.prove(login, "wrong"))
        assert [one.partition("=")[0] for one in known.asked] == ["filter", "uid"]
        assert str(refusal.value) == "user name or password refused"


@pytest.mark.rfc("4515", "3")
@pytest.mark.parametrize(
    "login", ["*", "a*", "Alice)(uid=*", "\\2a", "Alice\0", "()&|"]
)
def test_a_login_is_a_value_and_never_part_of_a_filter(login: str) -> None:
    known = KnownEntries([ALICE], {DN: "wonderland"})
    checker = DirectoryChecker(people(known))
    with pytest.raises(NotTheirs):
        awaited(checker.prove(login, "wonderland"))
    template = Filter("(&(objectClass=*)(|(uid={login})(!(cn={login}*))))", ["login"])
    present, either = template.fill({"login": login}).data
    equal, negated = either.data
    assert isinstance(present, pureldap.LDAPFilter_present)
    assert isinstance(equal, pureldap.LDAPFilter_equalityMatch)
    assert equal.assertionValue.value == login.encode()
    (start,) = negated.value.substrings
    assert isinstance(start, pureldap.LDAPFilter_substrings_initial)
    assert start.value == login.encode()


def test_two_entries_for_one_login_are_nobody() -> None:
    checker = DirectoryChecker(people(KnownEntries([ALICE, ALICE])))
    with pytest.raises(DirectoryUnavailable, match="several"):
        awaited(checker.prove("Alice", "wonderland"))


def test_a_lock_is_seen_only_by_who_has_the_password() -> None:
    locked = entry("Alice", accountStatus="inactive")
    checker = DirectoryChecker(people(KnownEntries([locked], {DN: "wonderland"})))
    with pytest.raises(NotTheirs):
        awaited(checker.prove("Alice", "wrong"))
    with pytest.raises(AccountLocked, match="accountStatus is inactive"):
        awaited(checker.prove("Alice", "wonderland"))
    heedless = people(KnownEntries([locked], {DN: "wonderland"}), honour_locks=False)
    assert awaited(DirectoryChecker(heedless).prove("Alice", "wonderland")) == "Alice"


def test_the_lock_filter_is_asked_of_the_entry_itself() -> None:
    away = entry("Alice", mailDisableMessage="on leave")
    checker = DirectoryChecker(
        people(
            KnownEntries([away], {DN: "wonderland"}),
            lock=Filter("(mailDisableMessage=*)", []),
        )
    )
    with pytest.raises(AccountLocked, match="lock filter"):
        awaited(checker.prove("Alice", "wonderland"))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, ""),
        ({"userPassword": "{CRYPT}$6$a$b"}, ""),
        ({"userPassword": "{CRYPT}*LK*"}, "userPassword is locked"),
        ({"userPassword": "!"}, "userPassword is locked"),
        ({"userPassword": ("{SSHA}x", "{crypt}!x")}, "userPassword is locked"),
        ({"accountStatus": "active"}, ""),
        ({"accountStatus": "inactive 2020-01-01"}, "accountStatus is inactive"),
        ({"accountStatus": "memorial"}, "accountStatus is memorial"),
        ({"accountStatus": "retiring 2026-05-01"}, ""),
        ({"accountStatus": "retiring 2025-05-01"}, "accountStatus is retiring"),
        ({"accountStatus": "retiring"}, ""),
        ({"accountStatus": "retiring soon"}, ""),
        ({"shadowExpire": "-1"}, ""),
        ({"shadowExpire": "1"}, "shadowExpire has passed"),
        ({"shadowExpire": "20605"}, "shadowExpire has passed"),
        ({"shadowExpire": "20606"}, ""),
        ({"shadowExpire": "never"}, ""),
    ],
)
def test_locks_as_userdir_ldap_and_shadow_write_them(
    attributes: dict[str, str | tuple[str, ...]], reason: str
) -> None:
    assert lock_in(entry("Alice", **attributes), TODAY) == reason


@in_reactor
async def test_a_stored_hash_proves() -> None:
    stored = entry("Alice", mailPassword=("{NOSUCH}x", "*LK*", "{PLAIN}wonderland"))
    events = RecordedEvents()
    async with hash_threads() as threads:
        checker = DirectoryHashChecker(
            people(KnownEntries([stored, entry("Bob")])),
            "mailPassword",
            threads,
            events,
        )
        assert await checker.prove("Alice", "wonderland") == "Alice"
        # Told once for the entry that has it; a lock is no fault.
        assert events.emitted == [
            (
                "directory-odd",
                {"entry": DN, "reason": "no such password scheme: NOSUCH"},
            )
        ]
        for login, password in (
            ("Alice", "wrong"),
            ("Alice", "*LK*"),
            ("Alice", "{NOSUCH}x"),
            ("Bob", "wonderland"),
            ("Nobody", "wonderland"),
        ):
            with pytest.raises(NotTheirs):
                await checker.prove(login, password)


@in_reactor
async def test_where_nothing_is_stored_a_usual_hash_is_compared() -> None:
    """Else the time taken would tell which names exist."""
    compared: list[str] = []

    class Counting(HashThreads):
        async def verify(self, stored: str, password: str) -> bool:
            compared.append(stored)
            return await super().verify(stored, password)

    threads = Counting(reactor, 1)  # type: ignore[arg-type]
    threads.start()
    usual = "$1$Zk1yBSQL$yGgWvN5ZXqiv9bHwp9rK9."
    checker = DirectoryHashChecker(
        people(KnownEntries([entry("Alice", mailPassword=usual), entry("Bob")])),
        "mailPassword",
        threads,
        RecordedEvents(),
    )
    try:
        for login in ("Nobody", "Alice", "Nobody", "Bob"):
            with pytest.raises(NotTheirs):
                await checker.prove(login, "x")
    finally:
        threads.stop()
    assert compared[0].startswith("$6$rounds=5000$")
    assert compared[1:] == [usual] * 3


def password_file(
    path: Path, threads: HashThreads, text: str, *, authoritative: bool = True
) -> PasswordFileChecker:
    path.write_text(text)
    events = RecordedEvents()
    return PasswordFileChecker(
        TableFile(Clock(), path, read_password_table, events),
        threads,
        events,
        login_domains=frozenset({"example.org"}),
        authoritative=authoritative,
    )


@in_reactor
async def test_a_password_file_proves(tmp_path: Path) -> None:
    text = (
        "# exported\n\nalice:{PLAIN}wonderland\nbob@example.net:{PLAIN}builder:::::\n"
        "carol:!{PLAIN}locked\ndave:*:also locked\n"
    )
    async with hash_threads() as threads:
        checker = password_file(tmp_path / "passwords", threads, text)
        for login in ("alice", "Alice", "alice@example.org", "ALICE@Example.Org"):
            assert await checker.prove(login, "wonderland") == "alice"
        assert await checker.prove("bob@example.net", "builder") == "bob@example.net"
        for login, password in (("alice", "wrong"), ("bob@example.net", "wonderland")):
            with pytest.raises(UnauthorizedLogin) as refusal:
                await checker.prove(login, password)
            assert not isinstance(refusal.value, NotTheirs)
        for login in ("bob", "alice@example.net", "nobody"):
            with pytest.raises(NotTheirs):
                await checker.prove(login, "wonderland")
        for login in ("carol", "dave"):
            with pytest.raises(AccountLocked):
                await checker.prove(login, "locked")
        lax = password_file(
            tmp_path / "others", threads, "alice:{PLAIN}x\n", authoritative=False
        )
        with pytest.raises(NotTheirs):
            await lax.prove("alice", "wonderland")


class Says:
    """A source that always says the same."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer

    async def prove(self, login: str, password: str) -> str:  # noqa: ARG002
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


NO: Final = Says(NotTheirs("no"))
FINAL_NO: Final = Says(UnauthorizedLogin("no"))
SILENT: Final = Says(DirectoryUnavailable("silent"))
LOCKED: Final = Says(AccountLocked("locked"))
YES: Final = Says("alice")


@pytest.mark.parametrize(
    ("sources", "outcome"),
    [
        ([YES], b"alice"),
        ([NO, YES], b"alice"),
        ([SILENT, YES], b"alice"),
        ([NO, NO], UnauthorizedLogin),
        ([SILENT, NO], DirectoryUnavailable),
        ([NO, SILENT], DirectoryUnavailable),
        ([FINAL_NO, YES], UnauthorizedLogin),
        ([SILENT, FINAL_NO], UnauthorizedLogin),
        ([LOCKED, YES], AccountLocked),
        ([], UnauthorizedLogin),
    ],
)
def test_the_sum_of_several_answers(
    sources: Sequence[Proves], outcome: bytes | type[Exception]
) -> None:
    """RFC 4954 section 6: "cannot tell" is 454 and no 535."""
    checker = StackedChecker(sources)

    async def ask() -> object:
        return await checker.requestAvatarId(UsernamePassword(b"alice", b"x"))

    if isinstance(outcome, bytes):
        assert awaited(ask()) == outcome
    else:
        with pytest.raises(outcome):
            awaited(ask())


@pytest.mark.rfc("4513", "5.1.2")
@pytest.mark.parametrize(("login", "password"), [(b"alice", b""), (b"", b"x")])
def test_an_empty_password_proves_nothing(login: bytes, password: bytes) -> None:
    """Many directories take a name without a password for an anonymous bind."""
    asked = StackedChecker([YES]).requestAvatarId(UsernamePassword(login, password))
    failure: list[object] = []
    asked.addErrback(lambda reason: failure.append(reason.trap(UnauthorizedLogin)))
    assert failure == [UnauthorizedLogin]


KEYS: Final = (
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@in_reactor
async def test_a_password_file_serves_other_ways_to_log_in(tmp_path: Path) -> None:
    text = f"alice:{KEYS}\nbob:{{PLAIN}}builder\ncarol:!{KEYS}\n"
    async with hash_threads() as threads:
        checker = password_file(tmp_path / "passwords", threads, text)
        assert await checker.keys("ALICE@example.org") == PENCIL
        assert await checker.secret("bob") == "builder"
        for by_others in (True, False):
            found = await checker.account("Bob@example.org", by_others=by_others)
            assert found == "bob"
            with pytest.raises(AccountLocked):
                await checker.account("carol", by_others=by_others)
            with pytest.raises(NotTheirs):
                await checker.account("nobody", by_others=by_others)
        for ask in (checker.keys, checker.secret):
            with pytest.raises(NotTheirs):
                await ask("nobody")
        for login in ("bob", "carol"):
            with pytest.raises(NotTheirs):
                await checker.keys(login)
        with pytest.raises(NotTheirs):
            await checker.secret("alice")


@in_reactor
async def test_who_others_name_is_nobody_of_a_like_spelling(tmp_path: Path) -> None:
    """For an issuer jess and jeß are two; who has jess's password is jess."""
    async with hash_threads() as threads:
        checker = password_file(tmp_path / "passwords", threads, "jess:{PLAIN}pencil\n")
        assert await checker.prove("jeß", "pencil") == "jess"
        assert await checker.secret("jeß") == "pencil"
        assert await checker.account("jeß", by_others=False) == "jess"
        assert await checker.account("Jess", by_others=True) == "jess"
        with pytest.raises(NotTheirs):
            await checker.account("jeß", by_others=True)


@pytest.mark.parametrize(
    ("text", "keys", "secrets"),
    [
        ("", False, False),
        (f"alice:{KEYS}\n", True, False),
        (f"alice:{KEYS}\nlate:*\nlost:!{{SSHA}}x\n", True, False),
        (f"alice:{KEYS}\nbob:{{SSHA}}x\n", False, False),
        (f"alice:{KEYS}\nbob:{{PLAIN}}x\n", False, True),
        ("late:*\n", False, False),
    ],
)
@in_reactor
async def test_what_a_password_file_can_serve_is_seen_once_it_is_read(
    tmp_path: Path, text: str, keys: bool, secrets: bool
) -> None:
    async with hash_threads() as threads:
        checker = password_file(tmp_path / "passwords", threads, text)
        assert (checker.serves_keys, checker.serves_secrets) == (False, False)
        await checker.load()
        for _ in ("looked through", "remembered"):
            assert checker.serves_keys is keys
            assert checker.serves_secrets is secrets
            assert bool(checker.looks) is (KEYS in text)
        (tmp_path / "passwords").unlink()
        fresh = password_file(tmp_path / "others", threads, text)
        (tmp_path / "others").unlink()
        await fresh.load()
        assert not fresh.serves_keys
        assert not fresh.looks
