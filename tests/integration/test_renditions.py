"""Binary and 8-bit mail on its way to hosts that take more, or less."""

import smtplib
import sqlite3
import time
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from submitd.dkim.key import Algorithm, PrivateKey, record_value
from tests.support.certificates import make_certificate
from tests.support.dkim_verifier import verify
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, configuration, in_thread
from tests.support.receiver import Received, Receiver
from tests.support.twistd import Twistd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

BINARY: Final = ("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME")
EIGHT_BIT: Final = ("PIPELINING", "8BITMIME", "CHUNKING")
SEVEN_BIT: Final = ("PIPELINING",)

IMAGE: Final = bytes(range(256)) * 3 + b"\r\n.\r\nMAIL FROM:<x@y>\r\n\n\0"
HEADER: Final = (
    b"From: alice@example.org\r\n"
    b"Subject: binary\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n"
    b"Content-Transfer-Encoding: binary\r\n"
    b"\r\n"
)


def body(image: bytes, kind: bytes = b"image/x-all") -> bytes:
    return (
        b"--b\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n"
        b"\r\n"
        b"f\xc3\xbcnf\r\n"
        b"--b\r\n"
        b"Content-Type: %b\r\n"
        b"Content-Transfer-Encoding: binary\r\n"
        b"\r\n"
        b"%b\r\n"
        b"--b--\r\n" % (kind, image)
    )


def bdat(client: smtplib.SMTP, octets: bytes, *, last: bool = True) -> int:
    """One chunk, and the code that it is answered with."""
    client.send(b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b""))
    client.send(octets)
    return client.getreply()[0]


def submit(client: smtplib.SMTP, message: bytes, *to: str, size: int = 100_000) -> int:
    """As no common client does: BINARYMIME in several chunks."""
    client.ehlo()
    assert client.has_extn("BINARYMIME")
    assert client.mail("alice@example.org", ["BODY=BINARYMIME"])[0] == 250
    for one in to:
        assert client.rcpt(one)[0] == 250
    code = 250
    for at in range(0, len(message), size):
        assert code == 250
        code = bdat(client, message[at : at + size], last=at + size >= len(message))
    return code


async def send(server: OneProcess, message: bytes, *to: str) -> None:
    def work() -> None:
        with server.logged_in() as client:
            assert submit(client, message, *to) == 250

    await in_thread(work)


def signing(folder: Path) -> tuple[str, Mapping[str, str]]:
    """A section with a key for example.org, and the record that publishes it."""
    key = PrivateKey.generate(Algorithm.ED25519_SHA256)
    (folder / "dkim.pem").write_bytes(key.pem())
    (folder / "dkim.pem").chmod(0o600)
    section = (
        '[dkim.domain."example.org"]\n'
        'keys = [{ selector = "one", file = "dkim.pem" }]\n'
    )
    return section, {"one._domainkey.example.org": record_value(key)}


def parts_of(received: Received) -> list[EmailMessage]:
    message = message_from_bytes(received.content, policy=policy.default)
    return [part for part in message.walk() if not part.is_multipart()]


def decoded(received: Received) -> list[object]:
    return [part.get_payload(decode=True) for part in parts_of(received)]


def is_signed(received: Received, records: Mapping[str, str]) -> bool:
    """One signature is there, and dkimpy verifies it."""
    assert received.content.lower().count(b"\r\ndkim-signature:") == 1
    return verify(received.content, records)


def mail_said(receiver: Receiver) -> list[str]:
    return [one for one in receiver.commands if one.startswith("MAIL")]


@pytest.mark.rfc("3030", "3")
@in_reactor
async def test_binary_mail_passes_octet_for_octet_where_it_is_taken(
    tmp_path: Path,
) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = BINARY
        await send(server, HEADER + body(IMAGE * 2000), "bob@example.net")
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert received.content.endswith(b"\r\n\r\n" + body(IMAGE * 2000))
        (mail,) = mail_said(server.receiver)
        assert mail.endswith(" BODY=BINARYMIME")
        assert "DATA" not in server.receiver.commands
        assert server.receiver.commands[-1].endswith(" LAST")
        await server.logs("message-relayed")
        assert "rendition-made" not in server.log


@pytest.mark.rfc("3030", "3")
@pytest.mark.parametrize(
    ("keywords", "encodings", "said"),
    [
        (EIGHT_BIT, ["8bit", "base64"], " BODY=8BITMIME"),
        (SEVEN_BIT, ["quoted-printable", "base64"], ""),
    ],
)
@in_reactor
async def test_hosts_that_take_less_get_another_form_that_is_signed_anew(
    tmp_path: Path, keywords: tuple[str, ...], encodings: list[str], said: str
) -> None:
    section, records = signing(tmp_path)
    async with OneProcess(reactor, tmp_path, section) as server:
        server.receiver.keywords = keywords
        await send(server, HEADER + body(IMAGE * 1000), "bob@example.net")
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert decoded(received) == ["fünf".encode(), IMAGE * 1000]
        assert [
            part["content-transfer-encoding"] for part in parts_of(received)
        ] == encodings
        assert mail_said(server.receiver) == [f"MAIL FROM:<alice@example.org>{said}"]
        assert all(len(line) <= 998 for line in received.content.split(b"\r\n"))
        assert is_signed(received, records)
        # Nothing of it is left behind.
        await server.logs("message-relayed")
        with sqlite3.connect(tmp_path / "state" / "spool.sqlite", timeout=10) as db:
            for table in ("message", "rendition", "chunk", "intake"):
                assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        db.close()


