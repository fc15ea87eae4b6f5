"""The sections: every setting, its default, and one line of why.

``etc/submitd.toml`` and ``docs/configuration.md`` are made from these
classes (`config.document`); nothing about a setting is said anywhere else.
"""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from attrs import Factory, field, frozen

from submitd.config.values import (
    address,
    certificate_name,
    choice,
    domain,
    filled_text,
    fraction,
    listed,
    network,
    optional_address,
    optional_domain,
    optional_https_url,
    optional_path,
    or_off,
    path,
    path_or_standard_error,
    setting,
    size,
    socket_address,
    socket_address_or_off,
    span,
    text,
    truth,
    whole,
)
from submitd.sasl.mechanism import MECHANISMS


def workers(value: object) -> int | None:
    """How many: None for "auto", which is one a core."""
    if value == "auto":
        return None
    try:
        return whole(0, 256)(value)
    except ValueError:
        raise ValueError('must be "auto" or a whole number from 0 to 256') from None


def listen_address(value: object) -> str:
    """An IP address, ``*`` for both families, or ``systemd:NAME``."""
    if value == "*" or (isinstance(value, str) and value.startswith("systemd:")):
        return str(value)
    try:
        return address(value)
    except ValueError:
        raise ValueError(
            'must be an IP address, "*" for all, or "systemd:NAME" for a passed socket'
        ) from None


@frozen(kw_only=True)
class ServerSection:
    """The server as a whole."""

    hostname: str = setting(
        optional_domain,
        "Full name of this server: in the greeting, Received fields and reports. "
        "Empty: what the system calls itself.",
        default="",
        example="submit.example.org",
    )
    workers: int | None = setting(
        workers,
        '"auto": one process a core. 0: everything in one process.',
        default="auto",
    )
    state_directory: Path = setting(
        path, "Where the spool is.", default="/var/lib/submitd"
    )
    control_socket: Path = setting(
        path, "Where submitctl reaches the server.", default="/run/submitd/control.sock"
    )
    shutdown_grace: timedelta = setting(
        span(), "How long a stop waits for open transactions.", default="30s"
    )
    postmaster: str = setting(
        text,
        "From of reports. Empty: postmaster at the hostname.",
        default="",
        example="postmaster@example.org",
    )


@frozen(kw_only=True)
class LogSection:
    """Where the log goes, and how it looks."""

    file: Path | None = setting(
        path_or_standard_error,
        'A file that is appended to, or "-" for standard error.',
        default="-",
        example="/var/log/submitd/submitd.log",
    )
    format: str = setting(
        choice("human", "json"),
        '"human" or "json", a line each. The journal gets fields of its own.',
        default="human",
    )
    level: str = setting(
        choice("debug", "info", "warn", "error"),
        "The least that is logged.",
        default="info",
    )


@frozen(kw_only=True)
class MetricsSection:
    """Metrics for Prometheus, and /healthz and /readyz."""

    listen: tuple[str, int] | None = setting(
        socket_address_or_off,
        'Loopback "address:port", or "off".',
        default="127.0.0.1:9587",
    )


@frozen(kw_only=True)
class TlsSection:
    """The server's certificate. Changed files are taken up within a minute."""

    certificate: Path | None = setting(
        optional_path,
        "PEM: the certificate, then the intermediate ones.",
        default="",
        example="/etc/submitd/tls/chain.pem",
    )
    key: Path | None = setting(
        optional_path,
        "PEM: its private key.",
        default="",
        example="/etc/submitd/tls/key.pem",
    )
    minimum: str = setting(
        choice("1.2", "1.3"), "The oldest TLS version that is spoken.", default="1.2"
    )
    ciphers: str = setting(
        text,
        "OpenSSL cipher list for TLS 1.2. Empty: modern ones (RFC 9325).",
        default="",
    )
    client_ca_file: Path | None = setting(
        optional_path,
        "PEM: who may vouch for clients that log in by certificate (EXTERNAL). "
        "Empty: no client is asked for one.",
        default="",
        example="/etc/submitd/tls/people.pem",
    )
    acme: bool = setting(
        truth,
        "Have the certificate from an authority, instead of files: see [acme].",
        default=False,
    )


