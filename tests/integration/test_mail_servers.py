"""Postfix, Exim and OpenSMTPD around us, on hosts of their own with real ports.

As receiving servers on port 25, found through a real resolver; and Postfix and
Exim as satellites that hand over what they send, as README tells them to.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen

from tests.support.certificates import make_certificate
from tests.support.dkim_verifier import verify
from tests.support.dns_peers import running_unbound
from tests.support.hosts import Host, Hosts, until
from tests.support.mail_servers import (
    Exim,
    Mailboxes,
    Postfix,
    exim_receiver,
    postfix_receiver,
    put_off,
    start_opensmtpd,
)
from tests.support.twistd import Twistd

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.peers(
        "ip", "unbound", "openssl", "postfix", "exim", "opensmtpd", "sasl"
    ),
    pytest.mark.timeout(120),
]

SUBMIT, POSTFIX, EXIM, OPENSMTPD, SATELLITE, SATELLITE_EXIM, CLIENT, DNS = (
    *(1, 2, 3, 4, 12, 13, 20, 53),
)

# What is not there does not exist; the one that is forwarded nobody answers.
ZONE: Final = """\
  interface: 10.53.0.53
  access-control: 10.53.0.0/24 allow
  local-zone: "example." static
  local-data: "example. SOA ns.example. admin.example. 1 3600 600 86400 60"
  local-data: "submit.example. A 10.53.0.1"
  local-data: "mx.postfix.example. A 10.53.0.2"
  local-data: "mx6.postfix.example. AAAA fd53::2"
  local-data: "mx.exim.example. A 10.53.0.3"
  local-data: "nobody.exim.example. A 10.53.0.99"
  local-data: "postfix.example. MX 10 mx.postfix.example."
  local-data: "v6.example. MX 10 mx6.postfix.example."
  local-data: "exim.example. MX 5 nobody.exim.example."
  local-data: "exim.example. MX 10 mx.exim.example."
  local-data: "opensmtpd.example. A 10.53.0.4"
  local-data: "nomail.example. MX 0 ."
  local-data: "loop.example. MX 10 old-name.example."
  local-data: "loop.example. MX 20 mx.postfix.example."
  local-data: "own.example. TXT ''"
{records}
  local-zone: "test." static
  local-zone: "broken.test." transparent
  domain-insecure: "test."
forward-zone:
  name: "broken.test."
  forward-addr: 10.53.0.53@5399
"""

CONFIG: Final = """
[server]
hostname = "submit.example"
workers = 2
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "2s"
[log]
file = "log"
level = "debug"
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submission]
address = "10.53.0.1"
port = 587
[listener.submissions]
address = "10.53.0.1"
port = 465
tls = "implicit"
[password_file]
path = "passwords"
[senders.rule.own]
template = "{login}@own.example"
[senders.rule.satellites]
domains = ["own.example", "sat.example", "v6.example"]
logins = ["satellite"]
[dns]
servers = ["10.53.0.53:53"]
[dkim.domain."own.example"]
keys = [{ selector = "one", file = "dkim.pem" }]
[dkim]
unsigned = "allow"
[retry]
first = "1s"
longest = "1s"
give_up = "60s"
[delivery]
own_names = ["old-name.example"]
# Shorter than the wait for the next attempt: a Postfix that is told to reload
# goes on with its old tables on a connection that is kept.
idle_connection = 0.5
[delivery.time_out]
connect = "2s"
"""

TEXT: Final = (
    "From: alice@own.example\r\nTo: somebody\r\nSubject: {subject}\r\n\r\n"
    ".dot\r\n..two\r\nFrom here\r\ntrailing \t\r\n\r\n\r\nend\r\n"
)

CLIENT_SCRIPT: Final = """
import json, smtplib, ssl, sys
order = json.load(sys.stdin)
trust = ssl.create_default_context(cafile=order["ca"])
with smtplib.SMTP("submit.example", 587, "client.example", timeout=30) as client:
    client.starttls(context=trust)
    client.login("alice", "wonderland")
    print(client.sendmail("alice@own.example", order["to"],
                          order["text"].encode(), order["options"]))
