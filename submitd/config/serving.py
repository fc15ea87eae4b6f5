"""Settings of what serves: the process, its log, its listeners, their bounds."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from attrs import Factory, field, frozen

from submitd.config.values import (
    address,
    certificate_name,
    choice,
    filled_text,
    listed,
    network,
    optional_domain,
    optional_path,
    or_off,
    path,
    path_or_standard_error,
    setting,
    size,
    socket_address_or_off,
    span,
    text,
    truth,
    whole,
)


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
