"""Keys as they are stored."""

import pytest

from submitd.sasl.scram_keys import make_keys, read_keys
from tests.support.mechanisms import PENCIL

SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
STORED = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
SERVER = "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="


@pytest.mark.rfc("5803", "2")
@pytest.mark.parametrize(
    "stored",
    [
        f"{{SCRAM-SHA-256}}4096,{SALT},{STORED},{SERVER}",
        f"{{scram-sha-256}}4096,{SALT},{STORED},{SERVER}",
        f"SCRAM-SHA-256$4096:{SALT}${STORED}:{SERVER}",
        f" scram-sha-256 $ 4096:{SALT} $ {STORED}:{SERVER} ",
    ],
)
def test_both_forms_are_read(stored: str) -> None:
    assert read_keys(stored) == PENCIL


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "{PLAIN}secret",
        "{SSHA}W22ZaJ0SNY7soEsUEjb6gQ==",
        f"{{SCRAM-SHA-1}}4096,{SALT},{STORED},{SERVER}",
        f"SCRAM-SHA-1$4096:{SALT}${STORED}:{SERVER}",
        f"{{SCRAM-SHA-256}}0,{SALT},{STORED},{SERVER}",
        f"{{SCRAM-SHA-256}}5000001,{SALT},{STORED},{SERVER}",
        f"{{SCRAM-SHA-256}}-1,{SALT},{STORED},{SERVER}",
        f"{{SCRAM-SHA-256}}4096,{SALT},{STORED}",
        f"{{SCRAM-SHA-256}}4096,,{STORED},{SERVER}",
        f"{{SCRAM-SHA-256}}4096,!,{STORED},{SERVER}",
        f"{{SCRAM-SHA-256}}4096,{SALT},{SALT},{SERVER}",
        f"{{SCRAM-SHA-256}}4096,{SALT},{STORED},{SALT}",
        f"!{{SCRAM-SHA-256}}4096,{SALT},{STORED},{SERVER}",
    ],
)
def test_what_has_no_keys_or_is_cut_has_none(stored: str) -> None:
    assert read_keys(stored) is None


def test_keys_are_made_as_gsasl_makes_them() -> None:
    """``gsasl --mkpasswd --mechanism SCRAM-SHA-256``, of GNU SASL 2.2.0."""
    made = (
        "{SCRAM-SHA-256}4096,b0jXZdkus/uZ0uOU,"
        "MDwIZo3C9/biBpxzPqJd4OouKRfQ4PgnpCVJBHdYKB4=,"
        "jcNJPYUzK9fPKcLiE1VdR9lHmEWgIkSXS1QXv7KclRQ="
    )
    keys = read_keys(made)
    assert keys is not None
    assert make_keys("pencil", keys.salt, keys.iterations) == keys
