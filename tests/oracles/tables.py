"""Examples worked by hand as tables: the tables are what the twin and the simulator have to do, line by line.

An example is a text with four tables: the machine, the requests, every step (and, between two pools, every lease and every
transfer), and what became of the requests. Nothing expected is written anywhere else. `page` is `docs/examples_batching.md`,
the same texts for readers: ``python -m tests.oracles.tables`` writes it.
"""

import ast
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mist_dse import rows
from mist_dse.sim import simulate_steps
from tests.oracles.agreement import assert_agree
from tests.oracles.twin import Twin
from tests.oracles.twin_state import Batch, Lane, Rank, Replica, Visit
from tests.strategies import Case, colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine

Table = list[dict[str, str]]

BLOCK = 4  # tokens
COST = simple_cost(base=2.0, per_token=1.0)
LINK = rows.Station(rate=1.0, cap=1.0, slots=1, latency=0.0)  # a block of prompt a second, one request at a time
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "examples_batching.md"
TESTS = ("test_textbook.py", "test_textbook_kv.py")
SEEN = ("where", "from", "to", "decodes", "prompts", "lost", "KV of", "free")


class Example(NamedTuple):
    """The four tables of a text; columns that a table leaves out are empty."""

    machine: Table
    requests: Table
    steps: Table
    outcome: Table


