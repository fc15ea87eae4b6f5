"""``submitctl import``: another server's configuration as one of ours.

What is printed is a beginning to be read: each setting names where it comes from,
and what could not be taken over is named with the reason.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from submitd.cli.counterparts import PLAIN, NotPlain, why_not
from submitd.cli.draft import Draft
from submitd.cli.postfix import (
    OpenDkim,
    PasswordSource,
    Postfix,
    Root,
    Service,
    Unreadable,
    dovecot_mechanisms,
    read_dovecot,
    read_opendkim,
    read_postfix,
    read_settings,
    read_table,
)
from submitd.sasl.mechanism import MECHANISMS

_MOST_RULES: Final = 20
"""Addresses that get a rule each; more are better kept in a file."""

_PORTS: Final = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}


def declare(commands: Any) -> None:  # noqa: ANN401
    """All commands of ``submitctl import``."""
    parser = commands.add_parser("import", help="another server's configuration")
    below = parser.add_subparsers(metavar="SERVER", required=True)
    postfix = below.add_parser(
        "postfix", help="print a configuration made of Postfix's, Dovecot's, OpenDKIM's"
    )
    postfix.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        default=Path("/etc/postfix"),
        help="with main.cf and master.cf (default: %(default)s)",
    )
    postfix.add_argument(
        "--dovecot",
        type=Path,
        metavar="FOLDER",
        default=Path("/etc/dovecot"),
        help="with dovecot.conf (default: %(default)s)",
    )
    postfix.add_argument(
        "--opendkim",
        type=Path,
        metavar="FILE",
        default=Path("/etc/opendkim.conf"),
        help="default: %(default)s",
    )
    postfix.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        default=Path("/"),
        help="a copy of that host's files, in which all names are looked for",
    )
    postfix.set_defaults(run=import_postfix)


def import_postfix(options: argparse.Namespace) -> int:
    """Print it. EX_NOINPUT where there is no Postfix."""
    root = Root(options.root.absolute())
    try:
        draft = Import(root, read_postfix(options.folder, root)).made(
            options.dovecot, options.opendkim
        )
    except Unreadable as problem:
        print(f"submitctl: {problem}", file=sys.stderr)
        return os.EX_NOINPUT
    print(draft.text(), end="")
    return os.EX_OK


class Import:
    """One host's configuration, on its way into a draft."""

    def __init__(self, root: Root, postfix: Postfix) -> None:
        self._root = root
        self._postfix = postfix
        self._draft = Draft()
        self._trusted_as = ""
        self._has_realms = False
        """Logins are names with a domain, and stay so."""

    def made(self, dovecot: Path, opendkim: Path) -> Draft:
        """All of it. Blocks. Raises Unreadable."""
        self._plain("server")
        self._certificate()
        self._listeners()
        self._plain("limits")
        self._log_in(dovecot)
        self._senders()
        self._dkim(opendkim)
        self._plain("delivery", "delivery.time_out")
        self._delivery()
        self._routes()
        self._plain("retry")
        self._rest()
        return self._draft

    def _plain(self, *tables: str) -> None:
        for name, (table, key, read) in PLAIN.items():
            if table not in tables or name not in self._postfix.parameters:
                continue
            value = self._postfix.get(name)
            try:
                self._draft.set(table, key, read(value), f"main.cf: {name}")
            except NotPlain:
                self._leave(name, "its value has no counterpart")

    def _leave(self, name: str, reason: str) -> None:
        self._postfix.asked.add(name)
        value = _shown(name, self._postfix.parameters[name])
        self._draft.left.append(f"main.cf: {name} = {value}  ({reason})")

    def _table(self, name: str, where: str, of: str) -> dict[str, str] | None:
        """A lookup table's text; a remark where it has none."""
        try:
            found = read_table(name, self._root)
        except Unreadable as problem:
            self._draft.remark(where, f"{of}: {problem}")
            return None
        if found is None:
            shown = _shown(of, name)
            self._draft.remark(where, f"{of} = {shown}: this kind cannot be read")
        return found

    # What people connect to

    def _certificate(self) -> None:
        self._plain("tls")
        postfix, draft = self._postfix, self._draft
        self._chain(postfix.words("smtpd_tls_chain_files"))
        if "certificate" not in draft.tables.get("tls", {}):
            draft.remark("tls", "No certificate was found: clients need one.")
            draft.set("tls", "certificate", "/etc/submitd/tls/chain.pem", "to be made")
            draft.set("tls", "key", "/etc/submitd/tls/key.pem", "to be made")
        elif "key" not in draft.tables["tls"]:
            source = "main.cf: smtpd_tls_cert_file"
            draft.set("tls", "key", postfix.get("smtpd_tls_cert_file"), source)
        allowed = postfix.get("smtpd_tls_mandatory_protocols") + postfix.get(
            "smtpd_tls_protocols"
        )
        if ">=TLSv1.3" in allowed or "!TLSv1.2" in allowed:
            source = "main.cf: smtpd_tls_mandatory_protocols"
            draft.set("tls", "minimum", "1.3", source)
        draft.remark("tls", "The user submitd has to be able to read both files.")

    def _chain(self, files: list[str]) -> None:
        """One key and its certificate, of files that may hold one or both."""
        if not files:
            return
        source = "main.cf: smtpd_tls_chain_files"
        key, *rest = files
        try:
            has_both = "BEGIN CERTIFICATE" in self._root.text(key)
        except Unreadable:
            has_both = not rest
        certificate = key if has_both else next(iter(rest), key)
        self._draft.set("tls", "certificate", certificate, source)
        self._draft.set("tls", "key", key, source)
        others = [one for one in files if one not in (key, certificate)]
        if others:
            words = f"One certificate is shown here; others there: {', '.join(others)}"
            self._draft.remark("tls", words)

    def _listeners(self) -> None:
        for service in self._postfix.services:
            if service.is_inet and service.command == "smtpd":
                self._listener(service)
        if not any(one.startswith("listener.") for one in self._draft.tables):
            words = "Nobody could submit: add [listener.submissions] or the like."
            self._draft.remark("server", words)

    def _listener(self, service: Service) -> None:
        address, _, name = service.name.rpartition(":")
        port = _port(name)
        source = f"master.cf: {service.name}"
        if not port:
            self._draft.left.append(f"{source}  (a port of this name is not known)")
            return
        hosts = [address.strip("[]")] if address else self._interfaces(service)
        if self._postfix.is_on("smtpd_sasl_auth_enable", service):
            implicit = self._postfix.is_on("smtpd_tls_wrappermode", service)
            kind = "submissions" if implicit else "submission"
            for host in hosts:
                table = self._new_listener(kind)
                self._draft.set(table, "address", host, source)
                self._draft.set(table, "port", port, source)
                if implicit:
                    self._draft.set(table, "tls", "implicit", source)
            return
        trusted = self._trusted()
        if not trusted:
            self._draft.left.append(f"{source}  (incoming mail is not for submitd)")
            return
        if all(one in {"127.0.0.0/8", "::1/128", "127.0.0.1/32"} for one in trusted):
            hosts = ["127.0.0.1"]
        self._trusted_as = "local"
        for host in hosts:
            table = self._new_listener("local")
            self._draft.set(table, "address", host, source)
            self._draft.set(table, "port", port, source)
            self._draft.set(table, "tls", "none", "without log-in")
            self._draft.set(table, "trusted", trusted, "main.cf: mynetworks")
            self._draft.set(
                table, "submitter", self._trusted_as, "a name of your choice"
            )
        words = "Programs that call sendmail(8) need another one, such as msmtp-mta."
        self._draft.remark("listener.local", words)

    def _new_listener(self, kind: str) -> str:
        taken = sum(one.startswith(f"listener.{kind}") for one in self._draft.tables)
        return f"listener.{kind}{taken + 1 if taken else ''}"

    def _interfaces(self, service: Service) -> list[str]:
        words = self._postfix.words("inet_interfaces", service) or ["all"]
        named = {"all": "*", "loopback-only": "127.0.0.1", "localhost": "127.0.0.1"}
        return [named.get(word, word.strip("[]")) for word in words if "$" not in word]

    def _trusted(self) -> list[str]:
        networks: list[str] = []
        for word in self._postfix.words("mynetworks") or ["127.0.0.0/8", "[::1]/128"]:
            bare = word.replace("[", "").replace("]", "")
            try:
                network = ip_network(bare, strict=False)
            except ValueError:
                self._draft.remark(
                    "listener.local", f"mynetworks: {word} is no network"
                )
                continue
            if not str(network).startswith("::ffff:"):
                networks.append(str(network))
        return networks

    # Who they are, and whose addresses they may use

    def _log_in(self, dovecot: Path) -> None:
        postfix, draft = self._postfix, self._draft
        uses_dovecot = postfix.get("smtpd_sasl_type") == "dovecot"
        if not self._has_log_in:
            return
        if not uses_dovecot:
            draft.remark(
                "ldap",
                "Postfix asked Cyrus SASL (saslauthd, sasldb). Say here where people"
                " are: [ldap] or [password_file].",
            )
            return
        for number, source in enumerate(read_dovecot(dovecot, self._root)):
            self._password_source(source, number)
        self._mechanisms(dovecot_mechanisms(dovecot, self._root))

    def _mechanisms(self, offered: Sequence[str]) -> None:
        draft, where = self._draft, "dovecot: auth_mechanisms"
        for name in offered:
            if name not in MECHANISMS:
                draft.left.append(f"{where}, {name}  (no counterpart)")
        kept = [
            name
            for name in MECHANISMS
            if name.removesuffix("-PLUS") in offered or name in offered
        ]
        if "CRAM-MD5" in kept and "password_file" not in draft.tables:
            kept.remove("CRAM-MD5")
            draft.left.append(f"{where}, CRAM-MD5  (needs a password file)")
        if not kept:
            return
        draft.set("log_in", "mechanisms", kept, where)
        if {"OAUTHBEARER", "XOAUTH2"} & set(kept):
            draft.remark("log_in", "Say in [log_in.oauth] who issues the tokens.")
        if "EXTERNAL" in kept:
            draft.remark(
                "log_in", "Say in [tls] client_ca_file who vouches for clients."
            )

    def _password_source(self, source: PasswordSource, number: int) -> None:
        draft, settings = self._draft, source.settings
        where = f"dovecot: passdb {number + 1}"
        words = settings.get("args", "").split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        path = next((word for word in words if word.startswith("/")), "")
        for kind in ("deny", "master"):
            if settings.get(kind, "").lower() in _YES:
                draft.left.append(f"{where}, {kind} = yes  (no counterpart)")
                return
        self._leave_settings(settings.keys() | options.keys(), where)
        if source.driver == "passwd-file":
            path = settings.get("passwd_file_path", path)
            if "path" in draft.tables.get("password_file", {}):
                draft.left.append(f"{where}, {path}  (there is one password file)")
                return
            draft.set("password_file", "path", path, where)
            scheme = options.get("scheme", settings.get("default_password_scheme", ""))
            if scheme and scheme.upper() != "CRYPT":
                draft.remark(
                    "password_file",
                    f"Hashes without a prefix are {scheme.upper()} there: "
                    f"write {{{scheme.upper()}}} before them.",
                )
        elif source.driver == "ldap":
            self._directory(settings, path, where)
        else:
            draft.left.append(f"{where}, driver {source.driver}  (no counterpart)")

    def _leave_settings(self, names: Iterable[str], where: str) -> None:
        """By their names: a value may be a password."""
        for name in sorted(set(names) - _READ_OF_DOVECOT):
            self._draft.left.append(f"{where}, {name}  (no counterpart)")

    def _directory(self, settings: dict[str, str], path: str, where: str) -> None:
        draft = self._draft
        if path:
            settings = read_settings(path, self._root)
            where = f"dovecot: {path}"
            self._leave_settings(settings, where)
        settings = {key.removeprefix("ldap_"): one for key, one in settings.items()}
        hosts = [f"ldap://{one}" for one in settings.get("hosts", "").split()]
        servers = settings.get("uris", "").split() or hosts
        if servers:
            draft.set("ldap", "servers", servers, where)
        for theirs, ours in (
            ("base", "base"),
            ("dn", "bind_dn"),
            ("auth_dn", "bind_dn"),
            ("tls_ca_cert_file", "ca_file"),
        ):
            if settings.get(theirs):
                draft.set("ldap", ours, settings[theirs], where)
        wanted = settings.get("pass_filter", settings.get("passdb_ldap_filter", ""))
        for word in ("%{user | username}", "%{user|username}", "%{user}", "%u", "%n"):
            wanted = wanted.replace(word, "{login}")
        if wanted:
            draft.set("ldap", "filter", wanted, where)
        if settings.get("auth_bind", settings.get("bind", "")).lower() not in _YES:
            draft.set("ldap", "check", "hash", f"{where}: no auth_bind")
            attribute = re.search(r"(\w+)=password", settings.get("pass_attrs", ""))
            name = attribute[1] if attribute else "userPassword"
            draft.set("ldap", "hash_attribute", name, where)
        if "bind_dn" in draft.tables.get("ldap", {}):
            file = "/etc/submitd/ldap-password"
            draft.set("ldap", "bind_password_file", file, "to be made")
            draft.remark("ldap", f"Write the account's password (dnpass) into {file}.")

    @property
    def _has_log_in(self) -> bool:
        return any(one.startswith("listener.submission") for one in self._draft.tables)

    def _senders(self) -> None:
        draft, domain = self._draft, self._postfix.domain
        if self._trusted_as:
            table = "senders.rule.trusted"
            draft.set(table, "domains", [domain], "made of the domain")
            draft.set(table, "logins", [self._trusted_as], "of [listener.local]")
        if self._has_log_in:
            self._login_rules(domain)

    def _login_rules(self, domain: str) -> None:
        postfix, draft = self._postfix, self._draft
        enforced = any(
            "sender_login_mismatch" in word
            for service in (None, *postfix.services)
            for name in ("sender", "client", "relay", "recipient", "helo")
            for word in postfix.words(f"smtpd_{name}_restrictions", service)
        )
        maps = postfix.words("smtpd_sender_login_maps")
        for service in postfix.services:
            maps += [
                one
                for one in postfix.words("smtpd_sender_login_maps", service)
                if one not in maps
            ]
        of = "main.cf: smtpd_sender_login_maps"
        tables = {
            name: self._table(name, "senders.rule.own", of)
            for name in maps
            if not _is_search(name)
        }
        self._look_at_realms(tables.values(), of)
        for number, name in enumerate(maps):
            if _is_search(name):
                self._login_search(name.rpartition(":")[2], of)
            elif (table := tables[name]) is not None:
                self._login_map(name, number, table)
        rules = [one for one in draft.tables if one.startswith("senders.rule.")]
        if not set(rules) - {"senders.rule.trusted"}:
            template = f"{{login}}@{domain}"
            draft.set("senders.rule.own", "template", template, "made of the domain")
            words = "Say which addresses people may use; Postfix was not told."
            draft.remark("senders.rule.own", words)
        elif not enforced:
            words = "Postfix knew these and did not insist on them. submitd does."
            draft.remark(rules[-1], words)

    def _look_at_realms(self, tables: Iterable[dict[str, str] | None], of: str) -> None:
        """Whether alice@example.org is alice, or somebody else than alice."""
        logins = [
            login
            for table in tables
            for found in (table or {}).values()
            for login in found.replace(",", " ").split()
        ]
        realms = {one.partition("@")[2] for one in logins if "@" in one}
        if not realms:
            return
        self._has_realms = len(realms) > 1 or self._passwords_have_realms()
        if self._has_realms:
            words = "Logins have a domain there, and keep it here: people type it."
            self._draft.remark("log_in", words)
        else:
            self._draft.set("ldap", "login_domains", sorted(realms), of)

    def _passwords_have_realms(self) -> bool:
        path, _ = self._draft.tables.get("password_file", {}).get("path", ("", ""))
        try:
            lines = self._root.text(json.loads(path)).splitlines() if path else []
        except Unreadable:
            return False
        return any("@" in line.partition(":")[0] for line in lines)

    def _login(self, word: str) -> str:
        """The account's name."""
        return word if self._has_realms else word.partition("@")[0]

    def _login_map(self, name: str, number: int, table: dict[str, str]) -> None:
        of = "main.cf: smtpd_sender_login_maps"
        kind = name.partition(":")[0]
        if kind == "regexp":
            self._login_patterns(table, of)
        elif len(table) <= _MOST_RULES:
            for place, (address, logins) in enumerate(table.items()):
                rule = f"senders.rule.map{number + 1}-{place + 1}"
                if address.startswith("@"):
                    self._draft.set(rule, "domains", [address[1:]], of)
                else:
                    self._draft.set(rule, "template", address, of)
                words = logins.replace(",", " ").split()
                self._draft.set(rule, "logins", [self._login(one) for one in words], of)
        else:
            self._login_file(table, f"senders.rule.map{number + 1}", of)

    def _login_file(self, table: dict[str, str], rule: str, of: str) -> None:
        file = "/etc/submitd/senders"
        self._draft.set(rule, "file", file, of)
        self._draft.remark(rule, f"Write these lines into {file}:")
        by_login: dict[str, list[str]] = {}
        for address, logins in table.items():
            for one in logins.replace(",", " ").split():
                by_login.setdefault(self._login(one), []).append(address)
        for login, addresses in sorted(by_login.items()):
            self._draft.remark(rule, f"    {login}: {', '.join(addresses)}")

    def _login_patterns(self, table: dict[str, str], of: str) -> None:
        for pattern, logins in table.items():
            own = re.fullmatch(r"/\^\(\.[*+]\)@([\w\\.-]+)\$/i?", pattern)
            if own and logins in {"$1", "${1}", "$(1)"}:
                template = f"{{login}}@{own[1].replace(chr(92), '')}"
                self._draft.set("senders.rule.own", "template", template, of)
            else:
                self._draft.remark(
                    "senders.rule.own", f"{of}: {pattern} {logins}: not understood"
                )

    def _login_search(self, path: str, of: str) -> None:
        settings = read_settings(path, self._root)
        servers = settings.get("server_host", "").split()
        urls = [one if "://" in one else f"ldap://{one}" for one in servers]
        if urls:
            self._draft.set("ldap", "servers", urls, f"{of}: {path}")
        if settings.get("search_base"):
            self._draft.set("ldap", "base", settings["search_base"], f"{of}: {path}")
        wanted = re.findall(r"\((\w+)=%s\)", settings.get("query_filter", ""))
        rule = "senders.rule.directory"
        self._draft.set(rule, "attributes", wanted or ["mail"], f"{of}: {path}")

    # What is signed, and where it goes

    def _dkim(self, opendkim: Path) -> None:
        draft = self._draft
        if not self._root.find(opendkim).exists():
            draft.set("dkim", "unsigned", "allow", "no OpenDKIM was found")
            return
        found: OpenDkim = read_opendkim(opendkim, self._root)
        source = f"{opendkim.name}"
        draft.set("dkim", "unsigned", "allow", "as OpenDKIM does")
        by_domain: dict[str, list[object]] = {}
        for key in found.keys:
            of_domain = by_domain.setdefault(key.domain, [])
            of_domain.append({"selector": key.selector, "file": key.file})
        for domain, keys in by_domain.items():
            draft.set(f'dkim.domain."{domain}"', "keys", keys, source)
        for key in found.keys:
            table = f'dkim.domain."{key.domain}"'
            if key.signing_domain != key.domain:
                draft.set(table, "signing_domain", key.signing_domain, source)
            if "simple" in found.canonicalization:
                both = found.canonicalization
                both = both if "/" in both else f"{both}/simple"
                draft.set(table, "canonicalization", both, source)
        for name, value in found.others.items():
            line = f"{source}: {name} {_shown(name, value)}  (no counterpart)"
            draft.left.append(line)
        for line in found.not_understood:
            draft.remark("dkim", f"SigningTable: {line}: not understood")
        if found.keys:
            draft.remark("dkim", "The user submitd has to be able to read the keys.")

    def _delivery(self) -> None:
        postfix, draft = self._postfix, self._draft
        families = postfix.words("inet_protocols")
        if families in (["ipv4"], ["ipv6"]):
            source = "main.cf: inet_protocols"
            draft.set("delivery", "addresses", families[0], source)
        level = postfix.get("smtp_tls_security_level")
        if level in _TLS_LEVELS:
            source = "main.cf: smtp_tls_security_level"
            draft.set("delivery", "tls", _TLS_LEVELS[level], source)
        elif level:
            self._leave("smtp_tls_security_level", "opportunistic TLS is used")

    def _routes(self) -> None:
        for name in self._postfix.words("transport_maps"):
            of = "main.cf: transport_maps"
            for domain, target in (self._table(name, "delivery", of) or {}).items():
                kind, _, hop = target.partition(":")
                if kind in {"", "smtp", "relay"} and hop:
                    self._route(domain, hop, of)
                else:
                    self._draft.left.append(f"{of}: {domain} {target}  (no relay)")
        relay = self._postfix.get("relayhost")
        if relay:
            self._route("*", relay, "main.cf: relayhost")

    def _route(self, domain: str, hop: str, source: str) -> None:
        postfix, draft = self._postfix, self._draft
        match = re.fullmatch(r"\[([^\]]+)\](?::(\w+))?|([^\s:\[\]]+)(?::(\w+))?", hop)
        if match is None:
            draft.left.append(f"{source}: {domain} {hop}  (not understood)")
            return
        table = f'route."{domain}"'
        draft.set(table, "host", match[1] or f"mx:{match[3]}", source)
        port = _port(match[2] or match[4] or "25")
        if port:
            draft.set(table, "port", port, source)
        else:
            draft.remark(table, f"{source}: {hop}: a port of this name is not known")
        if postfix.is_on("smtp_tls_wrappermode"):
            draft.set(table, "tls", "implicit", "main.cf: smtp_tls_wrappermode")
        elif (level := postfix.get("smtp_tls_security_level")) in _TLS_LEVELS:
            of = "main.cf: smtp_tls_security_level"
            draft.set(table, "tls", _TLS_LEVELS[level], of)
        if postfix.get("smtp_tls_CAfile"):
            of = "main.cf: smtp_tls_CAfile"
            draft.set(table, "ca_file", postfix.get("smtp_tls_CAfile"), of)
        if postfix.is_on("smtp_sasl_auth_enable"):
            self._relay_password(table, hop)

    def _relay_password(self, table: str, hop: str) -> None:
        for name in self._postfix.words("smtp_sasl_password_maps"):
            of = "main.cf: smtp_sasl_password_maps"
            found = self._table(name, table, of) or {}
            for key in (hop, hop.rpartition(":")[0], hop.strip("[]")):
                if key not in found:
                    continue
                file = "/etc/submitd/relay-password"
                self._draft.set(table, "user", found[key].partition(":")[0], of)
                self._draft.set(table, "password_file", file, "to be made")
                words = f"Write the password for {key} ({name}) into {file}."
                self._draft.remark(table, words)
                return

    # What is left

    def _rest(self) -> None:
        for name in self._postfix.parameters.keys() - PLAIN.keys():
            # Restrictions were looked at for one word only.
            if name not in self._postfix.asked or name.endswith("_restrictions"):
                self._leave(name, why_not(name))
        for service in self._postfix.services:
            if service.is_inet and service.command == "smtpd":
                self._leave_options(service)
        self._draft.left.sort()

    def _leave_options(self, service: Service) -> None:
        for name, value in service.options.items():
            if name in service.asked and not name.endswith("_restrictions"):
                continue
            table, key, _ = PLAIN.get(name, ("", "", None))
            why = f"see [{table}] {key}, for all listeners" if key else why_not(name)
            line = f"master.cf: {service.name} -o {name}={_shown(name, value)}  ({why})"
            self._draft.left.append(line)