"""

BINARY_SCRIPT: Final = """
import base64, json, smtplib, ssl, sys
order = json.load(sys.stdin)
trust = ssl.create_default_context(cafile=order["ca"])
octets = base64.b64decode(order["octets"])
with smtplib.SMTP("submit.example", 587, "client.example", timeout=30) as client:
    client.starttls(context=trust)
    client.login("alice", "wonderland")
    print(client.mail("alice@own.example", ["BODY=BINARYMIME"])[0])
    print(client.rcpt(order["to"])[0])
    client.send(b"BDAT %d LAST\\r\\n" % len(octets) + octets)
    print(client.getreply()[0])
"""

SATELLITE_SCRIPT: Final = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], 25, "client.example", timeout=30) as client:
    for number in range(int(sys.argv[2])):
        sender = f"user{number}@{sys.argv[3]}"
        client.sendmail(sender, [sys.argv[4]],
            f"From: {sender}\\r\\nSubject: {sys.argv[5]} {number}\\r\\n\\r\\nx\\r\\n")
"""


@frozen
class Site:
    """All hosts."""

    submit: Host
    server: Twistd
    client: Host
    postfix: Postfix
    exim: Exim
    opensmtpd: Host
    satellite: Postfix
    satellite_exim: Exim
    dkim: str
    """The published record."""

    @property
    def log(self) -> str:
        """What submitd has logged."""
        return (self.submit.folder / "log").read_text()

    def boxes(self, host: Host) -> Mailboxes:
        """What a receiver has delivered."""
        return Mailboxes(host.folder / "boxes")

    def send(
        self, subject: str, *to: str, text: str = TEXT, options: tuple[str, ...] = ()
    ) -> None:
        """Submit a message as alice, with a password, under verified TLS."""
        order = {
            "ca": str(self.submit.folder / "cert.pem"),
            "to": to,
            "text": text.format(subject=subject),
            "options": options,
        }
        said = self.client.run(
            sys.executable, "-c", CLIENT_SCRIPT, text=json.dumps(order)
        )
        assert said == "{}\n"

    def send_binary(self, to: str, octets: bytes) -> None:
        """Submit a message as alice, as BINARYMIME."""
        order = {
            "ca": str(self.submit.folder / "cert.pem"),
            "to": to,
            "octets": base64.b64encode(octets).decode(),
        }
        said = self.client.run(
            sys.executable, "-c", BINARY_SCRIPT, text=json.dumps(order)
        )
        assert said == "250\n250\n250\n"

    def is_signed(self, message: bytes) -> bool:
        """As it came into a mailbox: one signature of ours, and it verifies."""
        # A mailbox has lines of its own; dkimpy wants those of the wire.
        wire = message.replace(b"\n", b"\r\n")
        _, name, rest = wire.partition(b"DKIM-Signature:")
        assert b"DKIM-Signature:" not in rest
        return verify(name + rest, {"one._domainkey.own.example": self.dkim})

    def arrived(
        self, host: Host, subject: str, count: int = 1, seconds: float = 30
    ) -> list[bytes]:
        """The messages with this subject, once there are so many."""

        def found() -> list[bytes]:
            return [
                one
                for one in self.boxes(host).messages()
                if f"\nSubject: {subject}".encode() in one
            ]

        until(lambda: len(found()) >= count, f"{subject} at {host.namespace}", seconds)
        return found()

    def logged(self, *words: str) -> str:
        """The log line with all of these, once there is one."""

        def found() -> list[str]:
            return [
                line
                for line in self.log.splitlines()
                if all(word in line for word in words)
            ]

        until(found, f"a log line with {words}")
        return found()[-1]


