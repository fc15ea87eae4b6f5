"""What tests.support.server promises of tests that start a server."""

import socket
from pathlib import Path

import pytest

from tests.support.in_reactor import in_reactor
from tests.support.receiver import Receiver
from tests.support.server import Server, serving


@in_reactor
async def test_a_server_that_cannot_be_made_leaves_no_receiver(tmp_path: Path) -> None:
    """Or its port is taken until all tests have ended."""
    ports: list[int] = []

    def serve(_: Path, __: Receiver, port: int) -> Server:
        ports.append(port)
        raise OSError("no room for a certificate")

    served = serving(Receiver, serve)(lambda _: pytest.fail("there is no server"))
    with pytest.raises(OSError, match="no room"):
        await served(tmp_path)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), 1).close()
