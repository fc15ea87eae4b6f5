"""What works: sessions, log-in, spool and delivery of one worker, put together."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread

from submitd.auth.throttle import LoginCounts
from submitd.config.sections import Config
from submitd.config.serving import ExtensionsSection, ListenerSection
from submitd.delivery.backoff import RetrySchedule
from submitd.delivery.connection import TimeOuts
from submitd.delivery.courier import Courier, CourierRules
from submitd.delivery.hosts import AddressRules
from submitd.delivery.lanes import DeliveryLimits
from submitd.delivery.notices import HoldNotices
from submitd.delivery.reminders import HoldReminders
from submitd.delivery.rendition import Renditions
from submitd.delivery.reporter import Reporter, ReportRules
from submitd.delivery.route import Route, Routes, TlsPolicy
from submitd.delivery.scheduler import DeliveryScheduler
from submitd.dkim.sign import Signer, signer_for
from submitd.dns.exchangers import IPV6_FIRST
from submitd.dns.message import RecordType
from submitd.dns.resolver import make_resolver
from submitd.mail.message import HeaderSection
from submitd.mail.network import counted_as
from submitd.observe.events import Events
from submitd.observe.metrics import Metrics, Snapshot, Summed
from submitd.policy.content import read_authors
from submitd.policy.priority import Priorities
from submitd.process.counts import IN_ALL
from submitd.process.login import build_login
from submitd.process.material import Material
from submitd.process.quota import quotas_of
from submitd.server.allowance import Allowances
from submitd.server.desk import Desk, DeskServices
from submitd.server.factory import SubmissionFactory
from submitd.server.intake import ContentRules
from submitd.server.limits import Elsewhere, Room, Strangers
from submitd.server.submission import TimeLimits
from submitd.smtp import extension
from submitd.smtp.extension import Extension
from submitd.smtp.framing import LineEnds
from submitd.smtp.reply import Reply
from submitd.smtp.server import ServerSession, SessionLimits, TlsManner
from submitd.spool.spool import SqliteSpool
from submitd.spool.store import Spooled
from submitd.tls.server import CertificateWatch, ServerTls


class TakesSlots(Protocol):
    """Shared counts: `process.counts`."""

    async def take(self, keys: list[tuple[str, int | None]]) -> bool: ...

    async def claim(self, keys: list[tuple[str, int | None]]) -> str | None: ...

    def give(self, keys: list[str]) -> None: ...


class SharedConnections:
    """`ConnectionCounts` on shared counts."""

    def __init__(
        self, counts: TakesSlots, in_all: int | None, per_address: int | None
    ) -> None:
        self._counts = counts
        self._in_all = in_all
        self._per_address = per_address

    async def opened(self, address: str | None) -> Room:
        """As `ConnectionCounts.opened`."""
        keys = [(IN_ALL, self._in_all)]
        if address is not None:
            # It comes first: who has all that is theirs needs nobody to make room.
            keys.insert(0, self._of(address))
        used_up = await self._counts.claim(keys)
        if used_up is None:
            return Room.FOUND
        return Room.FULL if used_up == IN_ALL else Room.CROWDED

    async def named(self, address: str) -> bool:
        """As `ConnectionCounts.named`."""
        return await self._counts.take([self._of(address)])

    def unnamed(self, address: str) -> None:
        """As `ConnectionCounts.unnamed`."""
        self._counts.give([f"from {counted_as(address)}"])

    def _of(self, address: str) -> tuple[str, int | None]:
        return f"from {counted_as(address)}", self._per_address

    def closed(self, address: str | None) -> None:
        """As `ConnectionCounts.closed`."""
        keys = [IN_ALL]
        if address is not None:
            keys.append(f"from {counted_as(address)}")
        self._counts.give(keys)


class SharedLoginPlaces:
    """`LoginPlaces` on shared counts."""

    def __init__(self, counts: TakesSlots, most: int | None) -> None:
        self._counts = counts
        self._most = most

    async def opened(self, login: str) -> bool:
        """As `LoginPlaces.opened`."""
        if self._most is None:
            return True
        return await self._counts.take([(_sessions_of(login), self._most)])

    def closed(self, login: str) -> None:
        """As `LoginPlaces.closed`."""
        if self._most is not None:
            self._counts.give([_sessions_of(login)])


def _sessions_of(login: str) -> str:
    """The key for its sessions: as for its quotas, however it is written."""
    return f"login {login.casefold()}"


class WorkerTree:
    """All services of one worker."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        config: Config,
        material: Material,
        listeners: Mapping[str, Sequence[int]],
        *,
        owner: str,
        number: int,
        counts: TakesSlots,
        logins: LoginCounts,
        own_addresses: frozenset[tuple[str, int]],
        events: Events,
        secret: bytes,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """``listeners``: descriptors of listening sockets, by listener.

        ``owner`` names this incarnation, ``number`` tells workers apart.

        ``secret``: random octets, the same in all workers of a start.

        ``elsewhere``: the strangers of other workers, where there are some.
        """
        self._reactor = reactor
        self._config = config
        self._material = material
        self._listeners = listeners
        self._events = events
        self._counts = counts
        self.metrics = Metrics()
        self._spool = SqliteSpool(
            reactor,
            config.server.state_directory,
            owner,
            number=number,
            reserve=config.spool.reserve,
            on_commit=self._committed,
        )
        self._login = build_login(reactor, config, material, logins, events, secret)
        self._resolver = make_resolver(
            reactor, config.dns.servers, config.dns.time_out.total_seconds()
        )
        self._scheduler = self._delivery(own_addresses)
        self._notices = HoldNotices(
            self._spool.new_queue_id, self._report_rules(), self._sign_report
        )
        self._reminders = HoldReminders(reactor, self._spool, self._notices, events)
        self._tls = (
            None if material.tls_context is None else ServerTls(material.tls_context)
        )
        self._watch = (
            None
            if self._tls is None or material.tls_files is None
            else CertificateWatch(
                reactor, material.tls_files, self._tls, events, material.tls_state
            )
        )
        self._services = self._desk_services()
        self._strangers = Strangers(elsewhere)
        self._connections = SharedConnections(
            counts, config.limits.connections, config.limits.connections_per_address
        )
        self._factories: list[SubmissionFactory] = []
        self._ports: list[IListeningPort] = []

    async def start(self) -> None:
        """Start it all; listening comes last."""
        self._spool.start()
        await self._login.start()
        self._scheduler.startService()
        self._reminders.startService()
        if self._watch is not None:
            self._watch.startService()
        for name, descriptors in self._listeners.items():
            factory = self._factory(name, self._config.listener[name])
            self._factories.append(factory)
            for descriptor in descriptors:
                self._ports.append(self._adopt(descriptor, factory))

    def _adopt(self, descriptor: int, factory: SubmissionFactory) -> IListeningPort:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            port: IListeningPort = self._reactor.adoptStreamPort(
                one.fileno(), one.family, factory
            )
        # Workers share the socket: one that took all that waits would leave
        # the others idle.
        port.numberAccepts = 1  # type: ignore[attr-defined]
        return port

    def make_room(self) -> bool:
        """Have one of a crowd give way to who has come to another worker.

        False: there is no crowd here.
        """
        if not self._strangers.has_crowd:
            return False
        self._connections.closed(self._strangers.make_room())
        return True

    def look_at_certificate(self) -> None:
        """It has changed, somebody says."""
        if self._watch is not None:
            Deferred.fromCoroutine(self._watch.look())

    async def stop(self, grace: float) -> None:
        """Stop accepting, finish what is open within ``grace`` seconds, commit."""
        end = self._reactor.seconds() + grace
        for port in self._ports:
            stopping = port.stopListening()
            if stopping is not None:
                await stopping
        ending = DeferredList([factory.shut_down(grace) for factory in self._factories])
        await ending
        if self._watch is not None:
            self._watch.stopService()
        self._reminders.stopService()
        # Past its grace an attempt is cut off: the next start finds the lease
        # void, and what a remote host took in these seconds may go out twice.
        with suppress(TimedOut):
            left = max(0.0, end - self._reactor.seconds())
            await self._scheduler.stopService().addTimeout(left, self._reactor)
        self._resolver.close()
        await self._login.stop()
        await deferToThread(self._spool.stop)

    def _committed(self, took: float, items: int) -> None:
        self.metrics.commit_seconds.observe(took)
        self.metrics.commit_batch.observe(items)

    # Delivery

    def _delivery(self, own_addresses: frozenset[tuple[str, int]]) -> DeliveryScheduler:
        config, material, events = self._config, self._material, self._events
        delivery, retry = config.delivery, config.retry
        chance = Random()  # noqa: S311 - order and jitter, not secrets
        courier = Courier(
            self._reactor,
            self._resolver,
            self._spool,
            Renditions(self._reactor, self._spool, self._signer_of, events),
            CourierRules(
                hostname=material.hostname,
                own_names=_own_names(config, material),
                addresses=AddressRules(
                    own_addresses | frozenset(delivery.own_addresses),
                    delivery.allow_loopback,
                ),
                families=_FAMILIES[delivery.addresses],
                source_ipv4=delivery.source_ipv4,
                source_ipv6=delivery.source_ipv6,
                time_outs=_time_outs(config),
            ),
            events,
            chance,
        )
        reporter = Reporter(
            self._spool,
            self._report_rules(),
            self._sign_report,
            events,
            self.metrics,
        )
        return DeliveryScheduler(
            self._reactor,
            self._spool,
            courier,
            reporter,
            _routes(config, material),
            RetrySchedule(
                first=retry.first,
                longest=retry.longest,
                give_up=retry.give_up,
                report_delay_after=retry.report_delay_after,
                jitter=retry.jitter,
            ),
            DeliveryLimits(
                connections=delivery.connections,
                connections_per_destination=delivery.connections_per_destination,
                messages_per_connection=delivery.messages_per_connection,
                idle_connection=delivery.idle_connection.total_seconds(),
            ),
            self._counts,
            events,
            self.metrics,
            chance=chance,
        )

    def _report_rules(self) -> ReportRules:
        hostname = self._material.hostname
        return ReportRules(
            hostname=hostname,
            postmaster=self._config.server.postmaster or f"postmaster@{hostname}",
            returned_content=self._config.delivery.returned_content,
        )

    def _signer_of(self, spooled: Spooled, section: HeaderSection) -> Signer | None:
        """Who signs another form of a message: who has signed the first one."""
        if spooled.submitter is None:
            return self._report_signer()
        authors = read_authors(section, smtputf8=spooled.envelope.smtputf8)
        if isinstance(authors, Reply):
            return None  # accepted by rules that are not ours any more
        return signer_for(authors.authors[0].domain, self._material.signers)

    def _report_signer(self) -> Signer | None:
        """Reports are signed by the postmaster's domain, or one above it.

        A key of example.org signs for submit.example.org: DMARC's relaxed
        alignment (RFC 7489 section 3.1.1) accepts it.
        """
        signers = self._material.signers
        address = self._config.server.postmaster
        domain = (address.rpartition("@")[2] or self._material.hostname).lower()
        signer = signer_for(domain, signers)
        while signer is None and "." in domain:
            domain = domain.partition(".")[2]
            signer = signers.get(domain)
        return signer

    def _sign_report(self, header: bytes, body: bytes, at: datetime) -> bytes:
        signer = self._report_signer()
        if signer is None:
            return header
        hasher = signer.body_hasher()
        hasher.update(body)
        fields = [one.raw for one in HeaderSection.parse(header).fields]
        return signer.sign(fields, hasher.digest(), at) + header

    # Submission

    def _desk_services(self) -> DeskServices:
        config, material = self._config, self._material
        message = config.message
        return DeskServices(
            clock=self._reactor,
            portal=self._login.portal,
            places=SharedLoginPlaces(self._counts, config.limits.connections_per_login),
            spool=self._spool,
            delivery=self._scheduler,
            content=ContentRules(
                hostname=material.hostname,
                message_id_domain=message.message_id_domain or material.hostname,
                header_size=config.limits.header_size,
                received_fields=config.limits.received_fields,
                rewrite_foreign_from=config.senders.on_foreign_from == "rewrite",
                signers=material.signers,
                sign_or_refuse=config.dkim.unsigned == "refuse",
            ),
            allowances=Allowances(
                quotas=quotas_of(config),
                spool=self._spool,
                notices=self._notices,
                events=self._events,
                metrics=self.metrics,
            ),
            priorities=_priorities(config.extensions),
            routed=frozenset(
                name for name in config.route if not name.startswith((".", "*"))
            ),
            show_client=message.received_client == "show",
            events=self._events,
            metrics=self.metrics,
        )

    def _factory(self, name: str, listener: ListenerSection) -> SubmissionFactory:
        config, limits = self._config, self._config.limits
        manner = {
            "starttls": TlsManner.STARTTLS,
            "implicit": TlsManner.IMPLICIT,
            "none": TlsManner.NONE,
        }[listener.tls]
        session_limits = SessionLimits(
            message_size=limits.message_size,
            recipients=limits.recipients,
            line=limits.line,
            bad_commands=limits.bad_commands,
        )
        line_ends = (
            LineEnds.STRICT
            if config.message.line_ends == "reject"
            else LineEnds.NORMALISE
        )
        hostname = self._material.hostname
        portal = self._services.portal
        extensions = _extensions(config.extensions)

        def make(session_id: str, client: str) -> tuple[ServerSession, Desk]:
            session = ServerSession(
                hostname,
                manner,
                session_limits,
                extensions=extensions,
                # Under TLS its desk offers what is then possible.
                mechanisms=portal.mechanisms(None),
                line_ends=line_ends,
            )
            trusted_as = (
                (lambda: portal.trusted(listener.submitter))
                if manner is TlsManner.NONE
                else None
            )
            return session, Desk(
                self._services, session, session_id, client, trusted_as
            )

        return SubmissionFactory(
            name=name,
            clock=self._reactor,
            make=make,
            counts=self._connections,
            strangers=self._strangers,
            tls=self._tls,
            implicit_tls=manner is TlsManner.IMPLICIT,
            trusted=_trusts(listener.trusted)
            if manner is TlsManner.NONE
            else lambda _: True,
            time_limits=TimeLimits(
                handshake=_seconds(limits.handshake),
                idle=_seconds(limits.idle),
                transaction=_seconds(limits.transaction),
                session=_seconds(limits.session),
                log_in=_seconds(limits.log_in),
            ),
            events=self._events,
            metrics=self.metrics,
            proxies=_trusts(listener.proxy) if listener.proxy else None,
        )


