"""The map of requirements, made from the tests."""

from pathlib import Path

import pytest

from scripts.rfc_map import BadMarker, Proof, page, proofs_in

SAMPLE = """\
import pytest
from submitd.mail.address import Mailbox
from submitd.smtp import reply

pytestmark = pytest.mark.rfc("5321", "2.3")


@pytest.mark.rfc("5321", "4.1.2")
def test_a_mailbox_has_two_parts() -> None:
    assert Mailbox


class TestReplies:
    @pytest.mark.parametrize(
        "code", [pytest.param(250, marks=pytest.mark.rfc("3463", "3.1"))]
    )
    async def test_codes_agree(self, code: int) -> None:
        assert reply


def helper() -> None:
    assert reply
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tests" / "unit" / "test_sample.py"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_each_marker_is_a_proof_with_the_modules_that_the_test_names(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, SAMPLE)
    where = "tests/unit/test_sample.py"
    mailbox = ("a mailbox has two parts", where, ("mail/address.py",))
    codes = ("codes agree", where, ("smtp/reply.py",))

    assert list(proofs_in(path, tmp_path)) == [
        Proof("5321", "2.3", *mailbox),
        Proof("5321", "4.1.2", *mailbox),
        Proof("5321", "2.3", *codes),
        Proof("3463", "3.1", *codes),
    ]


def test_a_test_that_names_nothing_works_through_its_file(tmp_path: Path) -> None:
    """Most dialogues are held by a helper."""
    path = write(
        tmp_path,
        "from submitd.smtp.server import ServerSession\n"
        "def converse(): return ServerSession\n"
        "@pytest.mark.rfc('2920', '3.2')\n"
        "def test_order(): converse()\n",
    )

    assert list(proofs_in(path, tmp_path)) == [
        Proof(
            *("2920", "3.2", "order", "tests/unit/test_sample.py"),
            ("smtp/server.py",),
        )
    ]


@pytest.mark.parametrize("arguments", ['"5321"', '5321, "4"', '"RFC 5321", "4"', ""])
def test_a_marker_that_names_no_section_is_an_error_with_its_place(
    tmp_path: Path, arguments: str
) -> None:
    path = write(tmp_path, f"@pytest.mark.rfc({arguments})\ndef test_x(): pass\n")

    with pytest.raises(BadMarker, match=r"^tests/unit/test_sample\.py:1 "):
        list(proofs_in(path, tmp_path))


def test_sections_stand_in_the_order_of_a_table_of_contents() -> None:
    proofs = [
        Proof("5321", section, "holds", "tests/unit/test_x.py", ())
        for section in ["4.10", "B", "4.2", "4.2.1"]
    ]

    rows = [line for line in page(proofs).splitlines() if line.endswith("test_x.py) |")]

    assert [row.split()[1] for row in rows] == ["4.2", "4.2.1", "4.10", "B"]


def test_an_rfc_without_a_test_is_shown_as_a_gap() -> None:
    assert "## RFC 7505: Null MX\n\nNo test names this RFC.\n" in page([])
