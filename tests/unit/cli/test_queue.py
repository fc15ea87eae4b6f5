"""``submitctl queue`` on a real spool, while no server runs."""

import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from submitd.cli.main import main
from submitd.mail.address import parse_mailbox
from submitd.mail.envelope import (
    ByMode,
    DeliverBy,
    Envelope,
    ForwardPath,
    TlsDemand,
)
from submitd.mail.status import EnhancedCode
from submitd.spool.files import FileLock
from submitd.spool.recovery import open_spool
from submitd.spool.rows import queue_id_of
from submitd.spool.sqlite import DATABASE, WRITE_LOCK, connect, writing
from submitd.spool.statements import insert_message, record, release_owner
from submitd.spool.store import Needs, NewMessage, Result, State

NUMBERS = itertools.count(1 << 40)


class Queue:
    """A spool with messages in it, and submitctl to look at it."""

    def __init__(self, folder: Path, out: pytest.CaptureFixture[str]) -> None:
        self._state = folder / "state"
        self._out = out
        self._config = folder / "submitd.toml"
        self._config.write_text('[server]\nstate_directory = "state"\n')
        open_spool(self._state).close()
        self._lock = FileLock(self._state / WRITE_LOCK)

    def configure(self, more: str) -> None:
        """Put that behind the configuration."""
        self._config.write_text(self._config.read_text() + more)

    def put(
        self,
        sender: str | None,
        *recipients: str,
        age: timedelta = timedelta(0),
        leased: bool = False,
        **wishes: Any,  # noqa: ANN401
    ) -> str:
        accepted_at = datetime.now(UTC) - age
        message = NewMessage(
            queue_id=queue_id_of(next(NUMBERS)),
            envelope=Envelope(
                reverse_path=parse_mailbox(sender) if sender else None,
                forward_paths=tuple(
                    ForwardPath(parse_mailbox(one)) for one in recipients
                ),
                accepted_at=accepted_at,
                **wishes,
            ),
            header=b"Subject: s\r\n\r\n",
            needs=Needs(),
            submitter=sender.partition("@")[0] if sender else None,
            session="s1",
        )
        connection = connect(self._state / DATABASE)
        with writing(connection, self._lock):
            insert_message(connection, message, b"body\r\n", 0, 0, "w1")
            if not leased:
                release_owner(connection, None, {})
        connection.close()
        return message.queue_id

    def attempted(self, queue_id: str, diagnostic: str) -> None:
        """A first attempt that was put off by an hour."""
        now = datetime.now(UTC)
        result = Result(
            number=0,
            state=State.QUEUED,
            at=now,
            due_at=now + timedelta(hours=1, seconds=30),
            status=EnhancedCode(4, 2, 1),
            diagnostic=diagnostic,
            host="mx.example.net",
        )
        connection = connect(self._state / DATABASE)
        with writing(connection, self._lock):
            record(connection, queue_id, [result], [], "w1")
        connection.close()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        status = main(["--config", str(self._config), "queue", *arguments])
        said = self._out.readouterr()
        return status, said.out, said.err

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        status, out, err = self.run(*arguments, "--json")
        assert (status, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    def ids(self, *arguments: str) -> list[str]:
        return [one["queue_id"] for one in self.objects("list", *arguments)]


@pytest.fixture
def queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Queue:
    return Queue(tmp_path, capsys)


def test_an_empty_queue_is_an_empty_list(queue: Queue) -> None:
    assert queue.run("list") == (0, "", "")
    assert queue.run("count") == (0, "0\n", "")
    assert queue.objects("count") == [
        {
            "messages": 0,
            "recipients": 0,
            "held": 0,
            "octets": 0,
            "oldest_accepted_at": None,
        }
    ]


@pytest.mark.parametrize("more", ["[limits]\nmessage = 1\n", "[nonsense]\n"])
def test_a_fault_elsewhere_in_the_configuration_hides_no_mail(
    queue: Queue, more: str
) -> None:
    queue.configure(more)
    queue.put("a@example.org", "b@example.net")
    status, out, err = queue.run("list")
    assert (status, err) == (0, "")
    assert "a@example.org" in out


def test_without_the_place_of_the_spool_nothing_can_be_shown(queue: Queue) -> None:
    queue.configure("stat_directory = 3\n")
    status, out, err = queue.run("list")
    assert (status, out) == (os.EX_CONFIG, "")
    assert "[server] stat_directory: no such setting" in err


def test_each_message_is_a_line_with_age_size_sender_and_recipients(
    queue: Queue,
) -> None:
    first = queue.put(
        "alice@example.org", "bob@example.net", "x@y.example", age=timedelta(hours=50)
    )
    second = queue.put(None, "alice@example.org", age=timedelta(seconds=125))

    _, out, _ = queue.run("list")

    assert out.splitlines() == [
        f"{first}  2d02h  20 octets  alice@example.org  2 rcpt",
        f"{second}  2m05s  20 octets  <>  1 rcpt",
    ]


@pytest.mark.parametrize(
    ("age", "shown"),
    [(timedelta(seconds=-5), "0s"), (timedelta(hours=3, minutes=7), "3h07m")],
)
def test_an_age_is_shown_for_people(queue: Queue, age: timedelta, shown: str) -> None:
    queue.put("alice@example.org", "bob@example.net", age=age)

    assert queue.run("list")[1].split()[1] == shown


def test_the_figures_of_the_queue_are_told_to_programs(queue: Queue) -> None:
    queue.put("alice@example.org", "bob@example.net", "x@y.example")

    (figures,) = queue.objects("count")

    assert (figures["messages"], figures["recipients"]) == (1, 2)
    assert figures["oldest_accepted_at"].endswith("Z")


def test_what_a_remote_host_said_does_not_drive_the_terminal(queue: Queue) -> None:
    queue_id = queue.put("alice@example.org", "bob@example.net", leased=True)
    queue.attempted(queue_id, "450 4.2.1 busy\x1b[2J")

    assert queue.run("list")[1].endswith("1 rcpt  450 4.2.1 busy?[2J\n")
    _, shown, _ = queue.run("show", queue_id)
    assert "to           bob@example.net: next attempt in 1h00m, after 1 att" in shown
    assert (
        "             last attempt: mx.example.net said: 450 4.2.1 busy?[2J\n" in shown
    )


def test_everything_about_a_message_is_shown(queue: Queue) -> None:
    queue_id = queue.put("alice@example.org", "bob@example.net")

    status, out, _ = queue.run("show", queue_id.lower())

    assert status == 0
    assert out.splitlines()[:4] == [
        f"queue id     {queue_id}",
        "session      s1",
        "submitter    alice",
        "from         alice@example.org",
    ]
    assert "to           bob@example.net: due now, after 0 attempts" in out


def test_a_message_is_an_object_with_stable_names(queue: Queue) -> None:
    queue_id = queue.put("alice@example.org", "bob@example.net", leased=True)

    (shown,) = queue.objects("show", queue_id)

    assert shown["sender"] == "alice@example.org"
    assert shown["submitter"] == "alice"
    assert shown["leased_to"] == "w1"
    assert shown["recipients"][0]["address"] == "bob@example.net"
    assert shown["recipients"][0]["state"] == "queued"
    assert shown["recipients"][0]["status"] is None
    assert (shown["deliver_by"], shown["priority"], shown["tls"]) == (None, 0, None)
    assert "under way    in w1" in queue.run("show", queue_id)[1]


@pytest.mark.parametrize(
    ("mode", "late"),
    [(ByMode.RETURN, "it comes back"), (ByMode.NOTIFY, "its sender is told")],
)
def test_what_a_sender_asked_for_is_shown(
    queue: Queue, mode: ByMode, late: str
) -> None:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    queue_id = queue.put(
        "alice@example.org",
        "bob@example.net",
        deliver_by=DeliverBy(at, mode),
        priority=-9,
        tls_demand=TlsDemand.REQUIRED,
    )

    shown = queue.run("show", queue_id)[1]
    (entry,) = queue.objects("list")

    assert f"deliver by   2026-01-31T12:00:00Z, or {late}\n" in shown
    assert "priority     -9\n" in shown
    assert "TLS          required\n" in shown
    assert (entry["deliver_by"], entry["deliver_by_mode"]) == (
        "2026-01-31T12:00:00Z",
        mode.value,
    )
    assert (entry["priority"], entry["tls"]) == (-9, "required")


def test_the_message_itself_is_shown_octet_for_octet(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    queue = Queue(tmp_path, capfdbinary)  # type: ignore[arg-type]
    queue_id = queue.put("alice@example.org", "bob@example.net")

    status, out, _ = queue.run("show", queue_id, "--content")

    assert status == 0
    assert cast("object", out) == b"Subject: s\r\n\r\nbody\r\n"


@pytest.mark.parametrize("queue_id", ["XYZ", "0000000000000"])
def test_a_message_that_is_not_there_is_told(queue: Queue, queue_id: str) -> None:
    status, out, err = queue.run("show", queue_id)

    assert (status, out) == (66, "")
    assert err == f"submitctl: no message {queue_id} in the queue\n"


def test_messages_are_found_by_sender_recipient_domain_and_age(queue: Queue) -> None:
    old = queue.put("alice@example.org", "bob@example.net", age=timedelta(hours=3))
    new = queue.put("carol@example.org", "dave@example.com")

    assert queue.ids() == [old, new]
    assert queue.ids("--sender", "Alice@example.org") == [old]
    assert queue.ids("--sender", "carol") == [new]
    assert queue.ids("--recipient", "dave@example.com") == [new]
    assert queue.ids("--domain", "EXAMPLE.net") == [old]
    assert queue.ids("--older-than", "2h") == [old]
    assert queue.ids("--older-than", "60") == [old]
    assert queue.ids("--held") == []
    assert queue.ids("--login=Alice") == [old]
    assert queue.ids("--login", "Alice@example.org") == []
    assert queue.ids("--sender", "alice", "--domain", "example.com") == []


@pytest.mark.parametrize("name", ["--sender", "--login", "--recipient", "--domain"])
def test_a_filter_that_is_empty_is_a_usage_error(
    queue: Queue, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`queue remove --held --login "$UNSET"` would remove everybody's."""
    with pytest.raises(SystemExit) as ended:
        queue.run("remove", "--held", name, "")

    assert ended.value.code == 2
    assert "must not be empty" in capsys.readouterr().err


def test_an_age_that_is_none_is_a_usage_error(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        queue.run("list", "--older-than", "soon")

    assert ended.value.code == 2
    assert 'must be a time such as "90s"' in capsys.readouterr().err


def test_messages_are_held_and_released(queue: Queue) -> None:
    one = queue.put("alice@example.org", "bob@example.net")
    queue.put("carol@example.org", "dave@example.com")

    assert queue.run("hold", one.lower()) == (0, "hold: 1 of 1 messages\n", "")
    assert queue.ids("--held") == [one]
    assert queue.run("list", "--held")[1].endswith("1 rcpt  held\n")
    shown = queue.run("show", one)[1]
    assert f"held         until `submitctl queue release {one}`" in shown
    assert "bob@example.net: held after 0 attempts" in shown

    assert queue.objects("release", "--held") == [{"action": "release", "messages": 1}]
    assert queue.ids("--held") == []
    assert "released by the operator" in queue.run("show", one)[1]
    assert queue.run("release", one) == (0, "release: 0 of 1 messages\n", "")


def test_a_retry_makes_messages_due_at_once(queue: Queue) -> None:
    one = queue.put("alice@example.org", "bob@example.net", leased=True)
    queue.attempted(one, "450 4.2.1 busy")

    assert queue.run("retry", one)[0] == 0
    assert "due now, after 1 attempts" in queue.run("show", one)[1]


def test_messages_are_removed_by_filter(queue: Queue) -> None:
    queue.put("alice@example.org", "bob@example.net")
    kept = queue.put("carol@example.org", "dave@example.com")

    assert queue.run("remove", "--sender", "alice")[1] == "remove: 1 of 1 messages\n"
    assert queue.ids() == [kept]
    assert queue.run("remove", "--all")[0] == 0
    assert queue.run("count")[1] == "0\n"


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "remove"])
def test_nobody_changes_the_whole_queue_by_leaving_something_out(
    queue: Queue, verb: str
) -> None:
    queue.put("alice@example.org", "bob@example.net")

    status, out, err = queue.run(verb)

    assert (status, out) == (64, "")
    assert err == "submitctl: say which messages: ids, a filter, or --all\n"
    assert queue.run("count")[1] == "1\n"


def test_ids_that_are_not_there_are_told_and_the_others_changed(queue: Queue) -> None:
    one = queue.put("alice@example.org", "bob@example.net")

    status, out, err = queue.run("hold", "nonsense", one)

    assert status == 66
    assert out == "hold: 1 of 1 messages\n"
    assert err == "submitctl: not in the queue: nonsense\n"


def test_without_a_spool_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "submitd.toml"
    config.write_text('[server]\nstate_directory = "state"\n')

    assert main(["--config", str(config), "queue", "count"]) == 69
    assert "there is no spool here" in capsys.readouterr().err


def test_a_message_for_later_says_so_and_is_sent_early_by_its_id_alone(
    queue: Queue,
) -> None:
    later = datetime.now(UTC) + timedelta(hours=2, seconds=30)
    stamp = f"{later:%Y-%m-%dT%H:%M:%SZ}"
    one = queue.put("alice@example.org", "bob@example.net", release_at=later)

    assert queue.run("list")[1].endswith(f"1 rcpt  until {stamp}\n")
    (entry,) = queue.objects("list")
    assert entry["release_at"] == stamp
    shown = queue.run("show", one)[1]
    assert f"waits        until {stamp}, or `submitctl queue release {one}`" in shown

    for words in (["retry", one], ["release", "--all"], ["retry", "--all"]):
        assert queue.run(*words)[0] == 0
        assert "bob@example.net: next attempt in 2h00m" in queue.run("show", one)[1]

    assert queue.run("hold", one)[0] == 0
    assert f"waits        until {stamp}\n" in queue.run("show", one)[1]
    assert queue.run("release", one)[0] == 0
    assert "next attempt in 2h00m" in queue.run("show", one)[1]

    assert queue.run("release", one) == (0, "release: 1 of 1 messages\n", "")
    shown = queue.run("show", one)[1]
    assert "bob@example.net: due now, after 0 attempts" in shown
    assert "waits" not in shown
