"""Log-in, put together: sources, rules, portal."""

import os
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
    Proves,
    StackedChecker,
)
from submitd.auth.directory import People, PeopleRules
from submitd.auth.files import TableFile, parse_passwords, parse_senders
from submitd.auth.hashes import HashThreads
from submitd.auth.ldap import Directory, DirectoryServers, Filter, Server
from submitd.auth.portal import LoginPortal, SubmitterRealm
from submitd.auth.throttle import LoginCounts
from submitd.config.sections import Config, RuleSection
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
    ) -> None:
        self.portal = portal
        self.people = people
        self._threads = threads
        self._directory = directory

    def start(self) -> None:
        """Start the threads."""
        self._threads.start()

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
    sources: dict[str, Proves] = {}
    if people is not None:
        sources["ldap"] = (
            DirectoryChecker(people)
            if config.ldap.check == "bind"
            else DirectoryHashChecker(
                people, config.ldap.hash_attribute, threads, events
            )
        )
    if config.password_file.path is not None:
        sources["password_file"] = PasswordFileChecker(
            TableFile(reactor, config.password_file.path, parse_passwords, events),
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
    portal = LoginPortal(
        reactor,
        StackedChecker([sources[one] for one in config.log_in.order if one in sources]),
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
    )
    return Login(portal, threads, directory, people)


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
