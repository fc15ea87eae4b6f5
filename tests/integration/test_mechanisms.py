"""Each way to log in, with the clients that know it, against the whole server."""

import binascii
import smtplib
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from joserfc.jwk import ECKey
from twisted.internet import reactor

from submitd.sasl.scram_keys import make_keys
from tests.support.certificates import ClientAuthority, principal_name
from tests.support.dns_peers import free_port
from tests.support.in_reactor import in_reactor
from tests.support.issuer import Issuer
from tests.support.mechanisms import ScramClient
from tests.support.one_process import OneProcess, in_thread
from tests.support.slapd import Slapd, person

pytestmark = pytest.mark.integration

Peer = Callable[[str], Path]


def stored(password: str) -> str:
    """As Dovecot and gsasl write keys."""
    keys = make_keys(password, b"salt of 16 octet", 4096)
    parts = (keys.salt, keys.stored_key, keys.server_key)
    salt, stored_key, server_key = (b64encode(one).decode() for one in parts)
    return f"{{SCRAM-SHA-256}}4096,{salt},{stored_key},{server_key}"


SCRAM_FILE: Final = f"alice:{stored('wonderland')}\nlate:!{stored('lamented')}\n"


@asynccontextmanager
async def serving(
    folder: Path, more: str = "", passwords: str = "", **settings: str
) -> AsyncIterator[OneProcess]:
    """The server with this password file and ``more`` settings."""
    server = OneProcess(reactor, folder, more, **settings)  # type: ignore[arg-type]
    if passwords:
        (folder / "passwords").write_text(passwords)
    async with server:
        yield server


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """The program, whatever comes of it. Blocks."""
    return subprocess.run(
        [str(word) for word in words],
        input="From: alice@example.org\r\nSubject: hi\r\n\r\ntext\r\n",
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )


def gsasl(
    peer: Peer, server: OneProcess, mechanism: str, *more: object
) -> tuple[int, str]:
    """Exit status and what was said. Blocks."""
    done = run(
        peer("gsasl"),
        *(
            "--smtp",
            "--starttls",
            "--connect",
            f"localhost:{server.port('submission')}",
        ),
        *("--hostname", "localhost", "--x509-ca-file", server.ca),
        *("--mechanism", mechanism, "--verbose", *more),
    )
    return done.returncode, done.stdout + done.stderr


ALICE: Final = ("--authentication-id", "alice", "--password")


@pytest.mark.peers("gsasl")
@pytest.mark.rfc("5802", "6")
@pytest.mark.rfc("9266", "2")
@in_reactor
async def test_gsasl_by_scram(tmp_path: Path, peer: Peer) -> None:
    """It binds the channel by tls-exporter, and trusts us only after our proof."""
    async with serving(tmp_path, passwords=SCRAM_FILE) as server:
        for mechanism, more in (
            ("SCRAM-SHA-256-PLUS", ()),
            ("SCRAM-SHA-256-PLUS", ("--authorization-id", "alice")),
            ("SCRAM-SHA-256", ("--no-cb",)),
        ):
            words = (*ALICE, "wonderland", *more)
            status, said = await in_thread(
                lambda mechanism=mechanism, words=words: gsasl(  # type: ignore[misc]
                    peer, server, mechanism, *words
                )
            )
            assert status == 0, said
            assert "235 2.7.0" in said
            assert "server trusted" in said
        for words in ((*ALICE, "wrong"), ("--authentication-id", "late", *ALICE[2:])):
            status, said = await in_thread(
                lambda words=words: gsasl(  # type: ignore[misc]
                    peer, server, "SCRAM-SHA-256-PLUS", *words, "lamented"
                )
            )
            assert status != 0
        assert server.log.count("[login-succeeded]") == 3
        await server.logs("wrong password, or nobody of that name has keys")
        assert "mechanism=SCRAM-SHA-256-PLUS" in server.log