@pytest.fixture(scope="module")
def site(peer: Callable[[str], Path]) -> Iterator[Site]:
    """The hosts, started once."""
    with ExitStack() as stack:
        # Daemons with users of their own read below it: pytest's is root's alone.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        hosts = stack.enter_context(Hosts(folder))

        def host(name: str, number: int) -> Host:
            return hosts.add(name, number, "10.53.0.53")

        submit, dns = host("submit", SUBMIT), host("dns", DNS)
        private = submit.folder / "dkim.pem"
        record = subprocess.run(
            [
                *(Path(sys.executable).with_name("submitctl"), "dkim", "genkey"),
                *("own.example", "--selector", "one", "--out", private),
                *("--type", "ed25519", "--format", "value"),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()
        records = f"  local-data: 'one._domainkey.own.example. TXT \"{record}\"'"
        stack.enter_context(
            running_unbound(
                peer("unbound"),
                dns.folder,
                53,
                ZONE.format(records=records),
                dns.command,
            )
        )
        postfix = postfix_receiver(
            host("postfix", POSTFIX), "postfix.example", "v6.example"
        )
        exim = exim_receiver(host("exim", EXIM), peer("exim"), "exim.example")
        opensmtpd = host("opensmtpd", OPENSMTPD)
        start_opensmtpd(opensmtpd, peer("opensmtpd"), "opensmtpd.example")
        (submit.folder / "submitd.toml").write_text(CONFIG)
        (submit.folder / "passwords").write_text(
            "alice:{PLAIN}wonderland\nsatellite:{PLAIN}planet\n"
        )
        make_certificate(submit.folder, "cert.pem", "key.pem", ["submit.example"])
        satellite = postfix_satellite(host("sat-postfix", SATELLITE), submit.folder)
        satellite_exim = exim_satellite(
            host("sat-exim", SATELLITE_EXIM), peer("exim"), submit.folder
        )
        for daemon in (postfix, exim, satellite, satellite_exim):
            daemon.start()
        server = Twistd(submit.folder, submit.command)
        server.start()
        stack.callback(server.stop)
        yield Site(
            *(submit, server, host("client", CLIENT), postfix, exim, opensmtpd),
            *(satellite, satellite_exim, record),
        )


def postfix_satellite(host: Host, submit: Path) -> Postfix:
    """Set up as in README, with the connection kept for many senders."""
    password = host.folder / "relay-password"
    password.write_text("[submit.example]:587 satellite:planet\n")
    password.chmod(0o600)
    shutil.copy(submit / "cert.pem", host.folder / "ca.pem")
    return Postfix(
        host,
        "sat.example",
        f"""\
inet_interfaces = {host.address}
mynetworks = 10.53.0.0/24
relayhost = [submit.example]:587
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{password}
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = verify
smtp_tls_CAfile = {host.folder}/ca.pem
smtp_tls_connection_reuse = yes
smtp_connection_cache_destinations = [submit.example]:587
smtp_destination_concurrency_limit = 1
default_destination_concurrency_limit = 1
""",
        "smtp inet n - n - - smtpd\n",
    )


def exim_satellite(host: Host, program: Path, submit: Path) -> Exim:
    """Set up as in README."""
    exim = Exim(host, program, "sat.example", EXIM_SATELLITE)
    shutil.copy(submit / "cert.pem", host.folder / "etc" / "ca.pem")
    passwords = host.folder / "etc" / "passwd.client"
    passwords.write_text("submit.example:satellite:planet\n")
    shutil.chown(passwords, "root", "Debian-exim")
    passwords.chmod(0o640)
    return exim


EXIM_SATELLITE: Final = r"""
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  accept hosts = 10.53.0.0/24
begin routers
satellite:
  driver = manualroute
  transport = submission
  route_list = * submit.example
begin transports
submission:
  driver = smtp
  port = 587
  hosts_require_auth = *
  hosts_require_tls = *
  tls_verify_hosts = *
  tls_verify_certificates = /etc/exim4/ca.pem
begin retry
* * F,1h,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^${extract{1}{::}{${lookup{$host}lsearch{/etc/exim4/passwd.client}}}}\
    ^${extract{2}{::}{${lookup{$host}lsearch{/etc/exim4/passwd.client}}}}
"""


def test_postfix_receives_it_unchanged_signed_and_under_tls(site: Site) -> None:
    """RFC 5321 section 5.1 by MX; RFC 6376; STARTTLS where it is offered."""
    site.send("to postfix", "alice@postfix.example")

    (message,) = site.arrived(site.postfix.host, "to postfix")
    wire = message.replace(b"\n", b"\r\n")
    header, _, body = wire.partition(b"\r\n\r\n")
    assert body == TEXT.partition("\r\n\r\n")[2].encode()
    assert b"using TLSv1.3" in header
    assert b"(10.53.0.20" not in header
    assert site.is_signed(message)
    site.logged("message-relayed", "mx.postfix.example")


def test_an_exchanger_with_ipv6_alone_is_reached(site: Site) -> None:
    site.send("by ipv6", "alice@v6.example")

    (message,) = site.arrived(site.postfix.host, "by ipv6")
    assert b"[IPv6:fd53::1]" in message


def test_exim_behind_a_dead_exchanger_receives_it(site: Site) -> None:
    """RFC 5321 section 5.1: the next one in order. Exim refuses clear text."""
    site.send("to exim", "alice@exim.example")

    site.arrived(site.exim.host, "to exim")


def test_a_handshake_that_fails_is_followed_by_clear_text(site: Site) -> None:
    """OpenSMTPD by implicit MX; its TLS is broken in Debian 12."""
    site.send("to opensmtpd", "alice@opensmtpd.example")

    (message,) = site.arrived(site.opensmtpd, "to opensmtpd")
    assert b"with ESMTP id" in message
    site.logged("tls-fell-back", "host=opensmtpd.example")


def test_three_destinations_of_one_message_are_each_served(site: Site) -> None:
    site.send(
        "to all",
        *("alice@postfix.example", "alice@exim.example", "alice@opensmtpd.example"),
    )

    for host in (site.postfix.host, site.exim.host, site.opensmtpd):
        site.arrived(host, "to all")


def test_who_is_put_off_gets_it_later_and_once(site: Site) -> None:
    """RFC 5321 section 4.5.4.1; the other recipient has it at once."""
    site.send("later", "later@postfix.example", "alice@postfix.example")

    site.arrived(site.postfix.host, "later")
    site.logged("message-delayed", "later@postfix.example")
    put_off(site.postfix.host, False)
    boxes = site.boxes(site.postfix.host)
    try:
        site.postfix.command("postfix", "reload")
        until(lambda: boxes.messages("later"), "the mail that was put off")
    finally:
        put_off(site.postfix.host, True)
    assert len(boxes.messages("later")) == 1
    assert len(site.arrived(site.postfix.host, "later")) == 1


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        ("nobody@postfix.example", ("5.1.1", "550")),
        ("nobody@exim.example", ("5.1.1", "550")),
        ("nobody@opensmtpd.example", ("5.2.4", "524")),
        ("alice@nomail.example", ("5.1.10",)),
        ("alice@missing.example", ("5.1.2",)),
        ("alice@loop.example", ("5.4.6",)),
    ],
)
def test_what_cannot_arrive_fails_at_once_with_its_reason(
    site: Site, recipient: str, words: tuple[str, ...]
) -> None:
    """RFC 7505, RFC 5321 section 5.1, and the remote host's own refusal."""
    site.send("in vain", recipient)

    line = site.logged("message-failed", recipient)
    for word in words:
        assert word in line


