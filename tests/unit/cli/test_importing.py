"""``submitctl import postfix``: three set-ups as they are found, and odd values."""

import os
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from submitd.cli.main import main
from submitd.config.reader import read_config
from submitd.config.sections import Config

DEBIAN: Final = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/ssl/certs/ssl-cert-snakeoil.pem
smtpd_tls_key_file=/etc/ssl/private/ssl-cert-snakeoil.key
smtpd_tls_security_level=may
smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated
  defer_unauth_destination
myhostname = mail.example.org
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = $myhostname, mail.example.org, localhost.example.org, localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
"""
DEBIAN_MASTER: Final = """\
smtp      inet  n       -       y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
pickup    unix  n       -       y       60      1       pickup
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
"""
SUBMISSION: Final = """\
myhostname = submit.example.org
mydomain = example.org
inet_interfaces = 192.0.2.25, [2001:db8::25]
inet_protocols = ipv4
message_size_limit = 26214400
smtpd_tls_chain_files = /etc/ssl/submit.key, /etc/ssl/submit.pem
smtpd_tls_mandatory_protocols = >=TLSv1.3
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sender_login_maps = regexp:/etc/postfix/own, texthash:/etc/postfix/roles
smtpd_sender_restrictions = reject_sender_login_mismatch
smtpd_milters = unix:/run/opendkim/opendkim.sock
maximal_queue_lifetime = 3d
delay_warning_time = 0
minimal_backoff_time = 300s
smtpd_client_connection_count_limit = 0
smtp_data_done_timeout = 20m
smtpd_timeout = ${stress?{10}:{300}}s
transport_maps = texthash:/etc/postfix/transport
header_checks = regexp:/etc/postfix/checks
"""
SUBMISSION_MASTER: Final = """\
smtp       inet n - y - - smtpd
submission inet n - y - - smtpd
    -o smtpd_tls_security_level=encrypt
    -o smtpd_sasl_auth_enable=yes
    -o { smtpd_client_restrictions = permit_sasl_authenticated, reject }
465        inet n - y - - smtpd -o smtpd_tls_wrappermode=yes
    -o smtpd_sasl_auth_enable=yes
cleanup    unix n - y - 0 cleanup
"""
SATELLITE: Final = """\
myhostname = web1.example.org
mydestination =
inet_interfaces = loopback-only
relayhost = [submit.example.org]:submission
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd
smtp_sasl_tls_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
"""


class Host:
    """A copy of a host's files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder / "host"
        self._made = folder / "submitd.toml"
        self._capsys = capsys

    def write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self) -> tuple[int, str, str]:
        status = main(["import", "postfix", "--root", str(self._folder)])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def imported(self) -> tuple[Config, str]:
        """The configuration, which is right, and its text."""
        status, text, wrong = self.run()
        assert (status, wrong) == (os.EX_OK, "")
        self._made.write_text(text)
        config, _ = read_config(self._made)
        return config, text

    def tables(self) -> dict[str, Any]:
        return tomllib.loads(self.run()[1])


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capsys)


def test_debians_default(host: Host) -> None:
    """It takes mail from its own programs and sends it by MX."""
    host.write("etc/postfix/main.cf", DEBIAN)
    host.write("etc/postfix/master.cf", DEBIAN_MASTER)
    config, text = host.imported()
    assert config.server.hostname == "mail.example.org"
    assert str(config.tls.key) == "/etc/ssl/private/ssl-cert-snakeoil.key"
    (local,) = config.listener.values()
    assert (local.address, local.port, local.tls) == ("127.0.0.1", 25, "none")
    assert list(map(str, local.trusted)) == ["127.0.0.0/8", "::1/128"]
    assert config.senders.rule["trusted"].domains == ("example.org",)
    assert config.senders.rule["trusted"].logins == (local.submitter,)
    assert len(config.senders.rule) == 1
    assert config.dkim.unsigned == "allow"
    assert config.route == {}
    assert "#   main.cf: biff = no  (nothing to set)\n" in text
    assert "alias_maps = hash:/etc/aliases  (incoming mail is not for submitd)" in text
    assert "(submitd has rules of its own: log-in, [senders])" in text


