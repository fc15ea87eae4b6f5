"""Clients that mean harm, against the whole server over real sockets.

Whatever they do: nobody else is kept from sending, nothing that was counted stays
counted, nothing in the log is a bug, and nothing of theirs passes for words of ours.
"""

import asyncio
import re
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from email.message import Message
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, cast

import pytest
from twisted.internet import reactor

from bench.attackers import Attackers, named
from bench.attacks import COMING_AGAIN, STAYING
from submitd.process.tree import InProcess
from tests.support.attacker import LOG_IN, Attacker
from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

MESSAGE: Final = b"From: alice@example.org\r\nSubject: good\r\n\r\nText.\r\n"
QUICK: Final = """
[limits]
handshake = "1s"
idle = "2s"
log_in = "4s"
transaction = "4s"
"""


@asynccontextmanager
async def withstanding(
    folder: Path,
    more: str = "",
    *,
    sends: int = 1,
    workers: int = 0,
    log_in: str = "",
    delay: str = "0s",
) -> AsyncGenerator[OneProcess, None]:
    """A server that must be as good as new when the test is done with it.

    ``sends``: messages that arrive in all, the last one from a good client.

    ``log_in``, ``delay``: as in `configuration`.
    """
    async with OneProcess(
        reactor, folder, more, workers=workers, log_in=log_in, delay=delay
    ) as server:
        for child in server.supervisor._children.values() if not workers else ():
            for factory in cast("InProcess", child)._tree._factories:
                factory.look_again = 0.2
        yield server
        await in_thread(lambda: _submit(server))
        await server.receiver.has(sends)
        assert len(server.receiver.received) == sends
        await server.until(lambda: not server.supervisor._counts._taken)
        await server.until(lambda: all_closed(server.log))
        for bad in ("[bug]", "[session-broken]", "Traceback"):
            assert bad not in server.log
        # One event is one line, whatever was said.
        for line in server.log.splitlines():
            assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z [a-z]+ ", line), line


def all_closed(log: str) -> bool:
    """Each session that was opened has its end, and they are some."""
    return 0 < log.count("[session-opened]") == log.count("[session-closed]")


def _submit(server: OneProcess) -> None:
    with server.logged_in() as client:
        client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)


def connect(server: OneProcess, name: str) -> Attacker:
    """A client under TLS where the listener begins with it."""
    attacker = Attacker(server.port(name))
    if name == "submissions":
        attacker.start_tls(server.ca)
    return attacker


STEPS: Final = (
    (b"EHLO client.example.org\r\n", b"CHUNKING\r\n"),
    (LOG_IN, b"235 "),
    (b"MAIL FROM:<alice@example.org>\r\n", b"250 2.1.0"),
    (b"RCPT TO:<bob@example.net>\r\n", b"250 2.1.5"),
    (b"BDAT 20\r\nFrom: alice@example.", b""),
    (b"org\r\nTo: ", b""),
    (b"RSET\r\n", b""),
    (b"QUIT\r\n", b""),
)


def half_closed(attacker: Attacker) -> None:
    """It says no more, and the server need not wait for more either."""
    attacker.half_close()
    attacker.hear_all()


ENDS: Final[dict[str, Callable[[Attacker], None]]] = {
    "reset": Attacker.reset,
    "half-closed": half_closed,
}


@pytest.mark.parametrize("end", ENDS)
@in_reactor
async def test_a_client_may_be_gone_at_every_step(tmp_path: Path, end: str) -> None:
    """RFC 5321 section 4.1.1.10: the transaction ends as it does by RSET."""

    def attack(server: OneProcess) -> None:
        for name in ("submission", "submissions"):
            for steps in range(len(STEPS) + 2):
                with Attacker(server.port(name)) as attacker:
                    if steps and name == "submission":
                        attacker.hear(b"220 ")
                        attacker.say(b"EHLO x\r\nSTARTTLS\r\n")
                        attacker.hear(b"220 2.0.0 Ready")
                    if steps:
                        attacker.start_tls(server.ca)
                    for octets, answer in STEPS[: max(0, steps - 1)]:
                        attacker.say(octets)
                        if answer:
                            attacker.hear(answer)
                    ENDS[end](attacker)

    async with withstanding(tmp_path) as server:
        await in_thread(lambda: attack(server))


