"""Executors: every chunk once, whatever happens to a worker."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from mist_dse.explore.errors import EmptySpaceError, ExecutorError, SpaceError
from mist_dse.explore.runs.executor import Lost, executor, warming


def double(chunk: list[int]) -> list[int]:
    return [2 * value for value in chunk]


def deadly(chunk: list[int]) -> list[int]:
    if 13 in chunk:
        os.kill(os.getpid(), signal.SIGKILL)
    return double(chunk)


@pytest.mark.parametrize("spec", ["serial", "loky", {"name": "loky", "workers": 2}])
def test_every_chunk_comes_back_once(spec: object) -> None:
    execute, workers = executor(spec)
    assert workers >= 1
    assert dict(execute(double, [[1, 2], [3], [4]])) == {0: [2, 4], 1: [6], 2: [8]}


def test_a_chunk_that_kills_its_worker_is_lost_alone() -> None:
    execute, _ = executor({"name": "loky", "workers": 2})
    found = dict(execute(deadly, [[1], [13], [2], [3]]))
    assert isinstance(found.pop(1), Lost)
    assert found == {0: [2], 2: [4], 3: [6]}


def written(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")


def test_one_worker_alone_does_the_work_that_warms(tmp_path: Path) -> None:
    spec, mark = {"name": "loky", "workers": 2}, tmp_path / "mark"
    with warming(spec, partial(written, mark)) as warm:
        warm()
        assert mark.read_text().strip() not in ("", str(os.getpid()))
    assert len(mark.read_text().split()) == 1
    with warming("serial", partial(written, mark)) as warm:
        warm()
    assert len(mark.read_text().split()) == 1


def test_a_failure_while_workers_start_ends_them_at_once() -> None:
    spec, start = {"name": "loky", "workers": 2}, time.monotonic()
    with pytest.raises(EmptySpaceError), warming(spec, partial(time.sleep, 60)):
        raise EmptySpaceError("nothing")
    assert time.monotonic() - start < 20
    assert dict(executor(spec)[0](double, [[1], [2]])) == {0: [2], 1: [4]}


def test_warming_simulates_even_where_the_base_design_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no kernel ran for is not compiled, and two workers would then compile at once."""
    from mist_dse import sim
    from mist_dse.catalog import Catalog, load_design
    from mist_dse.explore.runs.record import Evaluator, warm_up
    from mist_dse.requests import realise
    from tests.explore.spaces import space, workload

    ran = []
    real = sim.simulate
    monkeypatch.setattr(sim, "simulate", lambda *rows: ran.append(1) or real(*rows))
    job = workload(20)
    evaluator = Evaluator(workload=job, requests=realise(job), prices=Catalog().prices("default"))
    warm_up(evaluator, space().base)
    assert len(ran) == 1
    warm_up(evaluator, load_design("tp4_colocated", model="deepseek-v3", accelerator="l40s"))
    assert len(ran) == 2


def test_work_that_fails_while_warming_is_left_to_the_first_chunk() -> None:
    with warming({"name": "loky", "workers": 2}, partial(double, 3)) as warm:  # type: ignore[arg-type]
        warm()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "dask", "scheduler_file": "no_such.json"}, "no such file"),
        ({"scheduler": "tcp://127.0.0.1:8786"}, "of the executor dask alone"),
        ({"name": "dask", "scheduler": "a:1", "scheduler_file": "b"}, "give one of them"),
        ({"timeout": 0.1}, "timeout is 0.1"),
        ({"retry": 3}, "retry is 3"),
        ("lokky", "did you mean 'loky'"),
        ({"worker": 2}, "did you mean 'workers'"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_executors_are_one_line(spec: object, words: str) -> None:
    with pytest.raises((SpaceError, ExecutorError)) as caught:
        executor(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_notebook_may_use_joblib_after_a_search() -> None:
    """Loky keeps one pool per process: joblib's ``Parallel`` makes its own after ours, and ours works again after that."""
    from joblib import Parallel, delayed

    from mist_dse.explore.runs.processes import pool

    for _ in range(2):
        assert pool(2).submit(abs, -3).result() == 3
        assert Parallel(n_jobs=2)(delayed(abs)(-number) for number in range(3)) == [0, 1, 2]