def submission(host: Host) -> None:
    host.write("etc/postfix/main.cf", SUBMISSION)
    host.write("etc/postfix/master.cf", SUBMISSION_MASTER)
    host.write("etc/postfix/own", "/^(.*)@example\\.org$/  ${1}\n/^x/ bob\n")
    host.write(
        "etc/postfix/roles",
        "press@example.org alice, bob@example.org\n@lists.example.org\tcarol\n",
    )
    host.write(
        "etc/postfix/transport",
        "partner.example  smtp:[mx.partner.example]:2525\n"
        ".gone.example  error:gone\nlist.example relay:lists.example\n"
        "odd.example smtp:[x]:what\n",
    )
    host.write("etc/dovecot/dovecot.conf", "protocols =\n!include conf.d/*.conf\n")
    host.write(
        "etc/dovecot/conf.d/10-auth.conf",
        "auth_mechanisms = plain login\n"
        "passdb {\n  driver = passwd-file # exported\n"
        "  args = scheme=CRYPT username_format=%u /var/lib/misc/mail-passwords\n}\n"
        "userdb {\n  driver = static\n}\npassdb {\n driver = pam\n}\n",
    )
    host.write(
        "etc/opendkim.conf",
        "Canonicalization relaxed/simple # both\nKeyTable /etc/dkimkeys/keytable\n"
        "SigningTable refile:/etc/dkimkeys/signingtable\n",
    )
    host.write(
        "etc/dkimkeys/keytable",
        "one example.org:2024:/etc/dkimkeys/2024.private\n"
        "two %:2025:/etc/dkimkeys/2025.private\n",
    )
    host.write(
        "etc/dkimkeys/signingtable",
        "*@example.org one\n*@example.org two\n*@*.example.org one\n"
        "bob@x.example two\n",
    )


def test_a_submission_server_with_dovecot_and_opendkim(host: Host) -> None:
    submission(host)
    config, text = host.imported()
    assert str(config.tls.certificate) == "/etc/ssl/submit.pem"
    assert str(config.tls.key) == "/etc/ssl/submit.key"
    assert config.tls.minimum == "1.3"
    listeners = [(one.address, one.port, one.tls) for one in config.listener.values()]
    assert ("192.0.2.25", 587, "starttls") in listeners
    assert ("2001:db8::25", 465, "implicit") in listeners
    assert len(listeners) == 6 - 1
    assert str(config.password_file.path) == "/var/lib/misc/mail-passwords"
    assert config.senders.rule["own"].template == "{login}@example.org"
    roles = [one for name, one in config.senders.rule.items() if "map" in name]
    assert [(one.template, one.domains, one.logins) for one in roles] == [
        ("press@example.org", (), ("alice", "bob")),
        ("", ("lists.example.org",), ("carol",)),
    ]
    keys = config.dkim.domain["example.org"].keys
    assert [one.selector for one in keys] == ["2024", "2025"]
    assert config.dkim.domain["*.example.org"].signing_domain == "example.org"
    assert config.dkim.domain["example.org"].canonicalization == "relaxed/simple"
    assert config.limits.message_size == 26214400
    assert config.limits.connections_per_address is None
    assert config.retry.report_delay_after is None
    assert config.retry.give_up.days == 3
    assert config.delivery.addresses == "ipv4"
    assert config.delivery.time_out.dot.total_seconds() == 1200
    assert config.route["partner.example"].host == "mx.partner.example"
    assert config.route["partner.example"].port == 2525
    assert config.route["list.example"].host == "mx:lists.example"
    for remark in (
        "# ! SigningTable: bob@x.example two: not understood",
        "smtpd_sender_login_maps: /^x/ bob: not understood",
        "a port of this name is not known",
        "#   dovecot: passdb 2, driver pam  (no counterpart)",
        "main.cf: transport_maps: .gone.example error:gone  (no relay)",
        "s  (its value has no counterpart)",
        "/etc/postfix/checks  (submitd changes no content or address)",
    ):
        assert remark in text, remark


