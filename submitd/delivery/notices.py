"""Mail that is held for being over a limit → what its sender and postmaster hear."""

import shlex
from collections.abc import Callable
from datetime import datetime

from submitd.auth.submitter import Submitter
from submitd.delivery.reporter import ReportRules, Sign
from submitd.mail.address import Mailbox, parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath, Notify
from submitd.mail.notice import HeldMail, notice, to_postmaster, to_submitter
from submitd.spool.store import Needs, NewMessage, Report


class HoldNotices:
    """Makes them. They enter the spool together with the message that is held."""

    def __init__(
        self, new_queue_id: Callable[[], str], rules: ReportRules, sign: Sign
    ) -> None:
        self._new_queue_id = new_queue_id
        self._rules = rules
        self._sign = sign

    def make(
        self, message: NewMessage, who: Submitter, reason: str
    ) -> tuple[Report, ...]:
        """One for the sender, where they have an address, and the postmaster's."""
        envelope, now = message.envelope, message.envelope.accepted_at
        held = HeldMail(
            queue_id=message.queue_id,
            login=who.login,
            login_quoted=shlex.quote(who.login),
            reason=reason,
            recipients=len(envelope.forward_paths),
            sender=envelope.reverse_path,
            session=message.session,
        )
        hostname = self._rules.hostname
        sender = envelope.reverse_path or who.primary(utf8=True)
        made = []
        if sender is not None:
            text = to_submitter(held, hostname)
            made.append(self._report(message, sender, *text, now))
        text = to_postmaster(held, hostname)
        postmaster = parse_mailbox(self._rules.postmaster)
        made.append(self._report(message, postmaster, *text, now))
        return tuple(made)

    def _report(
        self,
        message: NewMessage,
        to: Mailbox,
        subject: str,
        lines: tuple[str, ...],
        now: datetime,
    ) -> Report:
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
                session=message.queue_id,
            ),
            body=body,
        )
