"""Clients that only want to send, each in a process of its own."""

import asyncio
import contextlib
import smtplib
import ssl
import statistics
import time
from collections import Counter
from queue import Queue
from threading import Thread
from typing import Any, Final, Self

from attrs import define, evolve, field, frozen

MESSAGE: Final = (
    b"From: alice@example.org\r\nSubject: good\r\n\r\n" + b"Text.\r\n" * 400
)
_PAUSE: Final = 0.2
"""Seconds between two submissions, and before another attempt."""


@define
class Sent:
    """What became of the messages of one client."""

    took: list[float] = field(factory=list)
    """Seconds, of those that were accepted: from the first attempt on."""

    retries: Counter[str] = field(factory=Counter)
    """Why attempts failed that were made again."""

    errors: Counter[str] = field(factory=Counter)
    """Why messages were given up."""

    @property
    def p99(self) -> float:
        """In seconds; without an end where there are too few to tell."""
        return self._cuts[98]

    @property
    def _cuts(self) -> list[float]:
        if len(self.took) < 2:
            return [float("inf")] * 99
        return statistics.quantiles(self.took, n=100, method="inclusive")

    def __str__(self) -> str:
        longest = max(self.took, default=float("inf"))
        p50, p99 = self._cuts[49], self._cuts[98]
        return (
            f"{len(self.took)} messages, {self.retries.total()} retries, "
            f"{self.errors.total()} errors, p50 {p50 * 1000:.0f} ms, "
            f"p99 {p99 * 1000:.0f} ms, longest {longest * 1000:.0f} ms"
        )


@frozen
class GoodClient:
    """Submits one message after another, on both ports in turn."""

    starttls: int
    implicit: int
    ca: str
    address: str
    attempts: int = 1
    """How often it tries to send one message."""

    line: "SlowLine | None" = None

    def run(
        self,
        seconds: float,
        tell: Any,  # noqa: ANN401 - a queue has no type at run time
    ) -> None:
        """For so long; then tell what became of it. Blocks."""
        client = self._by_line()
        sent = Sent()
        trust = ssl.create_default_context(cafile=self.ca)
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            since = time.monotonic()
            if client.try_to_send(number, trust, sent):
                sent.took.append(time.monotonic() - since)
            time.sleep(_PAUSE)  # noqa: TID251 - a client's own pace
        tell.put(sent)

    def _by_line(self) -> Self:
        if self.line is None:
            return self
        starttls, implicit = map(self.line.before, (self.starttls, self.implicit))
        return evolve(self, starttls=starttls, implicit=implicit)

    def try_to_send(self, number: int, trust: ssl.SSLContext, sent: Sent) -> bool:
        """So often as it may; False: given up."""
        for attempt in range(self.attempts):
            try:
                self._send(number, trust)
            except (OSError, smtplib.SMTPException) as problem:
                is_last = attempt == self.attempts - 1
                counter = sent.errors if is_last else sent.retries
                counter[repr(problem)[:160]] += 1
                time.sleep(_PAUSE)  # noqa: TID251 - a client's own pace
            else:
                return True
        return False

    def _send(self, number: int, trust: ssl.SSLContext) -> None:
        source = (self.address, 0)
        client: smtplib.SMTP
        if number % 2:
            client = smtplib.SMTP("localhost", self.starttls, None, 30, source)
        else:
            client = smtplib.SMTP_SSL(
                "localhost",
                self.implicit,
                timeout=30,
                source_address=source,
                context=trust,
            )
        with client:
            if number % 2:
                client.starttls(context=trust)
            client.login("alice", "wonderland")
            client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)


@frozen
class SlowLine:
    """Between a client and the server: what the server says comes later."""

    address: str
    """That the server sees."""

    delay: float
    """In seconds, for each piece."""

    def before(self, port: int) -> int:
        """The port to connect to instead, for as long as the process lives."""
        listening: Queue[int] = Queue()

        async def take(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await self._carry(port, reader, writer)

        async def listen() -> None:
            server = await asyncio.start_server(take, "127.0.0.1", 0)
            listening.put(server.sockets[0].getsockname()[1])
            await server.serve_forever()

        Thread(target=asyncio.run, args=(listen(),), daemon=True).start()
        return listening.get(timeout=10)

    async def _carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            there, here = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(self.address, 0)
            )
            await asyncio.gather(
                _copy(reader, here, 0.0), _copy(there, writer, self.delay)
            )
        writer.close()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    with contextlib.suppress(OSError):
        while octets := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(octets)
    writer.close()
