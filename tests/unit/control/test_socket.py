"""The admin socket as submitctl and strangers meet it: a real one."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.threads import deferToThread

from submitd.control.socket import ControlSocket, ControlUnavailable, Handler, request
from submitd.control.wire import Message
from tests.support.in_reactor import in_reactor
from tests.support.recorded_events import RecordedEvents


async def echo(message: Message) -> Message:
    return {"ok": True, "heard": message}


async def broken(message: Message) -> Message:
    raise ZeroDivisionError(message["do"])


async def unspeakable(message: Message) -> Message:
    return {"ok": message, "object": object()}


HANDLERS: Mapping[str, Handler] = {
    "echo": echo,
    "broken": broken,
    "unspeakable": unspeakable,
}


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[RecordedEvents]:
    from twisted.internet import reactor

    events = RecordedEvents()
    control = ControlSocket(cast("IReactorUNIX", reactor), path, HANDLERS, events)
    control.startService()
    try:
        yield events
    finally:
        await maybeDeferred(control.stopService)


def asked(path: Path, message: Message) -> Deferred[Any]:
    return deferToThread(request, path, message, 10.0)


def sent(path: Path, octets: bytes) -> Deferred[Any]:
    """What comes back to a stranger who sends these octets."""

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(octets)
            return connection.recv(65536)

    return deferToThread(talk)


@in_reactor
async def test_a_request_is_answered_and_logged(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control.sock"
    async with listening(path) as events:
        answer = await asked(path, {"do": "echo", "text": "ü"})

    assert answer == {"ok": True, "heard": {"do": "echo", "text": "ü"}}
    assert events.emitted == [("control-request", {"do": "echo"})]


@in_reactor
async def test_only_the_servers_own_user_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with listening(path):
        assert path.stat().st_mode & 0o777 == 0o600


@in_reactor
async def test_a_request_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with listening(path) as events:
        answer = await asked(path, {"do": "dance"})

    assert answer == {"ok": False, "problems": ["no such request: 'dance'"]}
    assert events.names == []


@pytest.mark.parametrize("do", ["broken", "unspeakable"])
@in_reactor
async def test_a_bug_in_one_request_is_logged_and_answered(
    tmp_path: Path, do: str
) -> None:
    path = tmp_path / "control.sock"
    async with listening(path) as events:
        answer = await asked(path, {"do": do})
        again = await asked(path, {"do": "echo"})

    assert answer["problems"] == ["an internal error; see the log"]
    assert len(events.faults) == 1
    assert again["ok"] is True


@in_reactor
async def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with listening(path):
        assert await sent(path, b"hello\n") == (
            b'{"ok": false, "problems": ["not JSON"]}\n'
        )


@in_reactor
async def test_a_line_without_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with listening(path):

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(path))
                try:
                    connection.sendall(b"x" * (2 * 1024 * 1024))
                    return connection.recv(100)
                except (BrokenPipeError, ConnectionResetError):
                    return b""

        assert await deferToThread(talk) == b""


@in_reactor
async def test_one_client_too_many_is_sent_away(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with listening(path):

        def crowd() -> bytes:
            clients = [socket.socket(socket.AF_UNIX) for _ in range(21)]
            try:
                for one in clients:
                    one.settimeout(10)
                    one.connect(str(path))
                return clients[-1].recv(100)
            finally:
                for one in clients:
                    one.close()

        assert await deferToThread(crowd) == b""


@in_reactor
async def test_what_a_crash_left_behind_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with listening(path):
        assert (await asked(path, {"do": "echo"}))["ok"] is True


@in_reactor
async def test_a_socket_on_which_another_server_listens_stays_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()

        with pytest.raises(OSError, match="another server listens there"):
            async with listening(path):
                pass

        assert path.is_socket()


@in_reactor
async def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")

    with pytest.raises(FileExistsError, match="no socket"):
        async with listening(path):
            pass

    assert path.read_text() == "precious"


@in_reactor
async def test_a_service_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    from twisted.internet import reactor

    control = ControlSocket(
        cast("IReactorUNIX", reactor), tmp_path / "x", {}, RecordedEvents()
    )

    assert control.stopService() is None


def test_where_nobody_listens_the_reason_is_told(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    with pytest.raises(ControlUnavailable, match=r"control\.sock: No such file"):
        request(path, {"do": "status"}, 1.0)


def test_an_answer_that_does_not_come_is_not_waited_for_without_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()

        with pytest.raises(ControlUnavailable, match="timed out"):
            request(path, {"do": "status"}, 0.1)


@in_reactor
async def test_an_answer_that_breaks_off_is_none(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        asking = asked(path, {"do": "status"})

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b'{"ok": tr')
            connection.close()

        await deferToThread(hang_up)
        with pytest.raises(ControlUnavailable, match="not JSON"):
            await asking