@frozen(kw_only=True)
class AcmeDnsSection:
    """For dns-01: the name server that takes updates (RFC 2136)."""

    server: tuple[str, int] | None = setting(
        socket_address_or_off,
        '"address:port" of the zone\'s primary server.',
        default="off",
        example="192.0.2.53:53",
    )
    zone: str = setting(
        optional_domain, "The zone. Empty: the server is asked.", default=""
    )
    key_name: str = setting(
        text, "Name of the TSIG key. Empty: updates are not signed.", default=""
    )
    key_algorithm: str = setting(
        choice("hmac-sha256", "hmac-sha384", "hmac-sha512"),
        "Its algorithm.",
        default="hmac-sha256",
    )
    key_file: str = setting(
        text,
        'File with the key in base64, or "credential:NAME" of systemd.',
        default="",
    )
    settle: timedelta = setting(
        span(),
        "What the zone's other servers are given to take up a record.",
        default="10s",
    )


@frozen(kw_only=True)
class AcmeSection:
    """The authority that issues the certificate (ACME, RFC 8555)."""

    authority: str = setting(
        filled_text,
        "URL of its directory.",
        default="https://acme-v02.api.letsencrypt.org/directory",
    )
    terms_agreed: bool = setting(
        truth,
        "You have read its terms of service (`submitctl check --live` "
        "tells where they are), and agree.",
        default=False,
    )
    contact: str = setting(
        text,
        "Mail address for the authority's warnings.",
        default="",
        example="postmaster@example.org",
    )
    names: tuple[str, ...] = setting(
        listed(certificate_name),
        "What the certificate is for. Empty: the hostname.",
        default=(),
        example=["submit.example.org", "smtp.example.org"],
    )
    challenge: str = setting(
        choice("http-01", "tls-alpn-01", "dns-01"),
        'How the names are proved: on port 80, on port 443, or by "dns-01".',
        default="http-01",
    )
    address: str = setting(
        listen_address,
        'Where the authority\'s question is awaited: IP address, "*" for all, or '
        '"systemd:NAME".',
        default="*",
    )
    port: int = setting(
        whole(0, 65535), "Its port. 0: 80 for http-01, 443 for tls-alpn-01.", default=0
    )
    webroot: Path | None = setting(
        optional_path,
        "For http-01 where a web server has port 80: the folder that it shows.",
        default="",
        example="/var/www/html",
    )
    key: str = setting(
        choice("ecdsa", "rsa"),
        'Kind of private key. "rsa" where very old devices send mail.',
        default="ecdsa",
    )
    profile: str = setting(
        text, "The authority's profile of certificate. Empty: its default.", default=""
    )
    ca_file: Path | None = setting(
        optional_path,
        "PEM: who may vouch for the authority's web server. Empty: the system's.",
        default="",
    )
    account_id: str = setting(
        text, "Key id, where the authority binds accounts (EAB).", default=""
    )
    account_key_file: str = setting(
        text, "File with that key in base64url, or a credential.", default=""
    )
    dns: AcmeDnsSection = field(
        default=Factory(AcmeDnsSection), metadata={"table": AcmeDnsSection}
    )

    @property
    def awaited_on(self) -> int | None:
        """The port on which we answer the authority; None: others do."""
        if self.webroot is not None or self.challenge == "dns-01":
            return None
        return self.port or (80 if self.challenge == "http-01" else 443)


@frozen(kw_only=True)
class ListenerSection:
    """One way in. Any number of listeners, under any names."""

    address: str = setting(
        listen_address,
        'IP address, "*" for all, or "systemd:NAME" for a passed socket.',
        default="*",
    )
    port: int = setting(whole(0, 65535), "TCP port.", default=587)
    tls: str = setting(
        choice("starttls", "implicit", "none"),
        '"starttls" (587), "implicit" (465), or "none" for trusted addresses only.',
        default="starttls",
    )
    trusted: tuple[IPv4Network | IPv6Network, ...] = setting(
        listed(network),
        'Only with tls = "none": who may submit without log-in.',
        default=(),
        example=["127.0.0.1"],
    )
    submitter: str = setting(
        text,
        'Only with tls = "none": the login that its submissions count as.',
        default="",
        example="satellite",
    )
    proxy: tuple[IPv4Network | IPv6Network, ...] = setting(
        listed(network),
        "Balancers that begin each connection with a PROXY header (version 1 or 2), "
        "which says whose it is. Nobody else may connect to this listener then.",
        default=(),
        example=["192.0.2.0/24"],
    )


