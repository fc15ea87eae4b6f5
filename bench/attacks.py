"""What hostile clients do: each attack says when it was reached."""

import asyncio
import base64
import random
from collections.abc import Awaitable, Iterator
from typing import Final

from OpenSSL import SSL

from bench.attackers import STOLEN, Attack, Attempt, NotRefused, TlsByHand, log_in

# Those that keep their places


async def _silent(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    by.reached()
    await wire.listen()


async def _trickles(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    by.reached()
    await wire.trickle(b"x")


async def _talks_early(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nNOOP\r\n")
    await wire.hear(b"250 2.0.0 Ok")
    by.reached()
    await wire.listen()


async def _stalls_in_handshake(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    await wire.listen(1.0)
    by.reached()
    await wire.trickle(b"\0")


async def _promises_a_long_hello(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(b"\x16\x03\x01\x40\x00\x01\x01\xff\xf0\x03\x03" + b"\0" * 16378)
    await wire.listen(1.0)
    by.reached()
    await wire.listen()


async def _stalls_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nSTARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    by.reached()
    await wire.listen()


async def _idles_under_tls(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\n")
    await wire.hear(b"250 ")
    by.reached()
    await wire.listen()


async def _idles_behind_starttls(by: Attempt) -> None:
    wire = await by.behind_starttls()
    by.reached()
    await wire.listen()


async def _stalls_in_auth(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nAUTH LOGIN\r\n")
    await wire.hear(b"334 ")
    by.reached()
    await wire.trickle(b"Q")


async def _abandons_scram(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    first = base64.b64encode(f"n,,n={STOLEN[0]},r={random.random()}".encode())
    begin = b"AUTH SCRAM-SHA-256 " + first + b"\r\n"
    wire.say(b"EHLO x\r\n" + begin)
    await wire.hear(b"334 ")
    wire.say(b"*\r\n" + begin)
    await wire.hear(b"334 ")
    by.reached()
    await wire.listen()


async def _crowds_a_braked_account(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    guesses = b"".join(log_in("ghost", f"{random.random()}") for _ in range(90))
    wire.say(b"EHLO x\r\n" + guesses)
    await wire.hear(b"454 4.7.0")
    by.reached()
    await wire.listen()


async def _holds_a_big_header(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"DATA\r\n")
    await wire.hear(b"354 ")
    wire.say(b"From: " + wire.sender + b"\r\n" + b"X: y\r\n" * 43000)
    await wire.writer.drain()
    by.reached()
    await wire.trickle(b"X: y\r\n")


async def _trickles_into_a_chunk(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"BDAT 1000000\r\nFrom: " + wire.sender + b"\r\n\r\n")
    await wire.listen(1.0)
    by.reached()
    await wire.trickle(b"x")


async def _floods_recipients(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % n for n in range(2000)))
    await wire.hear(b"452 4.5.3")
    by.reached()
    await wire.listen()


async def _pipelines_without_end(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        wire.say(b"NOOP\r\n" * 200 + b"VRFY x\r\n")
        await wire.hear(b"252 ")
        by.reached()
        await wire.listen(by.pause)


# What ends no message, and what a server that takes it for the end would do then.
NO_ENDS: Final = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
)


async def _smuggles(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        for no_end in NO_ENDS:
            wire.say(wire.begin + b"DATA\r\n")
            await wire.hear(b"354 ")
            header = b"From: " + wire.sender + b"\r\n\r\nHi"
            forged = b"MAIL FROM:<root@example.org>\r\nDATA\r\nForged\r\n.\r\n"
            wire.say(header + no_end + forged + b"VRFY x\r\n")
            _refused(await wire.hear(b"252 "), 1)
        by.reached()
        await wire.listen(by.pause)


INJECTED: Final = [
    line.encode()
    for line in (
        "ENVID=x+0D+0AX-Evil:+20yes",
        "AUTH=x+0D+0AX-Evil:+20yes",
        "ENVID=x\vX-Evil:",
        "ENVID=x\0X-Evil:",
        "SMTPUTF8\x85X-Evil:",
        "SMTPUTF8\u2028X-Evil:",
    )
]


async def _injects_by_parameters(by: Attempt) -> None:
    wire = await by.logged_in()
    for parameter in INJECTED:
        wire.say(b"MAIL FROM:<%b> %b\r\n" % (wire.sender, parameter))
    for character in ("\u2028", "\x85", "\u202e", "\r"):
        name = f"{wire.login}{character}X-Evil".encode()
        wire.say(b"MAIL FROM:<%b@example.org> SMTPUTF8\r\n" % name)
    wire.say(b"VRFY x\r\n")
    _refused(await wire.hear(b"252 "), len(INJECTED) + 4)
    wire.say(b"MAIL FROM:<%b> SMTPUTF8\r\n" % wire.sender)
    await wire.hear(b"250 2.1.0")
    for original in (
        b"rfc822;x+0D+0AX-Evil:",
        b"utf-8;a\\x{0A}X@b",
        b"utf-8;a\\x{2028}",
    ):
        wire.say(b"RCPT TO:<bob@example.net> ORCPT=%b\r\n" % original)
    wire.say(b"VRFY x\r\n")
    _refused(await wire.hear(b"252 "), 3)
    by.reached()
    await wire.listen()


async def _sends_nulls(by: Attempt) -> None:
    wire = await by.logged_in()
    wire.say(b"NO\0OP\r\nMAIL FROM:<a\0b@example.org>\r\nVRFY x\r\n")
    _refused(await wire.hear(b"252 "), 2)
    while True:
        wire.say(wire.begin + b"DATA\r\n")
        await wire.hear(b"354 ")
        wire.say(b"From: " + wire.sender + b"\r\nX: \0\r\n\r\n\0\r\n.\r\nVRFY x\r\n")
        _refused(await wire.hear(b"252 "), 1)
        by.reached()
        await wire.listen(by.pause)


# Each within a transaction, and what of it is refused.
CHUNKS: Final = (
    (b"BDAT 8 LAST\r\na\r\n.\nb\r\n", 1),
    (b"BDAT 2\r\nHiDATA\r\n", 1),
    (b"BDAT 0\r\nBDAT 0\r\nBDAT 00000000000000000002\r\nHi", 0),
    (b"BDAT 4\r\nHi\r\nHELO x\r\nBDAT 6 LAST\r\nQUIT\r\n", 1),
)


async def _sends_chunks_of_every_shape(by: Attempt) -> None:
    wire = await by.logged_in()
    while True:
        for chunks, refused in CHUNKS:
            wire.say(wire.begin + chunks + b"VRFY x\r\nRSET\r\n")
            _refused(await wire.hear(b"252 "), refused)
        by.reached()
        await wire.listen(by.pause)


def _refused(lines: list[bytes], count: int) -> None:
    """So many of these replies, and no others, are refusals.

    Raises:
        NotRefused: they are not so many.
    """
    last_lines = [line for line in lines if line[3:4] == b" "]
    if sum(line.startswith(b"5") for line in last_lines) != count:
        raise NotRefused(lines)


# Those that come again and again


async def _injects_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\nSTARTTLS\r\nEHLO y\r\n" + log_in(STOLEN[0]))
    await wire.hear(b"503 5.5.1 Nothing may follow STARTTLS")
    by.reached()


async def _relies_on_an_old_hello(by: Attempt) -> None:
    """The EHLO before TLS was anybody's (RFC 3207 section 4.2)."""
    wire = await by.behind_starttls()
    wire.login = random.choice(STOLEN)
    chunk = b"BDAT 2 LAST\r\nHi"
    wire.say(log_in(wire.login) + wire.begin + b"DATA\r\n" + chunk + b"NOOP\r\n")
    await wire.hear(b"503 5.5.1 Say EHLO first")
    _refused(await wire.hear(b"250 "), 4)
    by.reached()


async def _starts_tls_within_tls(by: Attempt) -> None:
    wire = await by.behind_starttls()
    wire.say(b"EHLO x\r\nSTARTTLS\r\n" * 40)
    _refused(await wire.hear(b"421 4.7.0 Too many errors"), 20)
    by.reached()
    await wire.ended()


async def _garbage_for_tls(by: Attempt) -> None:
    wire = await by.raw()
    wire.say(random.randbytes(2000))
    await wire.ended()
    by.reached()


async def _garbage_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"STARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    wire.say(random.randbytes(2000))
    await wire.ended()
    by.reached()


# None of these is sealed with the keys that were agreed upon.
NO_RECORDS: Final = (
    b"\x17\x03\x03\x00\x40" + b"x" * 64,
    b"\x17\x03\x03\xff\xff" + b"x" * 70000,  # beyond its bound
    b"\x14\x03\x03\x00\x01\x01" * 3,  # changes of the cipher
    b"\x15\x03\x03\x00\x02\x02\x28",  # an alert
    b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # another handshake
    b"NOOP\r\nNOOP\r\n",
)


async def _garbage_within_tls(by: Attempt) -> None:
    wire = await by.asked_for_tls()
    tls = TlsByHand(wire)
    await tls.shake_hands()
    tls.say(b"EHLO x\r\n")
    await tls.hear(b"250 ")
    wire.say(random.choice(NO_RECORDS))
    await _alerted(tls.hear(b"\n"))
    by.reached()
    await wire.ended()


async def _renegotiates(by: Attempt) -> None:
    wire = await by.asked_for_tls()
    tls = TlsByHand(wire, SSL.TLS1_2_VERSION)
    await tls.shake_hands()
    await _alerted(tls.renegotiate())
    by.reached()
    await wire.ended()


async def _alerted(what: Awaitable[object]) -> None:
    """The server refuses this as TLS does.

    Raises:
        NotRefused: it does not.
    """
    try:
        answer = await what
    except SSL.ZeroReturnError:  # it takes its leave
        raise
    except SSL.Error:
        return
    raise NotRefused(answer)


async def _says_tls_in_the_clear(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    await wire.hear(b"220 ")
    wire.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n" * 30)
    await wire.hear(b"500 ")
    by.reached()
    await wire.ended()


async def _guesses_passwords(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    name = f"user{random.random()}"
    guesses = b"".join(log_in(name, f"wrong{number}") for number in range(10))
    wire.say(b"EHLO x\r\n" + guesses)
    await wire.hear(b"535 ")
    by.reached()
    await wire.ended()


async def _floods_auth_behind_starttls(by: Attempt) -> None:
    """Each guess is at another name: no account is braked."""
    wire = await by.behind_starttls()
    guesses = (log_in(f"user{random.random()}", "wrong") for _ in range(200))
    wire.say(b"EHLO x\r\n" + b"".join(guesses))
    await wire.hear(b"421 4.7.0 Too many failed log-ins")
    by.reached()
    await wire.ended()


async def _does_not_read(by: Attempt) -> None:
    """Until the buffers of the system are full both ways: some megabytes each."""
    wire = await by.begun()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(200):
        wire.say(b"RCPT TO:<b@example.net>\r\n" * 4000)
        await asyncio.sleep(0.1)
        # What does not go out any more the server does not take.
        if wire.writer.transport.get_write_buffer_size():
            by.reached()
            await wire.writer.wait_closed()


async def _logs_in_with_ligatures(by: Attempt) -> None:
    """U+FDFA becomes eighteen characters, each of which is looked at."""
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\n")
    for times in (56, 900):
        name, password = f"user{random.random()}", "\ufdfa" * times
        wire.say(log_in(name, password) + log_in(password[:50], password))
    wire.say(b"NOOP\r\n")
    await wire.hear(b"535 ")
    by.reached()
    await wire.ended()


async def _errs(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say((b"x" * 5000 + b"\r\n") * 30)
    await wire.hear(b"500 ")
    by.reached()
    await wire.ended()


async def _promises_a_huge_chunk(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nBDAT 100000000000000 LAST\r\n")
    await wire.hear(b"421 4.5.0")
    by.reached()


async def _half_closes(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"EHLO x\r\n")
    await wire.hear(b"250 ")
    wire.half_close()
    await wire.ended()
    by.reached()


async def _half_closes_under_tls(by: Attempt) -> None:
    wire = await by.begun()
    wire.half_close()
    await wire.ended()
    by.reached()


async def _half_closes_in_handshake(by: Attempt) -> None:
    wire = await by.asked_for_tls()
    hello = TlsByHand(wire).hello()
    wire.say(hello[: len(hello) // 2])
    await wire.listen(0.1)
    wire.half_close()
    await wire.ended()
    by.reached()


async def _quits_without_close_notify(by: Attempt) -> None:
    """TLS by hand: that of the library would take its leave."""
    wire = await by.raw()
    tls = TlsByHand(wire)
    await tls.shake_hands()
    tls.say(b"QUIT\r\n")
    await tls.hear(b"221 ")
    by.reached()
    await wire.ended()


async def _is_gone_at_once(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    by.reached()
    wire.reset()


async def _resets_behind_starttls(by: Attempt) -> None:
    wire = await by.connect(tls=False)
    wire.say(b"STARTTLS\r\n")
    await wire.hear(b"220 2.0.0")
    by.reached()
    wire.reset()


async def _resets_in_handshake(by: Attempt) -> None:
    """When the server has signed for it, which costs more than all the rest."""
    wire = await by.asked_for_tls()
    wire.say(TlsByHand(wire).hello())
    await wire.reader.readexactly(1)
    by.reached()
    wire.reset()


async def _resets_within_a_log_in(by: Attempt) -> None:
    wire = await by.connect(tls=True)
    wire.say(b"EHLO x\r\nAUTH PLAIN\r\n")
    await wire.hear(b"334 ")
    by.reached()
    wire.reset()


async def _resets_within_a_transaction(by: Attempt) -> None:
    wire = await by.begun()
    by.reached()
    wire.reset()


async def _resets_within_data(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"DATA\r\n")
    await wire.hear(b"354 ")
    wire.say(b"From: " + wire.sender + b"\r\n\r\nHalf")
    await wire.listen(0.1)
    by.reached()
    wire.reset()


async def _resets_within_a_chunk(by: Attempt) -> None:
    wire = await by.begun()
    wire.say(b"BDAT 100\r\nFrom: " + wire.sender)
    await wire.listen(0.1)
    by.reached()
    wire.reset()


STAYING: Final[tuple[Attack, ...]] = (
    _silent,
    _trickles,
    _talks_early,
    _stalls_in_handshake,
    _promises_a_long_hello,
    _stalls_behind_starttls,
    _idles_under_tls,
    _idles_behind_starttls,
    _stalls_in_auth,
    _abandons_scram,
    _crowds_a_braked_account,
    _holds_a_big_header,
    _trickles_into_a_chunk,
    _floods_recipients,
    _pipelines_without_end,
    _smuggles,
    _injects_by_parameters,
    _sends_nulls,
    _sends_chunks_of_every_shape,
)
"""They have all the connections that are asked for."""

COMING_AGAIN: Final[tuple[Attack, ...]] = (
    _injects_behind_starttls,
    _relies_on_an_old_hello,
    _starts_tls_within_tls,
    _garbage_for_tls,
    _garbage_behind_starttls,
    _garbage_within_tls,
    _renegotiates,
    _says_tls_in_the_clear,
    _guesses_passwords,
    _logs_in_with_ligatures,
    _floods_auth_behind_starttls,
    _does_not_read,
    _errs,
    _promises_a_huge_chunk,
    _half_closes,
    _half_closes_under_tls,
    _half_closes_in_handshake,
    _quits_without_close_notify,
    _is_gone_at_once,
    _resets_behind_starttls,
    _resets_in_handshake,
    _resets_within_a_log_in,
    _resets_within_a_transaction,
    _resets_within_data,
    _resets_within_a_chunk,
)
"""Most are soon over; one that stays costs the server too much to be of the others.

They come on top of these.
"""


def slots(connections: int) -> Iterator[Attack]:
    """What goes on in each: as many that stay, and a tenth that come again."""
    for number in range(connections):
        yield STAYING[number % len(STAYING)]
    for number in range(max(2 * len(COMING_AGAIN), connections // 10)):
        yield COMING_AGAIN[number % len(COMING_AGAIN)]
