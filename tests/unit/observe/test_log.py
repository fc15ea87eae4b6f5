import json
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from twisted.logger import Logger, LogLevel

from submitd.observe import log
from submitd.observe.events import MESSAGE_ACCEPTED, TLS_STARTED, Level, LogEvent
from submitd.observe.log import (
    EventLog,
    Form,
    JournalWriter,
    LibraryObserver,
    LineWriter,
    as_human,
    as_journal,
    as_json,
    writes_to_journal,
)

AT = datetime(2026, 1, 31, 12, 0, 0, 7000, tzinfo=UTC)
HOSTILE = 'a\r\n2026-01-31 faked="x"\x1b[2J\x9b2J\u2028\u202e\x00\ud800'


def test_a_line_for_people_begins_with_time_level_and_sentence() -> None:
    line = as_human(MESSAGE_ACCEPTED, {"queue_id": "4F0C1B", "size": 512}, AT)

    assert line == (
        "2026-01-31T12:00:00.007Z info  message accepted [message-accepted] "
        "queue_id=4F0C1B size=512"
    )


def test_a_line_without_facts_has_no_space_at_its_end() -> None:
    assert as_human(MESSAGE_ACCEPTED, {}, AT).endswith("[message-accepted]")


@pytest.mark.parametrize(
    ("fact", "shown"),
    [
        ("plain", "plain"),
        ("zoë@example.org", "zoë@example.org"),
        ("", '""'),
        ("two words", '"two words"'),
        ("Zoë Ö", '"Zoë Ö"'),
        ("a=b", '"a=b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("line\nbreak", '"line\\nbreak"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("\x7f\x9b", '"\\u007f\\u009b"'),
        ("\u2028", '"\\u2028"'),
        (None, "None"),
        (1.5, "1.5"),
    ],
)
def test_a_fact_stays_one_word_on_its_line(fact: object, shown: str) -> None:
    line = as_human(MESSAGE_ACCEPTED, {"k": fact}, AT)

    assert line.removeprefix(as_human(MESSAGE_ACCEPTED, {}, AT)) == f" k={shown}"


def test_a_json_line_is_one_object_with_stable_names() -> None:
    line = as_json(MESSAGE_ACCEPTED, {"queue_id": "4F0C1B", "size": 512}, AT)

    assert json.loads(line) == {
        "time": "2026-01-31T12:00:00.007Z",
        "level": "info",
        "event": "message-accepted",
        "message": "message accepted",
        "queue_id": "4F0C1B",
        "size": 512,
    }


def test_a_fact_that_json_does_not_know_is_shown_as_text() -> None:
    line = as_json(MESSAGE_ACCEPTED, {"file": Path("/a")}, AT)

    assert json.loads(line)["file"] == "/a"


@pytest.mark.parametrize("as_line", [as_human, as_json])
def test_no_fact_breaks_its_line_or_drives_a_terminal(
    as_line: Callable[[LogEvent, dict[str, object], datetime], str],
) -> None:
    line = as_line(MESSAGE_ACCEPTED, {"said": HOSTILE}, AT)

    assert line.isprintable()
    assert len(line.splitlines()) == 1


def events(
    form: Form = Form.JSON, level: Level = Level.INFO, **always: object
) -> tuple[EventLog, list[str]]:
    lines: list[str] = []
    return EventLog(lines.append, form, level, **always), lines


def test_facts_that_are_none_are_left_out_and_some_stand_on_every_line() -> None:
    out, lines = events(worker="w1")

    out.emit(MESSAGE_ACCEPTED, queue_id="1", session=None)

    (line,) = map(json.loads, lines)
    assert line["queue_id"] == "1"
    assert line["worker"] == "w1"
    assert "session" not in line


def test_what_is_below_the_level_is_not_logged() -> None:
    out, lines = events(level=Level.INFO)

    out.emit(TLS_STARTED)
    out.emit(MESSAGE_ACCEPTED)

    assert [json.loads(line)["event"] for line in lines] == ["message-accepted"]


def test_the_journal_gets_a_field_for_each_fact() -> None:
    entry = as_journal(
        MESSAGE_ACCEPTED, {"queue_id": "4F0C1B", "login": "zoë", "said": HOSTILE}, AT
    )
    fields = dict(line.split("=", 1) for line in entry.split("\n"))
    assert list(fields) == [
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "SUBMITD_EVENT",
        "SUBMITD_QUEUE_ID",
        "SUBMITD_LOGIN",
        "SUBMITD_SAID",
    ]
    assert fields["MESSAGE"].startswith("message accepted queue_id=4F0C1B login=zoë")
    assert fields["PRIORITY"] == "6"
    assert fields["SUBMITD_EVENT"] == "message-accepted"
    assert fields["SUBMITD_LOGIN"] == "zoë"
    assert all(value.isprintable() for value in fields.values())


def test_entries_reach_the_journal_one_by_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        writer = JournalWriter(tmp_path / "journal")
        out = EventLog(writer.write, Form.JOURNAL, Level.INFO)
        out.emit(MESSAGE_ACCEPTED, queue_id="1")
        out.emit(MESSAGE_ACCEPTED, queue_id="2")
        writer.close()
        for number in "12":
            entry = journal.recv(65536).decode()
            assert entry.endswith(f"\nSUBMITD_QUEUE_ID={number}")


def test_a_journal_that_is_gone_costs_its_entries_alone(tmp_path: Path) -> None:
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(tmp_path / "journal"))
    writer = JournalWriter(tmp_path / "journal")
    journal.close()
    writer.write("MESSAGE=x")
    writer.close()
    assert writer._lost == 1


