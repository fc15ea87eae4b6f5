"""The quick start, word for word, in a small world of its own.

Name server, directory and authority are there before; the world's part is what
`docs/quick-start.md` takes for granted, and the record that it has published.
"""

import re
import shutil
import time
from pathlib import Path
from typing import Final

from scripts.trial.system import HERE, System, expect, fresh_system, tell, until

PAGE: Final = HERE / "docs" / "quick-start.md"
SITE: Final = "/etc/submitd/conf.d/site.toml"
OF_THE_WORLD: Final = (
    *("dnsmasq-base", "iproute2", "ldap-utils", "openssl", "pebble", "slapd"),
    *("swaks", "libauthen-sasl-perl", "libnet-ssleay-perl"),
    # Every usual installation has it; a container can fetch nothing.
    "apparmor",
)

ELSEWHERE: Final = """\
[acme]
authority = "https://localhost:14000/dir"
"""
"""There is no Let's Encrypt in a container: all that differs from the page."""

WORLD: Final = """\
set -eu
ip address add 192.0.2.25/32 dev lo
ip address add 192.0.2.26/32 dev lo
mkdir -p /world/slapd
cd /world
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=world \
    -addext subjectAltName=DNS:localhost,DNS:ldap.example.org \
    -keyout key.pem -out cert.pem 2>/dev/null
cat > pebble.json <<EOF
{"pebble": {"listenAddress": "127.0.0.1:14000",
  "managementListenAddress": "127.0.0.1:15000",
  "certificate": "/world/cert.pem", "privateKey": "/world/key.pem",
  "httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": 86400}}
EOF
cat > slapd.conf <<EOF
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile /world/cert.pem
TLSCertificateKeyFile /world/key.pem
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw secret
directory /world/slapd
EOF
echo "nameserver 127.0.0.1" > /etc/resolv.conf
systemctl stop slapd
systemd-run --quiet --unit=directory \\
    slapd -d 0 -f /world/slapd.conf -h ldap://192.0.2.26
systemd-run --quiet --unit=authority \
    --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 \
    pebble -config /world/pebble.json -dnsserver 127.0.0.1:53
cp cert.pem /usr/local/share/ca-certificates/world.crt
until echo | openssl s_client -connect 127.0.0.1:15000 >/dev/null 2>&1; do
    sleep 0.1
done
python3 -c 'import ssl, urllib.request
trust = ssl._create_unverified_context()
print(urllib.request.urlopen("https://127.0.0.1:15000/roots/0", context=trust)
    .read().decode())' > /usr/local/share/ca-certificates/authority.crt
update-ca-certificates >/dev/null 2>&1
until ldapsearch -x -H ldap://192.0.2.26 -s base >/dev/null 2>&1; do
    sleep 0.1
done
ldapadd -x -H ldap://192.0.2.26 -D cn=admin,dc=example,dc=org -w secret >/dev/null <<EOF
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Alice
mail: alice@example.org
userPassword: wonderland
EOF
"""

NAMES: Final = (
    *("systemd-run", "--quiet", "--unit=names", "dnsmasq", "--keep-in-foreground"),
    *("--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1"),
    "--local=/org/",
    "--host-record=submit.example.org,192.0.2.25",
    "--host-record=ldap.example.org,192.0.2.26",
)


def commands(page: str) -> list[str]:
    """What the page has typed, up to the first message and what became of it."""
    text = page.partition("## Afterwards")[0].replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def settings(page: str) -> str:
    """The file that the page has written."""
    return page.partition("```toml\n")[2].partition("```")[0]


def try_quick_start(suite: str, package: Path) -> None:
    """From a bare system to the first message, by what the page says alone."""
    page = PAGE.read_text("utf-8")
    install, genkey, check, restart, first_message = commands(page)
    with fresh_system(suite) as system:
        system.before_boot("apt-get", "-qq", "update")
        system.before_boot("apt-get", "-qq", "-y", "install", *OF_THE_WORLD)
        shutil.copy(package, system.root / "root")
        with system.booted():
            system.run(*NAMES)
            system.run("sh", "-c", WORLD)
            began = time.monotonic()
            system.run("sh", "-c", f"cd /root && {install}")
            publish(system, system.run(*genkey.split()))
            system.write(SITE, settings(page))
            system.write("/etc/submitd/conf.d/world.toml", ELSEWHERE)
            said = system.run(*check.split())
            system.run(*restart.split())
            until(lambda: sent(system, first_message), "the first message", 60)
            took = time.monotonic() - began
        expect("ok" in said, f"submitctl check said: {said}")
        tell("quick start", f"5 commands, one file: {took:.1f} s to the first message")


def publish(system: System, said: str) -> None:
    """Put the record into the DNS, as whoever may write there does."""
    found = re.search(r"(\S+)\. IN TXT \((.*?)\)", said, re.DOTALL)
    if found is None:
        raise SystemExit(f"trial: no record in: {said}")
    pieces = re.findall(r'"([^"]*)"', found[2])
    system.run("systemctl", "stop", "names")
    record = ",".join((found[1], *pieces))
    system.run(*NAMES, f"--txt-record={record}")


def sent(system: System, command: str) -> bool:
    """True when it was accepted. The certificate takes a moment after the start."""
    done = system.tried("sh", "-c", f"{command} --auth-password wonderland")
    return " queued as " in done
