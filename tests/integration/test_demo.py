"""``make run`` as its reader sees it: a real run, on ports of its own."""

import os
import re
import shlex
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from attrs import frozen
from cryptography import x509

from demo.certificates import ensure_certificates
from demo.directory import read_people
from demo.settings import PEOPLE, ROOT, Settings, Unusable
from tests.support.dns_peers import free_port

pytestmark = pytest.mark.integration

NAMES = (
    "SUBMIT_HOST",
    "SUBMIT_PORT",
    "SUBMITS_PORT",
    "SUBMIT_USER",
    "SUBMIT_PASSWORD",
    "SUBMIT_FROM",
    "SUBMIT_CAFILE",
    "DEMO_RCPT",
    "DEMO_MAIL",
    "DEMO_CONFIG",
)


def wait_until(what: Callable[[], object], seconds: float = 60) -> None:
    ends_at = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends_at, "waited in vain"
        time.sleep(0.1)  # noqa: TID251 - other processes are at work


@frozen
class Demonstration:
    directory: Path
    environment: dict[str, str]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.directory.parent / "terminal").open("ab") as terminal:
            return subprocess.Popen(
                [sys.executable, "-m", "demo.run"],
                cwd=ROOT,
                env=self.environment,
                stdout=terminal,
                stderr=terminal,
            )

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "demo.run"],
            cwd=ROOT,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def terminal(self) -> str:
        return (self.directory.parent / "terminal").read_text()

    def wait_up(self, process: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: process.poll() is not None or "Ctrl-C" in self.terminal())
        assert process.poll() is None, self.terminal()

    def settings(self) -> dict[str, str]:
        """What a shell makes of the file."""
        shown = "; ".join(f'printf "%s\\n" "${name}"' for name in NAMES)
        file = shlex.quote(str(self.directory / "demo.env"))
        said = subprocess.run(
            ["/bin/sh", "-euc", f". {file}; {shown}"],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
        ).stdout
        return dict(zip(NAMES, said.splitlines(), strict=True))

    def client(self, user: str = "", password: str = "") -> smtplib.SMTP_SSL:
        its = self.settings()
        client = smtplib.SMTP_SSL(
            its["SUBMIT_HOST"],
            int(its["SUBMITS_PORT"]),
            timeout=30,
            context=ssl.create_default_context(cafile=its["SUBMIT_CAFILE"]),
        )
        client.login(user or its["SUBMIT_USER"], password or its["SUBMIT_PASSWORD"])
        return client

    def mail(self) -> list[EmailMessage]:
        return [
            message_from_bytes(path.read_bytes(), policy=policy.default)
            for path in (self.directory / "mail").glob("*.eml")
        ]