class InProcess:
    """A worker that lives in its supervisor's process (``workers = 0``)."""

    pid = None

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401
        name: str,
        tree: WorkerTree,
        summed: Summed,
        on_end: Callable[["InProcess"], None],
    ) -> None:
        self.name = name
        self.ready = False
        self.draining = False
        self.became_ready: Deferred[bool] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.pipe = self
        self._reactor = reactor
        self._tree = tree
        self._summed = summed
        self._on_end = on_end

    def start(self) -> None:
        """Start the tree; a failure is the starter's to see."""
        Deferred.fromCoroutine(self._tree.start()).addCallbacks(
            lambda _: self._settled(ready=True), self._failed
        )

    def _failed(self, failure: Any) -> None:  # noqa: ANN401
        self._settled(ready=False)
        failure.raiseException()

    def _settled(self, *, ready: bool) -> None:
        self.ready = ready
        self.became_ready.callback(ready)

    def drain(self, grace: float) -> None:
        """Finish."""
        if not self.draining:
            self.draining = True
            self.ready = False
            Deferred.fromCoroutine(self._end(grace))

    async def _end(self, grace: float) -> None:
        await self._tree.stop(grace)
        self._summed.put(self.name, self._tree.metrics.snapshot())
        self._summed.end(self.name)
        self._on_end(self)
        self.ended.callback(None)

    def tell(self, name: str) -> None:
        """As `Pipe.tell`. Of a log that was moved its process knows already."""
        if name == "certificate":
            self._tree.look_at_certificate()

    async def ask(self, name: str, time_out: float) -> Snapshot:  # noqa: ARG002
        """As `Pipe.ask`, for the one question there is: its figures."""
        return self._tree.metrics.snapshot()