def example(text: str) -> Example:
    """The tables of a text; those of requests have a column for each request and are turned here."""
    blocks = [list(lines) for is_table, lines in groupby(text.splitlines(), lambda line: line.strip().startswith("|")) if is_table]
    cells = [[[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if "---" not in line] for lines in blocks]
    assert len(cells) == 4, "an example has four tables"
    cells[1], cells[3] = ([list(turned) for turned in zip(*cells[i], strict=True)] for i in (1, 3))
    return Example(*([dict(zip(head, line, strict=True)) for line in body] for head, *body in cells))


def case_of(worked: Example) -> Case:
    """The machine and the requests of an example: one pool, or prefill, link and decode."""
    engines = []
    for pool in worked.machine:
        policy, budget, seqs, blocks = getattr(rows, pool["batching"].upper()), pool["budget"], pool["sequences"], pool["blocks"]
        sizes = {"max_num_batched_tokens": int(budget), "max_num_seqs": int(seqs), "blocks": int(blocks), "block_size": BLOCK}
        engines.append((simple_engine(policy=policy, **sizes), COST))
    lengths = [(int(row["prompt"]), int(row["output"])) for row in worked.requests]
    if len(engines) == 1:
        visits = [colocated(prompt, output) for prompt, output in lengths]
    else:
        visits = [disaggregated(prompt, output, work=(0.0, float(-(-prompt // BLOCK)))) for prompt, output in lengths]
    arrival = [float(row["arrives"]) for row in worked.requests]
    return Case(servers_of(engines, [LINK] if len(engines) > 1 else []), jobs_of(visits), requests_of(arrival, lengths))


class Watched(Twin):
    """The twin, which writes down what it does in the words of the tables."""

    def __init__(self, case: Case, worked: Example) -> None:
        super().__init__(*case)
        self.names = [row["request"] for row in worked.requests]
        self.where = [pool.get("pool", "") for pool in worked.machine]
        self.lines: Table = []

    def name(self, visit: Visit) -> str:
        return self.names[visit.request]

    def note(self, where: str, start: float, end: float, **cells: Any) -> None:
        line = {"where": where, "from": f"{start:g}", "to": f"{end:g}"} | {name: str(cell) for name, cell in cells.items()}
        self.lines.append({name: line.get(name.replace(" ", "_"), "") for name in SEEN})

    def begin(self, replica: Replica, lane: Lane, batches: list[Batch]) -> None:
        batch = batches[0]
        decodes = " ".join(f"({self.name(visit)})" if visit.ended else f"{self.name(visit)}*" for visit in batch.decodes)
        prompts = ", ".join(f"{self.name(visit)} {before}+{new}" for visit, new, before in batch.chunks)
        lost = " ".join(self.name(visit) for visit in batch.evicted + batch.preempted)
        super().begin(replica, lane, batches)
        now, length, free = self.clock.now, self.trace[-1].length, len(batch.rank.queue)
        self.note(self.where[replica.index], now, now + length, decodes=decodes, prompts=prompts, lost=lost, free=free)

    def granted(self, rank: Rank, visit: Visit) -> bool:
        asked = self.ready[rank.leases[0].index]
        given = super().granted(rank, visit)
        if given:
            self.note("lease", asked, self.clock.now, KV_of=self.name(visit), free=len(rank.queue))
        return given

    def run(self) -> None:
        super().run()
        for visit in self.visits:
            if visit.server >= self.pools:
                self.note("link", self.start[visit.index], self.finish[visit.index], KV_of=self.name(visit))


def sorted_lines(lines: Table) -> list[tuple[str, ...]]:
    """Lines of a table in order of place and start; a column that is left out is empty."""
    seen = [tuple(line.get(name, "") for name in SEEN) for line in lines]
    return sorted(seen, key=lambda line: (line[0], float(line[1])))


def assert_worked(text: str | None) -> None:
    """The twin does every line of the text's tables, and so does the simulator, as far as its steps and records tell, stepping or not."""
    assert text
    worked = example(text)
    assert [float(line["from"]) for line in worked.steps] == sorted(float(line["from"]) for line in worked.steps)
    case = case_of(worked)
    watched = Watched(case, worked)
    watched.run()
    assert sorted_lines(watched.lines) == sorted_lines(worked.steps)
    for skip in (True, False):
        records, steps = simulate_steps(*case, skip=skip)
        assert_agree(records, watched.records())
        assert_outcome(records, worked)
        for i, pool in enumerate(worked.machine):
            assert_counters(records, i, pool, worked.steps)
        if not skip:  # else steps in a row are one
            assert_steps(steps, worked)


def assert_steps(steps: rows.Steps, worked: Example) -> None:
    """When every step began and ended, and how many decodes and prompt tokens it had."""
    replica = {pool.get("pool", ""): i for i, pool in enumerate(worked.machine)}
    mine = [line for line in worked.steps if line.get("where", "") in replica]
    expected = [
        (float(line["from"]), replica[line.get("where", "")], float(line["to"]), len(line["decodes"].split()), prompt_tokens(line))
        for line in mine
    ]
    found = zip(*(column.tolist() for column in (steps.start, steps.replica, steps.end, steps.decodes, steps.prompt_tokens)), strict=True)
    assert list(found) == sorted(expected)


def assert_outcome(records: rows.Records, worked: Example) -> None:
    """What became of the requests."""
    assert (records.status == rows.COMPLETED).all()
    for name in ("admitted", "first token", "last token"):
        expected = [float(row[name]) for row in worked.outcome]
        np.testing.assert_array_equal(getattr(records, name.replace(" ", "_")), expected, err_msg=name)
    np.testing.assert_array_equal(records.preemptions, [int(row.get("preempted", 0)) for row in worked.outcome])
    np.testing.assert_array_equal(records.end, [float(row["last token"]) for row in worked.outcome])


def assert_counters(records: rows.Records, replica: int, pool: dict[str, str], steps: Table) -> None:
    """What a pool counted: its steps, its tokens and its blocks, added up over the table."""
    where = pool.get("pool", "")
    mine = [line for line in steps if line.get("where", "") == where]
    tokens = [len(line["decodes"].split()) + prompt_tokens(line) for line in mine]
    leases = [line for line in steps if where == "decode" and line["where"] == "lease"]
    taken = [int(pool["blocks"]) - int(line["free"]) for line in mine + leases]
    counted = (records.steps, records.busy, records.tokens, records.peak_tokens, records.peak_blocks)
    busy = sum(float(line["to"]) - float(line["from"]) for line in mine)
    assert [column[replica] for column in counted] == [len(mine), busy, sum(tokens), max(tokens), max(taken)]


def prompt_tokens(line: dict[str, str]) -> int:
    """The new tokens of all prompts of a step."""
    return sum(int(chunk.partition("+")[2]) for chunk in line["prompts"].split(",") if chunk)


def page() -> str:
    """The examples for readers, from the texts of the tests."""
    parts = ["# Batching worked by hand\n\nMade from the tests of these examples by `python -m tests.oracles.tables`.\n"]
    for name in TESTS:
        module = ast.parse((ROOT / "tests" / "oracles" / name).read_text())
        parts.append(ast.get_docstring(module) or "")
        examples = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_worked")]
        parts += [f"\n## {ast.get_docstring(node)}" for node in examples]
    return "\n".join(parts).replace("``", "`") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
