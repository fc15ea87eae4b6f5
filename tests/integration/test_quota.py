"""Limits per submitter on real processes: two workers, kills, holding, releasing."""

import json
import smtplib
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email import message_from_bytes
from typing import Any, Final

import pytest
from attrs import define, field

from tests.support import server as support
from tests.support.dns_peers import free_port
from tests.support.hosts import until
from tests.support.receiver import Received, Receiver
from tests.support.server import PASSWORDS, serving

pytestmark = pytest.mark.integration

CONFIG: Final = """
[server]
hostname = "submit.example.org"
workers = 2
state_directory = "state"
control_socket = "control.sock"
shutdown_grace = "2s"
postmaster = "postmaster@example.org"
[log]
file = "log"
format = "json"
[metrics]
listen = "off"
[tls]
certificate = "cert.pem"
key = "key.pem"
[listener.submissions]
address = "127.0.0.1"
port = {port}
tls = "implicit"
[listener.local]
address = "127.0.0.1"
port = {local}
tls = "none"
trusted = ["127.0.0.1"]
submitter = "satellite"
[password_file]
path = "passwords"
[senders.rule.own]
template = "{{login}}@example.org"
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = {next_hop}
tls = "none"
[quota]
{quota}
"""
MESSAGE: Final = b"From: {}@example.org\r\nSubject: one\r\n\r\ntext\r\n"


@define
class Server(support.Server):
    """One with two workers and limits."""

    receiver: Receiver
    next_hop: int
    port: int = field(factory=free_port)
    local: int = field(factory=free_port)

    def start(self, quota: str) -> None:
        self.write(quota)
        self.twistd.start()
        self.settle()

    def write(self, quota: str) -> None:
        self.configure(
            CONFIG.format(
                port=self.port, local=self.local, next_hop=self.next_hop, quota=quota
            )
        )

    def client(self, login: str = "alice") -> smtplib.SMTP:
        context = self.trust
        client = smtplib.SMTP_SSL("localhost", self.port, context=context, timeout=30)
        client.login(login, PASSWORDS[login])
        return client

    def send(
        self, *to: str, login: str = "alice", times: int = 1
    ) -> list[tuple[int, bytes]]:
        """What each of so many messages was answered in the end."""
        with self.client(login) as client:
            return [_send(client, login, to or ("carol",)) for _ in range(times)]

    def used(self, limit: str, login: str = "alice") -> int:
        """``submitctl quota show``."""
        shown = self.submitctl("quota", "show", login, "--json").splitlines()
        found = {one["limit"]: one["used"] for one in map(json.loads, shown)}
        return int(found[limit])

    def workers_of(self, event: str) -> int:
        """How many of them have logged it."""
        return len({one["worker"] for one in self.logged(event)})


def _send(client: smtplib.SMTP, login: str, to: tuple[str, ...]) -> tuple[int, bytes]:
    client.mail(f"{login}@example.org")
    for one in to:
        client.rcpt(f"{one}@example.net")
    try:
        return client.data(MESSAGE.replace(b"{}", login.encode()))
    except smtplib.SMTPDataError as refusal:
        client.rset()
        return refusal.smtp_code, bytes(refusal.smtp_error)  # type: ignore[arg-type]


def _text(received: Received) -> str:
    payload = message_from_bytes(received.content).get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


served = serving(Receiver, Server)


@served
def test_a_limit_holds_for_both_workers_and_all_sessions_at_once(
    server: Server,
) -> None:
    server.start("messages_per_hour = 25")
    clients = [server.client() for _ in range(12)]
    while server.workers_of("session-opened") < 2 and len(clients) < 48:
        # One that is quick takes what both could have.
        clients.append(server.client())

    def send_five(client: smtplib.SMTP) -> list[int]:
        return [_send(client, "alice", ("carol",))[0] for _ in range(5)]

    with ThreadPoolExecutor(len(clients)) as threads:
        outcomes = [one for some in threads.map(send_five, clients) for one in some]
    for one in clients:
        one.close()
    assert Counter(outcomes) == {250: 25, 451: 5 * len(clients) - 25}
    assert server.workers_of("message-accepted") == 2
    assert server.used("messages_per_hour") == 25
    # Others have limits of their own.
    assert server.send(login="bob")[0][0] == 250
    (code, text) = server.send()[0]
    assert code == 451
    assert text.startswith(
        b"4.7.1 The limit is 25 messages an hour (25 used); possible again in "
    )
    until(lambda: len(server.receiver.received) == 26, "26 messages", 20)


@served
def test_counts_survive_kills_and_reloads(server: Server) -> None:
    server.start("recipients_per_day = 10")
    assert [one[0] for one in server.send("a", "b", "c", times=2)] == [250, 250]
    server.twistd.kill()
    server.twistd.start()
    server.settle()
    assert server.used("recipients_per_day") == 6
    assert [one[0] for one in server.send("a", "b", "c", times=2)] == [250, 451]
    server.write("recipients_per_day = 12")
    server.submitctl("reload")
    assert [one[0] for one in server.send("a", "b", "c", times=2)] == [250, 451]


