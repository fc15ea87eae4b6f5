"""What one attempt came to, per recipient."""

from attrs import frozen

from submitd.mail.status import EnhancedCode
from submitd.smtp.client import OUR_WORDS
from submitd.smtp.reply import Reply


@frozen
class Relayed:
    """The next host took responsibility; nothing is left for us to do."""

    status: EnhancedCode
    host: str
    """The host that took it, as a name or address literal."""

    diagnostic: str
    is_reply: bool = False
    """The diagnostic is what the host said, and not what we saw."""

    reports_itself: bool = False
    """It offers DSN and was given the recipient's wishes (RFC 3461 section 5.2.2)."""

    is_owed: bool = False
    """The sender hears of it unless they want to hear nothing (RFC 2852 4.1.4)."""


@frozen
class Delayed:
    """Not yet. Try again when the schedule says so."""

    status: EnhancedCode
    diagnostic: str
    host: str = ""
    is_reply: bool = False
    is_attempt: bool = True
    """False: nothing was tried. The sender hears of the delay, then it is tried."""


@frozen
class Failed:
    """Never. Report it to the reverse-path."""

    status: EnhancedCode
    diagnostic: str
    host: str = ""
    is_reply: bool = False
    is_attempt: bool = True
    """False: nothing was tried, for it was known without."""


Outcome = Relayed | Delayed | Failed
"""Named for the Action field of a delivery report (RFC 3464 section 2.3.3)."""


def outcome_of(
    answer: Reply, host: str, *, reports_itself: bool = False, is_owed: bool = False
) -> Outcome:
    """Read a remote server's final reply.

    What it means that the host took the message is as `Relayed` says.

    A code outside 2yz, 4yz and 5yz counts as a delay: RFC 5321 section
    4.2.1 defines no meaning for it, and a delay is the reading that loses
    no mail.
    """
    diagnostic = f"{answer.code} {answer.enhanced or ''} {answer.text}".replace(
        "  ", " "
    )
    said = answer not in OUR_WORDS
    severity = answer.code // 100
    if severity not in (2, 4, 5):
        return Delayed(EnhancedCode(4, 5, 0), diagnostic, host, said)
    status = answer.enhanced or EnhancedCode(severity, 0, 0)
    match severity:
        case 2:
            return Relayed(status, host, diagnostic, said, reports_itself, is_owed)
        case 5:
            return Failed(status, diagnostic, host, said)
        case _:
            return Delayed(status, diagnostic, host, said)