@in_reactor
async def test_who_says_all_at_once_and_closes_its_half_hears_the_answers(
    tmp_path: Path,
) -> None:
    """As a script with netcat does it, on a listener without TLS."""

    def submit(server: OneProcess) -> bytes:
        with Attacker(server.port("local")) as client:
            client.say(
                b"EHLO x\r\nMAIL FROM:<satellite@example.com>\r\n"
                b"RCPT TO:<bob@example.net>\r\nDATA\r\nFrom: satellite@example.com\r\n"
                b"\r\nText.\r\n.\r\n"
            )
            client.half_close()
            return client.hear_all()

    async with withstanding(tmp_path, sends=2) as server:
        heard = await in_thread(lambda: submit(server))
        assert b"\r\n250 2.0.0 Ok: queued as " in heard
        await server.logs("client=127.0.0.1 end=lost")


@in_reactor
async def test_what_is_no_tls_is_met_with_one_line_in_the_log(tmp_path: Path) -> None:
    """On the port that begins with TLS, and behind STARTTLS."""
    garbage = [
        b"EHLO client.example.org\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        bytes(range(256)) * 100,
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\1" * 40,  # SSL 2.0
        b"\x16\x03\x01\xff\xff" + b"\1" * 70000,  # a record beyond its bound
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",  # a message beyond all bounds
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x17\x03\x03\x00\x05hello",
    ]

    def attack(server: OneProcess) -> None:
        for octets in garbage:
            with Attacker(server.port("submissions")) as attacker:
                attacker.say(octets)
                assert b"220 " not in attacker.hear_all()
            with Attacker(server.port("submission")) as attacker:
                attacker.hear(b"220 ")
                attacker.say(b"STARTTLS\r\n")
                attacker.hear(b"220 2.0.0 Ready")
                attacker.say(octets)
                heard = attacker.hear_all()
                assert heard.count(b"220 ") == 2

    async with withstanding(tmp_path) as server:
        await in_thread(lambda: attack(server))
        await server.until(lambda: server.log.count("[tls-failed]") == 2 * len(garbage))


@pytest.mark.rfc("3207", "4.2")
@in_reactor
async def test_nothing_that_was_said_in_the_clear_is_obeyed_under_tls(
    tmp_path: Path,
) -> None:
    """Injected behind STARTTLS in one segment, and in one of its own."""

    def attack(server: OneProcess) -> None:
        injected = b"EHLO evil\r\n" + LOG_IN + b"MAIL FROM:<alice@example.org>\r\n"
        with Attacker(server.port("submission")) as attacker:
            attacker.hear(b"220 ")
            attacker.say(b"STARTTLS\r\n" + injected)
            heard = attacker.hear_all()
            assert b"503 5.5.1 Nothing may follow STARTTLS" in heard
            assert b"220 2.0.0" not in heard
        with Attacker(server.port("submission")) as attacker:
            attacker.hear(b"220 ")
            attacker.say(b"STARTTLS\r\n")
            attacker.hear(b"220 2.0.0 Ready")
            attacker.say(injected)
            assert attacker.hear_all().count(b"250") == 0

    async with withstanding(tmp_path) as server:
        await in_thread(lambda: attack(server))
        assert "[login-succeeded]" not in server.log


BEHIND_STARTTLS: Final = (
    "idles_behind_starttls",
    "relies_on_an_old_hello",
    "starts_tls_within_tls",
    "garbage_within_tls",
    "renegotiates",
    "floods_auth_behind_starttls",
    "half_closes_in_handshake",
    "resets_in_handshake",
)


@pytest.mark.rfc("3207", "4.2")
@in_reactor
async def test_what_is_done_behind_starttls_is_refused_and_over(tmp_path: Path) -> None:
    """Each of `make hostile`'s attacks there sees to it that it was refused."""
    known = {named(attack): attack for attack in (*STAYING, *COMING_AGAIN)}

    async def attack(attackers: Attackers) -> None:
        # Some choose by chance what they say.
        chosen = [known[name] for name in BEHIND_STARTTLS] * 4
        await asyncio.gather(*(attackers.once(one, 15) for one in chosen))

    async with withstanding(tmp_path, QUICK) as server:
        ports = server.port("submission"), server.port("submissions")
        attackers = Attackers(*ports, pause=1)
        await in_thread(lambda: asyncio.run(attack(attackers)))
        assert attackers.reached == dict.fromkeys(BEHIND_STARTTLS, 4), attackers.failed
        await server.until(lambda: server.log.count("[session-timed-out]") == 4)
        await server.until(lambda: server.log.count("[tls-failed]") == 2 * 4)
        assert server.log.count("[tls-started]") == 6 * 4


