"""A configuration whose files are all there, and submitctl to look at it."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from submitd.cli.main import main

CONFIG = """
[server]
hostname = "submit.example.org"
state_directory = "state"
control_socket = "control.sock"
[listener.submission]
address = "127.0.0.1"
port = 1587
[tls]
certificate = "cert.pem"
key = "key.pem"
[password_file]
path = "passwords"
[senders.rule.own]
template = "{login}@example.org"
[senders.rule.file]
file = "senders"
"""


class Operator:
    """Who runs submitctl on this configuration."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.file = folder / "submitd.toml"
        self._capsys = capsys
        self.file.write_text(CONFIG)
        (folder / "passwords").write_text("alice:{PLAIN}x\n")
        (folder / "senders").write_text(
            "alice: press@example.org, @lists.example.org\n"
        )
        self.certify(datetime.now(UTC), timedelta(days=90))

    def add(self, text: str) -> None:
        """More configuration."""
        self.file.write_text(self.file.read_text() + text)

    def certify(
        self, begins: datetime, lasts: timedelta, name: str = "submit.example.org"
    ) -> None:
        """A certificate of our own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begins)
            .not_valid_after(begins + lasts)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (self.folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
        (self.folder / "key.pem").write_bytes(
            key.private_bytes(
                pem,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error; in this process."""
        status = main(["--config", str(self.file), *arguments])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def start(self, *arguments: str) -> tuple[int, str, str]:
        """The same in a process of its own: these run a reactor."""
        command = [sys.executable, "-m", "submitd.cli.main", *arguments]
        environment = {**os.environ, "SUBMITD_CONFIG": str(self.file)}
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@contextmanager
def answering(operator: Operator, answer: object) -> Iterator[list[object]]:
    """A running server that gives this answer to one request."""
    heard: list[object] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(operator.folder / "control.sock"))
        server.listen()
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(json.loads(connection.recv(65536)))
                connection.sendall(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            thread.join(10)
            (operator.folder / "control.sock").unlink()
