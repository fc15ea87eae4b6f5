"""Mail programs as people and scripts use them, against the whole server."""

import subprocess
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

TEXT = "From: alice@example.org\nTo: bob@example.net\nSubject: hi\n\n.dot\ntext\n"
Peer = Callable[[str], Path]


def run(*words: object, text: str = "") -> None:
    """The program, which must succeed. Blocks."""
    done = subprocess.run(
        [str(word) for word in words],
        input=text,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def arrived(server: OneProcess) -> tuple[str, str]:
    """Subject and body of the one message that came."""
    await server.receiver.has(1)
    (received,) = server.receiver.received
    assert received.reverse_path == "alice@example.org"
    assert received.forward_paths == ["bob@example.net"]
    message = message_from_bytes(received.content)
    return str(message["Subject"]), str(message.get_payload()).replace("\r\n", "\n")


@pytest.mark.peers("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@in_reactor
async def test_swaks(tmp_path: Path, peer: Peer, mechanism: str) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(
            lambda: run(
                peer("swaks"),
                *("--server", "localhost", "--port", server.port("submission")),
                *("--tls", "--tls-verify", "--tls-ca-path", server.ca),
                *("--auth", mechanism, "--auth-user", "alice"),
                *("--auth-password", "wonderland"),
                *("--from", "alice@example.org", "--to", "bob@example.net"),
                *("--header", "Subject: hi", "--body", ".dot\ntext\n"),
            )
        )
        subject, body = await arrived(server)
        assert subject == "hi"
        assert body.startswith(".dot\ntext\n")


@pytest.mark.peers("curl")
@in_reactor
async def test_curl(tmp_path: Path, peer: Peer) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(
            lambda: run(
                peer("curl"),
                *("--silent", "--show-error", "--cacert", server.ca),
                *("--url", f"smtps://localhost:{server.port('submissions')}"),
                *("--user", "alice:wonderland", "--crlf"),
                *("--mail-from", "alice@example.org"),
                *("--mail-rcpt", "bob@example.net", "--upload-file", "-"),
                text=TEXT,
            )
        )
        assert await arrived(server) == ("hi", ".dot\ntext\n")


@pytest.mark.peers("msmtp")
@in_reactor
async def test_msmtp(tmp_path: Path, peer: Peer) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(
            lambda: run(
                peer("msmtp"),
                *("--file=/dev/null", "--host=localhost"),
                f"--port={server.port('submission')}",
                *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={server.ca}"),
                *("--auth=plain", "--user=alice", "--passwordeval=echo wonderland"),
                *("--from=alice@example.org", "bob@example.net"),
                text=TEXT,
            )
        )
        assert await arrived(server) == ("hi", ".dot\ntext\n")


@pytest.mark.peers("s-nail")
@in_reactor
async def test_s_nail(tmp_path: Path, peer: Peer) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(
            lambda: run(
                peer("s-nail"),
                *("-n", "-S", "v15-compat", "-S", "tls-verify=strict"),
                *("-S", f"tls-ca-file={server.ca}", "-S", "smtp-auth=plain"),
                *("-S", "from=alice@example.org", "-S", "sendwait"),
                *("-S", "smtp-use-starttls"),
                "-S",
                f"mta=smtp://alice:wonderland@localhost:{server.port('submission')}",
                *("-s", "hi", "bob@example.net"),
                text="text\n",
            )
        )
        assert await arrived(server) == ("hi", "text\n")


NODEMAILER = """
const nodemailer = require(process.argv[2]);
const fs = require("fs");
const transport = nodemailer.createTransport({
  host: "localhost", port: Number(process.argv[3]), requireTLS: true,
  tls: { ca: fs.readFileSync(process.argv[4]) },
  auth: { user: "alice", pass: "wonderland" },
});
transport.sendMail({
  from: "alice@example.org", to: "bob@example.net", subject: "hi", text: "text\\n",
}).then(() => transport.close(), (fault) => { console.error(fault); process.exit(1); });
"""


@pytest.mark.peers("nodemailer")
@in_reactor
async def test_nodemailer(tmp_path: Path, peer: Peer) -> None:
    script = tmp_path / "send.js"
    script.write_text(NODEMAILER)
    async with OneProcess(reactor, tmp_path) as server:
        await in_thread(
            lambda: run(
                "node", script, peer("nodemailer"), server.port("submission"), server.ca
            )
        )
        assert await arrived(server) == ("hi", "text\n")


@pytest.mark.rfc("3461", "5.2.1")
@pytest.mark.peers("msmtp")
@in_reactor
async def test_msmtp_asks_for_reports(tmp_path: Path, peer: Peer) -> None:
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("PIPELINING", "DSN")
        await in_thread(
            lambda: run(
                peer("msmtp"),
                *("--file=/dev/null", "--host=localhost"),
                f"--port={server.port('submission')}",
                *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={server.ca}"),
                *("--auth=plain", "--user=alice", "--passwordeval=echo wonderland"),
                *("--dsn-notify=success,failure", "--dsn-return=headers"),
                *("--from=alice@example.org", "bob@example.net"),
                text=TEXT,
            )
        )
        assert await arrived(server) == ("hi", ".dot\ntext\n")
        (received,) = server.receiver.received
        assert received.wishes == "RET=HDRS"
        assert received.rcpt_wishes == ["NOTIFY=SUCCESS,FAILURE"]


@pytest.mark.rfc("2852", "4")
@pytest.mark.peers("swaks")
@in_reactor
async def test_swaks_sets_a_time_and_a_name(tmp_path: Path, peer: Peer) -> None:
    """It has no options for it, but puts what it is given into MAIL and RCPT."""
    async with OneProcess(reactor, tmp_path) as server:
        server.receiver.keywords = ("PIPELINING", "DSN", "DELIVERBY", "MT-PRIORITY")
        await in_thread(
            lambda: run(
                peer("swaks"),
                *("--server", "localhost", "--port", server.port("submission")),
                *("--tls", "--tls-verify", "--tls-ca-path", server.ca),
                *("--auth", "PLAIN", "--auth-user", "alice"),
                *("--auth-password", "wonderland"),
                "--from",
                "alice@example.org> BY=900;N MT-PRIORITY=-3 ENVID=swaks",
                *("--to", "bob@example.net> NOTIFY=NEVER ORCPT=rfc822;<b"),
                *("--h-From", "alice@example.org", "--h-To", "bob@example.net"),
                *("--header", "Subject: hi", "--body", "text\n"),
            )
        )
        assert (await arrived(server))[0] == "hi"
        (received,) = server.receiver.received
        assert received.wishes.startswith("ENVID=swaks> BY=")
        assert received.wishes.endswith(";N MT-PRIORITY=-3")
        assert received.rcpt_wishes == ["NOTIFY=NEVER ORCPT=rfc822;<b>"]
