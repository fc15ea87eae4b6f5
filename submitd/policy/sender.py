"""May this submitter use this reverse-path? (RFC 6409 section 6.1)"""

from typing import Final

from submitd.auth.submitter import Anything, Submitter, WholeDomain
from submitd.mail.address import Mailbox
from submitd.mail.status import EnhancedCode
from submitd.smtp.reply import Reply

SENDER_OK: Final = Reply(250, EnhancedCode(2, 1, 0), "Sender accepted")

_NOT_AUTHORISED: Final = EnhancedCode(5, 7, 1)
_MOST_NAMED: Final = 3
_MOST_OCTETS: Final = 400


def check_sender(
    who: Submitter, reverse_path: Mailbox | None, *, utf8: bool = False
) -> Reply:
    """Sender authorisation for the envelope.

    The null reverse-path is free to all: it names nobody, and read receipts
    must use it (RFC 8098 section 3). The From field is checked on its own.

    ``utf8`` says that the client understands UTF-8 in replies.
    """
    if reverse_path is None or who.permission_for(reverse_path) is not None:
        return SENDER_OK
    return not_theirs(553, who, reverse_path, utf8=utf8)


def not_theirs(
    code: int, who: Submitter, mailbox: Mailbox, *, utf8: bool = False
) -> Reply:
    """The refusal that names the address and what the submitter may use."""
    return Reply(
        code,
        _NOT_AUTHORISED,
        (
            f"<{_speakable(str(mailbox), utf8=utf8)}> is not yours to send from.",
            _what_they_may_use(who, utf8=utf8),
        ),
    )


def _what_they_may_use(who: Submitter, *, utf8: bool) -> str:
    names: list[str] = []
    for permission in who.permissions:
        match permission.grant:
            case WholeDomain(domain):
                name = f"any address at {domain}"
            case Anything():
                name = "any address"
            case grant:
                name = str(grant.mailbox)
        if (utf8 or name.isascii()) and name.isprintable() and name not in names:
            names.append(name)
    if not names:
        return "You have no address to send from; ask your administrator."
    shown = names[:_MOST_NAMED]
    while len(", ".join(shown).encode()) > _MOST_OCTETS:
        shown.pop()
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"You may use: {', '.join(shown)}{more}"


def _speakable(text: str, *, utf8: bool) -> str:
    fit = "".join(
        one if one.isprintable() and (utf8 or one.isascii()) else "?" for one in text
    )
    while len(fit.encode()) > _MOST_OCTETS:
        fit = fit[: len(fit) // 2] + "..."
    return fit
