import pytest

from submitd.mail.address import parse_mailbox
from submitd.policy.recipient import RECIPIENT_OK, check_recipient


@pytest.mark.rfc("6409", "4.2")
@pytest.mark.parametrize(
    "address",
    ["bob@example.org", "bob@[192.0.2.1]", "bob@[IPv6:2001:db8::1]", "bob@intern"],
)
def test_full_names_literals_and_routed_names_are_accepted(address: str) -> None:
    reply = check_recipient(parse_mailbox(address), frozenset({"intern"}))

    assert reply == RECIPIENT_OK


@pytest.mark.rfc("6409", "4.2")
def test_a_short_name_is_refused_with_what_would_be_right() -> None:
    reply = check_recipient(parse_mailbox("bob@mailhost"), frozenset({"intern"}))

    assert reply.code == 553
    assert str(reply.enhanced) == "5.1.3"
    assert "user@example.org" in reply.text
