"""The rounds, from the corpus to the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import table
from benchmarks.peers import Peer, Way
from benchmarks.work import COLD, LOAD, Rounds


@pytest.mark.acceptance
def test_everybody_has_rows_and_who_fails_is_left_out_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idle = Peer("idle", "idle.tar", Way(lambda job: [["touch", job.file]], "touch"), Way(lambda job: [["true"]], ""))
    broken = Peer("broken", "broken.tar", Way(lambda job: [["sh", "-c", "exit 3"]], ""), Way(lambda job: [], ""))
    rows = Rounds(tmp_path, 1, 1, [idle, broken]).run()
    assert {row.who for row in rows if row.work == COLD} == {"airbundle", "airbundle --no-checksum", "floor", "idle"}
    assert {row.who for row in rows if row.work == LOAD} == {"airbundle", "floor"}
    assert {len(row.costs) for row in rows} == {1}
    assert len(table(rows)) == 2 + len(rows)
    assert capsys.readouterr().err == (
        "idle is left out of 'load, empty registry': 65 of 65 manifests and blobs did not arrive\n"
        "broken is left out of 'build, cold': sh -c exit 3… ended with 3: no word\n"
    )
