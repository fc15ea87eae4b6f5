"""Settings of who submits: how they log in, as whom they send, and how much."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from attrs import Factory, field, frozen

from submitd.config.values import (
    choice,
    domain,
    filled_text,
    listed,
    optional_https_url,
    optional_path,
    or_off,
    setting,
    size,
    span,
    text,
    truth,
    whole,
)
from submitd.sasl.mechanism import MECHANISMS


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
