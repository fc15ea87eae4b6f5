"""One message as a mail program would send it, followed to its arrival."""

import smtplib
import ssl
import threading
import time
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import make_msgid
from pathlib import Path
from typing import Final

import dkim
from attrs import frozen
from dns.exception import DNSException
from dns.resolver import Resolver

from demo.settings import FROM, HOST, PASSWORD, RECIPIENT, SENDER_DOMAIN, USER, Unusable

_CLIENT_TIME: Final = 30.0
_ARRIVAL_TIME: Final = 60.0
_TEXT: Final = """\
Hello!

This message was submitted by an ordinary client library, with a log-in that
an LDAP directory checked, signed, and delivered to the exchanger that the DNS
names for your domain.

With kind regards,
the demonstration
"""


@frozen
class Submitted:
    """What the client heard."""

    message_id: str
    tls: str
    login_reply: str
    accepted_reply: str

    @property
    def queue_id(self) -> str:
        """The last word of ``Ok: queued as ID``."""
        return self.accepted_reply.rpartition(" ")[2]


def submit(port: int, ca_file: Path) -> Submitted:
    """Log in as alice and hand over one message. Raises Unusable."""
    message = EmailMessage()
    message["From"] = f"Alice <{FROM}>"
    message["To"] = RECIPIENT
    message["Subject"] = "Hello from the demonstration"
    message["Message-ID"] = message_id = make_msgid(domain=SENDER_DOMAIN)
    message.set_content(_TEXT)
    try:
        with smtplib.SMTP(HOST, port, timeout=_CLIENT_TIME) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(ca_file)))
            tls = (
                client.sock.version() if isinstance(client.sock, ssl.SSLSocket) else ""
            )
            login_reply = _said(client.login(USER, PASSWORD))
            _said(client.mail(FROM))
            _said(client.rcpt(RECIPIENT))
            accepted_reply = _said(client.data(message.as_bytes(policy=policy.SMTP)))
    except (OSError, smtplib.SMTPException) as problem:
        raise Unusable(f"submitd did not take the message: {problem}") from problem
    return Submitted(message_id, tls or "", login_reply, accepted_reply)


def _said(answer: tuple[int, bytes]) -> str:
    code, text = answer
    said = f"{code} {text.decode(errors='replace')}"
    if code >= 400:
        raise smtplib.SMTPException(said)
    return said


@frozen
class Arrived:
    """The message in the receiver's hands."""

    path: Path
    octets: bytes

    @property
    def way(self) -> str:
        """What the receiving server wrote of how it came."""
        headers = BytesHeaderParser(policy=policy.default).parsebytes(self.octets)
        return " ".join(str(headers["Received"]).partition(";")[0].split())


def wait_for(message_id: str, mail: Path) -> Arrived:
    """Raises Unusable: it did not arrive in time."""
    ends_at = time.monotonic() + _ARRIVAL_TIME
    seen: set[Path] = set()
    while time.monotonic() < ends_at:
        for path in set(mail.glob("*.eml")) - seen:
            seen.add(path)
            octets = path.read_bytes()
            headers = BytesHeaderParser(policy=policy.default).parsebytes(octets)
            if str(headers["Message-ID"]).strip() == message_id:
                return Arrived(path, octets)
        threading.Event().wait(0.1)
    raise Unusable(f"the message did not arrive within {_ARRIVAL_TIME:.0f} s")


@frozen
class Verdict:
    """On one signature."""

    selector: str
    algorithm: str
    is_good: bool


def verify(octets: bytes, dns_port: int) -> Iterator[Verdict]:
    """What dkimpy says of each signature, with the records in the DNS."""
    resolver = Resolver(configure=False)
    resolver.nameservers = [HOST]
    resolver.port = dns_port

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        try:
            (record,) = resolver.resolve(name.decode(), "TXT", lifetime=timeout)
        except (DNSException, ValueError):
            return None
        return b"".join(record.strings)

    headers = BytesHeaderParser(policy=policy.compat32).parsebytes(octets)
    for index, field in enumerate(headers.get_all("DKIM-Signature", [])):
        tags = dict(
            part.strip().split("=", 1)
            for part in "".join(field.split()).split(";")
            if part
        )
        try:
            is_good = dkim.DKIM(octets).verify(idx=index, dnsfunc=look_up)
        except dkim.DKIMException:
            is_good = False
        yield Verdict(tags.get("s", "?"), tags.get("a", "?"), bool(is_good))
