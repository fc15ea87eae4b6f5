import json
from pathlib import Path

import pytest

from submitd.config.serving import LogSection
from submitd.observe.events import MESSAGE_ACCEPTED, TLS_STARTED
from submitd.process.logs import open_log


def test_the_log_is_as_configured(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log = open_log(LogSection(file=file, format="json", level="info"), worker="w1")

    log.events.emit(TLS_STARTED)
    log.events.emit(MESSAGE_ACCEPTED, queue_id="1")
    log.close()

    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["event"], line["queue_id"], line["worker"]) == (
        "message-accepted",
        "1",
        "w1",
    )


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        open_log(LogSection(file=tmp_path / "no" / "log"))