def test_a_satellite(host: Host) -> None:
    host.write("etc/postfix/main.cf", SATELLITE)
    host.write("etc/postfix/master.cf", DEBIAN_MASTER)
    host.write(
        "etc/postfix/sasl_passwd", "[submit.example.org]:submission web1:very-secret\n"
    )
    config, text = host.imported()
    relay = config.route["*"]
    assert (relay.host, relay.port, relay.tls) == ("submit.example.org", 587, "verify")
    assert str(relay.ca_file) == "/etc/ssl/certs/ca-certificates.crt"
    assert (relay.user, relay.password_file) == ("web1", "/etc/submitd/relay-password")
    assert "Write the password for [submit.example.org]:submission" in text
    assert "very-secret" not in text
    assert config.listener["local"].address == "127.0.0.1"
    assert "Programs that call sendmail(8) need another one" in text


LDAP_SETTINGS: Final = """\
uris = ldaps://ldap1.example.org ldaps://ldap2.example.org
dn = cn=mail,dc=example,dc=org
dnpass = very-secret
base = ou=people,dc=example,dc=org
pass_filter = (&(objectClass=account)(uid=%n))
pass_attrs = uid=user,mailPassword=password
"""


@pytest.mark.parametrize("auth_bind", [True, False])
def test_a_directory(host: Host, auth_bind: bool) -> None:
    submission(host)
    host.write(
        "etc/dovecot/conf.d/10-auth.conf",
        "passdb {\n  driver = ldap\n  args = /etc/dovecot/ldap.conf.ext\n}\n",
    )
    more = "auth_bind = yes\n" if auth_bind else ""
    host.write("etc/dovecot/ldap.conf.ext", LDAP_SETTINGS + more)
    host.write(
        "etc/postfix/main.cf",
        SUBMISSION.replace(
            "regexp:/etc/postfix/own", "ldap:/etc/postfix/senders.cf"
        ).replace("smtpd_sender_restrictions", "smtpd_end_of_data_restrictions"),
    )
    host.write(
        "etc/postfix/senders.cf",
        "server_host = ldap9.example.org\nsearch_base = dc=example,dc=org\n"
        "query_filter = (|(mail=%s)(mailAlternateAddress=%s))\n"
        "result_attribute = uid\n",
    )
    config, text = host.imported()
    ldap = config.ldap
    assert [str(one) for one in ldap.servers] == [
        "ldaps://ldap1.example.org",
        "ldaps://ldap2.example.org",
    ]
    assert ldap.base == "ou=people,dc=example,dc=org"
    assert ldap.filter == "(&(objectClass=account)(uid={login}))"
    assert ldap.bind_dn == "cn=mail,dc=example,dc=org"
    assert ldap.check == ("bind" if auth_bind else "hash")
    assert "very-secret" not in text
    assert config.senders.rule["directory"].attributes == (
        "mail",
        "mailAlternateAddress",
    )
    assert "Postfix knew these and did not insist on them. submitd does." in text


def test_dovecots_newer_words(host: Host) -> None:
    submission(host)
    host.write(
        "etc/dovecot/dovecot.conf",
        "dovecot_config_version = 2.4.0\npassdb passwd-file {\n"
        "  passwd_file_path = /etc/dovecot/users\n"
        "  default_password_scheme = sha512-crypt\n}\n",
    )
    config, text = host.imported()
    assert str(config.password_file.path) == "/etc/dovecot/users"
    assert "write {SHA512-CRYPT} before them" in text