def _port(name: str) -> int:
    """By number, or by one of the usual names; 0: neither."""
    return _PORTS.get(name) or (int(name) if name.isdecimal() else 0)


def _is_search(name: str) -> bool:
    """The table is a directory's."""
    return name.startswith(("ldap:/", "proxy:ldap:/"))


def _shown(name: str, value: str) -> str:
    """A value that can be shown to everybody."""
    kind, colon, _ = value.partition(":")
    if colon and kind.rpartition(":")[2] in {"static", "inline"}:
        return f"{kind}:…"
    return "…" if re.search(r"passw|secret", name) and not colon else value


_YES: Final = frozenset({"yes", "true"})
_READ_OF_DOVECOT: Final = frozenset(
    (
        *("args", "driver", "passwd_file_path", "scheme", "default_password_scheme"),
        *("hosts", "uris", "base", "dn", "dnpass", "auth_dn", "tls_ca_cert_file"),
        *("pass_filter", "passdb_ldap_filter", "auth_bind", "bind", "pass_attrs"),
        *("ldap_uris", "ldap_base", "ldap_auth_dn", "ldap_auth_dn_password"),
        *("ldap_bind", "deny", "master"),
    )
)
"""Names of its settings that were looked at."""

_TLS_LEVELS: Final = {
    "none": "none",
    "may": "opportunistic",
    "encrypt": "encrypt",
    "verify": "verify",
    "secure": "verify",
}
