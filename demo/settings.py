"""What the demonstration is made of: names, ports, files, configuration."""

import json
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from attrs import frozen

ROOT: Final = Path(__file__).resolve().parent.parent
PEOPLE: Final = ROOT / "etc" / "demo" / "people.ldif"

HOST: Final = "127.0.0.1"
HOSTNAME: Final = "submit.example.org"
SENDER_DOMAIN: Final = "example.org"
RECIPIENT_DOMAIN: Final = "example.net"
EXCHANGER: Final = "mx.example.net"

USER: Final = "alice"
PASSWORD: Final = "wonderland"  # noqa: S105 - as in people.ldif, for everybody to read
FROM: Final = f"alice@{SENDER_DOMAIN}"
RECIPIENT: Final = f"inbox@{RECIPIENT_DOMAIN}"

_LONGEST_SOCKET: Final = 100
"""Octets of a Unix socket's path; 107 is the most that Linux takes."""


class Unusable(Exception):
    """The demonstration cannot go on. The message is for whoever started it."""


@frozen(kw_only=True)
class Settings:
    """What can be chosen, by variables of the environment."""

    directory: Path
    """Where everything is kept: mail, keys, queue, logs."""

    submit_port: int
    submits_port: int
    metrics_port: int
    ldap_port: int
    dns_port: int
    smtp_port: int
    """Of the embedded servers; 0: whichever is free."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Raises Unusable: a port is none."""

        def port(name: str, default: int, least: int = 1) -> int:
            text = environment.get(name, "") or str(default)
            if not text.isdecimal() or not least <= int(text) <= 65535:
                raise Unusable(f"{name} is {text!r}, which is no port")
            return int(text)

        return cls(
            directory=Path(
                environment.get("DEMO_DIRECTORY") or ROOT / ".run"
            ).resolve(),
            submit_port=port("SUBMIT_PORT", 1587),
            submits_port=port("SUBMITS_PORT", 1465),
            metrics_port=port("DEMO_METRICS_PORT", 9587),
            ldap_port=port("DEMO_LDAP_PORT", 0, least=0),
            dns_port=port("DEMO_DNS_PORT", 0, least=0),
            smtp_port=port("DEMO_SMTP_PORT", 0, least=0),
        )

    @property
    def fixed_ports(self) -> dict[str, int]:
        """The ports of submitd, by the variables that choose them."""
        return {
            "SUBMIT_PORT": self.submit_port,
            "SUBMITS_PORT": self.submits_port,
            "DEMO_METRICS_PORT": self.metrics_port,
        }

    @property
    def mail(self) -> Path:
        """Where the receiving server writes."""
        return self.directory / "mail"

    @property
    def config(self) -> Path:
        """Submitd's configuration."""
        return self.directory / "submitd.toml"

    @property
    def log(self) -> Path:
        """Submitd's log."""
        return self.directory / "submitd.log"

    @property
    def environment_file(self) -> Path:
        """Where the reader's settings are written."""
        return self.directory / "demo.env"


@frozen(kw_only=True)
class World:
    """Where the embedded servers listen, and what submitd needs of them."""

    ldap_port: int
    dns_port: int
    smtp_port: int
    ca_file: Path
    certificate: Path
    key: Path
    dkim: Mapping[str, Path]
    """Files of the signing keys, by selector."""


def configuration(settings: Settings, world: World) -> str:
    """Submitd's configuration: what an operator would write for this world."""
    keys = ", ".join(
        f"{{ selector = {_text(selector)}, file = {_text(file)} }}"
        for selector, file in world.dkim.items()
    )
    return f"""\
# Written by `make run`, anew at each start.

[server]
hostname = {_text(HOSTNAME)}
workers = 2
state_directory = {_text(settings.directory / "state")}
control_socket = {_text(_control_socket(settings.directory))}
shutdown_grace = "5s"
postmaster = {_text(f"postmaster@{SENDER_DOMAIN}")}

[log]
file = {_text(settings.log)}

[metrics]
listen = "{HOST}:{settings.metrics_port}"

[tls]
certificate = {_text(world.certificate)}
key = {_text(world.key)}

[listener.submission]
address = "{HOST}"
port = {settings.submit_port}
tls = "starttls"

[listener.submissions]
address = "{HOST}"
port = {settings.submits_port}
tls = "implicit"

[log_in]
order = ["ldap"]

[ldap]
servers = ["ldap://{HOST}:{world.ldap_port}"]
starttls = true
ca_file = {_text(world.ca_file)}
check = "bind"
base = "ou=people,dc=example,dc=org"
login_domains = ["{SENDER_DOMAIN}"]

# Their own addresses …
[senders.rule.own]
attributes = ["mail"]

# … and those of the roles that they own or are members of.
[senders.rule.roles]
base = "ou=roles,dc=example,dc=org"
filter = "(|(member={{dn}})(owner={{dn}}))"

[[senders.test]]
login = "alice"
address = "press@{SENDER_DOMAIN}"
allowed = true

[[senders.test]]
login = "bob"
address = "press@{SENDER_DOMAIN}"
allowed = false

[dkim.domain."{SENDER_DOMAIN}"]
keys = [{keys}]

[dns]
servers = ["{HOST}:{world.dns_port}"]

[delivery]
port = {world.smtp_port}
allow_loopback = ["127.0.0.0/8"]

# All far shorter than for real mail, so that a time-out, a retry and a report
# can be watched.
[delivery.time_out]
connect = "5s"
greeting = "5s"
helo = "5s"
mail = "5s"
rcpt = "5s"
data = "5s"
block = "10s"
dot = "10s"
quit = "2s"

[retry]
first = "5s"
longest = "20s"
give_up = "60s"
report_delay_after = "30s"
"""


def environment_text(settings: Settings, ca_file: Path) -> str:
    """The settings of a mail program, in shell syntax."""
    values: dict[str, object] = {
        "SUBMIT_HOST": HOST,
        "SUBMIT_PORT": settings.submit_port,
        "SUBMITS_PORT": settings.submits_port,
        "SUBMIT_USER": USER,
        "SUBMIT_PASSWORD": PASSWORD,
        "SUBMIT_FROM": FROM,
        "SUBMIT_CAFILE": ca_file,
        "DEMO_RCPT": RECIPIENT,
        "DEMO_MAIL": settings.mail,
        "DEMO_CONFIG": settings.config,
    }
    return "".join(
        f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()
    )


def _text(value: str | Path) -> str:
    """As a TOML string, which JSON's strings are a part of."""
    return json.dumps(str(value), ensure_ascii=False)


def _control_socket(directory: Path) -> Path:
    beside = directory / "control.sock"
    if len(str(beside).encode()) <= _LONGEST_SOCKET:
        return beside
    return Path(tempfile.mkdtemp(prefix="submitd-demo-")) / "control.sock"