@in_reactor
async def test_who_talks_before_the_greeting_is_answered_behind_it(
    tmp_path: Path,
) -> None:
    """It gains nothing by it, and loses nothing: log-in decides, not manners."""

    def attack(server: OneProcess) -> None:
        with Attacker(server.port("submission")) as attacker:
            attacker.say(b"EHLO x\r\nNOOP\r\nQUIT\r\n")
            heard = attacker.hear_all()
        lines = heard.split(b"\r\n")
        assert lines[0].startswith(b"220 submit.example.org ")
        assert lines[1] == b"250-submit.example.org"
        assert lines[-3:] == [b"250 2.0.0 Ok", b"221 2.0.0 Bye", b""]

    async with withstanding(tmp_path) as server:
        await in_thread(lambda: attack(server))


def _silent(server: OneProcess) -> bytes:
    with Attacker(server.port("submission")) as attacker:
        return attacker.hear_all()


def _half_a_line(server: OneProcess) -> bytes:
    with Attacker(server.port("submission")) as attacker:
        return attacker.trickle(b"x")


def _small_talk(server: OneProcess) -> bytes:
    with Attacker(server.port("submission")) as attacker:
        return attacker.trickle(b"NOOP\r\n", 0.1)


def _half_a_handshake(server: OneProcess) -> bytes:
    with Attacker(server.port("submissions")) as attacker:
        return attacker.trickle(b"\x16\x03\x01\x02\x00" + b"\x01" + b"\0" * 500)


def _half_a_handshake_behind_starttls(server: OneProcess) -> bytes:
    with Attacker(server.port("submission")) as attacker:
        attacker.hear(b"220 ")
        attacker.say(b"STARTTLS\r\n")
        attacker.hear(b"220 2.0.0 Ready")
        return attacker.hear_all()


def _log_in(server: OneProcess) -> bytes:
    with connect(server, "submissions") as attacker:
        attacker.say(b"EHLO x\r\nAUTH LOGIN\r\n")
        return attacker.trickle(b"Q")


