"""``submitctl check --live``: is the world as the configuration says?"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, verify_service_identity
from twisted.internet.threads import deferToThread

from submitd.auth.errors import DirectoryRefusesUs, DirectoryUnavailable
from submitd.auth.ldap import (
    Directory,
    DirectoryServers,
    Filter,
    Server,
)
from submitd.cli.dkim import probe_signers
from submitd.cli.findings import Finding, Verdict
from submitd.cli.loop import to_standard_error
from submitd.cli.whoami import portal_of
from submitd.config.people import LdapSection
from submitd.config.sections import Config
from submitd.dns.answer import NameNotFound, ResolverUnavailable
from submitd.dns.message import BadName, RecordType
from submitd.dns.resolver import Resolver, make_resolver
from submitd.mail.address import BadAddress, parse_mailbox
from submitd.observe.events import Level
from submitd.process.material import Material
from submitd.tls.making import is_temporary

_RENEW: Final = timedelta(days=14)
"""A certificate that ends within this time should have been renewed."""


async def probe(reactor: Any, config: Config, material: Material) -> list[Finding]:  # noqa: ANN401
    """Look at everything outside that the configuration relies on."""
    resolver = make_resolver(
        reactor, config.dns.servers, config.dns.time_out.total_seconds()
    )
    try:
        return [
            *probe_certificate(config, material, datetime.now(UTC)),
            *await probe_authority(material),
            *[one async for one in probe_directory(reactor, config.ldap, material)],
            await probe_resolver(resolver, material.hostname),
            *await probe_signers(resolver, material.signers),
            *[one async for one in probe_senders(reactor, config, material)],
        ]
    finally:
        resolver.close()


def probe_certificate(
    config: Config, material: Material, now: datetime
) -> list[Finding]:
    """Its dates, and whether it is for our name. Blocks."""
    files = material.tls_files
    if files is None:
        return []
    about = f"certificate {files.certificate}"
    if material.tls_context is None:
        text = "there is none yet; a start of the server makes one, and orders"
        return [Finding(Verdict.ODD, about, text)]
    leaf = files.leaf()
    if config.tls.acme and is_temporary(leaf):
        text = "it is temporary: the authority has not issued one yet"
        return [Finding(Verdict.ODD, about, text)]
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if ends <= now:
        dates = Finding(Verdict.WRONG, about, f"it ended on {ends:%Y-%m-%d}")
    elif begins > now:
        dates = Finding(Verdict.WRONG, about, f"it is valid from {begins:%Y-%m-%d} on")
    else:
        verdict = Verdict.ODD if ends - now < _RENEW else Verdict.GOOD
        dates = Finding(verdict, about, f"it is valid until {ends:%Y-%m-%d}")
    return [dates, _named(leaf, about, material.hostname)]


def _named(leaf: x509.Certificate, about: str, hostname: str) -> Finding:
    try:
        verify_service_identity(extract_patterns(leaf), [DNS_ID(hostname)], [])
    except (VerificationError, CertificateError):
        text = f"it is not for {hostname}; clients that verify names will refuse it"
        return Finding(Verdict.WRONG, about, text)
    return Finding(Verdict.GOOD, about, f"it is for {hostname}")


async def probe_authority(material: Material) -> list[Finding]:
    """Does it answer, and where are its terms?"""
    if (order := material.order) is None:
        return []
    # Not at the top: its libraries take as long to load as all of the rest.
    from submitd.tls.authority import NotIssued, terms_of

    about = f"authority {order.authority}"
    trust = Path(order.ca_file) if order.ca_file else None
    try:
        terms = await deferToThread(terms_of, order.authority, trust)
    except NotIssued as problem:
        return [Finding(Verdict.UNKNOWN, about, str(problem))]
    text = f"it answers; its terms: {terms or 'none'}"
    return [Finding(Verdict.GOOD, about, text)]


async def probe_directory(
    reactor: Any,  # noqa: ANN401
    ldap: LdapSection,
    material: Material,
) -> AsyncIterator[Finding]:
    """Connect to each server, start TLS, bind, search."""
    for url in ldap.servers:
        servers = DirectoryServers(
            reactor,
            [Server.parse(url)],
            starttls=ldap.starttls,
            trust=material.ldap_trust,
            time_out=ldap.time_out.total_seconds(),
            # What fails is told as a finding.
            events=to_standard_error(Level.ERROR),
        )
        directory = Directory(
            reactor,
            servers,
            bind_dn=ldap.bind_dn,
            bind_password=material.ldap_password,
            connections=1,
        )
        try:
            yield await _searched(directory, ldap, f"directory {url}")
        finally:
            directory.close()


async def _searched(directory: Directory, ldap: LdapSection, about: str) -> Finding:
    anything = Filter("(objectClass=*)", ()).fill({})
    try:
        found = await directory.search(ldap.base, anything, ("1.1",), base_only=True)
    except DirectoryRefusesUs as problem:
        return Finding(Verdict.WRONG, about, str(problem))
    except DirectoryUnavailable as problem:
        return Finding(Verdict.UNKNOWN, about, str(problem))
    if not found:
        text = f"{ldap.base} is not there, or hidden from {ldap.bind_dn or 'us'}"
        return Finding(Verdict.ODD, about, text)
    return Finding(Verdict.GOOD, about, f"it serves, and shows {ldap.base}")


async def probe_resolver(resolver: Resolver, hostname: str) -> Finding:
    """Can DNS be asked, and does it know our own name?"""
    about = f"DNS name {hostname}"
    addresses: list[str] = []
    try:
        for kind in (RecordType.A, RecordType.AAAA):
            answer = await resolver.query(hostname, kind)
            addresses += [str(getattr(one, "address", "")) for one in answer.records]
    except NameNotFound:
        return Finding(Verdict.ODD, about, "DNS does not know this server's own name")
    except ResolverUnavailable as problem:
        text = f"{problem.reason} {problem.detail}".strip()
        return Finding(Verdict.UNKNOWN, about, text)
    except BadName as problem:
        return Finding(Verdict.WRONG, about, str(problem))
    if not addresses:
        return Finding(Verdict.ODD, about, "DNS has no address for this server's name")
    return Finding(Verdict.GOOD, about, f"DNS answers: {', '.join(addresses)}")


async def probe_senders(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
) -> AsyncIterator[Finding]:
    """Each ``[senders] test`` against the sources as they are now."""
    if not config.senders.test:
        return
    async with portal_of(reactor, config, material) as portal:
        for test in config.senders.test:
            about = f"senders.test {test.login} as {test.address}"
            try:
                mailbox = parse_mailbox(test.address)
                explained = await portal.explain(test.login)
            except BadAddress as problem:
                yield Finding(Verdict.WRONG, about, f"no address: {problem}")
                continue
            except DirectoryUnavailable as problem:
                yield Finding(Verdict.UNKNOWN, about, str(problem))
                continue
            grants = [one for one in explained.permissions if one.grant.covers(mailbox)]
            said = f"allowed by {grants[0].rule}" if grants else "not allowed"
            verdict = Verdict.GOOD if bool(grants) is test.allowed else Verdict.WRONG
            yield Finding(verdict, about, said)
