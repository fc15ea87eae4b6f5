"""Log-in, put together: sources, rules, portal."""

import os
import secrets
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from submitd.auth.addresses import (
    AddressFile,
    AddressRules,
    AnyAddress,
    Attributes,
    Domains,
    Grants,
    RoleSearch,
    Rule,
    Template,
)
from submitd.auth.checkers import (
    DirectoryChecker,
    DirectoryHashChecker,
    PasswordFileChecker,
    StackedChecker,
)
from submitd.auth.directory import People, PeopleRules
from submitd.auth.files import TableFile, parse_senders
from submitd.auth.hashes import HashThreads
from submitd.auth.ldap import Directory, DirectoryServers, Filter, Server
from submitd.auth.passwords import ScramLook, read_password_table
from submitd.auth.portal import LoginPortal, SubmitterRealm
from submitd.auth.proofs import ChecksTokens, MadeUpKeys, NamesLogins, Proofs
from submitd.auth.throttle import LoginCounts
from submitd.config.people import OAuthSection, RuleSection
from submitd.config.sections import Config
from submitd.observe.events import Events
from submitd.process.material import Material


class Login:
    """The portal and what has to be started and stopped for it."""

    def __init__(
        self,
        portal: LoginPortal,
        threads: HashThreads,
        directory: Directory | None,
        people: People | None,
        file: PasswordFileChecker | None = None,
    ) -> None:
        self.portal = portal
        self.people = people
        self._threads = threads
        self._directory = directory
        self._file = file

    async def start(self) -> None:
        """Start the threads; see what the password file can serve."""
        self._threads.start()
        if self._file is not None:
            await self._file.load()

    def stop(self) -> Deferred[None]:
        """Close connections, end threads."""
        if self._directory is not None:
            self._directory.close()
        return deferToThread(self._threads.stop)


def build_login(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
    counts: LoginCounts,
    events: Events,
    secret: bytes,
) -> Login:
    """Log-in as configured; ``secret`` as for `LoginPortal`."""
    threads = HashThreads(reactor, max(2, len(os.sched_getaffinity(0))))
    domains = frozenset(config.ldap.login_domains)
    directory = _directory(reactor, config, material, events)
    people = None if directory is None else _people(config, directory)
    sources: dict[str, _Source] = {}
    if people is not None:
        keys_attribute = config.ldap.scram_attribute
        sources["ldap"] = (
            DirectoryChecker(people, keys_attribute)
            if config.ldap.check == "bind"
            else DirectoryHashChecker(
                people, config.ldap.hash_attribute, threads, events, keys_attribute
            )
        )
    file = None
    if config.password_file.path is not None:
        sources["password_file"] = file = PasswordFileChecker(
            TableFile(reactor, config.password_file.path, read_password_table, events),
            threads,
            events,
            login_domains=domains,
            authoritative=config.password_file.authoritative,
        )
    rules = AddressRules(
        [
            Rule(
                name=name,
                kind=_kind(reactor, section, domains, directory, events),
                logins=frozenset(one.lower() for one in section.logins),
            )
            for name, section in config.senders.rule.items()
        ],
        subaddresses=config.senders.subaddresses,
        events=events,
    )
    ordered = [sources[one] for one in config.log_in.order if one in sources]
    portal = LoginPortal(
        reactor,
        StackedChecker(ordered),
        SubmitterRealm(people, rules),
        counts,
        people=people,
        rules=rules,
        login_domains=domains,
        cache=config.log_in.cache,
        cache_failures=config.log_in.cache_failures,
        time_out=config.log_in.time_out,
        events=events,
        secret=secret,
        proofs=_proofs(reactor, config, material, ordered, events, secret),
    )
    return Login(portal, threads, directory, people, file)


_Source = DirectoryChecker | DirectoryHashChecker | PasswordFileChecker


def _proofs(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
    sources: Sequence[_Source],
    events: Events,
    secret: bytes,
) -> Proofs:
    log_in = config.log_in
    return Proofs(
        log_in.wanted,
        sources,
        made_up=MadeUpKeys(
            secret, ScramLook(log_in.scram.iterations, log_in.scram.salt)
        ),
        tokens=_tokens(reactor, log_in.oauth, material, events),
        certificates=_certificates(config),
        login_domains=frozenset(config.ldap.login_domains),
        nonce=secrets.token_urlsafe,
        hostname=material.hostname,
    )