@pytest.mark.rfc("5929", "4.1")
@in_reactor
async def test_scram_plus_by_the_servers_certificate(tmp_path: Path) -> None:
    """No client in Debian binds so: Python's own TLS has what it takes."""

    def log_in(server: OneProcess, bound: bytes) -> int:
        with server.implicit() as client:
            client.ehlo()
            scram = ScramClient(
                "wonderland",
                name="alice",
                header="p=tls-server-end-point,,",
                bound=bound,
            )
            code, said = converse(client, "SCRAM-SHA-256-PLUS", scram)
            if code == 334:
                assert decoded(said) == scram.signature
                code, _ = client.docmd("")
            return code

    async with serving(tmp_path, passwords=SCRAM_FILE) as server:
        own = x509.load_pem_x509_certificate(server.ca.read_bytes())
        digest = own.fingerprint(own.signature_hash_algorithm)  # type: ignore[arg-type]
        assert await in_thread(lambda: log_in(server, digest)) == 235
        assert await in_thread(lambda: log_in(server, bytes(32))) == 535
        await server.logs("bound to another channel")


def encoded(octets: bytes) -> str:
    return b64encode(octets).decode()


def decoded(said: bytes) -> bytes:
    return binascii.a2b_base64(said)


def converse(
    client: smtplib.SMTP, mechanism: str, scram: ScramClient
) -> tuple[int, bytes]:
    """Up to the answer to the proof."""
    code, said = client.docmd("AUTH", f"{mechanism} {encoded(scram.first())}")
    assert code == 334, said
    return client.docmd(encoded(scram.final(decoded(said))))


@pytest.mark.rfc("5802", "6")
@in_reactor
async def test_scram_refuses_who_was_told_that_there_is_no_plus(tmp_path: Path) -> None:
    def log_in(server: OneProcess) -> tuple[int, bytes]:
        with server.implicit() as client:
            client.ehlo()
            assert "SCRAM-SHA-256-PLUS" in client.esmtp_features["auth"]
            scram = ScramClient("wonderland", name="alice", header="y,,")
            return client.docmd("AUTH", f"SCRAM-SHA-256 {encoded(scram.first())}")

    async with serving(tmp_path, passwords=SCRAM_FILE) as server:
        code, _ = await in_thread(lambda: log_in(server))
        assert code == 535
        await server.logs("not the channel binding that was offered")


@pytest.mark.rfc("4954", "9")
@in_reactor
async def test_keys_of_nobody_look_like_keys(tmp_path: Path) -> None:
    """The same for a name each time it is asked for, and the same for all its forms."""

    def salts(server: OneProcess) -> Sequence[str]:
        with server.implicit() as client:
            client.ehlo()
            heard = []
            for name in ("ghost", "Ghost", "ghost", "other", "alice"):
                scram = ScramClient("x", name=name)
                code, said = client.docmd(
                    "AUTH", f"SCRAM-SHA-256 {encoded(scram.first())}"
                )
                assert code == 334
                heard.append(decoded(said).decode().split(",", 1)[1])
                client.docmd("*")
            return heard

    async with serving(tmp_path, passwords=SCRAM_FILE) as server:
        heard = await in_thread(lambda: salts(server))
        await server.stop()
        await server.start()
        # Or who asks around a restart would learn who is nobody.
        assert await in_thread(lambda: salts(server)) == heard
        ghost, again, third, other, alice = heard
        assert ghost == again == third
        assert len({ghost, other, alice}) == 3
        assert {len(one) for one in (ghost, other, alice)} == {len(alice)}
        assert all(one.endswith("i=4096") for one in (ghost, other, alice))


@pytest.mark.rfc("4954", "9")
@in_reactor
async def test_scram_log_ins_that_are_broken_off_come_to_an_end(tmp_path: Path) -> None:
    """Each has somebody asked for keys; who shows a proof is not put off by others'."""

    def break_off(server: OneProcess, times: int) -> list[int]:
        with server.implicit() as client:
            client.ehlo()
            codes = []
            for number in range(times):
                scram = ScramClient("x", name=f"ghost{number}")
                word = f"SCRAM-SHA-256 {encoded(scram.first())}"
                codes.append(client.docmd("AUTH", word)[0])
                if codes[-1] == 334:
                    client.docmd("*")
            return codes

    def log_in(server: OneProcess) -> int:
        with server.implicit() as client:
            client.ehlo()
            scram = ScramClient("wonderland", name="alice")
            code, _ = converse(client, "SCRAM-SHA-256", scram)
            return client.docmd("")[0] if code == 334 else code

    limited = "failures_per_address = 10"
    async with serving(tmp_path, passwords=SCRAM_FILE, log_in=limited) as server:
        assert await in_thread(lambda: log_in(server)) == 235
        for _ in range(14):
            assert await in_thread(lambda: break_off(server, 15)) == [334] * 15
        assert await in_thread(lambda: break_off(server, 1)) == [454]
        await server.logs("[brake-began]")
        assert server.log.count("[log-ins-abandoned]") == 1
        # Alice is known from there.
        assert await in_thread(lambda: log_in(server)) == 235