def test_many_addresses_go_into_a_file(host: Host) -> None:
    submission(host)
    lines = [f"r{number}@example.org alice" for number in range(21)]
    host.write("etc/postfix/roles", "\n".join(lines))
    config, text = host.imported()
    assert str(config.senders.rule["map2"].file) == "/etc/submitd/senders"
    assert "# !     alice: r0@example.org, r1@example.org," in text


def test_what_is_missing_is_said(host: Host) -> None:
    assert host.run()[0] == os.EX_NOINPUT
    host.write(
        "etc/postfix/main.cf",
        "myhostname = $unknown\nrelayhost = [bad\n"
        "transport_maps = mysql:/etc/postfix/x hash:/etc/postfix/gone\n"
        "mynetworks = hash:/etc/postfix/networks\na = $b\nb = $a\n"
        "smtp_tls_security_level = dane\n",
    )
    host.write(
        "etc/postfix/master.cf",
        "127.0.0.1:10025 inet n - - - - smtpd -o smtpd_sasl_auth_enable=yes\n"
        "strange inet n - - - - smtpd\n26 inet n - - - - smtpd\n",
    )
    text = host.run()[1]
    assert tomllib.loads(text)["listener"]["submission"]["port"] == 10025
    for remark in (
        "main.cf: myhostname = $unknown  (its value has no counterpart)",
        "main.cf: relayhost: * [bad  (not understood)",
        "transport_maps = mysql:/etc/postfix/x: this kind cannot be read",
        "etc/postfix/gone: No such file or directory",
        "mynetworks: hash:/etc/postfix/networks is no network",
        "No certificate was found: clients need one.",
        "Postfix asked Cyrus SASL",
        "Say which addresses people may use; Postfix was not told.",
        "master.cf: strange  (a port of this name is not known)",
        "master.cf: 26  (incoming mail is not for submitd)",
        "main.cf: smtp_tls_security_level = dane  (opportunistic TLS is used)",
    ):
        assert remark in text, remark


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("plain login", ("PLAIN", "LOGIN")),
        ("scram-sha-256 plain", ("PLAIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")),
        ("cram-md5", ("CRAM-MD5",)),
        (
            "external xoauth2, oauthbearer",
            ("OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
        ),
        ("gssapi", ()),
    ],
)
def test_dovecots_ways_to_log_in(
    host: Host, offered: str, kept: tuple[str, ...]
) -> None:
    submission(host)
    host.write(
        "etc/dovecot/conf.d/20-ways.conf", f"auth_mechanisms = {offered} digest-md5\n"
    )
    config, text = host.imported()
    assert config.log_in.mechanisms == kept
    assert "#   dovecot: auth_mechanisms, DIGEST-MD5  (no counterpart)" in text
    assert ("[log_in.oauth] who issues" in text) is ("XOAUTH2" in kept)
    assert ("[tls] client_ca_file" in text) is ("EXTERNAL" in kept)


def test_cram_md5_needs_a_password_file(host: Host) -> None:
    submission(host)
    host.write(
        "etc/dovecot/conf.d/10-auth.conf",
        "auth_mechanisms = plain cram-md5\n"
        "passdb {\n  driver = ldap\n  args = /etc/dovecot/ldap.conf.ext\n}\n",
    )
    host.write("etc/dovecot/ldap.conf.ext", LDAP_SETTINGS)
    config, text = host.imported()
    assert config.log_in.mechanisms == ("PLAIN",)
    assert "CRAM-MD5  (needs a password file)" in text


def test_key_and_certificate_belong_together(host: Host) -> None:
    submission(host)
    host.write(
        "etc/postfix/main.cf",
        SUBMISSION.replace("/etc/ssl/submit.key, /etc/ssl/submit.pem", "/r.pem /e.pem"),
    )
    host.write("r.pem", "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n")
    config, text = host.imported()
    assert (str(config.tls.key), str(config.tls.certificate)) == ("/r.pem", "/r.pem")
    assert "One certificate is shown here; others there: /e.pem" in text


