"""A disk that is really full: mail is put off, outcomes are recorded, and all
goes on when there is room.
"""

import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from submitd.spool.sqlite import SqliteStore
from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    # Outcomes that find no room are tried again after up to half a minute.
    pytest.mark.timeout(150),
]

HEADER: Final = "From: alice@example.org\r\nSubject: x\r\n\r\n"
TEXT: Final = HEADER + ("y" * 76 + "\r\n") * 13_000
"""1 MB."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state directory, on a small disk of its own."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m,mode=0700", "submitd", folder],
        check=True,
    )
    try:
        yield folder
    finally:
        # Lazily: a test that gave up may have left the spool open.
        subprocess.run(["umount", "-l", folder], check=True)


def submit(server: OneProcess, text: str = TEXT, most: int = 1) -> tuple[int, str]:
    """Send as alice until one is refused: how many were taken, and the reply."""
    taken = 0
    with server.logged_in() as client:
        while taken < most:
            try:
                client.sendmail("alice@example.org", ["a@example.net"], text)
            except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as refusal:
                said = refusal.smtp_error
                words = said.decode() if isinstance(said, bytes) else said
                return taken, f"{refusal.smtp_code} {words}"
            taken += 1
    return taken, ""


def queued(state: Path) -> int:
    """How many messages wait."""
    store = SqliteStore(state)
    try:
        return store.standing().messages
    finally:
        store.close()


@pytest.mark.usefixtures("state")
@in_reactor
async def test_mail_fills_the_disk_and_leaves_again(tmp_path: Path) -> None:
    """RFC 5321 section 4.2.3: 452. The reserve is for outcomes; no operator needed."""
    async with OneProcess(reactor, tmp_path, '[spool]\nreserve = "8MiB"') as server:
        server.receiver.greeting = "421 4.3.2 Not now"
        taken, said = await in_thread(lambda: submit(server, most=100))
        assert said == "452 4.3.1 The spool is full, try again later"
        assert 3 < taken < 40
        # Small ones find a place for a while, and do not creep into the reserve.
        small, _ = await in_thread(lambda: submit(server, HEADER, 10))
        taken += small

        server.receiver.greeting = "220 receiver.example ESMTP"
        await server.receiver.has(taken)
        await server.until(lambda: server.log.count("message-relayed") == taken)

        async def is_taken() -> bool:
            return await in_thread(lambda: submit(server)) == (1, "")

        while not await is_taken():
            pass
        await server.receiver.has(taken + 1)


@in_reactor
async def test_a_disk_that_others_filled_loses_nothing(
    tmp_path: Path, state: Path
) -> None:
    """Not one octet is left but for the reserve, which they cannot take."""
    async with OneProcess(reactor, tmp_path, '[spool]\nreserve = "12MiB"') as server:
        server.receiver.greeting = "421 4.3.2 Not now"
        assert await in_thread(lambda: submit(server, most=3)) == (3, "")
        await server.until((state / "reserve").exists)
        ballast = state / "ballast"
        with ballast.open("wb") as others:
            try:
                while True:
                    others.write(bytes(1 << 16))
            except OSError:
                pass
        for _ in range(3):
            taken, said = await in_thread(lambda: submit(server))
            assert (taken, said[:9]) == (0, "452 4.3.1")

        server.receiver.greeting = "220 receiver.example ESMTP"
        await server.receiver.has(3)
        await server.until(lambda: queued(state) == 0)
        assert len(server.receiver.received) == 3
        ballast.unlink()
        assert await in_thread(lambda: submit(server)) == (1, "")
        await server.receiver.has(4)
