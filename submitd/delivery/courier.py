"""Reaches a next hop and carries messages over: one lane, one connection."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import floor
from random import Random
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError

from submitd.delivery.connection import (
    ConnectionBroke,
    HopConnection,
    HopRefused,
    NoContent,
    TimeOuts,
    TlsBroke,
)
from submitd.delivery.form import (
    Form,
    FormContent,
    as_it_is,
    as_rendition,
    target_of,
)
from submitd.delivery.hosts import AddressRules
from submitd.delivery.outcome import Delayed, Failed, Outcome, Relayed, outcome_of
from submitd.delivery.rendition import Renditions
from submitd.delivery.route import Route, TlsPolicy
from submitd.dns.addresses import is_address
from submitd.dns.answer import ResolverUnavailable
from submitd.dns.exchangers import (
    Exchangers,
    Undeliverable,
    find_exchangers,
    find_host,
    literal_exchangers,
    parse_literal,
)
from submitd.dns.message import RecordType
from submitd.dns.resolver import Resolver
from submitd.mail.envelope import ByMode, DeliverBy, ForwardPath, Notify
from submitd.mail.rendition import Target
from submitd.mail.status import EnhancedCode
from submitd.observe.events import TLS_FELL_BACK, Events
from submitd.smtp.client import ClientSession, Outgoing, TimeLeft, TlsWish
from submitd.spool.store import (
    Recipient,
    Rendition,
    Spool,
    Spooled,
    SpoolFull,
    SpoolUnavailable,
)
from submitd.tls.client import BadTlsName, Unverified, verified

_MOST_ADDRESSES: Final = 10
"""Addresses tried in one attempt."""

_FALL_BACK: Final = 600.0
"""Seconds for which a host whose TLS failed is met in clear text."""

_MOST_REMEMBERED: Final = 10_000
_MOST_WORDS: Final = 900
_TAKES: Final = {
    Target.SEVEN_BIT: "no 8-bit content (8BITMIME)",
    Target.EIGHT_BIT: "no binary content (BINARYMIME)",
}


class FormWanted(Exception):
    """The message needs another form for this host, which is not there yet."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.value)
        self.target = target


class CannotReach(Exception):
    """No host of the route took a connection."""

    def __init__(self, outcome: Delayed | Failed) -> None:
        super().__init__(outcome.diagnostic)
        self.outcome = outcome


@frozen(kw_only=True)
class CourierRules:
    """What holds for all attempts."""

    hostname: str
    own_names: frozenset[str]
    addresses: AddressRules
    families: tuple[RecordType, ...]
    """AAAA, A or both, the preferred one first."""

    source_ipv4: str
    source_ipv6: str
    time_outs: TimeOuts


@frozen
class Hop:
    """A connection that stands, and whose it is."""

    connection: HopConnection
    host: str


