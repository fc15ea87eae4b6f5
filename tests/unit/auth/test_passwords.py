"""A password file, looked through: names, what it serves, what its keys look like."""

from base64 import b64encode
from typing import Final

import pytest

from submitd.auth.files import HalfWritten
from submitd.auth.passwords import ScramLook, read_password_table

DOMAINS: Final = frozenset({"example.org"})


def keys(iterations: int, salt: int) -> str:
    words = (b64encode(bytes(size)).decode() for size in (salt, 32, 32))
    return f"{{SCRAM-SHA-256}}{iterations},{','.join(words)}"


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("jess", "jess"),
        ("JESS@Example.org", "jess"),
        ("jeß", "jess"),
        ("\uff4aess", "jess"),
        ("Jess@example.net", None),
        ("alice", "Alice"),
        ("ALICE@example.org", "Alice"),
        ("bob@example.net", "bob@example.net"),
        ("carl", "carl"),
        ("CARL", "carl"),
        ("dora", None),
        ("Dora", "Dora"),
        ("", None),
    ],
)
def test_all_spellings_of_a_name_are_one(login: str, name: str | None) -> None:
    """Or who asks for keys could tell by them which names exist."""
    names = ("jess", "Alice", "bob@example.net", "carl", "Carl", "DORA", "Dora", "doRA")
    table = read_password_table("".join(f"{one}:x\n" for one in names))
    assert (table.name(login, DOMAINS) or table.spelled(login, DOMAINS)) == name


def test_looks_are_counted_of_those_who_can_log_in() -> None:
    text = "".join(
        f"{number}:{value}\n"
        for number, value in enumerate(
            [keys(4096, 16), keys(4096, 16), keys(65536, 12), "!" + keys(1, 8)]
        )
    )
    table = read_password_table(text)
    assert table.looks == {ScramLook(4096, 16): 2, ScramLook(65536, 12): 1}
    assert table.serves_keys


def test_of_many_looks_the_most_frequent_are_kept() -> None:
    values = [keys(4096 + number, 16) for number in range(30)] + [keys(5000, 16)] * 2
    text = "".join(f"{number}:{value}\n" for number, value in enumerate(values))
    table = read_password_table(text)
    assert len(table.looks) == 16
    assert table.looks[ScramLook(5000, 16)] == 2


def test_a_faulty_line_is_no_table() -> None:
    with pytest.raises(HalfWritten):
        read_password_table("alice\n")


def test_what_is_stored_is_not_shown() -> None:
    assert "hunter2" not in repr(read_password_table("alice:{PLAIN}hunter2\n"))
