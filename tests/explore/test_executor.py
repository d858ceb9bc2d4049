"""Executors: every chunk once, whatever happens to a worker."""

import os
import signal

import pytest

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.executor import Lost, executor


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


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("dask", "extra 'dask'"),
        ("lokky", "did you mean 'loky'"),
        ({"worker": 2}, "did you mean 'workers'"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_executors_are_one_line(spec: object, words: str) -> None:
    with pytest.raises(SpaceError) as caught:
        executor(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
