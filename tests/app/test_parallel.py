"""Work spread over processes comes back in order, and says how far it is."""

import io

from mist_dse.app import parallel
from mist_dse.app.parallel import spread


def doubled(value: int) -> int:
    return 2 * value


def test_results_come_in_order_from_here_and_from_processes() -> None:
    for jobs in (1, 2):
        assert list(spread(jobs, "rows", 5, 5)(doubled, range(5))) == [0, 2, 4, 6, 8]


def test_progress_is_told(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "LINE_PERIOD", -1.0)
    stream = io.StringIO()
    assert list(spread(1, "rows", 100, 4, stream=stream)(doubled, range(4))) == [0, 2, 4, 6]
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("25 of 100 rows, about ")
    assert lines[-1] == "100 of 100 rows, about 0 s left"