_FAMILIES = {
    "both": IPV6_FIRST,
    "ipv4": (RecordType.A,),
    "ipv6": (RecordType.AAAA,),
}


def _extensions(section: ExtensionsSection) -> list[Extension]:
    """What is offered besides what always is."""

    def now() -> datetime:
        return datetime.now(UTC)

    extensions = [
        *extension.OPTIONAL,
        extension.LIMITS,
        extension.MT_PRIORITY,
    ]
    if section.future_release is not None:
        extensions.append(extension.future_release(section.future_release, now))
    if section.deliver_by is not None:
        extensions.append(extension.deliver_by(section.deliver_by, now))
    return extensions


def _priorities(section: ExtensionsSection) -> Priorities:
    """Who may say that mail is urgent."""
    return Priorities(
        section.highest_priority,
        {
            login.casefold(): rule.highest
            for rule in section.priority.values()
            for login in rule.logins
        },
    )


def _own_names(config: Config, material: Material) -> frozenset[str]:
    """Names under which this server takes mail from other servers.

    Its host name is one only where it listens on their port: otherwise
    another server on this host may be the domain's exchanger.
    """
    names = set(config.delivery.own_names)
    if any(one.port == config.delivery.port for one in config.listener.values()):
        names.add(material.hostname)
    return frozenset(names)