@in_reactor
async def test_what_is_offered_follows_the_password_file(tmp_path: Path) -> None:
    """A client that knows SCRAM would try nothing else for who has no keys."""

    def offered(server: OneProcess) -> str:
        with server.implicit() as client:
            client.ehlo()
            return client.esmtp_features["auth"].strip()

    for passwords, auth in (
        (SCRAM_FILE, "PLAIN LOGIN SCRAM-SHA-256-PLUS SCRAM-SHA-256"),
        (SCRAM_FILE + "bob:{PLAIN}buildings\n", "PLAIN LOGIN"),
        ("late:!x\n", "PLAIN LOGIN"),
    ):
        async with serving(tmp_path, passwords=passwords) as server:
            assert await in_thread(lambda server=server: offered(server)) == auth  # type: ignore[misc]


DIRECTORY: Final = """
[ldap]
servers = ["{url}"]
ca_file = "{ca}"
base = "ou=users,dc=example,dc=org"
bind_dn = "cn=submitd,ou=services,dc=example,dc=org"
bind_password_file = "reader"
lock_filter = "(mailDisableMessage=*)"
check = "hash"
scram_attribute = "mailPassword"
"""


def authpassword(password: str) -> str:
    """As RFC 5803 writes keys."""
    iterations, salt, stored_key, server_key = stored(password)[15:].split(",")
    return f"SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}"


@pytest.mark.peers("gsasl", "slapd")
@pytest.mark.rfc("5803", "2")
@in_reactor
async def test_keys_and_locks_of_a_directory(tmp_path: Path, peer: Peer) -> None:
    """And who has keys there can log in with the password as well."""
    locks = {
        "erna": {"userPassword": "{CRYPT}*LK*"},
        "fritz": {"accountStatus": "inactive 2020-01-01"},
        "gerd": {"shadowExpire": "1"},
        "hanna": {"mailDisableMessage": "on leave"},
    }
    people = [
        person("carla", mailPassword=stored("of carla")),
        person("dirk", mailPassword=authpassword("of dirk")),
        *(
            person(name, mailPassword=stored(f"of {name}"), **lock)
            for name, lock in locks.items()
        ),
    ]
    slapd = Slapd(peer("slapd"), tmp_path / "ldap", free_port(), tuple(people))
    ca = await in_thread(slapd.prepare)
    await in_thread(slapd.start)
    (tmp_path / "reader").write_text("reader\n")
    more = DIRECTORY.format(url=slapd.url, ca=ca)
    async with serving(tmp_path, more, log_in='order = ["ldap"]') as server:

        async def said(name: str, password: str, mechanism: str) -> str:
            words = ("--authentication-id", name, "--password", password)
            _, told = await in_thread(lambda: gsasl(peer, server, mechanism, *words))
            return told

        for name in ("carla", "CARLA", "dirk"):
            for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN"):
                password = f"of {name.lower()}"
                assert "235 2.7.0" in await said(name, password, mechanism)
        for name in locks:
            assert "535 5.7.8" in await said(name, f"of {name}", "SCRAM-SHA-256-PLUS")
        await server.until(lambda: server.log.count("[account-locked]") == len(locks))
        await in_thread(slapd.stop)
        told = await said("carla", "of carla", "SCRAM-SHA-256-PLUS")
        assert "454 4.7.0" in told
        await server.logs("[login-unavailable]")