@pytest.mark.rfc("6152", "3")
@in_reactor
async def test_8_bit_mail_that_came_by_data_gets_another_form_too(
    tmp_path: Path,
) -> None:
    section, records = signing(tmp_path)
    async with OneProcess(reactor, tmp_path, section) as server:
        server.receiver.keywords = SEVEN_BIT
        text = (
            b"From: alice@example.org\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n.\xc3\xa4\r\n"
        )
        await server.submit(text, "bob@example.net")
        await server.receiver.has(1)
        (received,) = server.receiver.received
        assert received.content.isascii()
        assert decoded(received) == [b".\xc3\xa4\r\n"]
        assert is_signed(received, records)


@in_reactor
async def test_one_form_serves_all_hosts_that_need_it(tmp_path: Path) -> None:
    """It is made once, and a retry finds it."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = SEVEN_BIT
        server.receiver.refusals["later"] = "451 4.7.1 Come back"
        other = Receiver(SEVEN_BIT)
        more = (
            f'[route."example.edu"]\nhost = "127.0.0.1"\ntls = "none"\n'
            f"port = {other.listen(reactor)}\n"
        )
        server.write(more)
        assert await server.supervisor.reload() == []
        message = HEADER + body(IMAGE)
        await send(
            server, message, "bob@example.net", "later@example.net", "x@example.edu"
        )
        await server.receiver.has(1)
        await other.has(1)
        await server.logs("message-delayed")
        server.receiver.refusals.clear()
        await server.receiver.has(2)
        await other.close()
        assert server.log.count("rendition-made") == 1
        bodies = {
            one.content.partition(b"\r\n\r\n")[2]
            for one in (*server.receiver.received, *other.received)
        }
        assert len(bodies) == 1


@pytest.mark.rfc("1847", "2.1")
@in_reactor
async def test_what_is_signed_inside_comes_back_and_says_why(tmp_path: Path) -> None:
    """And the report carries no octet that its host would not take."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = EIGHT_BIT
        message = HEADER.replace(b"mixed", b"signed") + body(IMAGE)
        await send(server, message, "bob@example.net")
        await server.receiver.has(1)
        (report,) = server.receiver.received
        assert report.reverse_path == ""
        assert b"Status: 5.6.3" in report.content
        assert b"multipart/signed" in report.content
        assert b"text/rfc822-headers" in report.content
        assert b"\0" not in report.content
        # Where binary content is taken it goes as it is.
        server.receiver.keywords = BINARY
        server.receiver.replies["RSET"] = None
        await server.until(lambda: server.receiver.open == 0)
        await send(server, message, "bob@example.net")
        await server.receiver.has(2)
        assert server.receiver.received[1].content.endswith(body(IMAGE))


@in_reactor
async def test_a_report_in_8_bit_reaches_hosts_without_8bitmime(
    tmp_path: Path,
) -> None:
    """In another form where there is one; else as it is, which is better than none."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = SEVEN_BIT
        server.receiver.refusals["gone"] = "550 5.1.1 No such person"
        for kind in (b"text/plain; charset=utf-8", b"multipart/signed; boundary=b"):
            text = (
                b"From: alice@example.org\r\nMIME-Version: 1.0\r\n"
                b"Content-Type: %b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                b"--b\r\n\r\n\xc3\xa4\r\n" % kind
            )
            await server.submit(text, "gone@example.net")
        await server.receiver.has(2)
        by_form = {one.content.isascii(): one for one in server.receiver.received}
        assert b"=C3=A4" in by_form[True].content
        assert b"\xc3\xa4" in by_form[False].content
        # What was signed had no other form, and so never came to the refusal.
        assert b"Status: 5.6.3" in by_form[False].content


@in_reactor
async def test_a_host_that_refuses_a_chunk_is_understood(tmp_path: Path) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = BINARY
        server.receiver.replies["BDAT"] = "451 4.3.0 Not now"
        await send(server, HEADER + body(IMAGE * 2000), "bob@example.net")
        await server.logs('reply="451 4.3.0 Not now"')
        server.receiver.replies.clear()
        await server.receiver.has(1)
        assert server.receiver.received[0].content.endswith(body(IMAGE * 2000))


@in_reactor
async def test_a_form_outlives_a_kill_between_its_making_and_its_delivery(
    tmp_path: Path,
) -> None:
    """And is not made twice."""
    receiver = Receiver(SEVEN_BIT)
    receiver.replies["DATA"] = "451 4.3.0 Not now"
    section, records = signing(tmp_path)
    (tmp_path / "passwords").write_text("alice:{PLAIN}wonderland\n")
    make_certificate(tmp_path, "cert.pem", "key.pem", ["localhost"])
    text = configuration(section, workers=1, next_hop=receiver.listen(reactor))
    port = int(text.partition("[listener.local]")[2].partition("port = ")[2].split()[0])
    text = text.replace('submitter = "satellite"', 'submitter = "alice"')
    (tmp_path / "submitd.toml").write_text(text)
    server = Twistd(tmp_path)
    log = tmp_path / "log"

    def work() -> None:
        server.start()
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            assert submit(client, HEADER + body(IMAGE * 1000), "b@example.net") == 250
        while "message-delayed" not in log.read_text():
            time.sleep(0.05)  # noqa: TID251 - another process writes it
        server.kill()
        server.start()

    try:
        await in_thread(work)
        receiver.replies.clear()
        await receiver.has(1)
    finally:
        await in_thread(server.stop)
        await receiver.close()
    (received,) = receiver.received
    assert decoded(received) == ["fünf".encode(), IMAGE * 1000]
    assert is_signed(received, records)
    assert log.read_text().count("rendition-made") == 1
