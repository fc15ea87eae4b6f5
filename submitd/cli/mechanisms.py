"""What ``submitctl check`` says of the ways to log in. All of it blocks."""

from collections.abc import Iterator, Mapping

from submitd.auth.files import HalfWritten, parse_passwords
from submitd.auth.hashes import clear_text, is_locked
from submitd.cli.findings import Finding, Verdict
from submitd.config.sections import Config
from submitd.sasl.mechanism import MECHANISMS
from submitd.sasl.scram_keys import read_keys


def described_log_in(config: Config) -> Iterator[Finding]:
    """Which are offered, and why others that were asked for are not."""
    if all(one.tls == "none" for one in config.listener.values()):
        return
    passwords = _passwords(config)
    why_not = {name: _why_not(config, name, passwords) for name in MECHANISMS}
    wanted = config.log_in.wanted
    offered = [name for name in MECHANISMS if name in wanted and not why_not[name]]
    if offered:
        yield Finding(Verdict.GOOD, "log-in", f"by {', '.join(offered)}")
    else:
        yield Finding(Verdict.WRONG, "log-in", "nobody can: no way of it can be served")
    for name in config.log_in.mechanisms:
        if why_not[name]:
            yield Finding(Verdict.ODD, f"log-in by {name}", why_not[name])
    if "SCRAM-SHA-256" in offered or "SCRAM-SHA-256-PLUS" in offered:
        yield from _looks(config, passwords)


def _passwords(config: Config) -> Mapping[str, str]:
    """What a start would read; a faulty file is told by the start, and served later."""
    path = config.password_file.path
    if path is None:
        return {}
    try:
        return parse_passwords(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, HalfWritten):
        return {}


def _why_not(config: Config, name: str, passwords: Mapping[str, str]) -> str:
    """Empty: it can be served."""
    stored = [one for one in passwords.values() if not is_locked(one)]
    match name:
        case "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS":
            if config.ldap.servers and not config.ldap.scram_attribute:
                return "not offered: people of the directory have no scram_attribute"
            in_file = config.password_file.path is not None
            if in_file and not (stored and all(map(read_keys, stored))):
                return "not offered: not everybody in the password file has keys for it"
        case "OAUTHBEARER" | "XOAUTH2":
            if not config.log_in.oauth.issuer:
                return "not offered: [log_in.oauth] has no issuer"
        case "EXTERNAL":
            if config.tls.client_ca_file is None:
                return "not offered: there is no [tls] client_ca_file"
        case "CRAM-MD5":
            if not any(map(clear_text, stored)):
                return "not offered: no password in the file is stored in the clear"
    return ""


def _looks(config: Config, passwords: Mapping[str, str]) -> Iterator[Finding]:
    """Keys that look different from made up ones tell which names exist."""
    if not config.ldap.servers:
        return  # made up ones are made to look as the file's
    scram = config.log_in.scram
    keys = [one for one in map(read_keys, passwords.values()) if one is not None]
    looks = scram.iterations, scram.salt
    differing = [one for one in keys if (one.iterations, len(one.salt)) != looks]
    if differing:
        one = differing[0]
        made = f"{one.iterations} iterations and {len(one.salt)} octets of salt"
        yield Finding(
            Verdict.ODD,
            "log-in by SCRAM",
            f"{len(differing)} of {len(keys)} keys look otherwise than [log_in.scram] "
            f"says, with {made}: who asks learns which names exist",
        )