def swaks(
    peer: Peer, server: OneProcess, mechanism: str, password: str
) -> subprocess.CompletedProcess[str]:
    """Up to the log-in and no further. Blocks."""
    return run(
        peer("swaks"),
        *("--server", "localhost", "--port", server.port("submission")),
        *("--tls", "--tls-verify", "--tls-ca-path", server.ca),
        *("--auth", mechanism, "--auth-user", "alice", "--auth-password", password),
        *("--quit-after", "AUTH"),
    )


@pytest.mark.peers("swaks")
@pytest.mark.rfc("2195", "2")
@in_reactor
async def test_swaks_by_cram_md5(tmp_path: Path, peer: Peer) -> None:
    """Only where it is asked for, and passwords are stored in the clear."""
    wanted = 'mechanisms = ["PLAIN", "LOGIN", "CRAM-MD5"]'
    async with serving(tmp_path, log_in=wanted) as server:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            done = await in_thread(
                lambda mechanism=mechanism: swaks(  # type: ignore[misc]
                    peer, server, mechanism, "wonderland"
                )
            )
            assert done.returncode == 0, done.stdout
            assert "AUTH PLAIN LOGIN CRAM-MD5" in done.stdout
        done = await in_thread(lambda: swaks(peer, server, "CRAM-MD5", "wrong"))
        assert "535 5.7.8" in done.stdout
    async with serving(tmp_path) as server:
        done = await in_thread(lambda: swaks(peer, server, "CRAM-MD5", "wonderland"))
        assert done.returncode != 0
        assert "AUTH PLAIN LOGIN\n" in done.stdout


def curl(
    peer: Peer, server: OneProcess, *more: object
) -> subprocess.CompletedProcess[str]:
    """Send a message. Blocks."""
    return run(
        peer("curl"),
        *("--silent", "--show-error", "--verbose", "--cacert", server.ca),
        *("--url", f"smtps://localhost:{server.port('submissions')}"),
        *("--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.net"),
        *("--upload-file", "-", *more),
    )


def by_token(mechanism: str, token: str, user: str = "alice") -> tuple[object, ...]:
    """curl's words."""
    return (
        *("--user", f"{user}:", "--oauth2-bearer", token),
        *("--login-options", f"AUTH={mechanism}"),
    )


@pytest.mark.peers("curl")
@pytest.mark.rfc("7628", "3.1")
@pytest.mark.rfc("7628", "3.2.3")
@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@in_reactor
async def test_curl_by_a_signed_token(
    tmp_path: Path, peer: Peer, mechanism: str
) -> None:
    issuer = Issuer(reactor, tmp_path)
    # Of the two curl takes OAUTHBEARER, whatever it is told to.
    wanted = f'mechanisms = ["PLAIN", "{mechanism}"]'
    async with serving(tmp_path, issuer.settings(), log_in=wanted) as server:

        async def sent(token: str, *more: object, user: str = "alice") -> str:
            done = await in_thread(
                lambda: curl(peer, server, *by_token(mechanism, token, user), *more)
            )
            return "sent" if done.returncode == 0 else done.stderr

        assert await sent(issuer.token(), "--sasl-ir") == "sent"
        assert await sent(issuer.token()) == "sent"
        await server.receiver.has(2)
        refused = (
            (issuer.token(exp=1), "expired_token"),
            (issuer.token(aud="elsewhere"), "aud"),
            (issuer.token(iss="https://evil.example"), "iss"),
            (
                issuer.token(preferred_username="late"),
                "late: the password file locks it",
            ),
            (issuer.token(preferred_username="ghost"), "nobody here is called ghost"),
            ("not.a.token", "no signed token"),
        )
        for token, reason in refused:
            assert "Login denied" in await sent(token, "--sasl-ir"), reason
            await server.logs(reason)
        assert "Login denied" in await sent(issuer.token(), user="bob")
        await server.logs("may not act as another")
        # A key that is too new to be known is no "no".
        failed = server.log.count("[login-failed]")
        issuer.keys["second"] = ECKey.generate_key("P-256", {"kid": "second"})
        assert "454 4.7.0" in await sent(issuer.token("second"))
        await server.logs("was asked for its keys a moment ago")
        assert server.log.count("[login-failed]") == failed
        assert "[login-unavailable]" not in server.log
        # The issuer was asked for its keys once.
        assert issuer.asked == ["/keys"]
        assert f"mechanism={mechanism}" in server.log
        assert issuer.token()[:60] not in server.log
    await issuer.close()