@frozen(kw_only=True)
class LimitsSection:
    """What one client, or all of them, may take. 0 or "off": no limit."""

    message_size: int | None = setting(
        or_off(size(1024)), "Octets of a message.", default="50MB"
    )
    header_size: int | None = setting(
        or_off(size(1024)), "Octets of a header section.", default="256KiB"
    )
    recipients: int | None = setting(
        or_off(whole(1)), "Recipients of a message.", default=1000
    )
    received_fields: int | None = setting(
        or_off(whole(1)), "Received fields: more is a loop.", default=50
    )
    line: int = setting(whole(2048, 65536), "Octets of a command line.", default=4096)
    bad_commands: int | None = setting(
        or_off(whole(1)), "Faulty commands in one session.", default=20
    )
    connections: int | None = setting(
        or_off(whole(1)), "Connections open at once, in all.", default=2000
    )
    connections_per_address: int | None = setting(
        or_off(whole(1)), "… and from one address (IPv6: one /64).", default=50
    )
    connections_per_login: int | None = setting(
        or_off(whole(1)), "… and of one login.", default=100
    )
    handshake: timedelta | None = setting(
        or_off(span(1)), "Time for a TLS handshake.", default="60s"
    )
    idle: timedelta | None = setting(
        or_off(span(1)), "Time between two reads from a client.", default="5m"
    )
    transaction: timedelta | None = setting(
        or_off(span(1)), "Time from MAIL to the end of the content.", default="30m"
    )
    log_in: timedelta | None = setting(
        or_off(span(1)), "Time from the start to a log-in.", default="10m"
    )
    session: timedelta | None = setting(
        or_off(span(1)), "Time of a whole session.", default="off"
    )


@frozen(kw_only=True)
class ScramSection:
    """SCRAM: what keys look like of names that have none, so that none is learnt.
    Not used where all keys are in the password file: those made up look as these do.
    """

    iterations: int = setting(
        whole(1, 5_000_000), "As your keys are made with.", default=4096
    )
    salt: int = setting(whole(8, 64), "Octets of a salt, as in your keys.", default=16)


@frozen(kw_only=True)
class OAuthSection:
    """Tokens (OAUTHBEARER and XOAUTH2). One of the keys or the introspection."""

    issuer: str = setting(
        optional_https_url,
        "Who issues tokens, as in their `iss`. Empty: there are no tokens.",
        default="",
        example="https://id.example.org/realms/example",
    )
    audience: tuple[str, ...] = setting(
        listed(filled_text),
        "Values of `aud`: a token must have one of them.",
        default=(),
        example=["submit.example.org"],
    )
    user_claim: str = setting(
        filled_text,
        "Claim that names the login. Nobody may be able to choose its value.",
        default="preferred_username",
    )
    scope: tuple[str, ...] = setting(
        listed(filled_text),
        "Scopes that a token must have, all of them.",
        default=(),
        example=["mail.send"],
    )
    keys_url: str = setting(
        optional_https_url,
        "Where the issuer's keys are (JWK set, RFC 7517).",
        default="",
        example="https://id.example.org/realms/example/certs",
    )
    keys_file: Path | None = setting(
        optional_path, "… or a file with them.", default=""
    )
    algorithms: tuple[str, ...] = setting(
        listed(
            choice(
                "RS256",
                "RS384",
                "RS512",
                "PS256",
                "PS384",
                "PS512",
                "ES256",
                "ES384",
                "ES512",
                "EdDSA",
                "Ed25519",
            )
        ),
        "How its tokens may be signed.",
        default=("RS256", "PS256", "ES256", "EdDSA", "Ed25519"),
    )
    introspection_url: str = setting(
        optional_https_url,
        "Where the issuer says whether a token is valid (RFC 7662).",
        default="",
        example="https://id.example.org/realms/example/introspect",
    )
    client_id: str = setting(
        text, "Who we are to it. Empty: it asks nobody who they are.", default=""
    )
    client_secret_file: str = setting(
        text, 'File with our secret there, or "credential:NAME" of systemd.', default=""
    )
    ca_file: Path | None = setting(
        optional_path,
        "PEM: who may vouch for the issuer's web server. Empty: the system's.",
        default="",
    )
    time_out: timedelta = setting(
        span(0.1), "Time for one question to the issuer.", default="5s"
    )
    leeway: timedelta = setting(
        span(), "How far its clock and ours may differ.", default="30s"
    )


