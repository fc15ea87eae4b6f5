"""Mail that is held for being over a limit → what its sender and postmaster hear."""

import shlex
from collections.abc import Callable
from datetime import datetime

from submitd.auth.submitter import Anything, Submitter
from submitd.delivery.reporter import ReportRules, Sign
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath, Notify
from submitd.mail.notice import (
    HeldMail,
    StillHeld,
    Text,
    notice,
    remind_postmaster,
    remind_submitter,
    to_postmaster,
    to_submitter,
)
from submitd.policy.quota import as_stored
from submitd.spool.store import Needs, NewMessage, Notices, Reminder, Report


class HoldNotices:
    """Makes them. They enter the spool together with the message that is held."""

    def __init__(
        self, new_queue_id: Callable[[], str], rules: ReportRules, sign: Sign
    ) -> None:
        self._new_queue_id = new_queue_id
        self._rules = rules
        self._sign = sign

    def make(self, message: NewMessage, who: Submitter, reason: str) -> Notices:
        """One for the submitter, where they have an address, and the postmaster's."""
        envelope = message.envelope
        held = HeldMail(
            queue_id=message.queue_id,
            login=_in_one_line(who.login),
            login_quoted=_quoted(who.login),
            reason=reason,
            recipients=len(envelope.forward_paths),
            sender=envelope.reverse_path,
            session=message.session,
        )
        hostname = self._rules.hostname
        told = _address_of(who, envelope.reverse_path)
        return Notices(
            told,
            self._reports(
                told,
                to_submitter(held, hostname),
                to_postmaster(held, hostname),
                about=message.queue_id,
                now=envelope.accepted_at,
            ),
        )

    def remind(self, due: Reminder, now: datetime) -> tuple[Report, ...]:
        """The same who were told hear that mail still is held."""
        still = StillHeld(
            login=_in_one_line(due.login),
            login_quoted=_quoted(due.login),
            amount=as_stored(due.held),
        )
        hostname = self._rules.hostname
        return self._reports(
            due.told,
            remind_submitter(still, hostname),
            remind_postmaster(still, hostname),
            about="reminder",
            now=now,
        )

    def _reports(
        self,
        told: Mailbox | None,
        submitters: Text,
        postmasters: Text,
        *,
        about: str,
        now: datetime,
    ) -> tuple[Report, ...]:
        postmaster = self._report(
            parse_mailbox(self._rules.postmaster), postmasters, about, now
        )
        if told is None:
            return (postmaster,)
        return self._report(told, submitters, about, now), postmaster

    def _report(self, to: Mailbox, text: Text, about: str, now: datetime) -> Report:
        subject, lines = text
        queue_id = self._new_queue_id()
        header, body = notice(
            subject,
            lines,
            to=to,
            postmaster=self._rules.postmaster,
            hostname=self._rules.hostname,
            notice_id=queue_id,
            now=now,
        )
        utf8 = not header.isascii()
        return Report(
            message=NewMessage(
                queue_id=queue_id,
                # From nobody: a notice that cannot be delivered is not reported.
                envelope=Envelope(
                    reverse_path=None,
                    forward_paths=(ForwardPath(to, Notify.NEVER),),
                    smtputf8=utf8,
                    accepted_at=now,
                ),
                header=self._sign(header, body, now),
                needs=Needs(smtputf8=utf8),
                submitter=None,
                session=about,
            ),
            body=body,
        )


def _in_one_line(login: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in login)


def _quoted(login: str) -> str:
    """As a shell takes it, and in one line."""
    if login.isprintable():
        return shlex.quote(login)
    # No line of a mail begins with what a login says: it may be taken for a command.
    return f"$'{''.join(map(_escaped, login))}'"


def _escaped(one: str) -> str:
    if one.isalnum():
        return one
    return "".join(f"\\{octet:03o}" for octet in one.encode())


def _address_of(who: Submitter, reverse_path: Mailbox | None) -> Mailbox | None:
    """Where they read it, and not who has their password and chose a reverse-path."""
    own = who.primary(utf8=True)
    if own is not None or reverse_path is None:
        return own
    permission = who.permission_for(reverse_path)
    if permission is None or isinstance(permission.grant, Anything):
        return None  # it may be anybody's
    return reverse_path
