"""Settings of what happens to mail: its signature, the spool, and delivery."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from attrs import Factory, field, frozen

from submitd.config.values import (
    choice,
    domain,
    filled_text,
    fraction,
    listed,
    network,
    optional_address,
    optional_domain,
    optional_path,
    or_off,
    path,
    setting,
    size,
    socket_address,
    span,
    text,
    whole,
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
