"""What fuzzing has found worth keeping, once more; `make fuzz` looks for more."""

import importlib

import pytest

from tests.fuzz.save import least
from tests.fuzz.targets import HERE, SAVED, TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_saved_input_is_taken(target: str) -> None:
    """A driver raises where what it does with an input is wrong."""
    driver = importlib.import_module(f"tests.fuzz.{target}")
    files = list((SAVED / target).glob("*"))

    assert 5 <= len(files) <= 150
    for one in files:
        driver.one_input(one.read_bytes())


def test_every_driver_is_a_target() -> None:
    drivers = {one.stem for one in HERE.glob("*.py")} - {"run", "save", "targets"}

    assert set(TARGETS) == drivers == {one.name for one in SAVED.iterdir()}


def test_what_reaches_nothing_new_is_not_saved() -> None:
    driver = importlib.import_module("tests.fuzz.proxy")
    inputs = [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN \r\n", b"EHLO", b"HELO there"]

    assert least(inputs, driver.one_input) == [b"EHLO", b"PROXY UNKNOWN\r\n"]