def _certificates(config: Config) -> NamesLogins | None:
    if config.tls.client_ca_file is None:
        return None
    # Not at the top: few sites have client certificates.
    from submitd.auth.certificates import ByEmail, ByPrincipal, BySubject

    match config.log_in.external.user:
        case "email":
            return ByEmail()
        case "upn":
            return ByPrincipal()
        case _:
            return BySubject(config.log_in.external.subject)


def _tokens(
    reactor: Any,  # noqa: ANN401
    oauth: OAuthSection,
    material: Material,
    events: Events,
) -> ChecksTokens | None:
    if not oauth.issuer:
        return None
    # Not at the top: what these need of libraries takes 8 MB.
    from submitd.auth.https import HttpsClient
    from submitd.auth.tokens import (
        IntrospectedTokens,
        KeysByUrl,
        KeysInFile,
        SignedTokens,
        TokenRules,
        basic_authorization,
        read_key_set,
    )

    rules = TokenRules(
        issuer=oauth.issuer,
        audiences=oauth.audience,
        user_claim=oauth.user_claim,
        scopes=oauth.scope,
        leeway=int(oauth.leeway.total_seconds()),
        now=time.time,
    )
    described = f"{oauth.issuer.rstrip('/')}/.well-known/openid-configuration"
    web = HttpsClient(reactor, material.oauth_trust, oauth.time_out.total_seconds())
    if oauth.introspection_url:
        authorization = (
            basic_authorization(oauth.client_id, material.oauth_secret)
            if oauth.client_id
            else ""
        )
        return IntrospectedTokens(
            lambda form: web.post(oauth.introspection_url, form, authorization),
            rules,
            described,
            events,
        )
    keys = (
        KeysByUrl(reactor, lambda: web.get(oauth.keys_url), events)
        if oauth.keys_file is None
        else KeysInFile(TableFile(reactor, oauth.keys_file, read_key_set, events))
    )
    return SignedTokens(keys, rules, oauth.algorithms, described)


def _directory(
    reactor: Any,  # noqa: ANN401
    config: Config,
    material: Material,
    events: Events,
) -> Directory | None:
    ldap = config.ldap
    if not ldap.servers:
        return None
    return Directory(
        reactor,
        DirectoryServers(
            reactor,
            [Server.parse(url) for url in ldap.servers],
            starttls=ldap.starttls,
            trust=material.ldap_trust,
            time_out=ldap.time_out.total_seconds(),
            events=events,
        ),
        bind_dn=ldap.bind_dn,
        bind_password=material.ldap_password,
        connections=ldap.connections,
    )


def _people(config: Config, directory: Directory) -> People:
    ldap = config.ldap
    wanted = [
        name for section in config.senders.rule.values() for name in section.attributes
    ]
    if ldap.check == "hash":
        wanted.append(ldap.hash_attribute)
    if ldap.scram_attribute:
        wanted.append(ldap.scram_attribute)
    return People(
        directory,
        PeopleRules(
            base=ldap.base,
            person=Filter(ldap.filter, ["login"]),
            uid_attribute=ldap.uid_attribute,
            login_domains=frozenset(ldap.login_domains),
            lock=Filter(ldap.lock_filter, []) if ldap.lock_filter else None,
            honour_locks=ldap.honour_locks,
            attributes=tuple(dict.fromkeys(wanted)),
        ),
    )


def _kind(
    reactor: Any,  # noqa: ANN401
    section: RuleSection,
    login_domains: frozenset[str],
    directory: Directory | None,
    events: Events,
) -> Grants:
    if section.template:
        return Template(section.template, login_domains)
    if section.attributes:
        return Attributes(section.attributes)
    if section.base:
        assert directory is not None, "the reader has checked it"  # noqa: S101
        return RoleSearch(
            directory,
            section.base,
            Filter(section.filter, ["login", "dn"]),
            section.address_attributes,
        )
    if section.file is not None:
        return AddressFile(
            section.file, TableFile(reactor, section.file, parse_senders, events)
        )
    return Domains(section.domains) if section.domains else AnyAddress()
