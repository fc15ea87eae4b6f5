"""Outcomes that the sender should hear of → reports."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from attrs import frozen

from submitd.mail.envelope import (
    Body,
    Envelope,
    ForwardPath,
    Notify,
    Ret,
    TlsDemand,
)
from submitd.mail.report import (
    Action,
    ReportedMessage,
    ReportedRecipient,
    Returned,
    delivery_report,
)
from submitd.observe.events import REPORT_DROPPED, Events
from submitd.observe.metrics import Metrics
from submitd.spool.store import Needs, NewMessage, Report, Spooled

_WISHES: Final = {
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
    Action.RELAYED: Notify.SUCCESS,
    Action.DELIVERED: Notify.SUCCESS,
}

Sign = Callable[[bytes, bytes, datetime], bytes]
"""(header section, body, moment) → the header section with signatures on top."""


class NamesReports(Protocol):
    """What a reporter needs of the spool."""

    def new_queue_id(self) -> str: ...

    async def read_header(self, queue_id: str) -> bytes: ...

    def read_chunk(self, queue_id: str, number: int) -> Awaitable[bytes | None]: ...


@frozen(kw_only=True)
class ReportRules:
    """How reports look."""

    hostname: str
    postmaster: str
    returned_content: int
    """Octets of a message that is returned whole."""


class Reporter:
    """Makes reports. What it makes enters the spool with the outcomes."""

    def __init__(
        self,
        spool: NamesReports,
        rules: ReportRules,
        sign: Sign,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._spool = spool
        self._rules = rules
        self._sign = sign
        self._events = events
        self._metrics = metrics

    def is_wanted(
        self,
        spooled: Spooled,
        path: ForwardPath,
        action: Action,
        *,
        is_owed: bool = False,
    ) -> bool:
        """True where the sender is to hear of this.

        The null reverse-path never does (RFC 5321 section 6.1): a report that
        cannot be delivered is dropped, not reported.
        """
        return spooled.envelope.reverse_path is not None and (
            path.wants(_WISHES[action]) or (is_owed and path.notify is not Notify.NEVER)
        )

    async def reports(
        self, spooled: Spooled, recipients: Sequence[ReportedRecipient], now: datetime
    ) -> list[Report]:
        """One report for each action among the recipients who want one.

        Raises:
            SpoolUnavailable, LookupError: the message cannot be read.
        """
        made: list[Report] = []
        for action in Action:
            same = [one for one in recipients if one.action is action]
            wanted = [
                one
                for one in same
                if self.is_wanted(
                    spooled, one.forward_path, action, is_owed=one.is_owed
                )
            ]
            if wanted:
                made.append(await self._report(spooled, wanted, now))
                self._metrics.reports.labels(action.value).inc()
            elif same and action is Action.FAILED and spooled.envelope.is_report:
                self._events.emit(
                    REPORT_DROPPED,
                    queue_id=spooled.queue_id,
                    recipient=same[0].forward_path.mailbox,
                    reason=same[0].diagnostic,
                )
        return made

    async def _report(
        self, spooled: Spooled, recipients: Sequence[ReportedRecipient], now: datetime
    ) -> Report:
        envelope = spooled.envelope
        to, by = envelope.reverse_path, envelope.deliver_by
        assert to is not None, "only who has a reverse-path wants reports"  # noqa: S101
        queue_id = self._spool.new_queue_id()
        header, body = delivery_report(
            ReportedMessage(
                queue_id=spooled.queue_id,
                envid=envelope.envid,
                arrived_at=envelope.accepted_at,
                returned=await self._returned(spooled, recipients[0].action),
                smtputf8=envelope.smtputf8,
                release_request=envelope.release_request,
                deliver_by=None if by is None else by.at,
            ),
            recipients,
            to=to,
            postmaster=self._rules.postmaster,
            hostname=self._rules.hostname,
            report_id=queue_id,
            now=now,
        )
        utf8 = not (to.is_ascii and header.isascii())
        eight_bit = not body.isascii()
        return Report(
            message=NewMessage(
                queue_id=queue_id,
                envelope=Envelope(
                    reverse_path=None,
                    forward_paths=(ForwardPath(to, Notify.NEVER),),
                    body=Body.EIGHT_BIT_MIME if eight_bit else Body.SEVEN_BIT,
                    smtputf8=utf8,
                    accepted_at=now,
                    priority=envelope.priority,
                    tls_demand=envelope.tls_demand,
                ),
                header=self._sign(header, body, now),
                needs=Needs(eight_bit=eight_bit, smtputf8=utf8),
                submitter=None,
                session=spooled.queue_id,
            ),
            body=body,
        )

    async def _returned(self, spooled: Spooled, action: Action) -> Returned:
        header = spooled.header
        if header is None:
            header = await self._spool.read_header(spooled.queue_id)
        whole = (
            action is Action.FAILED
            and spooled.envelope.ret is not Ret.HEADERS
            # RFC 8689 section 5: whatever RET says.
            and spooled.envelope.tls_demand is not TlsDemand.REQUIRED
            and spooled.size <= self._rules.returned_content
            # No host that takes reports need take these octets.
            and not spooled.needs.binary
        )
        if not whole:
            return Returned(header=header, body=None)
        if spooled.body is not None:
            return Returned(header=header, body=b"".join(spooled.body))
        chunks: list[bytes] = []
        while True:
            chunk = await self._spool.read_chunk(spooled.queue_id, len(chunks))
            if chunk is None:
                return Returned(header=header, body=b"".join(chunks))
            chunks.append(chunk)