class Courier:
    """Makes attempts."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        resolver: Resolver,
        spool: Spool,
        renditions: Renditions,
        rules: CourierRules,
        events: Events,
        chance: Random,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reactor = reactor
        self._now = now
        self._resolver = resolver
        self._spool = spool
        self._renditions = renditions
        self._rules = rules
        self._events = events
        self._chance = chance
        self._in_clear: dict[str, float] = {}

    async def reach(self, route: Route) -> Hop:
        """A connection to the first host of the route that takes one.

        Raises:
            CannotReach: with what to tell the messages that wait.
        """
        refusals: list[Delayed | Failed] = []
        tried = 0
        found: Exchangers | None = await self._exchangers(route)
        while found is not None:
            for host, address in found.in_order():
                objection = self._rules.addresses.objection(
                    address, configured=route.is_configured
                )
                if objection:
                    refusals.append(Failed(EnhancedCode(5, 4, 4), objection, host))
                    continue
                if tried == _MOST_ADDRESSES:
                    raise CannotReach(_verdict(refusals))
                tried += 1
                hop = await self._try(route, host, str(address))
                if isinstance(hop, Hop):
                    return hop
                refusals.append(hop)
            if found.unresolved:
                refusals.append(_no_answer(found.unresolved))
            try:
                found = await found.next_best()
            except ResolverUnavailable as problem:
                refusals.append(_no_answer(problem))
                break
        raise CannotReach(_verdict(refusals))

    async def _exchangers(self, route: Route) -> Exchangers:
        """Who takes mail along this route. Raises CannotReach."""
        rules = self._rules
        domain = route.mx_of
        try:
            if route.host:
                found = await self._named_host(route)
            elif domain.startswith("["):
                found = literal_exchangers(
                    domain,
                    port=route.port,
                    is_own=rules.addresses.is_own,
                    families=rules.families,
                )
            else:
                found = await find_exchangers(
                    self._resolver,
                    domain,
                    random=self._chance,
                    port=route.port,
                    own_names=rules.own_names,
                    is_own=rules.addresses.is_own,
                    families=rules.families,
                )
        except ResolverUnavailable as problem:
            raise CannotReach(_no_answer(problem)) from problem
        if isinstance(found, Exchangers):
            return found
        if route.is_configured:
            # An operator's slip of the pen must not send all mail back.
            outcome: Delayed | Failed = Delayed(EnhancedCode(4, 3, 5), found.diagnostic)
        else:
            outcome = Failed(found.status, found.diagnostic)
        raise CannotReach(outcome)

    async def _named_host(self, route: Route) -> Exchangers | Undeliverable:
        rules = self._rules
        if is_address(route.host):
            return literal_exchangers(
                _as_literal(route.host), port=route.port, is_own=rules.addresses.is_own
            )
        return await find_host(
            self._resolver,
            route.host,
            random=self._chance,
            port=route.port,
            own_names=frozenset(),
            is_own=rules.addresses.is_own,
            families=rules.families,
        )

    async def _try(
        self, route: Route, host: str, address: str
    ) -> Hop | Delayed | Failed:
        """One address: a hop, or what to say of it."""
        in_clear = (
            route.tls is TlsPolicy.OPPORTUNISTIC
            and self._in_clear.get(host, 0.0) > self._reactor.seconds()
        )
        try:
            return Hop(await self._connect(route, host, address, in_clear), host)
        except (TlsBroke, BadTlsName) as problem:
            if route.tls.is_required:
                return Delayed(EnhancedCode(4, 7, 5), str(problem), host)
        except HopRefused as refusal:
            return _refused(refusal, host)
        except (ConnectError, OSError) as problem:
            words = str(problem).rstrip(".")
            return Delayed(EnhancedCode(4, 4, 1), f"cannot connect: {words}", host)
        except ConnectionBroke as problem:
            return Delayed(EnhancedCode(4, 4, 2), str(problem), host)
        # RFC 7435: better in clear text than not at all, for a while.
        self._remember_clear(host)
        self._events.emit(TLS_FELL_BACK, host=host, address=address)
        try:
            return Hop(await self._connect(route, host, address, in_clear=True), host)
        except HopRefused as refusal:
            return _refused(refusal, host)
        except (ConnectError, OSError, ConnectionBroke) as problem:
            return Delayed(EnhancedCode(4, 4, 2), str(problem), host)

    def _remember_clear(self, host: str) -> None:
        if len(self._in_clear) >= _MOST_REMEMBERED:
            self._in_clear.clear()
        self._in_clear[host] = self._reactor.seconds() + _FALL_BACK

    async def _connect(
        self,
        route: Route,
        host: str,
        address: str,
        in_clear: bool,
    ) -> HopConnection:
        rules = self._rules
        implicit = route.tls is TlsPolicy.IMPLICIT
        if implicit or in_clear or route.tls is TlsPolicy.NONE:
            wish = TlsWish.NEVER
        elif route.tls is TlsPolicy.OPPORTUNISTIC:
            wish = TlsWish.IF_OFFERED
        else:
            wish = TlsWish.ALWAYS
        verify = implicit or route.tls is TlsPolicy.VERIFY
        name = str(parse_literal(host) or host)
        tls = verified(name, route.trust) if verify else Unverified(name)
        session = ClientSession(
            rules.hostname,
            tls=wish,
            credentials=(route.user, route.password) if route.user else None,
            under_tls=implicit,
        )
        six = ":" in address
        source = rules.source_ipv6 if six else rules.source_ipv4
        endpoint: Any = (TCP6ClientEndpoint if six else TCP4ClientEndpoint)(
            self._reactor,
            address,
            route.port,
            timeout=rules.time_outs.connect,
            bindAddress=(source, 0) if source else None,
        )
        if implicit:
            endpoint = wrapClientTLS(tls, endpoint)
        connection: HopConnection = await connectProtocol(
            endpoint,
            HopConnection(
                self._reactor, session, rules.time_outs, tls, under_tls=implicit
            ),
        )
        await connection.ready
        return connection

    async def carry(
        self,
        hop: Hop,
        spooled: Spooled,
        recipients: Sequence[Recipient],
        *,
        reused: bool,
    ) -> list[Outcome]:
        """Transactions for one message's recipients; an outcome each, in order.

        Fewer where the connection ended between two transactions: the others
        were not tried.

        Raises:
            ConnectionBroke: the connection had been ``reused``, and was closed
                without a word about this message: it may be tried on another.
            FormWanted: nothing was said; `prepare` it first.
        """
        form = await self._form(hop, spooled, recipients)
        if not isinstance(form, Form):
            return [form] * len(recipients)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(recipients):
            rest = recipients[len(outcomes) :]
            if outcomes and not may_carry(hop, rest):
                return outcomes
            # Of each transaction anew: those before it, and the form, took time.
            left = self._time_left(spooled.envelope.deliver_by)
            if left and (too_late := _cannot_make_it(hop, left)):
                return outcomes + [too_late] * len(rest)
            try:
                outcomes += await self._transact(
                    hop, spooled, form, rest, left, reused=reused
                )
            except NoContent as problem:
                lacking = Delayed(EnhancedCode(4, 3, 0), f"no content: {problem}")
                outcomes += [lacking] * len(rest)
            except ConnectionBroke as problem:
                if problem.unused and outcomes:
                    return outcomes
                if problem.unused and reused:
                    raise
                words = (
                    f"{problem} after the final dot"
                    if problem.after_dot
                    else str(problem)
                )
                broke = Delayed(EnhancedCode(4, 4, 2), words, hop.host)
                outcomes += [broke] * len(rest)
        return outcomes

    async def prepare(self, spooled: Spooled, target: Target) -> Delayed | None:
        """Make the form that `carry` wants, or find out that there is none.

        Gives why that cannot be told now.
        """
        try:
            await self._renditions.make(spooled, target)
        except SpoolFull as problem:
            return Delayed(EnhancedCode(4, 3, 1), f"no other form: {problem}")
        except (SpoolUnavailable, LookupError) as problem:
            return _no_form_now(problem)
        return None

    async def _form(
        self, hop: Hop, spooled: Spooled, recipients: Sequence[Recipient]
    ) -> Form | Delayed | Failed:
        """What goes to this host, or why nothing does. Raises FormWanted."""
        offered, host = hop.connection.offered, hop.host
        if _needs_smtputf8(spooled, recipients) and "SMTPUTF8" not in offered:
            return Failed(
                EnhancedCode(5, 6, 7),
                "the host does not take internationalised addresses or headers "
                "(SMTPUTF8)",
                host,
            )
        form = as_it_is(spooled)
        if (target := target_of(spooled, offered)) is not None:
            try:
                found = await self._renditions.find(spooled, target)
            except SpoolUnavailable as problem:
                return _no_form_now(problem)
            if found is None:
                raise FormWanted(target)
            if isinstance(found, Rendition):
                form = as_rendition(found, target)
            elif spooled.needs.binary or not spooled.envelope.is_report:
                # A report with some octets cut to seven bits is better than none.
                return Failed(
                    EnhancedCode(5, 6, 3),
                    f"the host takes {_TAKES[target]}, and the message has no "
                    f"such form: {found.reason}",
                    host,
                )
        return _too_large(hop, form) or form

    async def _transact(
        self,
        hop: Hop,
        spooled: Spooled,
        form: Form,
        recipients: Sequence[Recipient],
        left: TimeLeft | None,
        *,
        reused: bool,
    ) -> list[Outcome]:
        """One transaction; gives outcomes for as many as it settled."""
        envelope = spooled.envelope
        offered = hop.connection.offered
        settled = await hop.connection.deliver(
            Outgoing(
                reverse_path=envelope.reverse_path,
                forward_paths=_wishes(recipients, left, offered),
                size=form.size,
                body=form.body,
                smtputf8=_needs_smtputf8(spooled, recipients),
                ret=envelope.ret,
                envid=envelope.envid,
                by=left,
                priority=envelope.priority,
                submitted_by=envelope.submitted_by,
            ),
            FormContent(self._spool, spooled, form, recipients),
        )
        verdicts = settled.verdicts
        if reused and all(one.code == 421 for one in verdicts):
            # "Enough for one connection", or its idle time was over just now.
            raise ConnectionBroke(verdicts[0].text, unused=True)
        if settled.tail_refused:
            verdicts = verdicts[: -settled.tail_refused]
        owed = left is not None and _is_owed(left, offered)
        dsn = "DSN" in offered
        return [
            outcome_of(one, hop.host, reports_itself=dsn, is_owed=owed)
            for one in verdicts
        ]

    def _time_left(self, by: DeliverBy | None) -> TimeLeft | None:
        if by is None:
            return None
        seconds = floor((by.at - self._now()).total_seconds())
        return TimeLeft(seconds, by.mode, by.trace)


def may_carry(hop: Hop, recipients: Sequence[Recipient]) -> bool:
    """True where another transaction may be begun, for the first of these."""
    connection = hop.connection
    domain = recipients[0].forward_path.mailbox.domain
    return connection.is_usable and connection.takes(domain)


def _wishes(
    recipients: Sequence[Recipient], left: TimeLeft | None, offered: Mapping[str, str]
) -> tuple[ForwardPath, ...]:
    """The forward-paths as the host is to hear of them.

    Who cannot be asked for delivery in time is asked to tell of a delay
    (RFC 2852 section 4.1.4.2).
    """
    paths = tuple(one.forward_path for one in recipients)
    if left is None or left.seconds <= 0 or "DELIVERBY" in offered:
        return paths
    return tuple(
        one
        if one.notify is Notify.NEVER
        else evolve(one, notify=(one.notify or Notify.FAILURE) | Notify.DELAY)
        for one in paths
    )


def _is_owed(left: TimeLeft, offered: Mapping[str, str]) -> bool:
    """True where the sender hears that the host took it (RFC 2852 section 4.1.4)."""
    return left.trace or (left.seconds > 0 and "DELIVERBY" not in offered)


def _cannot_make_it(hop: Hop, left: TimeLeft) -> Failed | None:
    """Why the host does not get what is to come back in time (RFC 2852 4.1.4.1)."""
    if left.mode is not ByMode.RETURN:
        return None
    if left.seconds <= 0:
        return Failed(EnhancedCode(5, 4, 7), "the time for delivery is over", hop.host)
    parameters = hop.connection.offered.get("DELIVERBY")
    if parameters is None:
        return Failed(
            EnhancedCode(5, 3, 3),
            "the host does not promise delivery in time (DELIVERBY)",
            hop.host,
        )
    least = parameters.partition(",")[0]
    if least.isdecimal() and int(least) > left.seconds:
        return Failed(
            EnhancedCode(5, 4, 7),
            f"the host wants {least} s for a delivery, {left.seconds} s are left",
            hop.host,
        )
    return None


def _refused(refusal: HopRefused, host: str) -> Delayed | Failed:
    """A refusal of the whole session; a positive reply out of place delays.

    So does one of the log-in or the TLS that an operator configured.
    """
    outcome = outcome_of(refusal.reply, host)
    if isinstance(outcome, Failed) and refusal.misconfigured:
        code = outcome.status
        status = EnhancedCode(4, code.subject, code.detail)
        return Delayed(status, outcome.diagnostic, host, outcome.is_reply)
    if isinstance(outcome, Relayed):
        return Delayed(
            EnhancedCode(4, 5, 0), outcome.diagnostic, host, outcome.is_reply
        )
    return outcome


def _no_form_now(problem: object) -> Delayed:
    return Delayed(EnhancedCode(4, 3, 0), f"no other form: {problem}")


def _no_answer(problem: object) -> Delayed:
    return Delayed(EnhancedCode(4, 4, 3), f"the DNS gave no answer: {problem}")


def _needs_smtputf8(spooled: Spooled, recipients: Sequence[Recipient]) -> bool:
    return spooled.needs.smtputf8 or not all(
        one.forward_path.mailbox.is_ascii for one in recipients
    )


def _too_large(hop: Hop, form: Form) -> Failed | None:
    limit = hop.connection.offered.get("SIZE", "")
    if limit.isdecimal() and 0 < int(limit) < form.size:
        return Failed(
            EnhancedCode(5, 3, 4),
            f"the message has {form.size} octets, the host takes {limit}",
            hop.host,
        )
    return None


def _verdict(refusals: Sequence[Delayed | Failed]) -> Delayed | Failed:
    """All addresses tried in vain: permanent only where all of them said so."""
    words = "; ".join(
        dict.fromkeys(f"{one.host}: {one.diagnostic}" for one in refusals)
    )[:_MOST_WORDS]
    last = refusals[-1]
    if len(refusals) == 1:
        return last
    delays = [one for one in refusals if isinstance(one, Delayed)]
    if not delays:
        return Failed(last.status, words, last.host)
    return Delayed(delays[-1].status, words, delays[-1].host)


def _as_literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
