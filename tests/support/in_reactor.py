"""Tests that wait in the real reactor."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, cast

import pytest_twisted
from twisted.internet.defer import Deferred

P = ParamSpec("P")
Test = Callable[P, Coroutine[Deferred[Any], Any, None]]


def in_reactor(test: Test[P]) -> Test[P]:
    """pytest-twisted's decorator, with the types that it does not tell."""
    return cast("Test[P]", pytest_twisted.ensureDeferred(test))
