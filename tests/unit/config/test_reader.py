"""Everything that is wrong is said at once: file, key, value, what is right."""

from datetime import timedelta
from pathlib import Path

import pytest

from submitd.config.errors import ConfigErrors, ConfigProblem
from submitd.config.reader import Source, build_config, read_config
from submitd.config.sections import Config

TLS = '[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n'
PASSWORDS = '[password_file]\npath = "passwords"\n'
LDAP = '[ldap]\nservers = ["ldaps://ldap.example.org"]\nbase = "dc=example"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "submitd.toml"


def read(file: Path, text: str) -> Config:
    file.write_text(text, "utf-8")
    return read_config(file)[0]


def problems(file: Path, text: str) -> list[str]:
    """What is wrong with it, one line each, without the file's name."""
    with pytest.raises(ConfigErrors) as wrong:
        read(file, text)
    assert {one.file for one in wrong.value.problems} == {file}
    return [str(one).removeprefix(f"{file}: ") for one in wrong.value.problems]


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    assert read(file, "") == Config()


def test_values_are_read_and_paths_start_beside_the_file(file: Path) -> None:
    config = read(
        file,
        TLS
        + PASSWORDS
        + """
[server]
hostname = "Submit.Example.org"
state_directory = "/var/lib/x"
[log]
file = "log/submitd.log"
[listener.submission]
port = 1587
[retry]
first = "10s"
[dkim.domain."example.org"]
keys = [{ selector = "s1", file = "dkim/s1.pem" }]
[senders.rule.own]
template = "{login}@example.org"
[[senders.test]]
login = "alice"
allowed = false
""",
    )

    assert config.server.hostname == "submit.example.org"
    assert config.server.state_directory == Path("/var/lib/x")
    assert config.log.file == file.parent / "log/submitd.log"
    assert config.tls.certificate == file.parent / "c.pem"
    assert config.listener["submission"].port == 1587
    assert config.retry.first == timedelta(seconds=10)
    assert config.dkim.domain["example.org"].keys[0].file == file.parent / "dkim/s1.pem"
    assert [(one.login, one.allowed) for one in config.senders.test] == [
        ("alice", False)
    ]


def test_a_relative_name_means_the_same_file_from_everywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(file, "")
    monkeypatch.chdir(file.parent)

    _, source = read_config(Path("submitd.toml"))

    assert source.file == file


def test_the_tables_build_the_same_configuration_in_another_process(
    file: Path,
) -> None:
    file.write_text(TLS + PASSWORDS + "[listener.a]\nport = 1\n")
    config, source = read_config(file)

    assert build_config(Source(source.file, source.tables, source.origins)) == config


def test_files_in_conf_d_win_key_by_key_in_the_order_of_their_names(
    file: Path,
) -> None:
    parts = file.parent / "conf.d"
    parts.mkdir()
    (parts / "20-b.toml").write_text("[retry]\nfirst = 30\n")
    (parts / "10-a.toml").write_text("[retry]\nfirst = 20\nlongest = 50\n")
    (parts / "ignored.txt").write_text("no TOML")

    config = read(file, '[retry]\nfirst = 10\ngive_up = "1h"\n')

    assert config.retry.first == timedelta(seconds=30)
    assert config.retry.longest == timedelta(seconds=50)
    assert config.retry.give_up == timedelta(hours=1)


def test_a_problem_is_told_with_the_file_that_it_stands_in(file: Path) -> None:
    part = file.parent / "conf.d" / "10-a.toml"
    part.parent.mkdir()
    part.write_text("[retry]\nfirst = 0\n[listener.b]\nport = 1\nodd = 2\n")
    file.write_text(TLS + PASSWORDS + "[retry]\njitter = 2\n")

    with pytest.raises(ConfigErrors) as wrong:
        read_config(file)

    assert [(one.file, one.key) for one in wrong.value.problems] == [
        (file, "[retry] jitter"),
        (part, "[retry] first"),
        (part, "[listener.b] odd"),
    ]