@pytest.mark.peers("curl")
@pytest.mark.rfc("7662", "2.2")
@in_reactor
async def test_curl_by_a_token_that_its_issuer_knows(
    tmp_path: Path, peer: Peer
) -> None:
    issuer = Issuer(reactor, tmp_path)
    (tmp_path / "client-secret").write_text("secret word\n")
    issuer.known["opaque"] = {
        "active": True,
        "aud": ["other", "submit.example.org"],
        "preferred_username": "alice@example.org",
    }
    more = (
        issuer.settings("introspection_url")
        + 'client_id = "submitd"\nclient_secret_file = "client-secret"\n'
    )
    async with serving(tmp_path, more) as server:

        async def said(token: str) -> str:
            words = by_token("OAUTHBEARER", token)
            done = await in_thread(lambda: curl(peer, server, *words))
            return "sent" if done.returncode == 0 else done.stderr

        assert "535 5.7.8" in await said("opaque")  # no such login domain here
        issuer.known["opaque"]["preferred_username"] = "alice"
        assert await said("opaque") == "sent"
        assert "535 5.7.8" in await said("unknown")
        issuer.fault = 500
        assert "454 4.7.0" in await said("opaque")
        await server.logs("[issuer-down]")
        issuer.fault = 0
        assert await said("opaque") == "sent"
    await issuer.close()


@pytest.mark.peers("curl")
@in_reactor
async def test_an_issuer_that_is_down_refuses_nobody(
    tmp_path: Path, peer: Peer
) -> None:
    issuer = Issuer(reactor, tmp_path)
    more, token = issuer.settings(), issuer.token()
    await issuer.close()
    async with serving(tmp_path, more) as server:
        words = by_token("XOAUTH2", token)
        done = await in_thread(lambda: curl(peer, server, *words))
        assert "454 4.7.0" in done.stderr
        await server.logs("[issuer-down]")
        assert server.log.count("[login-failed]") == 0


@pytest.mark.peers("curl", "gsasl", "slapd")
@in_reactor
async def test_who_is_proved_by_an_address_may_be_called_by_it(
    tmp_path: Path, peer: Peer
) -> None:
    """A mail program says the address, and the directory calls people by a uid."""
    address = "carla.jung@example.org"
    slapd = Slapd(
        peer("slapd"),
        tmp_path / "ldap",
        free_port(),
        (person("cjung", mail=address), person("dirk", mail="dirk@example.org")),
    )
    ca = await in_thread(slapd.prepare)
    await in_thread(slapd.start)
    (tmp_path / "reader").write_text("reader\n")
    issuer = Issuer(reactor, tmp_path)
    both = ClientAuthority(tmp_path).make(
        "both.pem", [x509.RFC822Name("dirk@example.org"), x509.RFC822Name(address)]
    )
    more = (
        DIRECTORY.format(url=slapd.url, ca=ca)
        + 'filter = "(|(uid={login})(mail={login}))"\n'
        + issuer.settings()
        + 'user_claim = "email"\n'
    )
    async with serving(tmp_path, log_in='order = ["ldap"]') as server:
        await server.stop()
        with_clients(server, more)
        await server.start()
        words = by_token("XOAUTH2", issuer.token(email=address), address)
        done = await in_thread(
            # Who may send as whom is not what is looked at here.
            lambda: curl(peer, server, *words, "--mail-from", address)
        )
        assert "235 2.7.0" in done.stderr
        for wanted in (address, "cjung", "dirk"):
            words = ("--authorization-id", wanted, "--x509-cert-file", both)
            _, said = await in_thread(
                lambda words=words: gsasl(  # type: ignore[misc]
                    peer, server, "EXTERNAL", *words, "--x509-key-file", both
                )
            )
            assert "235 2.7.0" in said
        await server.until(lambda: server.log.count("[login-succeeded]") == 4)
        logins = [line for line in server.log.splitlines() if "login-succeeded" in line]
        assert ["login=cjung" in one for one in logins] == [True, True, True, False]
    await issuer.close()
    await in_thread(slapd.stop)


