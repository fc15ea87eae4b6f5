import pytest

from submitd.auth.submitter import (
    Anything,
    Exactly,
    Grant,
    Permission,
    Submitter,
    WholeDomain,
    WithSubaddresses,
)
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.policy.sender import SENDER_OK, check_sender, not_theirs


def submitter(*grants: Grant) -> Submitter:
    return Submitter("alice", tuple(Permission(one, "own", "here") for one in grants))


ALICE = parse_mailbox("alice@example.org")
BOB = parse_mailbox("bob@example.org")


@pytest.mark.rfc("6409", "6.1")
@pytest.mark.parametrize(
    "grant",
    [Exactly(ALICE), WithSubaddresses(ALICE), WholeDomain("example.org"), Anything()],
)
def test_a_mailbox_that_is_theirs_is_accepted(grant: Grant) -> None:
    assert check_sender(submitter(grant), ALICE) == SENDER_OK


@pytest.mark.rfc("8098", "3")
def test_the_null_reverse_path_is_free_to_all() -> None:
    """Read receipts must use it, and it names nobody."""
    assert check_sender(submitter(), None) == SENDER_OK


def test_a_refusal_names_the_address_and_those_that_may_be_used() -> None:
    reply = check_sender(
        submitter(Exactly(ALICE), WholeDomain("lists.example.org")), BOB
    )

    assert reply.code == 553
    assert str(reply.enhanced) == "5.7.1"
    assert reply.lines == (
        "<bob@example.org> is not yours to send from.",
        "You may use: alice@example.org, any address at lists.example.org",
    )


def test_a_refusal_for_content_has_its_own_code() -> None:
    assert not_theirs(550, submitter(Exactly(ALICE)), BOB).code == 550


def test_an_address_is_named_once_however_many_rules_grant_it() -> None:
    reply = check_sender(submitter(Exactly(ALICE), WithSubaddresses(ALICE)), BOB)

    assert reply.lines[1] == "You may use: alice@example.org"


def test_three_addresses_are_named_and_the_others_counted() -> None:
    many = [Exactly(parse_mailbox(f"a{n}@example.org")) for n in range(5)]

    reply = check_sender(submitter(*many), BOB)

    assert reply.lines[1] == (
        "You may use: a0@example.org, a1@example.org, a2@example.org and 2 more"
    )


def test_who_has_no_address_at_all_hears_whom_to_ask() -> None:
    reply = check_sender(submitter(), BOB)

    assert reply.lines[1] == (
        "You have no address to send from; ask your administrator."
    )


def test_long_addresses_leave_the_line_whole() -> None:
    long = [Exactly(parse_mailbox(f"{letter * 250}@example.org")) for letter in "abc"]

    reply = check_sender(submitter(*long), parse_mailbox(f"{'z' * 250}@example.org"))

    assert reply.lines[1] == f"You may use: {'a' * 250}@example.org and 2 more"


@pytest.mark.rfc("6531", "3.7.4")
def test_without_utf8_nothing_beyond_ascii_is_said() -> None:
    zoe = parse_mailbox("zoë@example.org")

    reply = check_sender(
        submitter(Exactly(zoe), Exactly(ALICE)), parse_mailbox("él@example.org")
    )

    assert reply.lines == (
        "<?l@example.org> is not yours to send from.",
        "You may use: alice@example.org",
    )


@pytest.mark.rfc("6531", "3.7.4")
def test_with_utf8_addresses_are_said_as_they_are() -> None:
    zoe = parse_mailbox("zoë@example.org")

    reply = check_sender(
        submitter(Exactly(zoe)), parse_mailbox("él@example.org"), utf8=True
    )

    assert reply.lines == (
        "<él@example.org> is not yours to send from.",
        "You may use: zoë@example.org",
    )


def test_an_endless_address_is_cut_short() -> None:
    """No address that the grammar takes is as long; a reply's line must hold all."""
    reply = check_sender(submitter(), Mailbox("é" * 600, "example.org"), utf8=True)

    assert len(reply.lines[0].encode()) < 495
    assert reply.lines[0].endswith("...> is not yours to send from.")


def test_any_address_is_said_in_words() -> None:
    reply = not_theirs(550, submitter(Anything()), BOB)

    assert reply.lines[1] == "You may use: any address"
