"""A certificate from an authority: pebble asks, our server answers, and back."""

import json
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dns.message
import dns.query
import pytest
from attrs import define, field
from cryptography import x509

from submitd.tls.making import is_temporary, names_of
from tests.support import server as support
from tests.support.certificates import make_certificate
from tests.support.dns_peers import free_port
from tests.support.hosts import until
from tests.support.knot import running_knot
from tests.support.pebble import Pebble, running_names, running_pebble

pytestmark = [pytest.mark.integration, pytest.mark.peers("pebble")]

HOOK = Path(__file__).resolve().parents[2] / "etc" / "certbot-deploy-hook"
NAME = "submit.example.org"
CONFIG = """
[server]
hostname = "submit.example.org"
workers = 2
state_directory = "state"
control_socket = "control.sock"
[log]
file = "log"
format = "json"
[metrics]
listen = "127.0.0.1:{metrics}"
[tls]
acme = true
[acme]
terms_agreed = true
contact = "postmaster@example.org"
authority = "{authority}"
ca_file = "{ca_file}"
{acme}
[listener.submissions]
address = "127.0.0.1"
port = {port}
tls = "implicit"
[password_file]
path = "passwords"
"""


@define
class Server(support.Server):
    """One that has its certificate from an authority."""

    port: int = field(factory=free_port)
    metrics: int = field(factory=free_port)
    challenge_port: int = field(factory=free_port)

    def write(self, pebble: Pebble, acme: str = "") -> None:
        """The configuration; ``acme`` adds to its section."""
        text = CONFIG.format(
            authority=pebble.url,
            ca_file=pebble.ca_file,
            port=self.port,
            metrics=self.metrics,
            acme=f'address = "127.0.0.1"\nport = {self.challenge_port}\n{acme}',
        )
        self.configure(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.twistd.start()
        try:
            yield
        finally:
            assert self.twistd.stop() in (0, -signal.SIGTERM)

    def shown(self) -> x509.Certificate:
        """The certificate that a mail program is shown."""
        unverified = ssl._create_unverified_context()
        with closing(
            smtplib.SMTP_SSL("127.0.0.1", self.port, context=unverified, timeout=20)
        ) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            return x509.load_der_x509_certificate(
                client.sock.getpeercert(binary_form=True) or b""
            )

    def shows(self, what: Callable[[x509.Certificate], bool]) -> x509.Certificate:
        """Wait until every worker shows such a one."""
        until(lambda: all(what(self.shown()) for _ in range(8)), "the certificate", 40)
        return self.shown()

    @property
    def file(self) -> Path:
        return self.folder / "state" / "acme" / "certificate.pem"


def issued(certificate: x509.Certificate) -> bool:
    return "Pebble" in certificate.issuer.rfc4514_string()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server")


@pytest.fixture
def names() -> Iterator[int]:
    with running_names() as port:
        yield port


def get(port: int, path: str) -> bytes:
    """What a web server answers, whole."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(65536):
            answer += more
        return answer


@pytest.mark.rfc("8555", "8.3")
def test_a_certificate_is_had_over_http(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca", resolver=names, http_port=server.challenge_port
    ) as pebble:
        server.write(pebble)
        with server.running():
            certificate = server.shows(issued)
            assert names_of(certificate) == (NAME,)
            (entry,) = server.logs("certificate-issued")
            assert entry["names"] == NAME
            # The key is ours alone, and nothing is left of the question.
            assert server.file.stat().st_mode & 0o777 == 0o600
            path = "/.well-known/acme-challenge/anything"
            assert b" 404 " in get(server.challenge_port, path).splitlines()[0]
            ends = certificate.not_valid_after_utc.timestamp()
            figure = f"submitd_certificate_ends_timestamp_seconds {ends}".encode()
            wanted = figure.partition(b" ")[0]
            found = get(server.metrics, "/metrics").splitlines()
            (line,) = [one for one in found if one.startswith(wanted)]
            assert float(line.split()[1]) == ends
            shown = server.try_submitctl("certificate", "show", "--json")
            assert json.loads(shown.stdout)["names"] == [NAME]
            live = server.try_submitctl("check", "--live")
            assert "it answers; its terms: data:text/plain" in live.stdout, live.stdout

        # The same one after a restart: nobody is asked for another.
        with server.running():
            assert server.shown() == certificate
        assert len(server.logged("certificate-issued")) == 1


@pytest.mark.rfc("8737", "3")
def test_a_certificate_is_had_over_tls(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca", resolver=names, tls_port=server.challenge_port
    ) as pebble:
        server.write(
            pebble,
            'challenge = "tls-alpn-01"\nkey = "rsa"\n'
            f'names = ["{NAME}", "smtp.example.org"]',
        )
        with server.running():
            certificate = server.shows(issued)
            assert set(names_of(certificate)) == {NAME, "smtp.example.org"}
            # Who comes for anything else gets no certificate at all.
            with pytest.raises(ssl.SSLError):
                ssl.get_server_certificate(("127.0.0.1", server.challenge_port))


def test_until_there_is_one_a_temporary_one_is_shown_and_the_failure_is_told(
    server: Server, names: int, tmp_path: Path
) -> None:
    """Everything that can go wrong with an authority, and its end."""
    folder, port = tmp_path / "ca", free_port()
    # Its certificate is made with its first start.
    with running_pebble(folder, resolver=names, port=port) as pebble:
        trusted = shutil.copy(pebble.ca_file, tmp_path)
    server.write(Pebble(pebble.url, Path(trusted)))
    with server.running():
        # It is away.
        (entry,) = server.logs("certificate-not-issued")
        assert "Connection refused" in entry["problem"]
        assert 240 <= entry["retry_in"] <= 300
        assert is_temporary(server.shown())
        tried = server.try_submitctl("certificate", "renew")
        assert tried.returncode == os.EX_TEMPFAIL
        assert "Connection refused" in tried.stderr

        # It asks where nobody answers.
        with running_pebble(folder, resolver=names, port=port, http_port=free_port()):
            tried = server.try_submitctl("certificate", "renew")
            assert tried.returncode == os.EX_TEMPFAIL
            assert tried.stderr.startswith(f"submitctl: {NAME}: connection: ")
            assert "connection refused" in tried.stderr

        # It has another certificate than the one that is trusted.
        with running_pebble(tmp_path / "another", resolver=names, port=port):
            tried = server.try_submitctl("certificate", "renew")
            assert "certificate verify failed" in tried.stderr
            live = server.try_submitctl("check", "--live")
            assert f"cannot tell  authority {pebble.url}" in live.stdout
            assert "it is temporary" in live.stdout

        assert len(server.logged("certificate-not-issued")) == 4
        assert is_temporary(server.shown())
        shown = server.try_submitctl("certificate", "show")
        assert "submitd itself, until the authority issues one" in shown.stdout

        # It is back, and all is well.
        with running_pebble(
            folder, resolver=names, port=port, http_port=server.challenge_port
        ):
            done = server.try_submitctl("certificate", "renew")
            assert done.returncode == os.EX_OK, done.stderr
            assert "Pebble" in done.stdout
            server.shows(issued)


def test_it_is_renewed_before_it_ends_and_no_connection_is_lost(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca",
        resolver=names,
        http_port=server.challenge_port,
        validity=40,
    ) as pebble:
        server.write(pebble)
        with server.running():
            first = server.shows(issued)
            unverified = ssl._create_unverified_context()
            with closing(
                smtplib.SMTP_SSL("127.0.0.1", server.port, context=unverified)
            ) as client:
                old, new = server.logs("certificate-issued", 2)[:2]
                assert new["time"] < old["ends"]
                second = server.shows(
                    lambda one: issued(one) and one.serial_number != first.serial_number
                )
                assert client.noop()[0] == 250
            # Its key is a new one each time.
            assert first.public_key() != second.public_key()


def test_a_certificate_that_nobody_renews_is_told_of_before_it_ends(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca",
        resolver=names,
        http_port=server.challenge_port,
        validity=20,
    ) as pebble:
        server.write(pebble)
        with server.running():
            server.shows(issued)
    # The authority is gone, and the next start finds an old certificate.
    left = x509.load_pem_x509_certificates(server.file.read_bytes())[0]
    until(lambda: ends_within(left, 3), "the certificate's last seconds", 30)
    with server.running():
        server.logs("certificate-not-issued")
        (entry,) = server.logs("certificate-ends")
        assert entry["file"] == str(server.file)


def ends_within(certificate: x509.Certificate, seconds: float) -> bool:
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left.total_seconds() < seconds


@pytest.mark.rfc("8555", "8.4")
@pytest.mark.rfc("2136", "3")
@pytest.mark.rfc("8945", "5")
@pytest.mark.peers("knot")
def test_a_certificate_is_had_over_dns(server: Server, tmp_path: Path) -> None:
    names = ["example.org", "*.example.org"]
    with (
        running_knot(tmp_path / "dns", "example.org") as knot,
        running_pebble(tmp_path / "ca", resolver=knot.port) as pebble,
    ):
        (server.folder / "key").write_text(knot.secret + "\n")
        server.write(
            pebble,
            f"""
challenge = "dns-01"
names = {json.dumps(names)}
[acme.dns]
server = "127.0.0.1:{knot.port}"
key_name = "updates"
key_file = "key"
settle = "0s"
""",
        )
        with server.running():
            assert set(names_of(server.shows(issued))) == set(names)
            (entry,) = server.logs("certificate-issued")
            assert "problem" not in entry
            # Nothing listens for a question that nobody asks, and the zone is clean.
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", server.challenge_port))
            question = dns.message.make_query("_acme-challenge.example.org", "TXT")
            answer = dns.query.udp(question, "127.0.0.1", 10, knot.port)
            assert not answer.answer

            # A key that the name server does not know.
            (server.folder / "key").write_text("bm8gZ29vZCBrZXk=\n")
            assert server.try_submitctl("reload").returncode == os.EX_OK
            tried = server.try_submitctl("certificate", "renew", "--force")
            assert "didn't like the signature" in tried.stderr


def test_a_web_server_that_has_the_port_shows_the_proof(
    server: Server, names: int, tmp_path: Path
) -> None:
    root = tmp_path / "www"
    root.mkdir()
    # A web server of somebody else's.
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "http.server", str(server.challenge_port)),
            *("--bind", "127.0.0.1", "--directory", str(root)),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as web:
        try:
            with running_pebble(
                tmp_path / "ca", resolver=names, http_port=server.challenge_port
            ) as pebble:
                server.write(pebble, f'webroot = "{root}"')
                with server.running():
                    server.shows(issued)
                    assert [one for one in root.rglob("*") if one.is_file()] == []
        finally:
            web.terminate()


@pytest.mark.rfc("8555", "7.3.4")
def test_an_authority_that_binds_accounts_gets_its_key(
    server: Server, names: int, tmp_path: Path
) -> None:
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    with running_pebble(
        tmp_path / "ca",
        resolver=names,
        http_port=server.challenge_port,
        account_keys={"customer-1": key},
    ) as pebble:
        server.write(pebble)
        with server.running():
            (entry,) = server.logs("certificate-not-issued")
            assert entry["problem"].startswith("externalAccountRequired")
            (server.folder / "eab").write_text(key)
            server.write(pebble, 'account_id = "customer-1"\naccount_key_file = "eab"')
            assert server.try_submitctl("reload").returncode == os.EX_OK
            server.shows(issued)
        assert key not in (server.folder / "log").read_text()


def test_a_reload_takes_up_other_names_and_the_way_back_to_files(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca", resolver=names, http_port=server.challenge_port
    ) as pebble:
        make_certificate(server.folder, "own.pem", "own.key", [NAME])
        server.write(pebble)
        with_acme = (server.folder / "submitd.toml").read_text()
        without = with_acme.replace(
            "acme = true", 'certificate = "own.pem"\nkey = "own.key"'
        )
        (server.folder / "submitd.toml").write_text(without)
        with server.running():
            assert not is_issued_or_temporary(server)
            refused = server.try_submitctl("certificate", "renew")
            assert "no [tls] acme = true" in refused.stderr

            (server.folder / "submitd.toml").write_text(with_acme)
            assert server.try_submitctl("reload").returncode == os.EX_OK
            server.shows(issued)

            server.write(pebble, f'names = ["{NAME}", "smtp.example.org"]')
            assert server.try_submitctl("reload").returncode == os.EX_OK
            server.shows(lambda one: "smtp.example.org" in names_of(one))

            (server.folder / "submitd.toml").write_text(without)
            assert server.try_submitctl("reload").returncode == os.EX_OK
            server.shows(lambda one: not issued(one))
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", server.challenge_port))
            refused = server.try_submitctl("certificate", "renew")
            assert "no [tls] acme = true" in refused.stderr


def test_a_reload_while_an_order_is_under_way_is_not_forgotten(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca",
        resolver=names,
        http_port=server.challenge_port,
        thinks_for=3,
    ) as pebble:
        server.write(pebble)
        with server.running():
            server.write(pebble, f'names = ["{NAME}", "smtp.example.org"]')
            assert server.try_submitctl("reload").returncode == os.EX_OK
            # Waits for its turn, and finds nothing left to do.
            assert server.try_submitctl("certificate", "renew").returncode == os.EX_OK
            server.shows(lambda one: "smtp.example.org" in names_of(one))
            assert [one["names"] for one in server.logged("certificate-issued")] == [
                NAME,
                f"{NAME}, smtp.example.org",
            ]


def test_a_file_that_was_damaged_is_replaced(
    server: Server, names: int, tmp_path: Path
) -> None:
    with running_pebble(
        tmp_path / "ca", resolver=names, http_port=server.challenge_port
    ) as pebble:
        server.write(pebble)
        with server.running():
            server.shows(issued)
            server.file.write_text("nonsense")
            renewed = server.try_submitctl("certificate", "renew")
            assert renewed.returncode == os.EX_OK, renewed.stderr
            server.shows(issued)


def is_issued_or_temporary(server: Server) -> bool:
    return issued(server.shown()) or "temporary" in str(server.shown().issuer)


def test_a_port_that_is_taken_stops_the_start(
    server: Server, names: int, tmp_path: Path
) -> None:
    with (
        running_pebble(tmp_path / "ca", resolver=names) as pebble,
        closing(socket.create_server(("127.0.0.1", server.challenge_port))),
    ):
        server.write(pebble)
        with pytest.raises(AssertionError, match=r"\[acme\]: cannot listen .* another"):
            server.twistd.start()


@pytest.mark.peers("certbot")
def test_certbot_hands_over_what_it_renews(
    server: Server, names: int, tmp_path: Path
) -> None:
    target = server.folder / "submitd.pem"
    environ = os.environ | {
        "SUBMITD_PEM": str(target),
        "SUBMITD_GROUP": str(os.getgid()),
    }
    with running_pebble(
        tmp_path / "ca", resolver=names, http_port=server.challenge_port
    ) as pebble:
        words = [
            *("certbot", "certonly", "--standalone", "--non-interactive"),
            *("--agree-tos", "--register-unsafely-without-email"),
            *("--server", pebble.url, "-d", NAME),
            *("--http-01-address", "127.0.0.1"),
            *("--http-01-port", str(server.challenge_port)),
            *("--deploy-hook", str(HOOK)),
        ]
        for folder in ("config", "work", "logs"):
            words += [f"--{folder}-dir", str(tmp_path / folder)]
        environ["REQUESTS_CA_BUNDLE"] = str(pebble.ca_file)

        def run_certbot(*more: str) -> None:
            subprocess.run(
                [*words, *more],
                env=environ,
                check=True,
                timeout=120,
                stdout=subprocess.DEVNULL,
            )

        run_certbot()
        assert target.stat().st_mode & 0o777 == 0o640
        server.write(pebble)
        text = (server.folder / "submitd.toml").read_text()
        (server.folder / "submitd.toml").write_text(
            text.replace(
                "acme = true", 'certificate = "submitd.pem"\nkey = "submitd.pem"'
            )
        )
        with server.running():
            first = server.shown()
            assert issued(first)
            run_certbot("--force-renewal")
            assert server.try_submitctl("reload").returncode == os.EX_OK
            server.shows(
                lambda one: issued(one) and one.serial_number != first.serial_number
            )
        # Nothing half written is left beside it.
        assert not list(server.folder.glob(".submitd.*"))
