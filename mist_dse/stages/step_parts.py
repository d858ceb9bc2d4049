"""One engine step taken apart: FLOP, bytes and seconds of each operator on one device, all layers together.

The equations of `step_cost` at a single step, with the engine's factors, so that the seconds are shares of the same step: products
(one part for each matrix), routed experts, attention to prompts and to what is cached, element-wise kernels, and what collectives take
beyond that which hides behind computing. Host, launches and drafting are no operators; a caller who knows the whole step has the rest.

Prompts are taken whole: an engine that splits them reads what stands of their cache once more for every further piece.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mist_dse.perf import recurrent, shapes, sparse, step
from mist_dse.perf.kernels import ACTIVATION, delta_decode_work, delta_prefill_work, product_work
from mist_dse.perf.load import distinct_experts
from mist_dse.perf.network import Level
from mist_dse.rows import Floats
from mist_dse.specs.design import Pool
from mist_dse.stages.step_cost import padded_sequences

BLOCKS = {"attention": "attention projection", "dense": "feed-forward", "mixture": "shared experts and router",
          "linear": "linear attention projection", "head": "output head"}  # fmt: skip
"""What a matrix of each block of `shapes.Matrix` is called."""


class StepAsked(NamedTuple):
    """What one step computes on one rank: ``decodes`` sequences of mean ``context``, and ``prompt_tokens`` of prompts like these:
    ``new`` tokens [n] after ``standing`` ones [n]."""

    decodes: float
    context: float
    prompt_tokens: float
    new: Floats
    standing: Floats

    @property
    def prompts(self) -> float:
        """Prompts that such a step completes, in the mean."""
        return self.prompt_tokens / float(self.new.mean()) if self.prompt_tokens > 0 else 0.0


class StepPart(NamedTuple):
    """One operator: ``kind`` is product, experts, attention, element-wise or collective; ``dtype`` is what it multiplies in, empty
    where it does not; 0 FLOP: nothing for a roofline."""

    name: str
    kind: str
    dtype: str
    flop: float
    moved: float
    seconds: float


def step_parts(pool: Pool, levels: tuple[Level, ...], asked: StepAsked) -> tuple[StepPart, ...]:
    """The operators of one step of ``pool``; parts that take no time are left out."""
    mixed, engine = asked.prompt_tokens > 0, pool.engine
    factor = engine.prefill_factor if mixed else engine.linear_factor
    rows = _rows(pool, asked)
    layers = [*_products(pool, rows), *_experts(pool, rows)]
    products = sum(part.seconds for part in layers if part.kind == "product" or pool.parallelism.dp == 1)
    layers.append(StepPart("element-wise kernels", "element-wise", "", 0.0, 0.0, float(step.linear_time(pool, rows)) - products))
    sent = float(step.communication_time(pool, levels, rows))
    found = [part._replace(seconds=factor * part.seconds) for part in layers]
    found.append(_collectives(pool, layers, sent, factor=factor, mixed=mixed))
    found += _head(pool, asked)
    if mixed:
        found += [part._replace(seconds=factor * part.seconds) for part in _prompt_attention(pool, asked)]
    found += _decode_attention(pool, asked, float(engine.mixing_factor) if mixed else 1.0)
    return tuple(part for part in found if part.seconds > 0)


def _rows(pool: Pool, asked: StepAsked) -> float:
    """Tokens that the layers compute: padded to a captured graph in a step of decodes alone."""
    if asked.prompt_tokens > 0:
        return asked.decodes * pool.verified + asked.prompt_tokens
    padded = padded_sequences(pool)
    return float(padded[min(round(asked.decodes), len(padded) - 1)]) * pool.verified


def _products(pool: Pool, rows: float) -> Iterator[StepPart]:
    for matrix in shapes.matrices(pool.model, pool.parallelism, pool.dtypes):
        yield _product(pool, matrix, rows)


def _product(pool: Pool, matrix: shapes.Matrix, rows: float) -> StepPart:
    native = pool.accelerator.peaks.native(matrix.dtype)
    taken = min(shapes.COMPUTE_BYTES[native], ACTIVATION)
    work = product_work(rows, matrix.n, matrix.k, weight=matrix.weight, taken=taken)
    seconds = float(step.matrix_time(pool, matrix, rows))
    name = f"{BLOCKS[matrix.block]} {matrix.n:,.0f} x {matrix.k:,.0f}"
    return StepPart(name, "product", native, matrix.times * float(work.flop), matrix.times * float(work.moved), matrix.times * seconds)


def _experts(pool: Pool, rows: float) -> Iterator[StepPart]:
    """Routed experts: the weights of those that are hit, for the tokens of all ranks."""
    mixture = shapes.experts(pool.model, pool.parallelism, pool.dtypes)
    if mixture is None:
        return
    seconds = float(step.mixture_time(pool, rows * mixture.ranks))
    flop = 2.0 * mixture.layers * mixture.values * mixture.top_k * mixture.local / mixture.total * mixture.ranks * rows
    moved = mixture.layers * mixture.bytes_each * float(distinct_experts(mixture, rows))
    yield StepPart("routed experts", "experts", pool.accelerator.peaks.native(pool.dtypes.compute), flop, moved, seconds)


def _collectives(pool: Pool, layers: list[StepPart], sent: float, *, factor: float, mixed: bool) -> StepPart:
    """What sending adds to computing; experts that wait for all ranks hide nothing."""
    once = sum(part.seconds for part in layers if part.kind != "experts" or pool.parallelism.dp == 1)
    computed = once if mixed else factor * once
    added = max(computed, sent) + (1 - pool.engine.overlap) * min(computed, sent) - computed
    return StepPart("collectives", "collective", "", 0.0, 0.0, (factor if mixed else 1.0) * added)


def _head(pool: Pool, asked: StepAsked) -> Iterator[StepPart]:
    rows = (asked.decodes + asked.prompts) * pool.verified
    matrix = shapes.head_matrix(pool.model, pool.parallelism, pool.dtypes)
    if rows > 0 and matrix.times:
        yield _product(pool, matrix, rows)


def _decode_attention(pool: Pool, asked: StepAsked, mixing: float) -> Iterator[StepPart]:
    """Attention to what is cached, all kinds of layers together, and the updates of recurrent states."""
    count, factor = asked.decodes, mixing * pool.engine.attention_factor
    if count <= 0:
        return
    flop = moved = 0.0
    for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes):
        seen = min(asked.context, kind.window)
        pairs = count * seen
        if kind.kernel == "softmax":
            flop, moved = flop + kind.layers * pool.verified * pairs * kind.decode_flop, moved + kind.layers * pairs * kind.kv_bytes
        else:
            work = sparse.decode_work(pool, kind, count, seen)
            flop, moved = flop + kind.layers * float(work.flop), moved + kind.layers * float(work.moved)
    updates = factor * float(recurrent.update_time(pool, count))
    seconds = mixing * float(step.decode_attention_time(pool, count, asked.context)) - updates
    yield StepPart("decode attention", "attention", _attention_dtype(pool, step.decode_dtype(pool)), flop, moved, seconds)
    if pool.model.linear_layers:
        work = delta_decode_work(count * (1.0 + pool.verified) / 2.0, recurrent.recurrent(pool))
        each = pool.model.linear_layers
        yield StepPart("linear attention, decode", "attention", "bf16", each * float(work.flop), each * float(work.moved), updates)


def _prompt_attention(pool: Pool, asked: StepAsked) -> Iterator[StepPart]:
    """Attention of prompts, all kinds of layers together, and the recurrences over them."""
    each, linear = step.prefill_attention(pool), recurrent.prompt_time(pool)
    end, prompts = asked.standing + asked.new, asked.prompts
    squares = end**2 - asked.standing**2
    windowed = _windowed(end, each.window) - _windowed(asked.standing, each.window) if each.window else np.zeros_like(end)
    read = float(np.maximum(each.quad * squares + each.window_quad * windowed, each.read * end).mean())
    seconds = prompts * read + each.overhead - linear.overhead + (each.token - linear.token) * asked.prompt_tokens
    flop = moved = 0.0
    for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes):
        pairs = squares if np.isinf(kind.window) else _windowed(end, kind.window) - _windowed(asked.standing, kind.window)
        flop += kind.layers * kind.prefill_flop * prompts * float(pairs.mean()) / 2
        if np.isinf(kind.window):
            moved += kind.layers * kind.kv_bytes * prompts * float(end.mean())
    yield StepPart("prompt attention", "attention", _attention_dtype(pool, "bf16"), flop, moved, seconds)
    if pool.model.linear_layers:
        work, layers = delta_prefill_work(asked.prompt_tokens, recurrent.recurrent(pool)), pool.model.linear_layers
        yield StepPart("linear attention, prompts", "attention", "bf16", layers * float(work.flop), layers * float(work.moved),
                       linear.overhead + linear.token * asked.prompt_tokens)  # fmt: skip


def _windowed(length: Floats, window: float) -> Floats:
    """The square up to a window, then its tangent (see `rows.StepCost`)."""
    return np.where(length <= window, length**2, window * (2 * length - window))


def _attention_dtype(pool: Pool, dtype: str) -> str:
    """The fastest datatype among the kinds of attention layers: an indexer scores in fp8."""
    return pool.accelerator.peaks.native("fp8" if pool.model.index_heads else dtype)
