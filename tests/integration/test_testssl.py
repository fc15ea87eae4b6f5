"""testssl.sh on both ports: what others look for in a server's TLS."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from twisted.internet import reactor

from tests.support.in_reactor import in_reactor
from tests.support.one_process import OneProcess, in_thread

pytestmark = pytest.mark.integration

FINE: Final = {"OK", "INFO", "LOW", "DEBUG"}

NOT_OURS: Final = {
    "engine_problem": "what the program's own openssl lacks",
    "sessionresumption_ticket": "its client leaves before TLS 1.3's ticket has come",
    "sessionresumption_ID": "the same",
    "cert_chain_of_trust": "it is signed by itself, for this test",
    "cert_expirationStatus": "it is made for some days",
    "cert_notAfter": "the same",
    "cert_revocation": "nobody has issued it",
    "cert_trust": "it is for localhost, and asked for so",
    "cert_caIssuers": "it is its own issuer",
    "OCSP_stapling": "there is nobody to vouch for it",
}
"""Findings that say nothing about the server, most of them about a throw-away
certificate."""


def _findings(program: Path, report: Path, *words: str) -> list[str]:
    """What it finds, above LOW. Blocks for two minutes."""
    done = subprocess.run(
        [
            *(str(program), "--quiet", "--warnings", "batch", "--color", "0"),
            *("--nodns", "min", "--ip", "127.0.0.1", "--jsonfile", str(report), *words),
        ],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    found = json.loads(report.read_text())
    ids = {one["id"] for one in found}
    assert {"TLS1_2", "TLS1_3", "heartbleed", "scanTime"} <= ids, done.stdout[-2000:]
    return [
        f"{one['severity']} {one['id']}: {one['finding']}"
        for one in found
        if one["severity"] not in FINE and one["id"].partition(" ")[0] not in NOT_OURS
    ]


@pytest.mark.peers("testssl")
@pytest.mark.timeout(600)
@pytest.mark.rfc("9325", "3.1.1")
@in_reactor
async def test_testssl_finds_nothing_above_low(
    tmp_path: Path, peer: Callable[[str], Path]
) -> None:
    """On both ports, at the same time."""

    def look(server: OneProcess) -> list[list[str]]:
        program = peer("testssl")
        ports = {
            "submission": ["--starttls", "smtp"],
            "submissions": [],
        }
        with ThreadPoolExecutor(len(ports)) as pool:
            looks = [
                pool.submit(
                    _findings,
                    program,
                    tmp_path / f"{name}.json",
                    *words,
                    f"localhost:{server.port(name)}",
                )
                for name, words in ports.items()
            ]
            return [one.result() for one in looks]

    async with OneProcess(reactor, tmp_path) as server:
        assert await in_thread(lambda: look(server)) == [[], []]
        assert "[bug]" not in server.log
        assert "[session-broken]" not in server.log
