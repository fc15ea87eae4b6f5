"""Peers are found by name, in the system or where they were unpacked."""

from pathlib import Path

from attrs import evolve

from scripts import peers
from scripts.peers import Peer, missing, read_peers


def test_every_line_of_the_list_reads_as_a_peer() -> None:
    known = read_peers()

    assert known["exim"] == Peer(
        name="exim",
        unpacked=True,
        packages=("exim4-daemon-light", "exim4-base"),
        files=("usr/sbin/exim4",),
        users=("Debian-exim",),
    )
    assert known["slapd"].root == Path("/")


def test_a_peer_is_there_when_one_of_its_files_is(tmp_path: Path) -> None:
    file = tmp_path / "lib" / "x86_64" / "libplain.so"
    file.parent.mkdir(parents=True)
    file.touch()
    peer = Peer(
        name="sasl",
        unpacked=False,
        packages=("libsasl2-modules",),
        files=(f"{tmp_path}/none", f"{tmp_path}/lib/*/libplain.so"),
        users=(),
    )
    absent = evolve(peer, name="absent", files=(f"{tmp_path}/none",))

    assert peer.path == file
    assert missing({"sasl": peer, "absent": absent}) == [absent]


def test_an_unpacked_peer_lies_below_the_checkout() -> None:
    assert read_peers()["opensmtpd"].root == peers.CHECKOUT / ".peers" / "opensmtpd"
