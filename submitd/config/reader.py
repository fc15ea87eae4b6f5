"""Files → `Config`. Everything that is wrong is found in one go."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve, field, fields, frozen

from submitd.config.errors import ConfigErrors, ConfigProblem
from submitd.config.people import OAuthSection, QuotaRuleSection, RuleSection
from submitd.config.sections import Config
from submitd.config.serving import (
    AcmeSection,
    ListenerSection,
    PrioritySection,
    ServerSection,
)
from submitd.mail.address import BadAddress, parse_mailbox

Tables: TypeAlias = dict[str, Any]

_NOTHING: Final[Mapping[Path, Path]] = {}
_RULE_KINDS: Final = ("template", "attributes", "base", "file", "domains", "any")


@frozen
class Source:
    """What was read: enough to build the same `Config` in another process."""

    file: Path
    """The main file. Relative paths in the configuration start in its folder."""

    tables: Tables = field(repr=False)
    origins: Mapping[str, str] = field(repr=False)
    """Which file in ``conf.d`` a key comes from, where it is not the main one."""

    files: tuple[Path, ...] = ()
    """All that were read."""


def read_config(
    file: Path, instead: Mapping[Path, Path] = _NOTHING
) -> tuple[Config, Source]:
    """Read the file and ``conf.d/*.toml`` beside it; later files win, key by key.

    ``instead``: what is read in a file's place, as if it stood there.

    Blocks. Raises:
        ConfigErrors: all that is wrong with the files' text and values.
    """
    source = _read(file, instead)
    return build_config(source), source


def read_server_section(file: Path) -> ServerSection:
    """Where the server's state is, for who looks after it while the rest is faulty.

    Blocks. Raises:
        ConfigErrors: what is wrong with the files' text, or with this section.
    """
    source = _read(file)
    reading = _Reading(source)
    tables = source.tables.get("server", {})
    section: ServerSection = reading.section(ServerSection, tables, ("server",))
    if reading.problems:
        raise ConfigErrors(reading.problems)
    return section


def _read(file: Path, instead: Mapping[Path, Path] = _NOTHING) -> Source:
    problems: list[ConfigProblem] = []
    tables: Tables = {}
    origins: dict[str, str] = {}
    # A path that is the same from wherever a worker starts.
    file = file.absolute()
    folder = file.parent / "conf.d"
    parts = {*folder.glob("*.toml"), *(one for one in instead if one.parent == folder)}
    files = (file, *sorted(parts))
    for part in files:
        try:
            text = instead.get(part, part).read_text("utf-8")
            _merge(tables, tomllib.loads(text), str(part), origins)
        except OSError as problem:
            problems.append(
                ConfigProblem(part, "the file", None, problem.strerror or "unreadable")
            )
        except UnicodeDecodeError:
            problems.append(ConfigProblem(part, "the file", None, "must be UTF-8"))
        except tomllib.TOMLDecodeError as problem:
            problems.append(
                ConfigProblem(part, "the file", None, f"is not TOML: {problem}")
            )
    if problems:
        raise ConfigErrors(problems)
    return Source(file, tables, origins, files)


def build_config(source: Source) -> Config:
    """The configuration that the tables describe.

    Raises:
        ConfigErrors: unknown keys (a misspelt limit must not quietly be the
            default), values out of range, settings that contradict each other.
    """
    reading = _Reading(source)
    config: Config = reading.section(Config, source.tables, ())
    faulty = {problem.key for problem in reading.problems}
    reading.problems += [
        problem
        for problem in _contradictions(config, reading)
        if problem.key not in faulty
    ]
    if reading.problems:
        raise ConfigErrors(reading.problems)
    return config


class _Reading:
    """One pass over the tables, collecting what is wrong."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folder = source.file.parent
        self.problems: list[ConfigProblem] = []

    def problem(
        self, where: tuple[str, ...], value: object, right: str
    ) -> ConfigProblem:
        """A problem with the key at ``where``, in the file that it stands in."""
        file = self._source.file
        for depth in range(len(where), 0, -1):
            if (
                origin := self._source.origins.get(".".join(where[:depth]))
            ) is not None:
                file = Path(origin)
                break
        return ConfigProblem(file, _as_key(where), value, right)

    def section(self, cls: type[Any], table: object, where: tuple[str, ...]) -> Any:  # noqa: ANN401
        """A section class filled from a table; what is faulty stays at its default."""
        if not isinstance(table, Mapping):
            self.problems.append(self.problem(where, table, "must be a table"))
            return cls()
        known = {setting.name: setting for setting in fields(cls)}
        for name in sorted(table.keys() - known.keys()):
            self.problems.append(
                self.problem((*where, name), None, _unknown(name, known))
            )
        values = {}
        for name, written in table.items():
            if name in known:
                try:
                    values[name] = self._value(known[name], written, (*where, name))
                except ValueError as problem:
                    self.problems.append(
                        self.problem((*where, name), written, str(problem))
                    )
        return self._absolute(cls(**values))

    def _value(self, setting: Any, written: object, where: tuple[str, ...]) -> Any:  # noqa: ANN401
        meta = setting.metadata
        if (cls := meta.get("tables")) is not None:
            if not isinstance(written, Mapping):
                raise ValueError("must be tables")
            return {
                name: self.section(cls, table, (*where, name))
                for name, table in written.items()
            }
        if (cls := meta.get("list")) is not None:
            if not isinstance(written, list):
                raise ValueError("must be a list")
            return tuple(self.section(cls, table, where) for table in written)
        if "read" not in meta:
            return self.section(meta.get("table", setting.type), written, where)
        return meta["read"](written)

    def _absolute(self, section: Any) -> Any:  # noqa: ANN401
        changes = {
            setting.name: self._folder / value
            for setting in fields(type(section))
            if isinstance(value := getattr(section, setting.name), Path)
        }
        if not changes:
            return section
        return evolve(section, **changes)


def _merge(
    into: Tables,
    tables: Mapping[str, Any],
    origin: str,
    origins: dict[str, str],
    where: tuple[str, ...] = (),
) -> None:
    for name, value in tables.items():
        path = (*where, name)
        if isinstance(value, Mapping) and isinstance(into.get(name, {}), Mapping):
            _merge(into.setdefault(name, {}), value, origin, origins, path)
        else:
            into[name] = value
        origins[".".join(path)] = origin


def _as_key(where: tuple[str, ...]) -> str:
    *table, key = where
    quoted = ".".join(
        part if part.replace("_", "").replace("-", "").isalnum() else f'"{part}"'
        for part in table
    )
    return f"[{quoted}] {key}" if quoted else key


def _unknown(name: str, known: Mapping[str, object]) -> str:
    if near := difflib.get_close_matches(name, known, 1):
        return f'no such setting; did you mean "{near[0]}"?'
    return f"no such setting; there are: {', '.join(sorted(known))}"


def _contradictions(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    yield from _tls_problems(config, reading)
    for name, listener in config.listener.items():
        yield from _listener_problems(config, name, listener, reading)
    yield from _shared_ports(config, reading)
    yield from _directory_problems(config, reading)
    yield from _log_in_problems(config, reading)
    for name, rule in config.senders.rule.items():
        yield from _rule_problems(config, name, rule, reading)
    for name, domain in config.dkim.domain.items():
        if not domain.keys:
            where = ("dkim", "domain", name, "keys")
            yield reading.problem(where, None, "at least one key must be listed")
    if config.retry.longest < config.retry.first:
        yield reading.problem(
            ("retry", "longest"),
            f"{config.retry.longest.total_seconds():g}s",
            "must not be shorter than `first`",
        )
    yield from _login_problems(config.quota.rule, ("quota", "rule"), reading)
    yield from _login_problems(
        config.extensions.priority, ("extensions", "priority"), reading
    )
    yield from _holding_problems(config, reading)
    for name, route in config.route.items():
        if bool(route.user) != bool(route.password_file):
            yield reading.problem(
                ("route", name, "password_file"),
                route.password_file or None,
                "`user` and `password_file` go together",
            )


def _tls_problems(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    needed = [name for name, one in config.listener.items() if one.tls != "none"]
    for key in ("certificate", "key"):
        written = getattr(config.tls, key)
        if config.tls.acme and written is not None:
            right = "is not for acme = true, which has a file of its own"
            yield reading.problem(("tls", key), str(written), right)
        elif not config.tls.acme and written is None and needed:
            right = f"is needed for [listener.{needed[0]}], or acme = true"
            yield reading.problem(("tls", key), None, right)
    if config.tls.acme:
        yield from _acme_problems(config.acme, reading)


def _acme_problems(acme: AcmeSection, reading: _Reading) -> Iterator[ConfigProblem]:
    if not acme.terms_agreed:
        right = "must be true: the authority issues to nobody else"
        yield reading.problem(("acme", "terms_agreed"), False, right)
    if not acme.authority.startswith("https://"):
        right = "must be an https:// URL"
        yield reading.problem(("acme", "authority"), acme.authority, right)
    if bool(acme.account_id) != bool(acme.account_key_file):
        right = "`account_id` and `account_key_file` go together"
        written = acme.account_key_file or None
        yield reading.problem(("acme", "account_key_file"), written, right)
    if acme.webroot is not None and acme.challenge != "http-01":
        right = 'is for challenge = "http-01" only'
        yield reading.problem(("acme", "webroot"), str(acme.webroot), right)
    if acme.challenge == "dns-01":
        if acme.dns.server is None:
            right = 'is needed for challenge = "dns-01"'
            yield reading.problem(("acme", "dns", "server"), None, right)
        if bool(acme.dns.key_name) != bool(acme.dns.key_file):
            right = "`key_name` and `key_file` go together"
            written = acme.dns.key_file or None
            yield reading.problem(("acme", "dns", "key_file"), written, right)
        return
    for name in acme.names:
        if name.startswith("*."):
            right = 'a name with * needs challenge = "dns-01"'
            yield reading.problem(("acme", "names"), name, right)


def _listener_problems(
    config: Config, name: str, listener: ListenerSection, reading: _Reading
) -> Iterator[ConfigProblem]:
    where = ("listener", name)
    if listener.tls == "none":
        if not listener.trusted:
            right = 'tls = "none" needs the addresses that are trusted: ["127.0.0.1"]'
            yield reading.problem((*where, "trusted"), None, right)
        if not listener.submitter:
            right = 'tls = "none" needs the login that its submissions count as'
            yield reading.problem((*where, "submitter"), None, right)
        return
    for key in ("trusted", "submitter"):
        if written := getattr(listener, key):
            shown = written if isinstance(written, str) else list(map(str, written))
            yield reading.problem((*where, key), shown, 'is for tls = "none" only')
    if not config.ldap.servers and config.password_file.path is None:
        right = "needs a source of log-ins: [ldap] servers or [password_file] path"
        yield reading.problem((*where, "tls"), listener.tls, right)


def _shared_ports(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    """Two listeners on one socket: a client would reach the one or the other."""
    first: dict[tuple[str, int], str] = {}
    acme = config.acme
    if config.tls.acme and acme.awaited_on is not None:
        first[acme.address, acme.awaited_on] = "[acme]"
    for name, listener in config.listener.items():
        table = f"[listener.{name}]"
        other = first.setdefault((listener.address, listener.port), table)
        if other != table:
            yield reading.problem(
                ("listener", name, "port"),
                listener.port,
                f"is taken by {other} on the same address",
            )


def _directory_problems(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    ldap = config.ldap
    if not ldap.servers:
        return
    # Not at the top: a server without a directory is 7 MB a process smaller.
    from submitd.auth.ldap import Server

    if not ldap.base:
        yield reading.problem(("ldap", "base"), None, "is needed: where people are")
    if "{login}" not in ldap.filter:
        yield reading.problem(("ldap", "filter"), ldap.filter, "must contain {login}")
    if ldap.bind_dn and not ldap.bind_password_file:
        right = "is needed with bind_dn"
        yield reading.problem(("ldap", "bind_password_file"), None, right)
    if ldap.scram_attribute and not ldap.bind_dn:
        right = "scram_attribute needs an account that may read it"
        yield reading.problem(("ldap", "bind_dn"), None, right)
    elif ldap.check == "hash" and not ldap.bind_dn:
        right = 'check = "hash" needs an account that may read hashes'
        yield reading.problem(("ldap", "bind_dn"), None, right)
    for url in ldap.servers:
        try:
            server = Server.parse(url)
        except ValueError:
            right = "must be ldap://host[:port] or ldaps://host[:port]"
            yield reading.problem(("ldap", "servers"), url, right)
            continue
        in_clear = not (server.implicit_tls or ldap.starttls or ldap.allow_clear_text)
        if in_clear and server.host not in ("localhost", "127.0.0.1", "::1"):
            right = "sends passwords in clear text; use starttls = true"
            yield reading.problem(("ldap", "servers"), url, right)
    yield from _filter_problems(("ldap", "filter"), ldap.filter, ("login",), reading)
    yield from _filter_problems(("ldap", "lock_filter"), ldap.lock_filter, (), reading)


def _log_in_problems(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    log_in = config.log_in
    if "CRAM-MD5" in log_in.mechanisms and config.password_file.path is None:
        right = "CRAM-MD5 needs a [password_file] with passwords in the clear"
        yield reading.problem(("log_in", "mechanisms"), "CRAM-MD5", right)
    yield from _oauth_problems(log_in.oauth, reading)
    external, where = log_in.external, ("log_in", "external")
    if external.user != "subject":
        if external.subject:
            right = 'is for user = "subject" only'
            yield reading.problem((*where, "subject"), external.subject, right)
        return
    # Not at the top: few sites have client certificates.
    from submitd.auth.certificates import BadPattern, BySubject

    try:
        BySubject(external.subject)
    except BadPattern:
        right = "must be a subject with {login} in it once: CN={login},O=Example"
        yield reading.problem((*where, "subject"), external.subject or None, right)


def _oauth_problems(oauth: OAuthSection, reading: _Reading) -> Iterator[ConfigProblem]:
    where = ("log_in", "oauth")
    ways = ("keys_url", "keys_file", "introspection_url")
    chosen = [one for one in ways if getattr(oauth, one)]
    if not oauth.issuer:
        if chosen:
            right = f"is needed with {chosen[0]}: who issues the tokens"
            yield reading.problem((*where, "issuer"), None, right)
        return
    if len(chosen) != 1:
        right = f"needs exactly one of {', '.join(ways)}"
        found = f"; there are {', '.join(chosen)}" if chosen else ""
        yield reading.problem((*where, "issuer"), oauth.issuer, right + found)
    if not oauth.audience:
        right = "is needed: or a token for any other service would be one for us"
        yield reading.problem((*where, "audience"), None, right)
    if not oauth.algorithms:
        yield reading.problem((*where, "algorithms"), [], "must name at least one")
    if bool(oauth.client_id) != bool(oauth.client_secret_file):
        right = "`client_id` and `client_secret_file` go together"
        written = oauth.client_secret_file or None
        yield reading.problem((*where, "client_secret_file"), written, right)


def _filter_problems(
    where: tuple[str, ...], written: str, places: tuple[str, ...], reading: _Reading
) -> Iterator[ConfigProblem]:
    if not written:
        return
    from submitd.auth.ldap import Filter

    try:
        Filter(written, places)
    except ValueError:
        right = "must be an LDAP filter such as (uid={login}), brackets included"
        yield reading.problem(where, written, right)


def _login_problems(
    rules: Mapping[str, QuotaRuleSection | PrioritySection],
    table: tuple[str, ...],
    reading: _Reading,
) -> Iterator[ConfigProblem]:
    """Each rule is for somebody, and nobody has two."""
    named: dict[str, str] = {}
    for name, rule in rules.items():
        where = (*table, name, "logins")
        if not rule.logins:
            yield reading.problem(where, None, "must name at least one login")
        for login in rule.logins:
            other = named.setdefault(login.casefold(), name)
            if other != name:
                right = f"{login} is named by [{'.'.join(table)}.{other}]"
                yield reading.problem(where, list(rule.logins), right)


def _holding_problems(config: Config, reading: _Reading) -> Iterator[ConfigProblem]:
    postmaster = config.server.postmaster
    limits = (config.quota, *config.quota.rule.values())
    if postmaster and any(one.on_excess == "hold" for one in limits):
        try:
            parse_mailbox(postmaster)
        except BadAddress:
            right = 'must be a mail address: on_excess = "hold" writes to it'
            yield reading.problem(("server", "postmaster"), postmaster, right)


def _rule_problems(
    config: Config, name: str, rule: RuleSection, reading: _Reading
) -> Iterator[ConfigProblem]:
    where = ("senders", "rule", name)
    kinds = [kind for kind in _RULE_KINDS if getattr(rule, kind)]
    if len(kinds) != 1:
        found = "has none" if not kinds else f"has {', '.join(kinds)}"
        right = f"must have exactly one of {', '.join(_RULE_KINDS)}; it {found}"
        yield reading.problem(where, None, right)
        return
    if kinds == ["base"]:
        if not rule.filter:
            yield reading.problem((*where, "filter"), None, "is needed with base")
        places = ("login", "dn")
        yield from _filter_problems((*where, "filter"), rule.filter, places, reading)
    if kinds[0] in ("attributes", "base") and not config.ldap.servers:
        yield reading.problem((*where, kinds[0]), None, "needs [ldap] servers")
    if rule.template:
        bare = rule.template.replace("{login}", "")
        if "@" not in bare or "{" in bare or "}" in bare:
            right = "must be an address with {login}, such as {login}@example.org"
            yield reading.problem((*where, "template"), rule.template, right)