def _begun(server: OneProcess) -> Attacker:
    attacker = connect(server, "submissions")
    attacker.say(b"EHLO x\r\n" + LOG_IN)
    attacker.hear(b"235 ")
    attacker.say(b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\n")
    attacker.hear(b"250 2.1.5")
    return attacker


def _transaction(server: OneProcess) -> bytes:
    with _begun(server) as attacker:
        return attacker.trickle(b"NOOP\r\n", 0.1)


def _data(server: OneProcess) -> bytes:
    with _begun(server) as attacker:
        attacker.say(b"DATA\r\n")
        attacker.hear(b"354 ")
        return attacker.trickle(b"x\r\n")


def _bdat(server: OneProcess) -> bytes:
    with _begun(server) as attacker:
        attacker.say(b"BDAT 100000\r\n")
        return attacker.trickle(b"x\r\n")


def _does_not_read(server: OneProcess) -> bytes:
    with _begun(server) as attacker:
        attacker.wire.settimeout(0.5)
        attacker.say(b"RCPT TO:<bob@example.net>\r\n" * 400_000)
        time.sleep(5)  # noqa: TID251 - the time that it has
        attacker.wire.settimeout(20)
        return attacker.hear_all()


SLOW: Final = {
    "before-ehlo": (_silent, True),
    "within-a-line": (_half_a_line, True),
    "before-log-in": (_small_talk, True),
    "handshake": (_half_a_handshake, False),
    "handshake-behind-starttls": (_half_a_handshake_behind_starttls, False),
    "within-auth": (_log_in, True),
    "within-a-transaction": (_transaction, True),
    "within-data": (_data, True),
    "within-bdat": (_bdat, True),
    "does-not-read": (_does_not_read, None),  # in time, where it reads at last,
}


@pytest.mark.rfc("5321", "4.5.3.2")
@in_reactor
async def test_nobody_can_be_slow_for_ever(tmp_path: Path) -> None:
    """In every phase time ends, is told where it can be told, and stands in the log."""

    def attack(server: OneProcess) -> dict[str, bytes]:
        with ThreadPoolExecutor(len(SLOW)) as pool:
            heard = pool.map(lambda phase: phase[0](server), SLOW.values())
            return dict(zip(SLOW, heard, strict=True))

    async with withstanding(tmp_path, QUICK) as server:
        heard = await in_thread(lambda: attack(server))
        for phase, (_, is_told) in SLOW.items():
            if is_told is not None:
                assert (b"421 4.4.2 Time is up" in heard[phase]) is is_told, phase
        await server.until(lambda: server.log.count("[session-timed-out]") == len(SLOW))


EVIL: Final = "x+0D+0AX-Evil:+20yes"


SMUGGLING: Final = [
    f"MAIL FROM:<alice@example.org> ENVID={EVIL}",
    f"MAIL FROM:<alice@example.org> AUTH={EVIL}",
    "MAIL FROM:<alice@example.org> ENVID=x\vX-Evil:",
    'MAIL FROM:<"alice\\\rX-Evil: y"@example.org>',
    "MAIL FROM:<alice\u2028X-Evil@example.org> SMTPUTF8",
    "MAIL FROM:<alice\x85X-Evil@example.org> SMTPUTF8",
    "MAIL FROM:<alice\u202eX-Evil@example.org> SMTPUTF8",
    "MAIL FROM:<\u200balice@example.org> SMTPUTF8",
    f"RCPT TO:<bob@example.net> ORCPT=rfc822;{EVIL}",
    "RCPT TO:<bob@example.net> ORCPT=utf-8;a\\x{0A}X-Evil@b",
    "RCPT TO:<bob@example.net> ORCPT=utf-8;a\\x{2028}X-Evil@b",
    "RCPT TO:<bob@example.net> ORCPT=utf-8;a\\x{D800}X-Evil@b",
    "RCPT TO:<bob\0X-Evil@example.net>",
    'RCPT TO:<"bob\u2029X-Evil"@example.net>',
]


@in_reactor
async def test_no_parameter_smuggles_a_line(tmp_path: Path) -> None:
    """Decoded, a line end would forge fields in reports, or lines in the log."""

    def attack(server: OneProcess, command: str) -> bytes:
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + LOG_IN)
            attacker.hear(b"235 ")
            if command.startswith("RCPT"):
                attacker.say(b"MAIL FROM:<alice@example.org> SMTPUTF8\r\n")
                attacker.hear(b"250 2.1.0")
            attacker.say(command.encode() + b"\r\n")
            attacker.hear(b"\r\n")
            attacker.say(b"QUIT\r\n")
            return attacker.hear_all()

    async with withstanding(tmp_path) as server:
        for command in SMUGGLING:
            heard = await in_thread(partial(attack, server, command))
            *_, refusal, bye, rest = heard.split(b"\r\n")
            assert (bye, rest) == (b"221 2.0.0 Bye", b"")
            assert re.match(rb"(500|501|550|553)[ -]5\.[1567]\.\d ", refusal), command


@in_reactor
async def test_what_clients_say_of_themselves_stays_in_its_place(
    tmp_path: Path,
) -> None:
    """In the Received field, in the report about a failure, and in the log."""
    header = (
        b"From: =?utf-8?q?Alice_=28evil=29?= <alice@example.org>\r\n"
        b"Message-ID: <a b=c [message-relayed] session=forged>\r\n"
        b"Subject: =?utf-8?q?a=0D=0AX-Evil:_yes?=\r\n"
    )

    def attack(server: OneProcess) -> None:
        server.receiver.refusals["nobody"] = "550 5.1.1 No"
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x(by\xe2\x80\xa8evil);[id=1]\tb\r\n")
            attacker.say(b"EHLO x(by\xe2\x80\xa8evil);[id=1]\r\n" + LOG_IN)
            attacker.hear(b"235 ")
            attacker.say(
                b"MAIL FROM:<alice@example.org> ENVID=a+28b+29=\r\n"
                b"MAIL FROM:<alice@example.org> ENVID=a+28b+29+3B+20X-Evil:+20y\r\n"
                b'RCPT TO:<"nobody"@example.net> '
                b"ORCPT=rfc822;n+20b+3B+20X-Evil:+20y\r\n"
                b"DATA\r\n" + header + b"\r\nText.\r\n.\r\nQUIT\r\n"
            )
            assert b"queued as" in attacker.hear_all()

    more = '[message]\nreceived_client = "show"\n'
    async with withstanding(tmp_path, more, sends=2) as server:
        await in_thread(lambda: attack(server))
        await server.receiver.has(1)
        report = message_from_bytes(server.receiver.received[0].content)
        assert report["X-Evil"] is None
        assert report.get_content_type() == "multipart/report"
        parts = list(report.walk())
        fields = next(
            one for one in parts if one.get_content_type() == "message/delivery-status"
        )
        payload = fields.get_payload()
        assert isinstance(payload, list)
        blocks = [one for one in payload if isinstance(one, Message)]
        assert [block["X-Evil"] for block in blocks] == [None, None]
        assert blocks[0]["Original-Envelope-Id"] == "a(b); X-Evil: y"
        assert blocks[1]["Original-Recipient"] == "rfc822; n b; X-Evil: y"
        returned = next(one for one in parts if one["Received"])
        assert returned["Received"].startswith("from x?by???evil??[id?1] ([127.0.0.1])")
        await server.logs("session=forged")
        [told] = [line for line in server.log.splitlines() if "forged" in line]
        assert " message accepted [message-accepted] session=" in told
        assert ' message_id="<a b=c [message-relayed] session=forged>" size=' in told