def test_files_that_cannot_be_read_are_told_all_at_once(file: Path) -> None:
    parts = file.parent / "conf.d"
    parts.mkdir()
    (parts / "a.toml").write_text("[retry\n")
    (parts / "b.toml").write_bytes(b"\xff")
    (parts / "c.toml").mkdir()

    with pytest.raises(ConfigErrors) as wrong:
        read_config(file)

    assert [(one.file.name, one.key, one.value) for one in wrong.value.problems] == [
        ("submitd.toml", "the file", None),
        ("a.toml", "the file", None),
        ("b.toml", "the file", None),
        ("c.toml", "the file", None),
    ]
    missing, broken, binary, folder = wrong.value.problems
    assert missing.right == "No such file or directory"
    assert broken.right.startswith("is not TOML: ")
    assert binary.right == "must be UTF-8"
    assert folder.right == "Is a directory"


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    assert problems(
        file,
        """
unknown = 1
retry = 5
[server]
workers = -1
hostnam = "x"
[log]
format = "xml"
[limits]
idle = "5 parsecs"
[listener]
plain = 3
[listener.odd]
port = 70000
zzz = 1
[senders]
test = 3
[dkim]
domain = []
""",
    ) == [
        (
            "unknown: no such setting; there are: acme, delivery, dkim, dns, "
            "extensions, ldap, limits, listener, log, log_in, message, metrics, "
            "password_file, quota, retry, route, senders, server, spool, tls"
        ),
        "retry = 5: must be a table",
        '[server] hostnam: no such setting; did you mean "hostname"?',
        '[server] workers = -1: must be "auto" or a whole number from 0 to 256',
        '[log] format = "xml": must be one of "human", "json"',
        (
            '[limits] idle = "5 parsecs": must be a time such '
            'as "90s", "5m", "4h", "5d" '
            'or a number of seconds, at least 1s, or "off"'
        ),
        "[listener] plain = 3: must be a table",
        (
            "[listener.odd] zzz: no such setting; there are: address, port, proxy, "
            "submitter, tls, trusted"
        ),
        "[listener.odd] port = 70000: must be a whole number from 0 to 65535",
        "[senders] test = 3: must be a list",
        "[dkim] domain = []: must be tables",
        "[tls] certificate: is needed for [listener.plain], or acme = true",
        "[tls] key: is needed for [listener.plain], or acme = true",
        (
            '[listener.plain] tls = "starttls": needs a source '
            "of log-ins: [ldap] servers "
            "or [password_file] path"
        ),
        (
            '[listener.odd] tls = "starttls": needs a source '
            "of log-ins: [ldap] servers "
            "or [password_file] path"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[listener.a]\ntls = "none"\n',
            [
                (
                    '[listener.a] trusted: tls = "none" needs the addresses that are '
                    'trusted: ["127.0.0.1"]'
                ),
                (
                    '[listener.a] submitter: tls = "none" needs the login that its '
                    "submissions count as"
                ),
            ],
        ),
        (
            TLS + PASSWORDS + '[listener.a]\nsubmitter = "x"\ntrusted = ["::1"]\n',
            [
                '[listener.a] trusted = ["::1/128"]: is for tls = "none" only',
                '[listener.a] submitter = "x": is for tls = "none" only',
            ],
        ),
        (
            TLS + PASSWORDS + '[listener.a]\n[listener.b]\ntls = "implicit"\n',
            ["[listener.b] port = 587: is taken by [listener.a] on the same address"],
        ),
        (
            '[ldap]\nservers = ["ldap://x"]\n',
            ["[ldap] base: is needed: where people are"],
        ),
        (
            LDAP + 'filter = "(uid=alice)"\n',
            ['[ldap] filter = "(uid=alice)": must contain {login}'],
        ),
        (
            LDAP + 'filter = "(uid={login}"\nlock_filter = "x"\n',
            [
                (
                    '[ldap] filter = "(uid={login}": must be an LDAP filter such as '
                    "(uid={login}), brackets included"
                ),
                (
                    '[ldap] lock_filter = "x": must be an LDAP filter such as '
                    "(uid={login}), brackets included"
                ),
            ],
        ),
        (
            LDAP + 'bind_dn = "cn=x"\n',
            ["[ldap] bind_password_file: is needed with bind_dn"],
        ),
        (
            LDAP + 'check = "hash"\n',
            ['[ldap] bind_dn: check = "hash" needs an account that may read hashes'],
        ),
        (
            '[ldap]\nbase = "dc=x"\nservers = ["http://x", "ldap://", "ldap://x:y"]\n',
            [
                f'[ldap] servers = "{url}": must be ldap://host[:port] or '
                "ldaps://host[:port]"
                for url in ("http://x", "ldap://", "ldap://x:y")
            ],
        ),
        (
            (
                '[ldap]\nbase = "dc=x"\nstarttls = false\n'
                'servers = ["ldap://x:389", "ldaps://x", "ldap://[::1]", "ldap://localhost"'
                ', "ldap://127.0.0.1:1389"]\n'
            ),
            [
                (
                    '[ldap] servers = "ldap://x:389": sends passwords in clear text; '
                    "use starttls = true"
                )
            ],
        ),
        (
            "[senders.rule.a]\n",
            [
                (
                    "[senders.rule] a: must have exactly one of template, attributes, "
                    "base, file, domains, any; it has none"
                )
            ],
        ),
        (
            '[senders.rule.a]\nany = true\ndomains = ["example.org"]\n',
            [
                (
                    "[senders.rule] a: must have exactly one of template, attributes, "
                    "base, file, domains, any; it has domains, any"
                )
            ],
        ),
        (
            '[senders.rule.a]\nbase = "dc=x"\n',
            [
                "[senders.rule.a] filter: is needed with base",
                "[senders.rule.a] base: needs [ldap] servers",
            ],
        ),
        (
            LDAP + '[senders.rule.a]\nbase = "dc=x"\nfilter = "(x={dn}"\n',
            [
                (
                    '[senders.rule.a] filter = "(x={dn}": must be an '
                    "LDAP filter such as "
                    "(uid={login}), brackets included"
                )
            ],
        ),
        (
            '[senders.rule.a]\nattributes = ["mail"]\n',
            ["[senders.rule.a] attributes: needs [ldap] servers"],
        ),
        (
            (
                '[senders.rule.a]\ntemplate = "{login}"\n'
                '[senders.rule.b]\ntemplate = "{user}@example.org"\n'
            ),
            [
                f'[senders.rule.{name}] template = "{written}": must be an address '
                "with {login}, such as {login}@example.org"
                for name, written in (("a", "{login}"), ("b", "{user}@example.org"))
            ],
        ),
        (
            '[dkim.domain."example.org"]\n',
            ['[dkim.domain."example.org"] keys: at least one key must be listed'],
        ),
        (
            '[retry]\nfirst = "2h"\nlongest = "1h"\n',
            ['[retry] longest = "3600s": must not be shorter than `first`'],
        ),
        (
            (
                '[quota.rule.a]\nburst = 1\n[quota.rule.b]\nlogins = ["Robot"]\n'
                '[quota.rule.c]\nlogins = ["x", "robot"]\n'
            ),
            [
                "[quota.rule.a] logins: must name at least one login",
                (
                    '[quota.rule.c] logins = ["x", "robot"]: robot is named by '
                    "[quota.rule.b]"
                ),
            ],
        ),
        (
            (
                "[extensions.priority.a]\nhighest = 1\n"
                '[extensions.priority.b]\nlogins = ["alarms"]\n'
                '[extensions.priority.c]\nlogins = ["Alarms"]\n'
            ),
            [
                "[extensions.priority.a] logins: must name at least one login",
                (
                    '[extensions.priority.c] logins = ["Alarms"]: Alarms is named by '
                    "[extensions.priority.b]"
                ),
            ],
        ),
        (
            (
                '[server]\npostmaster = "postmaster"\n'
                '[quota.rule.a]\nlogins = ["x"]\non_excess = "hold"\n'
            ),
            [
                (
                    '[server] postmaster = "postmaster": must be a mail address: '
                    'on_excess = "hold" writes to it'
                )
            ],
        ),
        (
            '[route."*"]\nuser = "x"\n[route.b]\npassword_file = "p"\n',
            [
                '[route."*"] password_file: `user` and `password_file` go together',
                '[route.b] password_file = "p": `user` and `password_file` go together',
            ],
        ),
        (
            LDAP + '[log_in]\nmechanisms = ["PLAIN", "CRAM-MD5"]\n',
            [
                (
                    '[log_in] mechanisms = "CRAM-MD5": CRAM-MD5 needs a '
                    "[password_file] with passwords in the clear"
                )
            ],
        ),
        (
            LDAP + 'scram_attribute = "authPassword"\n',
            ["[ldap] bind_dn: scram_attribute needs an account that may read it"],
        ),
        (
            '[log_in.oauth]\nkeys_file = "keys"\n',
            ["[log_in.oauth] issuer: is needed with keys_file: who issues the tokens"],
        ),
        (
            (
                '[log_in.oauth]\nissuer = "https://id.example.org"\nalgorithms = []\n'
                'client_id = "x"\n'
            ),
            [
                (
                    '[log_in.oauth] issuer = "https://id.example.org": needs exactly '
                    "one of keys_url, keys_file, introspection_url"
                ),
                (
                    "[log_in.oauth] audience: is needed: or a token for any other "
                    "service would be one for us"
                ),
                "[log_in.oauth] algorithms = []: must name at least one",
                (
                    "[log_in.oauth] client_secret_file: `client_id` and "
                    "`client_secret_file` go together"
                ),
            ],
        ),
        (
            (
                '[log_in.oauth]\nissuer = "https://id.example.org"\naudience = ["x"]\n'
                'keys_file = "k"\nintrospection_url = "https://id.example.org/i"\n'
            ),
            [
                (
                    '[log_in.oauth] issuer = "https://id.example.org": needs exactly '
                    "one of keys_url, keys_file, introspection_url; there are "
                    "keys_file, introspection_url"
                )
            ],
        ),
        (
            '[log_in.external]\nsubject = "CN={login}"\n',
            [
                (
                    '[log_in.external] subject = "CN={login}": is for user = "subject" '
                    "only"
                )
            ],
        ),
        (
            '[log_in.external]\nuser = "subject"\nsubject = "CN=x"\n',
            [
                (
                    '[log_in.external] subject = "CN=x": must be a subject with '
                    "{login} in it once: CN={login},O=Example"
                )
            ],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    file: Path, text: str, said: list[str]
) -> None:
    assert problems(file, text) == said


@pytest.mark.parametrize(
    "text",
    [
        LDAP + 'check = "hash"\nbind_dn = "cn=x"\nbind_password_file = "p"\n',
        LDAP
        + '[senders.rule.a]\nbase = "dc=x"\nfilter = "(|(m={dn})(u={login}))"\n'
        + '[senders.rule.b]\nattributes = ["mail"]\n'
        + '[senders.rule.c]\nfile = "senders"\n'
        + '[senders.rule.d]\nany = true\nlogins = ["satellite"]\n',
        (
            '[ldap]\nbase = "dc=x"\nservers = ["ldap://x"]\nstarttls = false\n'
            "allow_clear_text = true\n"
        ),
        '[listener.a]\ntls = "none"\ntrusted = ["::1"]\nsubmitter = "satellite"\n',
        TLS + PASSWORDS + "[listener.a]\n[listener.b]\nport = 588\n",
        '[route."*"]\nuser = "x"\npassword_file = "p"\n',
        PASSWORDS + '[log_in]\nmechanisms = ["CRAM-MD5"]\n',
        (
            '[log_in.oauth]\nissuer = "https://id.example.org"\naudience = ["x"]\n'
            'introspection_url = "https://id.example.org:8443/i?a=b"\n'
            'client_id = "x"\nclient_secret_file = "credential:id"\n'
        ),
        '[log_in.external]\nuser = "subject"\nsubject = "UID={login},O=Example"\n',
        (
            '[server]\npostmaster = "postmaster@example.org"\n'
            '[quota]\nburst = 9\non_excess = "hold"\n'
            '[quota.rule.a]\nlogins = ["x", "y"]\n'
        ),
    ],
)
def test_what_fits_together_is_taken(file: Path, text: str) -> None:
    assert isinstance(read(file, text), Config)


def test_a_faulty_value_is_not_told_twice(file: Path) -> None:
    """It is read as its default, which may contradict other settings."""
    assert problems(file, LDAP + "filter = 5\n") == [
        "[ldap] filter = 5: must be text in quotes"
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "f: k: must"),
        (True, "f: k = true: must"),
        ('a"\\', 'f: k = "a\\"\\\\": must'),
        ("x" * 300, f'f: k = "{"x" * 200}": must'),
        ([1, "x"], 'f: k = [1, "x"]: must'),
    ],
)
def test_a_problem_shows_the_value_as_it_was_written(value: object, shown: str) -> None:
    assert str(ConfigProblem(Path("f"), "k", value, "must")) == shown


