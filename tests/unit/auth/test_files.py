"""Files that others write: whole tables, or those from before."""

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from submitd.auth.errors import DirectoryUnavailable
from submitd.auth.files import HalfWritten, TableFile, parse_passwords, parse_senders
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents


def test_passwords_in_the_forms_of_userdir_ldap_and_dovecot() -> None:
    assert parse_passwords(
        "# comment\n\nalice:$1$salt$hash\n bob : {PLAIN}secret \n"
        "carol@example.org:{SSHA}abc:1000:1000::/home/carol::\n"
    ) == {
        "alice": "$1$salt$hash",
        "bob": "{PLAIN}secret",
        "carol@example.org": "{SSHA}abc",
    }
    assert parse_passwords("") == {}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("alice:{PLAIN}wonder", "last line does not end"),
        ("alice\n", "line 1"),
        ("alice:x\n:hash\n", "line 2"),
        ("\nalice:\n", "line 2"),
        ("alice: :x\n", "line 1"),
    ],
)
def test_a_password_file_with_a_fault_is_refused_as_a_whole(
    text: str, where: str
) -> None:
    with pytest.raises(HalfWritten, match=where) as told:
        parse_passwords(text)
    assert "wonder" not in str(told.value)


def test_senders_of_a_login_may_be_on_several_lines() -> None:
    assert parse_senders(
        "Alice: a@example.org, b@example.org\n# x\nalice: @example.net\n"
    ) == {
        "alice": [(1, "a@example.org"), (1, "b@example.org"), (3, "@example.net")],
    }
    for text in ("alice\n", "alice:\n", ": a@example.org\n", "alice: a@example.org"):
        with pytest.raises(HalfWritten):
            parse_senders(text)


def table(path: Path) -> tuple[TableFile[dict[str, str]], Clock, RecordedEvents]:
    clock, events = Clock(), RecordedEvents()
    return TableFile(clock, path, parse_passwords, events), clock, events


@in_reactor
async def test_a_changed_file_is_read_within_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("alice:one\n")
    file, clock, events = table(path)
    assert await file.table() == {"alice": "one"}
    new = tmp_path / "new"
    new.write_text("alice:two\n")
    new.rename(path)
    assert await file.table() == {"alice": "one"}
    clock.advance(2)
    assert await file.table() == {"alice": "two"}
    clock.advance(2)
    await file.table()
    assert events.names == ["table-loaded", "table-loaded"]


@in_reactor
async def test_a_faulty_file_changes_nothing_and_is_told_of_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "passwords"
    path.write_text("alice:one\n")
    file, clock, events = table(path)
    await file.table()
    for octets, reason in (
        (b"alice:two\nbob:", "its last line does not end: it is being written"),
        (b"alice\n", "line 1 is not user:hash"),
        (b"alice:\xff\n", "it is not UTF-8"),
    ):
        path.write_bytes(octets)
        for _ in range(3):
            clock.advance(2)
            assert await file.table() == {"alice": "one"}
        assert events.emitted[-1] == (
            "table-refused",
            {"file": str(path), "reason": reason},
        )
    path.unlink()
    for _ in range(3):
        clock.advance(2)
        assert await file.table() == {"alice": "one"}
    assert events.names == ["table-loaded", *["table-refused"] * 4]
    path.write_text("alice:three\n")
    clock.advance(2)
    assert await file.table() == {"alice": "three"}


@in_reactor
async def test_a_file_that_never_was_is_no_empty_table(tmp_path: Path) -> None:
    """An empty one would say "no" to everybody: 535, and clients forget passwords."""
    file, clock, events = table(tmp_path / "missing")
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable, match="missing cannot be read"):
            await file.table()
        clock.advance(2)
    assert events.names == ["table-refused"]


@in_reactor
async def test_a_file_of_any_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submitd.auth.files._MOST_OCTETS", 10)
    path = tmp_path / "passwords"
    path.write_text("alice:wonderland\n")
    file, _, events = table(path)
    with pytest.raises(DirectoryUnavailable):
        await file.table()
    assert events.emitted[0][1]["reason"] == "the file is too large"


@in_reactor
async def test_a_file_with_an_old_date_is_new_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("alice:one\n")
    file, clock, _ = table(path)
    await file.table()
    new = tmp_path / "new"
    new.write_text("alice:two\n")
    before = path.stat()
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)
    clock.advance(2)
    assert await file.table() == {"alice": "two"}


def test_an_authpassword_value_keeps_its_colons() -> None:
    """Alone of all forms it has some (RFC 5803)."""
    value = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
    text = f"alice:{value}:1000:1000::/home\nbob: {value}\ncarol:{{PLAIN}}a:b\n"
    assert parse_passwords(text) == {
        "alice": value,
        "bob": value,
        "carol": "{PLAIN}a",
    }