@in_reactor
async def test_too_many_connections_from_one_address_are_told_so(
    tmp_path: Path,
) -> None:
    def attack(server: OneProcess) -> list[bytes]:
        port = server.port("submission")
        crowd = [Attacker(port, "127.0.0.66") for _ in range(8)]
        try:
            return [attacker.hear(b"\r\n") for attacker in crowd]
        finally:
            for attacker in crowd:
                attacker.reset()

    more = "[limits]\nconnections_per_address = 5\n"
    async with withstanding(tmp_path, more) as server:
        heard = await in_thread(lambda: attack(server))
        assert [one[:3] for one in heard] == [b"220"] * 5 + [b"421"] * 3


@in_reactor
async def test_silent_connections_from_everywhere_keep_nobody_out(
    tmp_path: Path,
) -> None:
    """Not even where they have taken every place there is."""

    def attack(server: OneProcess) -> None:
        port = server.port("submission")
        crowd = [Attacker(port, f"127.0.1.{number}") for number in range(1, 41)]
        try:
            for attacker in crowd:
                attacker.hear(b"\r\n")
            with server.logged_in() as first, server.logged_in() as second:
                for client in (first, second, first):
                    client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
                # Nor do those who come now drive out who has logged in.
                crowd += [
                    Attacker(port, f"127.0.2.{number}") for number in range(1, 31)
                ]
                crowd[-1].hear(b"\r\n")
                first.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
        finally:
            for attacker in crowd:
                attacker.reset()

    more = "[limits]\nconnections = 20\n"
    async with withstanding(tmp_path, more, sends=5) as server:
        await in_thread(lambda: attack(server))
        await server.logs("end=displaced")


def guesses(login: bytes, number: int, *, times: int = 1) -> bytes:
    """So many log-ins with passwords of their own, in one segment."""
    return b"".join(
        b"AUTH PLAIN %b\r\n" % b64encode(b"\0%b\0wrong %d.%d" % (login, number, one))
        for one in range(times)
    )


def brake(server: OneProcess) -> None:
    """Two failures of an account that nobody has; the second is long in coming."""
    for number in (1, 2):
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + guesses(b"ghost", number))
            attacker.hear(b"535 " if number == 1 else b" AUTH PLAIN")
            time.sleep(0.5)  # noqa: TID251 - until it has counted


@in_reactor
async def test_who_is_being_answered_keeps_nobody_out(tmp_path: Path) -> None:
    """An answer that the brake puts off takes seconds, and another waits behind it."""

    def attack(server: OneProcess) -> None:
        brake(server)
        crowd = []
        try:
            for number in range(1, 21):
                attacker = Attacker(server.port("submissions"), f"127.0.5.{number}")
                attacker.start_tls(server.ca)
                attacker.say(b"EHLO x\r\n")
                attacker.hear(b" AUTH PLAIN")
                attacker.say(guesses(b"ghost", number, times=90))
                crowd.append(attacker)
            with server.logged_in() as first, server.logged_in() as second:
                for client in (first, second):
                    client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
            assert crowd[0].hear_all().count(b"454 ") == 0
        finally:
            for attacker in crowd:
                attacker.reset()

    more = "[limits]\nconnections = 20\n"
    braking = 'failures_per_account = 2\nlongest_delay = "30s"'
    async with withstanding(
        tmp_path, more, sends=3, log_in=braking, delay="30s"
    ) as server:
        await in_thread(lambda: attack(server))
        await server.logs("end=displaced")
        # What they have asked for is forgotten with them.
        await server.until(lambda: server.log.count("[login-braked]") == 20)