@frozen(kw_only=True)
class ExternalSection:
    """Certificates of clients (EXTERNAL), from `[tls] client_ca_file`."""

    user: str = setting(
        choice("email", "upn", "subject"),
        'What names the login: a mail address ("email") or a principal name ("upn") '
        'among the alternative names, or the "subject".',
        default="email",
    )
    subject: str = setting(
        text,
        'With user = "subject": what subjects look like.',
        default="",
        example="CN={login},OU=people,O=Example",
    )


@frozen(kw_only=True)
class PrioritySection:
    """The highest priority of some logins, in the place of that of all."""

    logins: tuple[str, ...] = setting(
        listed(filled_text), "Whom it is for.", default=(), example=["alarms"]
    )
    highest: int = setting(
        whole(0, 9), "In the place of highest_priority.", default=0, example=6
    )


@frozen(kw_only=True)
class ExtensionsSection:
    """What a mail program may ask for with a message, beyond sending it."""

    future_release: timedelta | None = setting(
        or_off(span(60)),
        "How far ahead a message may be sent for later (FUTURERELEASE). "
        '"off": not offered.',
        default="7d",
    )
    deliver_by: timedelta | None = setting(
        or_off(span(1)),
        "Least time that may be set for a delivery that is to come back when late "
        '(DELIVERBY). "off": not offered.',
        default="10s",
    )
    highest_priority: int = setting(
        whole(0, 9),
        "What a message asks for above this is lowered to it (MT-PRIORITY). "
        "0: nobody goes before the others, but may let them go first. It holds for "
        "all who have no rule below, also without log-in.",
        default=0,
    )
    priority: Mapping[str, PrioritySection] = field(
        factory=dict, metadata={"tables": PrioritySection, "name": "NAME"}
    )