def test_the_journal_is_told_by_its_stream() -> None:
    here = os.fstat(2)
    assert writes_to_journal({"JOURNAL_STREAM": f"{here.st_dev}:{here.st_ino}"})
    assert not writes_to_journal({"JOURNAL_STREAM": f"{here.st_dev}:1"})
    assert not writes_to_journal({})


@pytest.mark.parametrize("form", [Form.HUMAN, Form.JSON])
def test_a_failure_carries_its_traceback_on_one_line(form: Form) -> None:
    out, lines = events(form)

    out.failure(MESSAGE_ACCEPTED, ZeroDivisionError("x"), queue_id="1")

    (line,) = lines
    assert "ZeroDivisionError: x" in line
    assert len(line.splitlines()) == 1


def test_lines_are_appended_in_order_and_all_are_there_after_a_close(
    tmp_path: Path,
) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    writer = LineWriter(file, Form.HUMAN)

    for number in range(1000):
        writer.write(f"line {number}")
    writer.close()

    assert file.read_text().splitlines() == [
        "before",
        *(f"line {number}" for number in range(1000)),
    ]


def test_lines_of_several_threads_are_all_written(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log", Form.HUMAN)

    def write(name: str) -> None:
        for number in range(2000):
            writer.write(f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    writer.close()

    lines = (tmp_path / "log").read_text().splitlines()
    for name in "abc":
        own = [line for line in lines if line.startswith(name)]
        assert own == [f"{name} {number}" for number in range(2000)]


def test_only_the_owner_and_their_group_may_read_a_new_log(tmp_path: Path) -> None:
    LineWriter(tmp_path / "log", Form.HUMAN).close()

    assert (tmp_path / "log").stat().st_mode & 0o027 == 0


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log", Form.HUMAN)
    writer.write("\ud800")
    writer.close()

    assert (tmp_path / "log").read_bytes() == b"\\ud800\n"


def test_without_a_file_lines_go_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    writer = LineWriter(None, Form.HUMAN)
    writer.write("a line")
    writer.close()

    assert capfd.readouterr().err == "a line\n"


def test_a_log_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    """As logrotate does it; what was written before stays in the old file."""
    file = tmp_path / "log"
    writer = LineWriter(file, Form.HUMAN)
    writer.write("before")
    while file.read_text() != "before\n":
        pass
    file.rename(tmp_path / "log.1")
    writer.reopen()
    writer.write("after")
    writer.close()
    assert (tmp_path / "log.1").read_text() == "before\n"
    assert file.read_text() == "after\n"


def test_where_no_new_log_can_be_opened_the_old_one_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = LineWriter(folder / "log", Form.HUMAN)
    folder.rename(tmp_path / "moved")
    writer.reopen()
    writer.close()
    said = (tmp_path / "moved" / "log").read_text()
    assert "[log-stays]" in said
    assert 'reason="No such file or directory"' in said


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LineWriter(tmp_path / "no" / "log", Form.HUMAN)


@pytest.mark.parametrize("form", [Form.HUMAN, Form.JSON])
def test_lines_beyond_the_bound_are_lost_and_counted_in_the_logs_own_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.setattr(log, "_MOST_WAITING", 3)
    monkeypatch.setattr(log, "_GATHER", 60)
    writer = LineWriter(tmp_path / "log", form)

    for number in range(5):
        writer.write(str(number))
    writer.close()

    *kept, last = (tmp_path / "log").read_text().splitlines()
    assert kept == ["0", "1", "2"]
    if form is Form.JSON:
        told = json.loads(last)
        assert (told["event"], told["lines"]) == ("log-lines-lost", 2)
    else:
        assert last.endswith("[log-lines-lost] lines=2")


def test_lines_that_the_disk_refused_are_counted_when_it_takes_lines_again() -> None:
    """A pipe whose reader is gone stands for a disk that is full."""
    reader, target = os.pipe()
    writer = LineWriter(Path(f"/dev/fd/{target}"), Form.HUMAN)
    os.close(target)
    os.close(reader)
    writer.write("one")
    writer.write("two")
    writer.close()

    assert writer._lost == 2


def test_what_libraries_log_becomes_lines_of_ours() -> None:
    out, lines = events(level=Level.DEBUG)
    library = Logger("library", observer=LibraryObserver(out))

    library.info("about {what}", what="itself")
    library.warn("careful")
    library.critical("very bad")

    assert [
        (one["level"], one["event"], one["origin"], one["text"])
        for one in map(json.loads, lines)
    ] == [
        ("debug", "library", "library", "about itself"),
        ("warn", "library", "library", "careful"),
        ("error", "library", "library", "very bad"),
    ]


def test_a_failure_in_a_library_is_a_bug_with_its_traceback() -> None:
    out, lines = events()
    library = Logger("library", observer=LibraryObserver(out))

    try:
        _ = 1 // 0
    except ZeroDivisionError:
        library.failure("broke", level=LogLevel.critical)

    (line,) = map(json.loads, lines)
    assert (line["event"], line["text"]) == ("bug", "broke")
    assert "ZeroDivisionError" in line["traceback"]