@in_reactor
async def test_who_is_braked_again_and_again_meets_the_end_of_its_time(
    tmp_path: Path,
) -> None:
    """While a question is open, too, and whatever else it has pipelined."""

    def attack(server: OneProcess) -> bytes:
        brake(server)
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + guesses(b"ghost", 3, times=90))
            return attacker.hear_all()

    braking = 'failures_per_account = 2\nlongest_delay = "3s"'
    async with withstanding(tmp_path, QUICK, log_in=braking, delay="3s") as server:
        heard = await in_thread(lambda: attack(server))
        assert heard.count(b"454 4.7.0 Too many failed log-ins") == 1
        await server.until(lambda: server.log.count("[session-timed-out]") == 1)


@in_reactor
async def test_who_has_said_goodbye_and_stays_keeps_nobody_out(tmp_path: Path) -> None:
    """TLS ends when both have said so; who never does has no place meanwhile."""

    def attack(server: OneProcess) -> None:
        crowd = []
        try:
            for number in range(1, 21):
                attacker = Attacker(server.port("submissions"), f"127.0.6.{number}")
                attacker.start_tls(server.ca)
                attacker.say(b"QUIT\r\n")
                attacker.hear(b"221 ")
                crowd.append(attacker)
            _submit(server)
        finally:
            for attacker in crowd:
                attacker.reset()

    more = "[limits]\nconnections = 20\n"
    async with withstanding(tmp_path, more, sends=2) as server:
        await in_thread(lambda: attack(server))
        assert "end=displaced" not in server.log


@in_reactor
async def test_those_who_come_and_go_do_not_push_out_who_is_slow(
    tmp_path: Path,
) -> None:
    """Some addresses with many connections each, and one client with a long way."""
    done = Event()

    def churn(server: OneProcess) -> int:
        port, crowd, number = server.port("submission"), deque[Attacker](), 0
        while not done.wait(0.002):
            number += 1
            crowd.append(Attacker(port, f"127.0.7.{number % 4 + 1}"))
            if len(crowd) > 60:
                crowd.popleft().reset()
        for attacker in crowd:
            attacker.reset()
        return number

    def log_in(server: OneProcess) -> None:
        with Attacker(server.port("submission"), "127.0.8.1") as client:
            for octets, answer in (
                (b"EHLO x\r\n", b"250 STARTTLS\r\n"),
                (b"STARTTLS\r\n", b"220 2.0.0 Ready"),
            ):
                time.sleep(0.5)  # noqa: TID251 - the way is long
                client.say(octets)
                client.hear(answer)
            client.start_tls(server.ca)
            for octets, answer in ((b"EHLO x\r\n", b"250 AUTH"), (LOG_IN, b"235 ")):
                time.sleep(0.5)  # noqa: TID251 - the way is long
                client.say(octets)
                client.hear(answer)

    def attack(server: OneProcess) -> int:
        with ThreadPoolExecutor(1) as pool:
            crowd = pool.submit(churn, server)
            try:
                time.sleep(1)  # noqa: TID251 - until every place is taken
                log_in(server)
            finally:
                done.set()
            return crowd.result()

    more = "[limits]\nconnections = 30\nconnections_per_address = 10\n"
    async with withstanding(tmp_path, more) as server:
        assert await in_thread(lambda: attack(server)) > 100
        assert "end=displaced" in server.log


@pytest.mark.parametrize("workers", [0, 2])
@in_reactor
async def test_who_has_all_that_is_theirs_drives_out_nobody(
    tmp_path: Path, workers: int
) -> None:
    def attack(server: OneProcess) -> None:
        port = server.port("submission")
        others = [Attacker(port, f"127.0.9.{number}") for number in range(1, 5)]
        crowd = [Attacker(port, "127.0.10.1") for _ in range(2)]
        try:
            for attacker in others + crowd:
                attacker.hear(b"220 ")
            for _ in range(10):
                crowd.append(Attacker(port, "127.0.10.1"))
                crowd[-1].hear(b"421 ")
            for client in others:
                client.say(b"NOOP\r\n")
                client.hear(b"250 ")
        finally:
            for attacker in others + crowd:
                attacker.reset()

    more = "[limits]\nconnections = 6\nconnections_per_address = 2\n"
    async with withstanding(tmp_path, more, workers=workers) as server:
        await in_thread(lambda: attack(server))
        assert "end=displaced" not in server.log


