"""The server's side of TLS: one context, made anew when the certificate changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from submitd.observe.events import CERTIFICATE_LOADED, CERTIFICATE_REFUSED, Events
from submitd.tls.peer import ServerConnection, note_verification

MODERN_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384"
)
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 4.2).

TLS 1.3 has no others, and is not concerned by this list.
"""

_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class UnusableCertificate(Exception):
    """The chain or the key cannot be used. The message names the file and why."""


@frozen(kw_only=True)
class TlsFiles:
    """Where the chain and the key are, and what to insist on."""

    certificate: Path
    """PEM: the server's certificate first, then the intermediate ones."""

    key: Path
    minimum: str = "1.2"
    ciphers: str = MODERN_CIPHERS
    client_ca: Path | None = None
    """PEM: who may vouch for clients. None: no client is asked for a certificate."""

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """Changes when a file was replaced or written to. Blocks; raises OSError."""
        paths = (self.certificate, self.key, self.client_ca)
        stats = [path.stat() for path in paths if path is not None]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in stats)

    def load(self) -> SSL.Context:
        """A context with this certificate. Blocks.

        Raises:
            UnusableCertificate: a file cannot be read, is no PEM, or the key
                is not the certificate's; or the authorities cannot be loaded.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(_VERSIONS[self.minimum])
        try:
            context.set_cipher_list(self.ciphers.encode("ascii"))
        except (SSL.Error, UnicodeEncodeError) as problem:
            raise UnusableCertificate(f"no usable cipher in {self.ciphers!r}") from (
                problem
            )
        context.set_options(
            SSL.OP_NO_COMPRESSION
            | SSL.OP_NO_RENEGOTIATION
            | SSL.OP_CIPHER_SERVER_PREFERENCE
        )
        # Thousands of idle mail programs: 20 KB less for each of them.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_id(b"submitd")
        for path, use in (
            (self.certificate, context.use_certificate_chain_file),
            (self.key, context.use_privatekey_file),
        ):
            try:
                path.read_bytes()  # for an error that names the cause
                use(str(path))
            except OSError as problem:
                raise UnusableCertificate(f"{path}: {problem.strerror}") from problem
            except (SSL.Error, crypto.Error) as problem:
                kind = "certificate" if path is self.certificate else "private key"
                raise UnusableCertificate(
                    f"{path}: holds no usable {kind} in PEM"
                ) from (problem)
        try:
            context.check_privatekey()
        except SSL.Error as problem:
            raise UnusableCertificate(
                f"{self.key}: is not the key of {self.certificate}"
            ) from problem
        if self.client_ca is not None:
            _ask_for_certificates(context, self.client_ca)
        return context

    def leaf(self) -> x509.Certificate:
        """The server's own certificate, for its dates and names. Blocks.

        Raises:
            UnusableCertificate: as `load`.
        """
        try:
            return x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        except OSError as problem:
            raise UnusableCertificate(f"{self.certificate}: {problem.strerror}") from (
                problem
            )
        except ValueError as problem:
            raise UnusableCertificate(f"{self.certificate}: no PEM") from problem


def _ask_for_certificates(context: SSL.Context, client_ca: Path) -> None:
    """Raises UnusableCertificate."""
    try:
        client_ca.read_bytes()  # for an error that names the cause
        context.load_verify_locations(str(client_ca))
        context.load_client_ca(str(client_ca).encode())
    except OSError as problem:
        raise UnusableCertificate(f"{client_ca}: {problem.strerror}") from problem
    except (SSL.Error, crypto.Error) as problem:
        raise UnusableCertificate(f"{client_ca}: holds no certificate in PEM") from (
            problem
        )
    context.set_verify(SSL.VERIFY_PEER, note_verification)
    # In a resumed session nothing is verified, and the certificate is the one of
    # another handshake, of which we know nothing any more.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Gives each new connection the context of the day."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: ARG002
        """As Twisted asks, once a handshake."""
        return ServerConnection(self.context)


class CertificateWatch(Service):
    """Takes up a renewed certificate without a reload.

    A faulty one is reported, once, and the old one stays in use.
    """

    def __init__(
        self,
        clock: IReactorTime,
        files: TlsFiles,
        tls: ServerTls,
        events: Events,
        seen: object,
        period: float = 60.0,
        in_thread: Callable[..., Deferred[object]] = deferToThread,
    ) -> None:
        """``seen``: the files' state when ``tls`` was made of them.

        ``period``: seconds between looks at the files.
        """
        self._files = files
        self._tls = tls
        self._events = events
        self._in_thread = in_thread
        self._seen = seen
        self._period = period
        self._looks = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._looks.clock = clock

    def startService(self) -> None:
        super().startService()
        self._looks.start(self._period)

    def stopService(self) -> None:
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    async def look(self) -> None:
        """Take up what has changed; asked for between times by who changed it."""
        try:
            state = await self._in_thread(self._files.state)
        except OSError as problem:
            # Between "old one gone" and "new one there": look again.
            state = str(problem)
        if state == self._seen:
            return
        self._seen = state
        try:
            context = await self._in_thread(self._files.load)
        except UnusableCertificate as problem:
            self._events.emit(CERTIFICATE_REFUSED, problem=str(problem))
            return
        assert isinstance(context, SSL.Context)  # noqa: S101
        self._tls.context = context
        self._events.emit(CERTIFICATE_LOADED, file=str(self._files.certificate))