ACME = "[tls]\nacme = true\n[acme]\nterms_agreed = true\n"


def test_a_certificate_from_an_authority_needs_no_files(file: Path) -> None:
    config = read(file, ACME + PASSWORDS + "[listener.submission]\nport = 1587\n")

    assert config.acme.awaited_on == 80
    assert config.acme.names == ()


@pytest.mark.parametrize(
    ("more", "port"),
    [
        ('challenge = "tls-alpn-01"', 443),
        ("port = 8080", 8080),
        ('webroot = "www"', None),
        ('challenge = "dns-01"\ndns = {server = "192.0.2.53:53"}', None),
    ],
)
def test_the_authority_is_awaited_where_it_asks(
    file: Path, more: str, port: int | None
) -> None:
    assert read(file, ACME + more).acme.awaited_on == port


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[tls]\nacme = true",
            (
                "[acme] terms_agreed = false: must be true: the authority issues to "
                "nobody else"
            ),
        ),
        (
            ACME.replace("acme = true", 'acme = true\nkey = "/k.pem"'),
            '[tls] key = "/k.pem": is not for acme = true, which has a file of its own',
        ),
        (
            ACME + 'authority = "http://ca.example.org/dir"',
            '[acme] authority = "http://ca.example.org/dir": must be an https:// URL',
        ),
        (
            ACME + 'names = ["*.example.org"]',
            '[acme] names = "*.example.org": a name with * needs challenge = "dns-01"',
        ),
        (
            ACME + 'names = ["*.*.example.org"]',
            (
                '[acme] names = ["*.*.example.org"]: must be a domain name such as '
                "mail.example.org"
            ),
        ),
        (
            ACME + 'account_id = "kid"',
            "[acme] account_key_file: `account_id` and `account_key_file` go together",
        ),
        (
            ACME + 'challenge = "dns-01"',
            '[acme.dns] server: is needed for challenge = "dns-01"',
        ),
        (
            ACME + 'challenge = "dns-01"\ndns = {server = "[::1]:53", key_name = "k"}',
            "[acme.dns] key_file: `key_name` and `key_file` go together",
        ),
        (
            ACME + 'challenge = "tls-alpn-01"\nwebroot = "/www"',
            '[acme] webroot = "/www": is for challenge = "http-01" only',
        ),
        (
            ACME + PASSWORDS + "[listener.odd]\nport = 80",
            "[listener.odd] port = 80: is taken by [acme] on the same address",
        ),
    ],
)
def test_what_an_authority_needs_is_told(file: Path, text: str, told: str) -> None:
    assert problems(file, text) == [told]


def test_without_a_list_all_ways_to_log_in_are_wanted_but_cram_md5(file: Path) -> None:
    assert read(file, "").log_in.wanted == (
        *("PLAIN", "LOGIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"),
        *("OAUTHBEARER", "XOAUTH2", "EXTERNAL"),
    )
    text = '[log_in]\nmechanisms = ["LOGIN"]\n'
    assert read(file, text).log_in.wanted == ("LOGIN",)
