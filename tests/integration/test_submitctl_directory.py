"""``submitctl whoami`` and ``check --live`` with a real directory behind them."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.dns_peers import free_port
from tests.support.operator import Operator

pytestmark = [pytest.mark.integration, pytest.mark.peers("slapd")]

SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
security tls=1
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
directory {folder}/ldap
access to attrs=userPassword,shadowExpire by dn.exact="cn=reader,dc=example,dc=org" read
  by anonymous auth
access to * by * read
"""
PEOPLE = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.org
mail: not an address

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
objectClass: shadowAccount
uid: bob
cn: Bob
sn: B
shadowExpire: 1

dn: cn=press,dc=example,dc=org
objectClass: groupOfNames
objectClass: extensibleObject
cn: press
mail: press@example.org
member: uid=alice,dc=example,dc=org

dn: cn=reader,dc=example,dc=org
objectClass: person
objectClass: simpleSecurityObject
cn: reader
sn: R
userPassword: secret
"""
CONFIG = """
[ldap]
servers = ["ldap://localhost:{port}"]
ca_file = "cert.pem"
base = "dc=example,dc=org"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password_file = "reader"
[senders.rule.attributes]
attributes = ["mail"]
[senders.rule.role]
base = "dc=example,dc=org"
filter = "(member={{dn}})"
[[senders.test]]
login = "alice"
address = "press@example.org"
[[senders.test]]
login = "bob"
address = "press@example.org"
allowed = false
[dns]
servers = ["127.0.0.1:1"]
time_out = "0.2s"
"""


@pytest.fixture
def directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], peer: Callable[[str], Path]
) -> Iterator[Operator]:
    """An operator whose people are in slapd, behind StartTLS."""
    operator = Operator(tmp_path, capsys)
    slapd, folder, port = peer("slapd"), tmp_path, free_port()
    operator.certify(datetime.now(UTC), timedelta(days=90), "localhost")
    (folder / "ldap").mkdir()
    (folder / "slapd.conf").write_text(SLAPD.format(folder=folder))
    (folder / "people.ldif").write_text(PEOPLE)
    (folder / "reader").write_text("secret\n")
    configured = ("-f", str(folder / "slapd.conf"))
    subprocess.run(
        [slapd, "-T", "add", *configured, "-l", str(folder / "people.ldif")],
        check=True,
        timeout=30,
    )
    operator.add(CONFIG.format(port=port))
    running = subprocess.Popen(
        [slapd, "-d", "0", *configured, "-h", f"ldap://127.0.0.1:{port}"]
    )
    try:
        _wait_for(port)
        yield operator
    finally:
        running.terminate()
        running.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise


def test_each_address_is_told_with_the_entry_that_grants_it(
    directory: Operator,
) -> None:
    status, out, err = directory.start("whoami", "ALICE", "--json")

    assert status == 0, err
    told = json.loads(out)
    assert (told["login"], told["entry"], told["lock"]) == (
        "alice",
        "uid=alice,dc=example,dc=org",
        None,
    )
    assert [
        (one["address"], one["rule"], one["source"]) for one in told["addresses"]
    ] == [
        ("alice@example.org", "own", "{login}@example.org"),
        ("press@example.org", "file", f"{directory.folder}/senders:1"),
        ("@lists.example.org", "file", f"{directory.folder}/senders:1"),
        ("alice@example.org", "attributes", "uid=alice,dc=example,dc=org (mail)"),
        ("press@example.org", "role", "cn=press,dc=example,dc=org (mail)"),
    ]
    assert "directory-odd" in err
    assert "not an address" in err


def test_a_lock_is_told(directory: Operator) -> None:
    status, out, _ = directory.start("whoami", "bob")

    assert status == 0
    assert "locked     shadowExpire has passed\n" in out


def test_live_the_directory_and_the_senders_are_proved(directory: Operator) -> None:
    status, out, err = directory.start("check", "--live")

    assert "ok           directory ldap://localhost:" in out, err
    assert "it serves, and shows dc=example,dc=org\n" in out
    assert "ok           senders.test alice as press@example.org: " in out
    assert "ok           senders.test bob as press@example.org: not allowed\n" in out
    # The certificate is the directory's, and there is no DNS.
    assert "it is not for submit.example.org" in out
    assert status == os.EX_CONFIG


def test_a_directory_that_refuses_us_is_for_the_operator_to_mend(
    directory: Operator,
) -> None:
    (directory.folder / "reader").write_text("wrong\n")

    status, out, err = directory.start("whoami", "alice")
    found, live, _ = directory.start("check", "--live")

    assert (status, out) == (os.EX_TEMPFAIL, "")
    assert "cannot bind as cn=reader,dc=example,dc=org" in err
    assert found == os.EX_CONFIG
    assert "wrong        directory ldap://localhost:" in live
    assert ": cannot bind as cn=reader" in live


def test_a_base_that_is_not_there_is_told(directory: Operator) -> None:
    text = directory.file.read_text()
    directory.file.write_text(
        text.replace('base = "dc=example,dc=org"\nbind', 'base = "dc=other"\nbind')
    )

    live = directory.start("check", "--live")[1]

    assert "cannot tell  directory ldap://localhost:" in live
    assert "LDAPNoSuchObject" in live
