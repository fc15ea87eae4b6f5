"""A whole server under a test's own reactor, with or without workers."""

import smtplib
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from submitd.app import Options, makeService
from submitd.process.supervisor import Supervisor
from tests.support.certificates import make_certificate
from tests.support.dns_peers import free_port
from tests.support.receiver import Receiver

T = TypeVar("T")

PASSWORDS = "alice:{PLAIN}wonderland\nbob:{PLAIN}buildings\nlate:!x\n"


def configuration(
    more: str = "",
    *,
    workers: int = 0,
    next_hop: int = 25,
    log_in: str = "",
    delay: str = "0s",
    retry: str = "",
) -> str:
    """A configuration; ``more`` is put behind it, the others into their sections."""
    return f"""
[server]
hostname = "submit.example.org"
workers = {workers}
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "5s"
[log]
file = "log"
level = "debug"
[metrics]
listen = "127.0.0.1:{free_port()}"
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submission]
address = "127.0.0.1"
port = {free_port()}
[listener.submissions]
address = "127.0.0.1"
port = {free_port()}
tls = "implicit"
[listener.local]
address = "127.0.0.1"
port = {free_port()}
tls = "none"
trusted = ["127.0.0.1"]
submitter = "satellite"
[log_in]
delay = "{delay}"
{log_in}
[password_file]
path = "passwords"
[senders.rule.own]
template = "{{login}}@example.org"
[senders.rule.satellite]
domains = ["example.com"]
logins = ["satellite"]
[dkim]
unsigned = "allow"
[retry]
first = "1s"
longest = "1s"
{retry}
[route."*"]
host = "127.0.0.1"
port = {next_hop}
tls = "none"
{more}
"""


class OneProcess:
    """``async with OneProcess(reactor, tmp_path) as server: …``."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        folder: Path,
        more: str = "",
        *,
        workers: int = 0,
        log_in: str = "",
        delay: str = "0s",
        retry: str = "",
    ) -> None:
        self.reactor = reactor
        self.folder = folder
        self.receiver = Receiver()
        self._more = more
        self._workers = workers
        self._log_in = log_in
        self._delay = delay
        self._retry = retry
        self.ca = make_certificate(folder, "cert.pem", "key.pem", ["localhost"])
        (folder / "passwords").write_text(PASSWORDS)

    async def __aenter__(self) -> Self:
        self.next_hop = self.receiver.listen(self.reactor)
        self.write(self._more)
        await self.start()
        return self

    def write(self, more: str = "") -> None:
        """The configuration anew."""
        text = configuration(
            more,
            workers=self._workers,
            next_hop=self.next_hop,
            log_in=self._log_in,
            delay=self._delay,
            retry=self._retry,
        )
        (self.folder / "submitd.toml").write_text(text)

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        options = Options()
        options.parseOptions(["--config", str(self.folder / "submitd.toml")])
        service = makeService(options)
        assert isinstance(service, Supervisor)
        self.supervisor = service
        service.privilegedStartService()
        service.startService()
        await self.until(lambda: bool(service.status()["ready"]))

    async def stop(self) -> None:
        """Stop it gracefully."""
        await self.supervisor.stopService()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        await self.receiver.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds; the test's own time-out ends it."""
        while not holds():
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.02, waiting.callback, None)
            await waiting

    async def logs(self, text: str) -> None:
        """Wait until this stands in the log."""
        await self.until(lambda: text in self.log)

    def port(self, listener: str) -> int:
        """The port that the listener was given."""
        listeners: Any = self.supervisor.status()["listeners"]
        return int(next(one["port"] for one in listeners if one["name"] == listener))

    @property
    def log(self) -> str:
        """What was logged so far."""
        return (self.folder / "log").read_text()

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def connect(self) -> smtplib.SMTP:
        """A client on the submission port, before STARTTLS. Blocks."""
        return smtplib.SMTP("localhost", self.port("submission"), timeout=20)

    def logged_in(
        self, user: str = "alice", password: str = "wonderland"
    ) -> smtplib.SMTP:
        """A client under TLS that has logged in. Blocks."""
        client = self.connect()
        try:
            client.starttls(context=self._tls())
            client.login(user, password)
        except smtplib.SMTPException:
            client.close()
            raise
        return client

    async def submit(
        self,
        text: str | bytes,
        *to: str,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> bytes:
        """Submit one message as alice, with these parameters; what MAIL was answered.

        Raises:
            AssertionError: it was not accepted.
        """

        def work() -> bytes:
            with self.logged_in() as client:
                client.ehlo()
                code, said = client.mail("alice@example.org", mail)
                assert code == 250, said
                for one in to:
                    code, refusal = client.rcpt(one, rcpt)
                    assert code == 250, refusal
                octets = text.encode() if isinstance(text, str) else text
                assert client.data(octets)[0] == 250
                return said

        return await in_thread(work)

    def implicit(self) -> smtplib.SMTP_SSL:
        """A client with TLS from the first octet. Blocks."""
        return smtplib.SMTP_SSL(
            "localhost", self.port("submissions"), context=self._tls(), timeout=20
        )


def in_thread(work: Callable[[], T]) -> Deferred[T]:
    """A blocking client beside the reactor."""
    return deferToThread(work)