@in_reactor
async def test_a_reset_behind_a_proxy_gives_its_place_back_once(
    tmp_path: Path,
) -> None:
    """Or each one that comes at the right moment makes room for one too many."""

    def opened(server: OneProcess, number: int) -> Attacker:
        attacker = Attacker(server.port("balanced"))
        attacker.say(
            b"PROXY TCP4 198.51.100.%d 192.0.2.1 51234 587\r\n" % (number % 200 + 1)
        )
        return attacker

    def attack(server: OneProcess) -> list[Attacker]:
        stays = [opened(server, number) for number in range(5)]
        for attacker in stays:
            attacker.hear(b"220 ")
        for number in range(400):
            attacker = opened(server, number)
            time.sleep(number % 20 / 10_000)  # noqa: TID251 - at every moment
            attacker.reset()
        return stays

    def settled(server: OneProcess) -> bool:
        return all_closed(server.log.replace("[session-opened]", "", 5))

    more = (
        f'[listener.balanced]\naddress = "127.0.0.1"\nport = {free_port()}\n'
        'proxy = ["127.0.0.1"]\n[limits]\nconnections = 50\n'
    )
    async with withstanding(tmp_path, more, workers=2) as server:
        stays = await in_thread(lambda: attack(server))
        await server.until(lambda: settled(server))
        await in_thread(lambda: time.sleep(1))  # noqa: TID251 - all has been told
        assert server.supervisor._counts._taken["connections"] == len(stays)
        for attacker in stays:
            attacker.reset()


@in_reactor
async def test_resets_behind_a_proxy_where_all_is_full_leave_nothing_counted(
    tmp_path: Path,
) -> None:
    """They have no place before their header, and one of another's behind it."""

    def opened(server: OneProcess, number: int) -> Attacker:
        attacker = Attacker(server.port("balanced"))
        attacker.say(
            b"PROXY TCP4 198.51.100.%d 192.0.2.1 51234 587\r\n" % (number % 200 + 1)
        )
        return attacker

    def attack(server: OneProcess) -> None:
        stays = [opened(server, number) for number in range(6)]
        for attacker in stays:
            attacker.hear(b"220 ")
        for number in range(300):
            # Some are cut off as they come: so many may wait, and no more.
            with suppress(ConnectionResetError):
                attacker = opened(server, number)
                time.sleep(number % 20 / 10_000)  # noqa: TID251 - at every moment
                attacker.reset()
        for attacker in stays:
            attacker.reset()

    more = (
        f'[listener.balanced]\naddress = "127.0.0.1"\nport = {free_port()}\n'
        'proxy = ["127.0.0.1"]\n[limits]\nconnections = 6\n'
    )
    async with withstanding(tmp_path, more, workers=2) as server:
        await in_thread(lambda: attack(server))
        taken = server.supervisor._counts._taken
        await server.until(lambda: not any(taken.values()))
        assert "end=displaced" in server.log


@in_reactor
async def test_a_stolen_password_does_not_take_every_place(tmp_path: Path) -> None:
    """Its sessions beyond a number are put off; what they held is given back."""

    def attack(server: OneProcess) -> None:
        crowd = []
        for number in range(1, 6):
            attacker = Attacker(server.port("submissions"), f"127.0.4.{number}")
            attacker.start_tls(server.ca)
            attacker.say(b"EHLO x\r\n")
            attacker.hear(b" AUTH PLAIN")
            crowd.append(attacker)
        stolen = b"AUTH PLAIN AGJvYgBidWlsZGluZ3M=\r\n"
        try:
            for place, attacker in enumerate(crowd):
                attacker.say(stolen)
                attacker.hear(b"235 " if place < 3 else b"454 4.7.0 Too many sessions")
            crowd[0].reset()
            while b"235 " not in crowd[-1].heard:
                crowd[-1].say(stolen)
                crowd[-1].hear(b"\r\n")
        finally:
            for attacker in crowd[1:]:
                attacker.reset()

    more = "[limits]\nconnections_per_login = 3\n"
    async with withstanding(tmp_path, more) as server:
        await in_thread(lambda: attack(server))


