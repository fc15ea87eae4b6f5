"""A client that keeps no rule: octets out, octets in, ended as it likes. Blocks."""

import socket
import ssl
import struct
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOG_IN: Final = b"AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n"
"""As alice, whose password is wonderland."""

_PATIENCE: Final = 20.0


class Attacker:
    """One connection to a server on loopback."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.wire: socket.socket = socket.create_connection(
            ("127.0.0.1", port), _PATIENCE, (source, 0)
        )
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wire.close()

    def say(self, octets: bytes) -> None:
        """Whether the server still listens or not."""
        with suppress(OSError):
            self.wire.sendall(octets)

    def hear(self, text: bytes) -> bytes:
        """All up to now, once ``text`` was said behind what was known before."""
        known = len(self.heard)
        while text not in self.heard[known:]:
            octets = self.wire.recv(65536)
            assert octets, (text, self.heard)
            self.heard += octets
        return self.heard

    def hear_all(self) -> bytes:
        """All there is, until the server closes."""
        with suppress(ConnectionError, ssl.SSLError):
            while octets := self.wire.recv(65536):
                self.heard += octets
        return self.heard

    def trickle(self, octets: bytes, pause: float = 0.2) -> bytes:
        """One octet after another until the server has had enough of it."""
        self.wire.settimeout(pause)
        deadline = time.monotonic() + _PATIENCE
        try:
            for place in range(1 << 20):
                assert time.monotonic() < deadline, self.heard
                self.wire.sendall(octets[place % len(octets) :][:1])
                with suppress(TimeoutError):
                    if not (said := self.wire.recv(65536)):
                        break
                    self.heard += said
        except (ConnectionError, ssl.SSLError):
            pass
        return self.heard

    def start_tls(self, ca: Path) -> None:
        """TLS, at once."""
        context = ssl.create_default_context(cafile=ca)
        self.wire = context.wrap_socket(self.wire, server_hostname="localhost")

    def half_close(self) -> None:
        """No more is said; what is said to us is still heard."""
        with suppress(OSError):
            self.wire.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Gone, with an RST."""
        linger = struct.pack("ii", 1, 0)
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.wire.close()