def _time_outs(config: Config) -> TimeOuts:
    section = config.delivery.time_out
    return TimeOuts(
        connect=section.connect.total_seconds(),
        greeting=section.greeting.total_seconds(),
        helo=section.helo.total_seconds(),
        mail=section.mail.total_seconds(),
        rcpt=section.rcpt.total_seconds(),
        data=section.data.total_seconds(),
        block=section.block.total_seconds(),
        dot=section.dot.total_seconds(),
        quit=section.quit.total_seconds(),
    )


def _routes(config: Config, material: Material) -> Routes:
    configured: dict[str, Route] = {}
    for name, section in config.route.items():
        mx_of = section.host.removeprefix("mx:") if section.host[:3] == "mx:" else ""
        configured[name] = Route(
            key=f"route {name}",
            mx_of=mx_of,
            host="" if mx_of else section.host,
            port=section.port,
            tls=TlsPolicy[section.tls.upper()],
            trust=material.route_trust[name],
            user=section.user,
            password=material.route_passwords[name],
        )
    return Routes(
        configured, config.delivery.port, TlsPolicy[config.delivery.tls.upper()]
    )


def _trusts(
    networks: Sequence[IPv4Network | IPv6Network],
) -> Callable[[str], bool]:
    def trusted(client: str) -> bool:
        parsed = ip_address(client.partition("%")[0])
        return any(
            parsed.version == network.version and parsed in network
            for network in networks
        )

    return trusted


def _seconds(span: Any) -> float | None:  # noqa: ANN401 - timedelta or None
    return None if span is None else span.total_seconds()