def make_demonstration(directory: Path) -> Demonstration:
    submit, submits, metrics = free_port(), free_port(), free_port()
    chosen = {
        "DEMO_DIRECTORY": str(directory),
        "SUBMIT_PORT": str(submit),
        "SUBMITS_PORT": str(submits),
        "DEMO_METRICS_PORT": str(metrics),
    }
    return Demonstration(directory, {**os.environ, **chosen})


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    demonstration = make_demonstration(tmp_path_factory.mktemp("demo") / "its run")
    process = demonstration.start()
    try:
        demonstration.wait_up(process)
        yield demonstration
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def letter(sender: str, recipient: str, subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message.set_content("Hello!\n")
    return message


def test_the_terminal_tells_what_became_of_the_first_mail(up: Demonstration) -> None:
    said = up.terminal()
    assert "log-in     alice, checked by the directory: 235" in said
    assert re.search(r"queue id   [0-9A-Z]{6,}\n", said)
    assert "by mx.example.net with ESMTPS" in said
    assert "rsa-sha256, demo-rsa.example.org: verified" in said
    assert "ed25519-sha256, demo-ed25519.example.org: verified" in said


def test_the_settings_of_a_mail_program_are_in_shell_syntax(up: Demonstration) -> None:
    its = up.settings()
    assert its["SUBMIT_HOST"] == "127.0.0.1"
    assert its["SUBMIT_PORT"] == up.environment["SUBMIT_PORT"]
    assert its["SUBMIT_FROM"] == "alice@example.org"
    assert Path(its["DEMO_MAIL"]) == up.directory / "mail"
    assert Path(its["DEMO_CONFIG"]).is_file()


def test_mail_of_the_readers_own_program_arrives_signed(up: Demonstration) -> None:
    its = up.settings()
    with up.client() as client:
        client.send_message(letter(its["SUBMIT_FROM"], its["DEMO_RCPT"], "my own"))

    def arrived() -> list[EmailMessage]:
        return [one for one in up.mail() if one["Subject"] == "my own"]

    wait_until(arrived)
    (mine,) = arrived()
    assert mine["Return-Path"] == "<alice@example.org>"
    assert len(mine.get_all("DKIM-Signature", [])) == 2


def test_alice_may_write_as_press_and_bob_may_not(up: Demonstration) -> None:
    letter_of_press = letter("press@example.org", "inbox@example.net", "news")
    with up.client() as alice:
        alice.send_message(letter_of_press)
    with (
        up.client("bob", "buildings") as bob,
        pytest.raises(smtplib.SMTPSenderRefused, match="not yours"),
    ):
        bob.send_message(letter_of_press)


def test_mail_to_bounce_comes_back_with_a_signed_report(up: Demonstration) -> None:
    with up.client() as client:
        client.send_message(letter("alice@example.org", "bounce@example.net", "lost"))

    def reports() -> list[EmailMessage]:
        return [
            one
            for one in up.mail()
            if one["Delivered-To"] == "alice@example.org"
            and one.get_content_type() == "multipart/report"
            and "bounce@example.net" in one.as_string()
        ]

    wait_until(reports)
    (report,) = reports()
    assert report["Return-Path"] == "<>"
    assert "DKIM-Signature" in report
    assert "550 5.1.1" in report.as_string()


def test_mail_to_greylist_arrives_at_the_second_attempt(up: Demonstration) -> None:
    with up.client() as client:
        client.send_message(letter("alice@example.org", "greylist@example.net", "grey"))
    wait_until(lambda: [one for one in up.mail() if one["Subject"] == "grey"])
    assert "refused  greylist@example.net: 451 4.7.1" in up.terminal()


def test_mail_to_slow_times_out_and_waits_for_its_next_attempt(
    up: Demonstration,
) -> None:
    with up.client() as client:
        client.send_message(letter("alice@example.org", "slow@example.net", "slow"))
    wait_until(
        lambda: re.search(r"delayed .* recipient=slow@example\.net", up.terminal())
    )
    assert not [one for one in up.mail() if one["Subject"] == "slow"]


def test_its_configuration_stands_every_check(up: Demonstration) -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "submitd.cli.main"),
            *("--config", up.settings()["DEMO_CONFIG"], "check", "--live"),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = checked.stdout.splitlines()
    assert [line for line in said if not line.startswith("ok ")] == []
    assert checked.returncode == 0
    assert "alice as press@example.org: allowed by roles" in checked.stdout


def test_a_port_in_use_is_named_in_one_sentence(
    tmp_path: Path, up: Demonstration
) -> None:
    other = make_demonstration(tmp_path / ".run")
    port = other.environment["SUBMITS_PORT"] = up.environment["SUBMITS_PORT"]
    ended = other.run()
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"demo: port {port} of 127.0.0.1 is in use")
    assert ended.stderr.count("\n") == 1


def test_a_second_demonstration_in_one_directory_is_refused(up: Demonstration) -> None:
    ended = up.run()
    assert ended.returncode == 1
    assert ended.stderr == f"demo: a demonstration runs in {up.directory} already\n"
    assert (up.directory / "demo.env").is_file()