def test_what_a_service_or_a_source_says_beyond_is_named(host: Host) -> None:
    submission(host)
    host.write(
        "etc/postfix/master.cf",
        SUBMISSION_MASTER + "588 inet n - y - - smtpd -o smtpd_sasl_auth_enable=yes\n"
        " -o message_size_limit=1000000 -o smtpd_milters=$x -o odd_password=s3cret\n",
    )
    host.write(
        "etc/dovecot/conf.d/10-auth.conf",
        "passdb {\n driver = passwd-file\n deny = yes\n args = /etc/denied\n}\n"
        "passdb {\n driver = passwd-file\n args = /etc/one\n pass = yes\n}\n"
        "passdb {\n driver = passwd-file\n args = /etc/two\n}\n",
    )
    host.write(
        "etc/opendkim.conf",
        "Domain example.org\nKeyFile /k\nSubDomains yes\nMode sv\n",
    )
    config, text = host.imported()
    assert str(config.password_file.path) == "/etc/one"
    assert config.dkim.domain["*.example.org"].signing_domain == "example.org"
    for line in (
        (
            "master.cf: 588 -o message_size_limit=1000000  "
            "(see [limits] message_size, for all listeners)"
        ),
        "-o smtpd_milters=$x  (submitd signs by itself, and asks no milter)",
        "-o odd_password=…  (no counterpart)",
        "dovecot: passdb 1, deny = yes  (no counterpart)",
        "dovecot: passdb 2, pass  (no counterpart)",
        "dovecot: passdb 3, /etc/two  (there is one password file)",
        "opendkim.conf: mode sv  (no counterpart)",
    ):
        assert line in text, line


def test_two_people_of_one_name_stay_two(host: Host) -> None:
    submission(host)
    host.write(
        "etc/postfix/roles",
        "a@example.org alice@example.org\nb@b.example alice@b.example",
    )
    config, text = host.imported()
    assert [
        one.logins for name, one in config.senders.rule.items() if "map" in name
    ] == [
        ("alice@example.org",),
        ("alice@b.example",),
    ]
    assert "Logins have a domain there, and keep it here" in text


@pytest.mark.parametrize("in_file", [True, False])
def test_a_domain_behind_a_login_is_kept_where_passwords_have_it(
    host: Host, in_file: bool
) -> None:
    submission(host)
    host.write("etc/postfix/roles", "press@example.org alice@example.org\n")
    if in_file:
        host.write("var/lib/misc/mail-passwords", "alice@example.org:{PLAIN}x\n")
    config, _ = host.imported()
    (role,) = (one for name, one in config.senders.rule.items() if "map" in name)
    assert role.logins == ("alice@example.org" if in_file else "alice",)
    assert config.ldap.login_domains == (() if in_file else ("example.org",))


def test_no_password_is_printed(host: Host) -> None:
    for relay in ("", "relayhost = [smart.example]\n"):
        host.write(
            "etc/postfix/main.cf",
            "myhostname = mail.example.co.uk\nsmtp_sasl_auth_enable = yes\n"
            "smtp_sasl_password_maps = static:me:s3cret, inline:{x=me:s3cret}\n"
            f"{relay}",
        )
        text = host.run()[1]
        assert "static:…" in text
        assert "s3cret" not in text


def test_references_to_what_nobody_has_set_are_followed(host: Host) -> None:
    submission(host)
    host.write(
        "etc/postfix/main.cf",
        "myhostname = mail.example.co.uk\nsmtpd_sasl_type = dovecot\n"
        "transport_maps = proxy:hash:${config_directory}/transport\n",
    )
    config, _ = host.imported()
    assert "partner.example" in config.route
    assert config.senders.rule["own"].template == "{login}@example.co.uk"
