"""What one attempt came to, per recipient."""

from attrs import frozen

from submitd.mail.status import EnhancedCode
from submitd.smtp.reply import Reply


@frozen
class Relayed:
    """The next host took responsibility; nothing is left for us to do."""

    status: EnhancedCode
    host: str
    """The host that took it, as a name or address literal."""

    diagnostic: str
    reports_itself: bool = False
    """It offers DSN and was given the recipient's wishes (RFC 3461 section 5.2.2)."""


@frozen
class Delayed:
    """Not yet. Try again when the schedule says so."""

    status: EnhancedCode
    diagnostic: str
    host: str = ""


@frozen
class Failed:
    """Never. Report it to the reverse-path."""

    status: EnhancedCode
    diagnostic: str
    host: str = ""


Outcome = Relayed | Delayed | Failed
"""Named for the Action field of a delivery report (RFC 3464 section 2.3.3)."""


def outcome_of(answer: Reply, host: str) -> Outcome:
    """Read a remote server's final reply.

    A code outside 2yz, 4yz and 5yz counts as a delay: RFC 5321 section
    4.2.1 defines no meaning for it, and a delay is the reading that loses
    no mail.
    """
    diagnostic = f"{answer.code} {answer.enhanced or ''} {answer.text}".replace(
        "  ", " "
    )
    match answer.code // 100:
        case 2:
            return Relayed(answer.enhanced or EnhancedCode(2, 0, 0), host, diagnostic)
        case 5:
            return Failed(answer.enhanced or EnhancedCode(5, 0, 0), diagnostic, host)
        case 4:
            return Delayed(answer.enhanced or EnhancedCode(4, 0, 0), diagnostic, host)
        case _:
            return Delayed(EnhancedCode(4, 5, 0), diagnostic, host)
