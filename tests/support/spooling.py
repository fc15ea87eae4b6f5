"""A spool in a temporary folder, and messages for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import fields_dict
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import Envelope, ForwardPath
from submitd.mail.status import EnhancedCode
from submitd.spool.files import FileLock
from submitd.spool.recovery import OpenSpool, open_spool
from submitd.spool.spool import SqliteIntake, SqliteSpool
from submitd.spool.sqlite import WRITE_LOCK, SqliteStore
from submitd.spool.store import CHUNK, Needs, NewMessage, Result, Spooled, State

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def message(intake: SqliteIntake, *to: ForwardPath | str, **changes: Any) -> NewMessage:  # noqa: ANN401
    """For an upload; ``to`` are local parts or whole forward-paths."""
    paths = tuple(
        ForwardPath(parse_mailbox(f"{one}@example.net"))
        if isinstance(one, str)
        else one
        for one in to or ("bob",)
    )
    envelope: dict[str, Any] = {
        "reverse_path": parse_mailbox("alice@example.org"),
        "forward_paths": paths,
        "accepted_at": NOW,
    }
    for name in fields_dict(Envelope).keys() & changes.keys():
        envelope[name] = changes.pop(name)
    facts: dict[str, Any] = {
        "queue_id": intake.queue_id,
        "envelope": Envelope(**envelope),
        "header": b"Subject: x\r\n\r\n",
        "needs": Needs(),
        "submitter": "alice",
        "session": "session-1",
    }
    return NewMessage(**(facts | changes))


def result(number: int = 0, state: State = State.RELAYED, **changes: Any) -> Result:  # noqa: ANN401
    """What an attempt came to."""
    facts: dict[str, Any] = {
        "number": number,
        "state": state,
        "at": NOW,
        "due_at": LATER,
        "status": EnhancedCode(2, 0, 0),
        "diagnostic": "250 ok",
        "host": "mx.example.net",
    }
    return Result(**(facts | changes))


class Spooling:
    """``async with Spooling(tmp_path) as s``: s.spool, s.opened and s.store."""

    def __init__(self, folder: Path, *, reserve: int = 0) -> None:
        self.folder = folder / "state"
        self.commits: list[int] = []
        self.opened: OpenSpool = open_spool(self.folder)
        self.spool = SqliteSpool(
            reactor,  # type: ignore[arg-type]
            self.folder,
            "owner-1",
            number=1,
            reserve=reserve,
            on_commit=lambda _, items: self.commits.append(items),
        )

    async def __aenter__(self) -> Self:
        self.spool.start()
        self.store = SqliteStore(self.folder)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.close()
        await deferToThread(self.spool.stop)
        self.opened.close()

    @asynccontextmanager
    async def one_batch(self) -> AsyncIterator[None]:
        """What is begun inside is written afterwards, in one transaction."""
        committer = self.spool._committer
        lock = FileLock(self.folder / WRITE_LOCK)
        with lock.held():
            # The writer takes this one up, and waits with it for the lock.
            ahead = committer.submit(lambda _: None)
            while not committer._waiting.empty():
                await deferLater(reactor, 0.01)
            yield
        lock.close()
        await ahead

    async def accept(
        self,
        *to: ForwardPath | str,
        body: bytes = b"text\r\n",
        **changes: Any,  # noqa: ANN401
    ) -> Spooled:
        """A message, accepted."""
        intake = self.spool.open_intake()
        whole = len(body) // CHUNK * CHUNK if len(body) > CHUNK else 0
        for start in range(0, whole, CHUNK):
            await intake.write(body[start : start + CHUNK])
        return await intake.accept(message(intake, *to, **changes), body[whole:])

    async def body(self, queue_id: str) -> bytes:
        """Read back, chunk by chunk."""
        chunks: list[bytes] = []
        while (chunk := await self.spool.read_chunk(queue_id, len(chunks))) is not None:
            chunks.append(chunk)
        return b"".join(chunks)
