"""Do we take mail for this recipient? (RFC 6409 section 4.2)"""

from typing import Final

from submitd.mail.address import Mailbox
from submitd.mail.status import EnhancedCode
from submitd.smtp.reply import Reply

RECIPIENT_OK: Final = Reply(250, EnhancedCode(2, 1, 5), "Recipient accepted")
_UNQUALIFIED: Final = Reply(
    553,
    EnhancedCode(5, 1, 3),
    "The recipient's domain must be written in full, as in user@example.org",
)


def check_recipient(mailbox: Mailbox, routed: frozenset[str]) -> Reply:
    """A submission server sends to qualified names only.

    ``routed``: domains with a route of their own, which may be short names.
    """
    domain = mailbox.domain
    if "." in domain or domain.startswith("[") or domain in routed:
        return RECIPIENT_OK
    return _UNQUALIFIED