@served
def test_first_time_recipients_have_a_limit(server: Server) -> None:
    server.start("new_recipients_per_day = 3")
    assert server.send("a", "b", "c")[0][0] == 250
    assert server.send("a", "b", "c")[0][0] == 250
    code, text = server.send("a", "d")[0]
    assert (code, b"3 first-time recipients a day" in text) == (451, True)
    code, text = server.send("d", "e", "f", "g", login="bob")[0]
    assert (code, text) == (
        550,
        b"5.5.3 The limit is 3 first-time recipients a day, and this message has 4",
    )


@served
def test_a_trusted_listeners_submitter_has_limits_and_rules_name_logins(
    server: Server,
) -> None:
    server.start(
        'burst = 50\n[quota.rule.robots]\nlogins = ["satellite"]\n'
        "messages_per_hour = 1\n"
    )
    with closing(smtplib.SMTP("127.0.0.1", server.local, timeout=20)) as client:
        client.ehlo()
        codes = [_send(client, "satellite", ("carol",))[0] for _ in range(3)]
    assert codes == [250, 451, 451]
    assert [one[0] for one in server.send(times=3)] == [250] * 3
    assert server.submitctl("quota", "show", "satellite").startswith(
        "messages_per_hour       1 of 1 used, again in "
    )


@served
def test_a_limit_is_asked_for_with_chunks_too(server: Server) -> None:
    server.start("messages_per_hour = 1")
    with server.client() as client:
        for code in (250, 451):
            client.mail("alice@example.org")
            client.rcpt("carol@example.net")
            content = MESSAGE.replace(b"{}", b"alice")
            client.send(b"BDAT %d LAST\r\n%s" % (len(content), content))
            assert client.getreply()[0] == code
        assert client.noop()[0] == 250


@served
def test_what_is_over_a_limit_is_held_told_of_and_released_with_one_command(
    server: Server,
) -> None:
    server.start('messages_per_hour = 2\non_excess = "hold"\nheld_messages = 4')
    outcomes = server.send(times=7)
    assert [one[0] for one in outcomes] == [250] * 6 + [452]
    assert outcomes[6][1].startswith(
        b"4.2.2 Too much of your mail is held already: 4 messages, "
    )

    def to(name: str) -> list[Any]:
        return [
            one
            for one in list(server.receiver.received)
            if any(path.startswith(f"{name}@") for path in one.forward_paths)
        ]

    until(lambda: to("alice") and to("postmaster"), "the notices", 20)
    until(lambda: len(to("carol")) == 2, "what was not held", 20)
    (told,), (postmaster,) = to("alice"), to("postmaster")
    assert not told.reverse_path
    assert not postmaster.reverse_path
    assert "The limit is 2 messages an hour (2 used)" in _text(told)
    assert "submitctl queue release --login=alice\n" in _text(postmaster)
    held = server.submitctl("queue", "list", "--held", "--json").splitlines()
    assert len(held) == 4
    first = json.loads(held[0])["queue_id"]
    assert first in _text(told)
    assert "held: The limit is 2 messages an hour" in server.submitctl(
        "queue", "show", first
    )
    events = server.logged("message-held")
    assert [one["login"] for one in events] == ["alice"] * 4
    assert server.submitctl("queue", "release", "--login", "alice") == (
        "release: 4 of 4 messages\n"
    )
    until(lambda: len(to("carol")) == 6, "what was released", 20)
    assert len(to("alice")) == len(to("postmaster")) == 1
    until(lambda: server.twistd.queued() == 0, "an empty queue", 10)
    # What stays held is news at once, and again after a day.
    assert [one[0] for one in server.send(login="bob", times=3)] == [250] * 3
    until(lambda: len(to("postmaster")) == 2, "the notice", 20)
    server.twistd.stop()
    with closing(sqlite3.connect(server.folder / "state/spool.sqlite")) as spool, spool:
        spool.execute("UPDATE told SET at = at - 86400")
    server.twistd.start()
    until(lambda: len(to("bob")) == 2 and len(to("postmaster")) == 3, "reminders", 20)
    assert "still holds mail that you have sent" in _text(to("bob")[1])
    assert len(to("alice")) == 1


@pytest.mark.rfc("4865", "6")
@served
def test_mail_for_later_has_a_limit_without_any_other_being_set(
    server: Server,
) -> None:
    server.start('later_messages = 2\nlater_size = "100kB"')

    def later(*words: str) -> tuple[int, bytes]:
        with server.client() as client:
            client.ehlo()
            code, said = client.mail("alice@example.org", ("HOLDFOR=3600", *words))
            if code != 250:
                return code, said
            client.rcpt("carol@example.net")
            return client.data(MESSAGE.replace(b"{}", b"alice"))

    assert later()[0] == 250
    code, said = later("SIZE=100000")
    assert (code, said[:7]) == (552, b"5.7.16 ")
    assert later()[0] == 250
    assert later() == (
        552,
        b"5.7.16 Too much of your mail waits for later: 2 messages, 1 kB",
    )
    assert server.used("later_messages") == 2
    # What goes at once does not wait.
    assert server.send()[0][0] == 250
    until(lambda: len(server.receiver.received) == 1, "what went at once", 20)
    first = json.loads(server.submitctl("queue", "list", "--json").splitlines()[0])
    server.submitctl("queue", "release", first["queue_id"])
    assert later()[0] == 250
    assert not server.logged("message-held")