def test_it_ends_by_interrupt_and_starts_again_in_the_same_place(
    tmp_path: Path,
) -> None:
    demonstration = make_demonstration(tmp_path / ".run")
    first = demonstration.start()
    demonstration.wait_up(first)
    authority = (demonstration.directory / "tls" / "ca.pem").read_bytes()
    with demonstration.client() as client:
        client.send_message(letter("alice@example.org", "slow@example.net", "left"))
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 0
    assert demonstration.terminal().endswith("stopped\n")
    assert not (demonstration.directory / "demo.env").exists()
    # It was stopped amid an attempt, and with a connection kept for more mail.
    log = (demonstration.directory / "submitd.log").read_text()
    assert [line for line in log.splitlines() if " error " in line] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(
            ("127.0.0.1", int(demonstration.environment["SUBMIT_PORT"]))
        )

    (tmp_path / "terminal").unlink()
    second = demonstration.start()
    demonstration.wait_up(second)
    assert (demonstration.directory / "tls" / "ca.pem").read_bytes() == authority
    # What waited in the queue is tried again.
    wait_until(lambda: "silent   to slow@example.net" in demonstration.terminal())
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


def test_the_death_of_a_part_ends_it_and_is_told(tmp_path: Path) -> None:
    demonstration = make_demonstration(tmp_path / ".run")
    process = demonstration.start()
    demonstration.wait_up(process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    (directory,) = (
        int(child)
        for child in children.split()
        if b"demo.directory" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    os.kill(directory, signal.SIGKILL)
    assert process.wait(60) == 1
    assert "demo: the directory was ended by SIGKILL" in demonstration.terminal()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(
            ("127.0.0.1", int(demonstration.environment["SUBMIT_PORT"]))
        )


def test_a_word_for_a_port_is_refused() -> None:
    with pytest.raises(Unusable, match="SUBMIT_PORT is 'smtp', which is no port"):
        Settings.read({"SUBMIT_PORT": "smtp"})


def test_certificates_are_kept_while_they_hold(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path).certificate.read_bytes()
    assert ensure_certificates(tmp_path).certificate.read_bytes() == first


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key"])
def test_a_missing_or_broken_certificate_is_made_anew(
    tmp_path: Path, name: str
) -> None:
    before = ensure_certificates(tmp_path).certificate.read_bytes()
    (tmp_path / name).write_text("broken")
    files = ensure_certificates(tmp_path)
    after = files.certificate.read_bytes()
    assert after != before
    leaf = x509.load_pem_x509_certificate(after)
    leaf.verify_directly_issued_by(
        x509.load_pem_x509_certificate(files.ca.read_bytes())
    )


def test_a_certificate_of_another_authority_is_made_anew(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    before = ensure_certificates(ours).certificate.read_bytes()
    ensure_certificates(theirs).ca.rename(ours / "ca.pem")
    assert ensure_certificates(ours).certificate.read_bytes() != before


def test_the_people_that_come_along_can_be_read() -> None:
    assert read_people(PEOPLE).dn.getText() == "dc=example,dc=org"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds nobody"),
        (b"# nobody yet\n", "holds nobody"),
        (b"dn: dc=example,dc=org\nobjectClass\n", "is no LDIF"),
        (b"cn: first\ndn: dc=example,dc=org\n", "is no LDIF"),
        (
            b"dn: dc=example,dc=org\ndc: example\n\ndn: uid=bob,ou=no\nuid: bob\n",
            "cannot be used: .*ou=no",
        ),
    ],
)
def test_people_that_cannot_be_read_are_refused_with_the_files_name(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "people.ldif"
    file.write_bytes(content)
    with pytest.raises(Unusable, match=rf"people\.ldif .*{why}"):
        read_people(file)


def test_a_missing_file_of_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be read: No such file"):
        read_people(tmp_path / "people.ldif")