@frozen(kw_only=True)
class LogInSection:
    """Passwords: who checks them, how guessing is slowed down."""

    mechanisms: tuple[str, ...] = setting(
        listed(choice(*MECHANISMS)),
        "Ways to log in, each offered where it can be served. Empty: all but CRAM-MD5, "
        "which needs passwords that are stored in the clear.",
        default=(),
        example=["PLAIN", "LOGIN", "CRAM-MD5"],
    )
    order: tuple[str, ...] = setting(
        listed(choice("ldap", "password_file")),
        "Sources in the order asked; those not configured are passed over.",
        default=("ldap", "password_file"),
    )
    cache: timedelta | None = setting(
        or_off(span()), "How long a success is remembered.", default="1m"
    )
    cache_failures: timedelta | None = setting(
        or_off(span()), "How long a refusal is remembered.", default="10s"
    )
    failures_per_address: int | None = setting(
        or_off(whole(1)),
        "Failures within `window` after which an address (IPv6: a /64) is put off.",
        default=50,
    )
    failures_per_network: int | None = setting(
        or_off(whole(1)),
        "… and after which the /24 (IPv6: /48) around it is.",
        default=200,
    )
    failures_per_account: int | None = setting(
        or_off(whole(1)),
        "Failures within `window` after which an account is put off.",
        default=20,
    )
    window: timedelta = setting(span(1), "How long a failure counts.", default="15m")
    delay: timedelta = setting(
        span(), "Wait before the answer to a second failure; doubles.", default="1s"
    )
    longest_delay: timedelta = setting(span(), "The longest such wait.", default="10s")
    refusal: timedelta = setting(
        span(1),
        "How long who failed too often is put off; each further time twice as long.",
        default="5m",
    )
    longest_refusal: timedelta = setting(
        span(1), "The longest such time.", default="4h"
    )
    known_networks: timedelta | None = setting(
        or_off(span(1)),
        "How long a network from which an account has logged in keeps its way in.",
        default="30d",
    )
    time_out: timedelta = setting(span(1), "Time for one log-in in all.", default="20s")
    scram: ScramSection = field(
        default=Factory(ScramSection), metadata={"table": ScramSection}
    )
    oauth: OAuthSection = field(
        default=Factory(OAuthSection), metadata={"table": OAuthSection}
    )
    external: ExternalSection = field(
        default=Factory(ExternalSection), metadata={"table": ExternalSection}
    )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The mechanisms, also where none is named."""
        return self.mechanisms or tuple(one for one in MECHANISMS if one != "CRAM-MD5")


@frozen(kw_only=True)
class LdapSection:
    """The directory."""

    servers: tuple[str, ...] = setting(
        listed(filled_text),
        "ldap:// and ldaps:// URLs, tried in this order. Empty: no directory.",
        default=(),
        example=["ldap://ldap1.example.org", "ldaps://ldap2.example.org"],
    )
    starttls: bool = setting(truth, "StartTLS on ldap:// servers.", default=True)
    allow_clear_text: bool = setting(
        truth, "Passwords in clear text to other hosts than this one.", default=False
    )
    ca_file: Path | None = setting(
        optional_path,
        "PEM: who may vouch for the servers. Empty: the system's.",
        default="",
    )
    check: str = setting(
        choice("bind", "hash"),
        '"bind" as the user, or read a "hash" and compare.',
        default="bind",
    )
    hash_attribute: str = setting(
        filled_text, "Attribute with the hash.", default="mailPassword"
    )
    scram_attribute: str = setting(
        text,
        "Attribute with everybody's keys for SCRAM, as `{SCRAM-SHA-256}…` or in the "
        "form of RFC 5803. Empty: people of the directory have none.",
        default="",
        example="authPassword",
    )
    base: str = setting(
        text, "Where people are.", default="", example="ou=people,dc=example,dc=org"
    )
    filter: str = setting(
        filled_text,
        "Finds one person; {login} is what they typed.",
        default="(uid={login})",
    )
    uid_attribute: str = setting(
        filled_text,
        "Its value names the account. Of several it is the one in the entry's DN, or "
        "the first in the alphabet: whichever was typed, rules, limits and the log see "
        "this one.",
        default="uid",
    )
    login_domains: tuple[str, ...] = setting(
        listed(domain),
        "user@domain is taken as user for these domains.",
        default=(),
        example=["example.org"],
    )
    bind_dn: str = setting(
        text, "Account of this server for searches. Empty: anonymous.", default=""
    )
    bind_password_file: str = setting(
        text, 'File with its password, or "credential:NAME" of systemd.', default=""
    )
    time_out: timedelta = setting(
        span(0.1), "Time for one step with the directory.", default="5s"
    )
    connections: int = setting(
        whole(1, 100), "Connections for checking passwords, a process.", default=4
    )
    lock_filter: str = setting(
        text,
        "An entry that matches is locked.",
        default="",
        example="(mailDisableMessage=*)",
    )
    honour_locks: bool = setting(
        truth,
        "Locks in userPassword, accountStatus and shadowExpire are obeyed.",
        default=True,
    )


@frozen(kw_only=True)
class PasswordFileSection:
    """A file of passwords: ``user:{SCHEME}hash`` a line."""

    path: Path | None = setting(
        optional_path,
        "The file. Empty: none.",
        default="",
        example="/etc/submitd/mail-passwords",
    )
    authoritative: bool = setting(
        truth, 'Its "no" is final for users that it knows.', default=False
    )


@frozen(kw_only=True)
class RuleSection:
    """One rule that says which addresses a login may use. Exactly one kind each."""

    template: str = setting(
        text, "Kind: this address.", default="", example="{login}@example.org"
    )
    attributes: tuple[str, ...] = setting(
        listed(filled_text),
        "Kind: values of these attributes of the person's entry.",
        default=(),
        example=["mail", "mailLocalAddress"],
    )
    base: str = setting(
        text,
        "Kind: a search below here …",
        default="",
        example="ou=roles,dc=example,dc=org",
    )
    filter: str = setting(
        text,
        "… with this filter ({dn}, {login}) …",
        default="",
        example="(|(member={dn})(owner={dn})(memberUid={login}))",
    )
    address_attributes: tuple[str, ...] = setting(
        listed(filled_text), "… for the values of these attributes.", default=("mail",)
    )
    file: Path | None = setting(
        optional_path,
        "Kind: a file, `login: address, address, @domain` a line.",
        default="",
    )
    domains: tuple[str, ...] = setting(
        listed(domain), "Kind: every address of these domains.", default=()
    )
    any: bool = setting(
        truth, "Kind: every address whatever. For satellites only.", default=False
    )
    logins: tuple[str, ...] = setting(
        listed(filled_text),
        "The rule holds for these logins only. Empty: all.",
        default=(),
    )


@frozen(kw_only=True)
class SenderTest:
    """What ``submitctl check`` proves against the live directory."""

    login: str = setting(filled_text, "Who.", default="alice")
    address: str = setting(filled_text, "As whom.", default="alice@example.org")
    allowed: bool = setting(truth, "May or may not.", default=True)


@frozen(kw_only=True)
class SendersSection:
    """Who may send as whom."""

    on_foreign_from: str = setting(
        choice("reject", "rewrite"),
        'Another\'s address in MAIL or From: "reject", or "rewrite" to their own.',
        default="reject",
    )
    subaddresses: bool = setting(
        truth, "user+anything@ is allowed wherever user@ is.", default=True
    )
    rule: Mapping[str, RuleSection] = field(
        factory=dict, metadata={"tables": RuleSection, "name": "NAME"}
    )
    test: tuple[SenderTest, ...] = field(
        default=(),
        metadata={"list": SenderTest, "doc": "Proved by `submitctl check --live`."},
    )


@frozen(kw_only=True)
class DkimKey:
    """One key of a domain."""

    selector: str = setting(
        filled_text,
        "Selector; <year> and <host> are filled in.",
        default="<year>-<host>",
    )
    file: Path = setting(
        path, "PEM: the private key.", default="/etc/submitd/dkim/key.pem"
    )


@frozen(kw_only=True)
class DkimDomainSection:
    """The keys of one From domain; ``*.example.org`` for its subdomains."""

    keys: tuple[DkimKey, ...] = field(
        default=(),
        metadata={"list": DkimKey, "doc": "RSA and Ed25519 keys; each signs."},
    )
    canonicalization: str = setting(
        choice("relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"),
        "How header and body are canonicalised.",
        default="relaxed/relaxed",
    )
    signing_domain: str = setting(
        optional_domain, "d= of the signature. Empty: the domain itself.", default=""
    )


@frozen(kw_only=True)
class DkimSection:
    """Signing."""

    unsigned: str = setting(
        choice("refuse", "allow"),
        'Mail from a domain without a key: "refuse" or "allow".',
        default="refuse",
    )
    domain: Mapping[str, DkimDomainSection] = field(
        factory=dict, metadata={"tables": DkimDomainSection, "name": '"example.org"'}
    )


@frozen(kw_only=True)
class MessageSection:
    """What is done to messages."""

    received_client: str = setting(
        choice("hide", "show"),
        "The client's address and name in the Received field.",
        default="hide",
    )
    line_ends: str = setting(
        choice("reject", "normalise"), "A bare CR or LF in content.", default="reject"
    )
    message_id_domain: str = setting(
        optional_domain,
        "Right side of Message-IDs made here. Empty: hostname.",
        default="",
    )


@frozen(kw_only=True)
class SpoolSection:
    """The queue on disk."""

    reserve: int = setting(
        size(),
        "Disk kept, in a file, so that outcomes can still be recorded when it is full.",
        default="64MiB",
    )


@frozen(kw_only=True)
class DnsSection:
    """Name servers."""

    servers: tuple[tuple[str, int], ...] = setting(
        listed(socket_address),
        "Validating resolvers. Empty: those of /etc/resolv.conf.",
        default=(),
        example=["127.0.0.1:53"],
    )
    time_out: timedelta = setting(span(0.1), "Time for one question.", default="5s")


@frozen(kw_only=True)
class TimeOutsSection:
    """How long each step of a delivery may take (RFC 5321 section 4.5.3.2)."""

    connect: timedelta = setting(span(0.1), "TCP connection.", default="30s")
    greeting: timedelta = setting(span(0.1), "The first 220, and TLS.", default="5m")
    helo: timedelta = setting(span(0.1), "EHLO.", default="5m")
    mail: timedelta = setting(span(0.1), "MAIL.", default="5m")
    rcpt: timedelta = setting(span(0.1), "RCPT.", default="5m")
    data: timedelta = setting(span(0.1), "DATA.", default="2m")
    block: timedelta = setting(span(0.1), "A block of content.", default="3m")
    dot: timedelta = setting(span(0.1), "The reply to the final dot.", default="10m")
    quit: timedelta = setting(span(0.1), "QUIT and RSET.", default="10s")


@frozen(kw_only=True)
class DeliverySection:
    """How mail goes out."""

    port: int = setting(whole(1, 65535), "Port of receiving servers.", default=25)
    tls: str = setting(
        choice("none", "opportunistic", "encrypt", "verify"),
        "TLS with receiving servers.",
        default="opportunistic",
    )
    connections_per_destination: int = setting(
        whole(1), "Connections to one destination at once.", default=10
    )
    connections: int = setting(whole(1), "Connections in all, a process.", default=200)
    messages_per_connection: int = setting(
        whole(1), "Messages on one connection.", default=100
    )
    idle_connection: timedelta = setting(
        span(),
        "How long an idle connection is kept for the next message.",
        default="5s",
    )
    addresses: str = setting(
        choice("both", "ipv4", "ipv6"), "Address families.", default="both"
    )
    source_ipv4: str = setting(
        optional_address,
        "Address to send from. Empty: the system's choice.",
        default="",
    )
    source_ipv6: str = setting(optional_address, "… for IPv6.", default="")
    allow_loopback: tuple[IPv4Network | IPv6Network, ...] = setting(
        listed(network),
        "Loopback networks that mail may be delivered to. Off by default.",
        default=(),
        example=["127.0.0.0/8", "::1"],
    )
    own_addresses: tuple[tuple[str, int], ...] = setting(
        listed(socket_address),
        'More "address:port" that are this server, against loops.',
        default=(),
    )
    own_names: tuple[str, ...] = setting(
        listed(domain), "More names of this server, against loops.", default=()
    )
    returned_content: int = setting(
        size(), "Octets of a message that a report returns whole.", default="64KiB"
    )
    time_out: TimeOutsSection = field(
        default=Factory(TimeOutsSection), metadata={"table": TimeOutsSection}
    )


@frozen(kw_only=True)
class RouteSection:
    """Where mail for a domain goes (``.example.net``: its subdomains; ``*``: all)."""

    host: str = setting(
        filled_text,
        'A host name or address, or "mx:example.com" for the MX of a domain.',
        default="relay.example.org",
    )
    port: int = setting(whole(1, 65535), "Its port.", default=25)
    tls: str = setting(
        choice("none", "opportunistic", "encrypt", "verify", "implicit"),
        'As in [delivery]; "implicit": TLS from the first octet, verified.',
        default="opportunistic",
    )
    ca_file: Path | None = setting(
        optional_path, "PEM: who may vouch for it. Empty: the system's.", default=""
    )
    user: str = setting(text, "Log-in name there. Empty: none.", default="")
    password_file: str = setting(
        text, 'File with its password, or "credential:NAME" of systemd.', default=""
    )


@frozen(kw_only=True)
class RetrySection:
    """How long to keep trying, and how often (RFC 5321 section 4.5.4.1)."""

    first: timedelta = setting(
        span(1), "Wait after a first failed attempt.", default="5m"
    )
    longest: timedelta = setting(
        span(1), "The wait doubles after each attempt, up to this.", default="4h"
    )
    give_up: timedelta = setting(
        span(60), "Age at which an undelivered message is returned.", default="5d"
    )
    report_delay_after: timedelta | None = setting(
        or_off(span(1)),
        "Age at which the sender is told of the delay, once.",
        default="4h",
    )
    jitter: float = setting(
        fraction, "Share by which a wait is made longer or shorter.", default=0.1
    )


@frozen(kw_only=True)
class QuotaLimits:
    """What one submitter may send. 0 or "off": no limit."""

    burst: int | None = setting(
        or_off(whole(1)), "Messages in a minute.", default="off", example=20
    )
    messages_per_hour: int | None = setting(
        or_off(whole(1)), "Messages in an hour.", default="off", example=100
    )
    messages_per_day: int | None = setting(
        or_off(whole(1)), "… and in a day.", default="off", example=500
    )
    recipients_per_hour: int | None = setting(
        or_off(whole(1)), "Recipients in an hour.", default="off", example=300
    )
    recipients_per_day: int | None = setting(
        or_off(whole(1)), "… and in a day.", default="off", example=1000
    )
    new_recipients_per_day: int | None = setting(
        or_off(whole(1)),
        "Recipients in a day that the login has not written to in the last 90 days.",
        default="off",
        example=200,
    )
    on_excess: str = setting(
        choice("refuse", "hold"),
        'What is over a limit: "refuse" for now (451), or accept and "hold" it until '
        "`submitctl queue release`.",
        default="refuse",
    )
    held_messages: int | None = setting(
        or_off(whole(1)),
        "Messages that are held at a time: more are refused (452).",
        default=200,
    )
    held_size: int | None = setting(
        or_off(size(1024)), "… and their octets.", default="500MB"
    )
    later_messages: int | None = setting(
        or_off(whole(1)),
        "Messages that wait at a time for the moment that was set for them "
        "(FUTURERELEASE): more are refused (552).",
        default=200,
    )
    later_size: int | None = setting(
        or_off(size(1024)), "… and their octets.", default="500MB"
    )


@frozen(kw_only=True)
class QuotaRuleSection(QuotaLimits):
    """Limits for some logins, in the place of all those of [quota]."""

    logins: tuple[str, ...] = setting(
        listed(filled_text),
        "Whom it is for. What is not set here is not taken from [quota].",
        default=(),
        example=["newsletter", "satellite"],
    )


@frozen(kw_only=True)
class QuotaSection(QuotaLimits):
    """How much each submitter may send. 0 or "off": no limit."""

    rule: Mapping[str, QuotaRuleSection] = field(
        factory=dict, metadata={"tables": QuotaRuleSection, "name": "NAME"}
    )


@frozen(kw_only=True)
class Config:
    """Everything that is configured."""

    server: ServerSection = Factory(ServerSection)
    log: LogSection = Factory(LogSection)
    metrics: MetricsSection = Factory(MetricsSection)
    tls: TlsSection = Factory(TlsSection)
    acme: AcmeSection = Factory(AcmeSection)
    listener: Mapping[str, ListenerSection] = field(
        factory=dict, metadata={"tables": ListenerSection, "name": "NAME"}
    )
    limits: LimitsSection = Factory(LimitsSection)
    extensions: ExtensionsSection = Factory(ExtensionsSection)
    log_in: LogInSection = Factory(LogInSection)
    ldap: LdapSection = Factory(LdapSection)
    password_file: PasswordFileSection = Factory(PasswordFileSection)
    senders: SendersSection = Factory(SendersSection)
    dkim: DkimSection = Factory(DkimSection)
    message: MessageSection = Factory(MessageSection)
    spool: SpoolSection = Factory(SpoolSection)
    dns: DnsSection = Factory(DnsSection)
    delivery: DeliverySection = Factory(DeliverySection)
    route: Mapping[str, RouteSection] = field(
        factory=dict, metadata={"tables": RouteSection, "name": '"example.net"'}
    )
    retry: RetrySection = Factory(RetrySection)
    quota: QuotaSection = Factory(QuotaSection)
