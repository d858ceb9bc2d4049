import numpy as np
import pytest

from mist_dse.analytic.step import chunk_time, column, decode_time, line, plane, step_time
from tests.analytic import machines

COST = machines.cost()


def test_a_pure_decode_step_is_one_look_up():
    assert float(step_time(COST, 8, 1000.0)) == COST.decode_step[8, 1]
    assert float(decode_time(COST, 8, 5500.0)) == pytest.approx(0.5 * (COST.decode_step[8, 1] + COST.decode_step[8, 2]))


def test_a_mixed_step_by_hand():
    device = COST.token_time[4 + 100] + COST.sequence_time[5] + 1.2 * COST.decode_attention[4, 1] + 2e-4 + COST.quad * (300**2 - 200**2)
    host = 1.5e-3 + 15e-6 * 5 + 8e-4
    assert float(step_time(COST, 4, 1000.0, chunk=[100], start=[200], finished=1)) == pytest.approx(device + host)
    overlapped = COST._replace(asynchronous=True)
    assert float(step_time(overlapped, 4, 1000.0, chunk=[100], start=[200], finished=1)) == pytest.approx(max(device, host))


def test_arrays_equal_scalars():
    sequences, contexts = np.array([0, 3, 17]), np.array([0.0, 700.0, 30_000.0])
    chunk, start = np.array([[100, 0], [0, 0], [5, 7]]), np.array([[0, 0], [0, 0], [50, 0]])
    whole = step_time(COST, sequences, contexts, chunk=chunk, start=start, finished=np.array([1, 0, 2]))
    each = [
        float(step_time(COST, s, x, chunk=c, start=b, finished=f))
        for s, x, c, b, f in zip(sequences, contexts, chunk, start, [1, 0, 2], strict=True)
    ]
    np.testing.assert_array_equal(whole, each)


def test_chunks_of_a_prompt_add_up_to_its_triangle():
    """Attended pairs telescope, and past a window each token adds the same."""
    cost = COST._replace(read=0.0)
    parts = chunk_time(cost, np.array([300.0, 700.0]), np.array([0.0, 300.0])).sum()
    assert parts == pytest.approx(float(chunk_time(cost, 1000, 0)))
    windowed = COST._replace(quad=0.0, window_quad=1e-9, window=100.0, read=0.0)
    first, second = float(chunk_time(windowed, 50, 100)), float(chunk_time(windowed, 50, 5000))
    assert first == pytest.approx(second)
    assert first == pytest.approx(1e-9 * 2 * 100 * 50)


def test_tables_go_on_past_their_ends():
    assert float(line(np.array([0.0, 2.0, 5.0]), 4)) == 11.0
    assert float(plane(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([0.0, 10.0]), 1, 20.0)) == 5.0
    assert column(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([0.0, 10.0]), 20.0).tolist() == [0.0, 5.0]
