"""Coverage is held to its floors."""

from typing import Any

from scripts.coverage_floors import FLOORS, below_their_floor


def measured(
    lines: int, branches: int, of: tuple[int, int] = (10, 10)
) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": lines,
            "num_statements": of[0],
            "covered_branches": branches,
            "num_branches": of[1],
        },
        "missing_lines": list(range(lines, of[0])),
        "missing_branches": [[50, 51], [50, -1]][: of[1] - branches],
    }


def report(**changed: dict[str, Any]) -> dict[str, Any]:
    """A report in which all is reached, but for what changed."""
    files = {
        (name if name.endswith(".py") else f"{name}module.py"): measured(10, 10)
        for name in FLOORS
    }
    return {
        "files": files
        | {name.replace("_", "/") + ".py": changed[name] for name in changed}
    }


def test_what_is_reached_whole_holds_every_floor() -> None:
    assert below_their_floor(report()) == []


def test_one_branch_short_of_a_hundred_is_named_with_its_place() -> None:
    """99.9 % rounds up; the floor does not."""
    short = measured(10_000, 9_999, of=(10_000, 10_000))

    assert below_their_floor(report(submitd_spool_store=short)) == [
        "submitd/spool/ is at 99.99 %, its floor is 100 %",
        "  submitd/spool/store.py:50 never goes on to 51",
    ]


def test_a_line_and_the_way_out_of_a_function_are_named() -> None:
    short = measured(9, 8)

    assert below_their_floor(report(submitd_mail_trace=short)) == [
        "submitd/mail/ is at 92.50 %, its floor is 100 %",
        "  submitd/mail/trace.py:9 is not reached",
        "  submitd/mail/trace.py:50 never goes on to 51",
        "  submitd/mail/trace.py:50 never goes on to its end",
    ]


def test_all_in_all_nine_in_ten_are_enough() -> None:
    """Outside of the folders that must be reached whole."""
    fine = measured(80, 0, of=(100, 0))
    short = measured(20, 0, of=(100, 0))

    assert below_their_floor(report(submitd_web_site=fine)) == []
    assert below_their_floor(report(submitd_web_site=short)) == [
        "submitd/ is at 66.66 %, its floor is 90 %"
    ]


def test_a_folder_that_nothing_was_measured_of_holds_no_floor() -> None:
    complaints = below_their_floor({"files": {}})

    assert "submitd/spool/ is at 0.00 %, its floor is 100 %" in complaints