def test_a_domain_of_which_dns_cannot_tell_is_put_off(site: Site) -> None:
    """RFC 5321 section 5.1: SERVFAIL is no "no such domain"."""
    site.send("unknown", "alice@broken.test")

    line = site.logged("message-delayed", "alice@broken.test")
    assert "4.4.3" in line


def test_a_message_above_the_remote_size_comes_back(site: Site) -> None:
    """RFC 1870 section 6.1: SIZE is compared before anything is sent."""
    text = TEXT + "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 4000
    site.send("too big", "alice@postfix.example", text=text)

    line = site.logged("message-failed", "alice@postfix.example")
    assert "5.3.4" in line


def test_a_refusal_after_the_dot_counts_for_all(site: Site) -> None:
    site.send("unwanted", "alice@exim.example")

    line = site.logged("message-failed", "alice@exim.example")
    assert "We want no such thing" in line


def test_a_report_reaches_the_sender(site: Site) -> None:
    """RFC 3464: to a reverse-path that Postfix serves, and Postfix takes it."""
    satellite_sends(site, "alice@v6.example", "nobody@exim.example", "explained")

    (report,) = site.arrived(site.postfix.host, "Your message could not")
    parsed = message_from_bytes(report, policy=policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Return-Path"] == "<>"
    assert "550 5.1.1 No such person here" in report.decode()


def satellite_sends(site: Site, sender: str, recipient: str, subject: str) -> None:
    """One message through the satellite's Exim."""
    site.satellite_exim.command(
        *("-i", "-f", sender, recipient),
        text=f"From: {sender}\nTo: {recipient}\nSubject: {subject}\n\nText.\n",
    )


def burst(site: Site, satellite: Host, domain: str, subject: str) -> None:
    """Twelve messages of twelve senders, handed to the satellite at once."""
    site.client.run(
        *(sys.executable, "-c", SATELLITE_SCRIPT, satellite.address, 12),
        *(domain, "alice@postfix.example", subject),
    )


def test_postfix_hands_over_many_senders_mail_on_few_connections(site: Site) -> None:
    """RFC 4954 section 4: one log-in, any number of transactions."""
    before = site.log.count("session-opened")
    burst(site, site.satellite.host, "sat.example", "satellite")

    messages = site.arrived(site.postfix.host, "satellite", 12)
    senders = {message_from_bytes(one)["Return-Path"] for one in messages}
    assert senders == {f"<user{number}@sat.example>" for number in range(12)}
    assert "Verified TLS connection established to submit.example" in (
        site.satellite.log
    )
    assert site.log.count("session-opened") - before < 12


def test_exim_hands_over_what_its_people_send(site: Site) -> None:
    burst(site, site.satellite_exim.host, "own.example", "by exim")

    messages = site.arrived(site.postfix.host, "by exim", 12)
    assert all(b"ESMTPSA" in one for one in messages)
    assert "A=plain" in site.satellite_exim.log
    assert "CV=yes" in site.satellite_exim.log


def test_a_satellite_hears_that_it_may_not_send_as_somebody_else(site: Site) -> None:
    burst(site, site.satellite.host, "postfix.example", "foreign")

    until(
        lambda: "<user0@postfix.example> is not yours" in site.satellite.log,
        "the refusal in Postfix's log",
    )
    assert "status=bounced" in site.satellite.log


def test_the_published_key_is_ours(site: Site) -> None:
    """``submitctl dkim check`` asks the resolver of the site."""
    program = Path(sys.executable).with_name("submitctl")
    said = site.submit.run(
        program, "--config", site.submit.folder / "submitd.toml", "dkim", "check"
    )

    assert "ok" in said


IMAGE: Final = bytes(range(256)) * 400 + b"\r\n.\r\nQUIT\r\n"


def picture(subject: str) -> bytes:
    """A message with text in 8 bits, and with octets of all kinds."""
    return (
        b"From: alice@own.example\r\nSubject: %b\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\nf\xc3\xbcnf\r\n"
        b"--b\r\nContent-Type: image/x-all\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n%b\r\n--b--\r\n"
        % (subject.encode(), IMAGE)
    )


def decoded(message: bytes) -> list[tuple[str, object]]:
    """Each part: its transfer encoding, and what a reader sees."""
    return [
        (part["Content-Transfer-Encoding"], part.get_payload(decode=True))
        for part in message_from_bytes(message, policy=policy.default).walk()
        if not part.is_multipart()
    ]


@pytest.mark.rfc("3030", "3")
def test_binary_mail_reaches_postfix_and_exim_as_8_bit_mail(site: Site) -> None:
    """Both offer CHUNKING and 8BITMIME, and no BINARYMIME."""
    for host, domain in (
        (site.postfix.host, "postfix.example"),
        (site.exim.host, "exim.example"),
    ):
        site.send_binary(f"alice@{domain}", picture(f"for {domain}"))

        (message,) = site.arrived(host, f"for {domain}")
        assert decoded(message) == [("8bit", "fünf".encode()), ("base64", IMAGE)]
        assert site.is_signed(message)


@pytest.mark.rfc("6152", "3")
def test_postfix_without_8bitmime_gets_ascii(site: Site) -> None:
    site.postfix.command(
        "postconf", "smtpd_discard_ehlo_keywords=8bitmime,silent-discard"
    )
    site.postfix.command("postfix", "reload")
    try:
        site.send_binary("alice@postfix.example", picture("in seven bits"))
        text = TEXT.replace(".dot", "ä").format(subject="plain in seven bits")
        site.send(
            "seven", "alice@postfix.example", text=text, options=("BODY=8BITMIME",)
        )
        (message,) = site.arrived(site.postfix.host, "in seven bits")
        (plain,) = site.arrived(site.postfix.host, "plain in seven bits")
    finally:
        site.postfix.command("postconf", "smtpd_discard_ehlo_keywords=")
        site.postfix.command("postfix", "reload")
    assert message.isascii()
    assert decoded(message) == [
        ("quoted-printable", "fünf".encode()),
        ("base64", IMAGE),
    ]
    assert site.is_signed(message)
    assert plain.isascii()
    assert "charset=unknown-8bit" in plain.decode()
    assert site.is_signed(plain)


@pytest.mark.rfc("3461", "5.2.1")
@pytest.mark.rfc("3461", "5.2.3")
def test_postfix_reports_the_delivery_that_we_were_asked_to_tell_of(
    site: Site,
) -> None:
    wishes(site, "alice@postfix.example", "asked postfix")

    (report,) = site.arrived(site.postfix.host, "Successful Mail Delivery Report")
    assert b"Original-Envelope-Id: one+two" in report
    assert b"Original-Recipient: rfc822;Alice@Postfix.example" in report
    assert b"Action: delivered" in report
    site.arrived(site.postfix.host, "asked postfix")


@pytest.mark.rfc("3461", "5.2.2")
def test_we_report_ourselves_where_exim_knows_no_wishes(site: Site) -> None:
    wishes(site, "alice@exim.example", "asked exim")

    site.arrived(site.exim.host, "asked exim")
    (report,) = site.arrived(site.postfix.host, "Your message was relayed")
    assert b"Original-Envelope-Id: one+two" in report
    assert b"Original-Recipient: rfc822; Alice@Postfix.example" in report
    assert b"Action: relayed" in report


WISHES_SCRIPT: Final = """
import smtplib, ssl, sys
trust = ssl.create_default_context(cafile=sys.argv[1])
with smtplib.SMTP("submit.example", 587, "client.example", timeout=30) as client:
    client.starttls(context=trust)
    client.login("satellite", "planet")
    client.sendmail("alice@v6.example", [sys.argv[2]],
        "From: alice@v6.example\\r\\nSubject: " + sys.argv[3] + "\\r\\n\\r\\nx\\r\\n",
        ["RET=HDRS", "ENVID=one+2Btwo"],
        ["NOTIFY=SUCCESS", "ORCPT=rfc822;Alice@Postfix.example"])
"""


def wishes(site: Site, to: str, subject: str) -> None:
    """One message, from somebody whose mail Postfix takes."""
    ca = site.submit.folder / "cert.pem"
    site.client.run(sys.executable, "-c", WISHES_SCRIPT, ca, to, subject)