def with_clients(server: OneProcess, more: str = "") -> None:
    """Certificates of clients are asked for."""
    server.write(more)
    file = server.folder / "submitd.toml"
    file.write_text(
        file.read_text().replace("[tls]\n", '[tls]\nclient_ca_file = "clients.pem"\n')
    )


def offers_external(server: OneProcess, certificate: Path | None) -> bool:
    """Whether who shows this is offered EXTERNAL. Blocks."""
    context = ssl.create_default_context(cafile=str(server.ca))
    if certificate is not None:
        context.load_cert_chain(certificate)
    with smtplib.SMTP_SSL(
        "localhost", server.port("submissions"), context=context, timeout=20
    ) as client:
        client.ehlo()
        return "EXTERNAL" in client.esmtp_features["auth"].split()


@pytest.mark.peers("gsasl", "curl")
@pytest.mark.rfc("4422", "A")
@in_reactor
async def test_a_certificate_logs_in(tmp_path: Path, peer: Peer) -> None:
    authority = ClientAuthority(tmp_path)
    others = tmp_path / "others"
    others.mkdir()
    alice = authority.make("alice.pem", [x509.RFC822Name("alice@example.org")])
    late = authority.make("late.pem", [x509.RFC822Name("late@example.org")])
    ended = authority.make(
        "ended.pem", [x509.RFC822Name("alice@example.org")], lifetime=timedelta(0, 60)
    )
    forged = ClientAuthority(others).make(
        "forged.pem", [x509.RFC822Name("alice@example.org")]
    )
    more = '[ldap]\nlogin_domains = ["example.org"]\n'
    async with serving(tmp_path) as server:
        assert not await in_thread(lambda: offers_external(server, alice))
        await server.stop()
        with_clients(server, more)
        await server.start()
        for certificate, is_offered in (
            (alice, True),
            (None, False),
            (ended, False),
            (forged, False),
        ):
            assert (
                await in_thread(
                    lambda shown=certificate: offers_external(server, shown)  # type: ignore[misc]
                )
                is is_offered
            )

        def by_gsasl(certificate: Path, authzid: str) -> str:
            _, said = gsasl(
                peer,
                server,
                "EXTERNAL",
                *("--authorization-id", authzid, "--x509-cert-file", certificate),
                *("--x509-key-file", certificate),
            )
            return said

        assert "235 2.7.0" in await in_thread(lambda: by_gsasl(alice, "alice"))
        assert "235 2.7.0" in await in_thread(lambda: by_gsasl(alice, ""))
        assert "535 5.7.8" in await in_thread(lambda: by_gsasl(alice, "bob"))
        assert "535 5.7.8" in await in_thread(lambda: by_gsasl(late, ""))
        await server.logs("[account-locked]")
        words = ("--cert", alice, "--login-options", "AUTH=EXTERNAL")
        done = await in_thread(lambda: curl(peer, server, "--user", "alice:", *words))
        assert done.returncode == 0, done.stderr
        await server.receiver.has(1)


@pytest.mark.parametrize(
    ("external", "names", "subject"),
    [
        ('user = "upn"', [principal_name("alice")], "CN=x"),
        (
            'user = "subject"\nsubject = "CN={login},OU=people,O=Example"',
            [x509.DNSName("alice.example.org")],
            "CN=alice,OU=people,O=Example",
        ),
    ],
)
@in_reactor
async def test_a_certificate_names_its_login(
    tmp_path: Path, external: str, names: list[x509.GeneralName], subject: str
) -> None:
    certificate = ClientAuthority(tmp_path).make("alice.pem", names, subject)
    async with serving(tmp_path) as server:
        await server.stop()
        with_clients(server, f"[log_in.external]\n{external}\n")
        await server.start()

        def log_in() -> int:
            context = ssl.create_default_context(cafile=str(server.ca))
            context.load_cert_chain(certificate)
            with server.connect() as client:
                client.starttls(context=context)
                client.ehlo()
                return client.docmd("AUTH", "EXTERNAL =")[0]

        assert await in_thread(log_in) == 235