@in_reactor
async def test_floods_of_recipients_and_of_log_ins_meet_their_limits(
    tmp_path: Path,
) -> None:
    def attack(server: OneProcess) -> None:
        with _begun(server) as attacker:
            attacker.say(
                b"".join(b"RCPT TO:<r%d@example.net>\r\n" % one for one in range(5000))
                + b"QUIT\r\n"
            )
            heard = attacker.hear_all()
            assert heard.count(b"\r\n250 2.1.5 ") == 10 - 1 + 1
            assert heard.count(b"\r\n452 4.5.3 ") == 5000 - 9
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n" * 1000)
            heard = attacker.hear_all()
            assert heard.count(b"\r\n535 5.7.8 ") <= 3
            assert heard.endswith(b"421 4.7.0 Too many failed log-ins, closing\r\n")
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + b"AUTH LOGIN\r\n*\r\n" * 1000)
            assert b"421 4.7.0 " in attacker.hear_all()

    more = "[limits]\nrecipients = 10\n"
    async with withstanding(tmp_path, more) as server:
        await in_thread(lambda: attack(server))


@in_reactor
async def test_everything_that_is_too_long_has_its_own_refusal(tmp_path: Path) -> None:
    """And the session goes on, where the client can know where it stands."""
    too_long = [
        (b"EHLO " + b"x" * 300, b"501 5.5.4 "),
        (b"NOOP " + b"x" * 5000, b"500 5.5.2 "),
        (b"x" * 100_000, b"500 5.5.2 "),
        (b"AUTH PLAIN " + b"A" * 20_000, b"500 5.5.6 "),
        (b"MAIL FROM:<" + b"a" * 400 + b"@example.org>", b"501 5.1.7 "),
        (b"MAIL FROM:<alice@" + b"a" * 64 + b".org>", b"501 5.1.7 "),
        (b"MAIL FROM:<alice@" + b"a." * 200 + b"org>", b"501 5.1.7 "),
        (
            "MAIL FROM:<alice@{}.org> SMTPUTF8".format("å" * 1000).encode(),
            b"501 5.1.7 ",
        ),
        (b"MAIL FROM:<alice@example.org> ENVID=" + b"x" * 101, b"501 5.5.4 "),
        (b"MAIL FROM:<alice@example.org> SIZE=" + b"9" * 21, b"501 5.5.4 "),
        (b"MAIL FROM:<alice@example.org> SIZE=999999999999", b"552 5.3.4 "),
    ]

    def attack(server: OneProcess) -> None:
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\n" + LOG_IN)
            attacker.hear(b"235 ")
            for line, refusal in too_long:
                attacker.heard = b""
                attacker.say(line + b"\r\n")
                heard = attacker.hear(b"\r\n")
                if not (refusal == b"500 5.5.6 " and heard.startswith(b"5")):
                    assert heard.startswith(refusal), (line[:60], heard)
            attacker.say(b"QUIT\r\n")
            attacker.hear(b"221 ")
        with _begun(server) as attacker:
            attacker.say(b"DATA\r\nFrom: alice@example.org\r\nX: " + b"x" * 300_000)
            attacker.say(b"\r\n\r\nText.\r\n.\r\nQUIT\r\n")
            assert b"\r\n552 5.3.4 The header section is too" in attacker.hear_all()
        with connect(server, "submissions") as attacker:
            attacker.say(b"EHLO x\r\nBDAT 100000000000000 LAST\r\n")
            heard = attacker.hear_all()
            assert heard.endswith(
                b"530 5.7.0 Log in first\r\n"
                b"421 4.5.0 Cannot go on after this, closing\r\n"
            )

    async with withstanding(tmp_path) as server:
        await in_thread(lambda: attack(server))


@in_reactor
async def test_a_good_client_is_served_amid_all_of_it(tmp_path: Path) -> None:
    """Garbage, floods of errors and connections that are dropped, all at once."""

    def attack(server: OneProcess) -> None:
        port = server.port("submission")
        crowd = [Attacker(port, f"127.0.3.{number}") for number in range(1, 61)]
        for number, attacker in enumerate(crowd):
            attacker.say((b"x" * 5000 + b"\r\n") * (number % 25))
        with server.implicit() as client:
            client.login("alice", "wonderland")
            for attacker in crowd:
                client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
                attacker.reset()

    async with withstanding(tmp_path, sends=61) as server:
        await in_thread(lambda: attack(server))
