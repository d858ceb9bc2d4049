"""Wrong inputs into the simulator: each must end in one clear line or in a correct result; `python -m tests.sim.fuzz --seconds 600`.

A *clear line* is an error of this project that names the table and the column. A *correct result* keeps the laws of records and, where
the twin can run the case in a second or two, is the twin's. All else is a fault: another exception, a crash, a hang, memory without end,
visits that livelock where the twin's do not, records that break a law.

Sums of rough times may come out a rounding apart in another order. Where that parts two events which the other simulator has at one
instant, or turns them round, all that follows may differ: such a *near tie* at or before the first difference is looked for in the
times of both, and such a case is counted apart.
"""

import argparse
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from mist_dse import rows
from mist_dse.sim import LivelockError, RowError, simulate, simulate_steps
from mist_dse.sim.bounds import step_count
from mist_dse.sim.check import check
from tests.oracles import twin
from tests.oracles.agreement import assert_agree
from tests.sim import isolated
from tests.sim.corrupted import corrupted
from tests.sim.laws import broken_law
from tests.sim.misused import misused
from tests.strategies import Case, Dice, rolled

PATIENCE = 2.0
"""Seconds that the twin may take."""
CLOSE = 1e-12
"""Part of a time within which sums in another order may differ."""
LONG = 500
"""Characters of a message that is still one clear line."""
PLACE = re.compile(r"^(Servers|Jobs|Requests|Engine|StepCost)\b")


PATIENT_STEPS = 2**23
"""Steps taken one by one, half a microsecond each, that are waited for; `mist_dse.sim.check.MOST_STEPS` are minutes."""
AGES = 2.0**16
"""Seconds beyond which sums of rough times in another order may differ by more than the tolerance."""
MANY = 10_000
"""Ranks that the twin, which looks at each of them in every instant, cannot have."""
MANY_BLOCKS = 10**6
"""KV blocks, of which the twin makes one object each."""


class _LateError(Exception):
    """The twin takes too long."""


def row_verdict(seed: object) -> str:
    """What becomes of a corrupted case: a word, or ``FAULT`` and what is wrong."""
    case, done, exact = corrupted(seed)
    found = _verdict(case, exact=exact)
    return f"{found} after {'; '.join(done)}" if found.startswith("FAULT") else found


def _verdict(case: Case, *, exact: bool) -> str:
    try:
        check(*case)
        if sum(step_count(case.servers, case.jobs, number) for number in range(len(case.servers.engines))) > PATIENT_STEPS:
            return "lawful, too many steps to wait for"
        records = simulate(*case)
    except RowError as error:
        return "refused" if _is_clear(str(error)) and PLACE.match(str(error)) else f"FAULT unclear: {error}"
    except LivelockError:
        wanted = _twin_records(case)
        return "livelock" if wanted in ("livelock", "late") else "FAULT livelock, the twin has none"
    except BaseException as error:
        return f"FAULT {type(error).__name__}: {error}"
    broken = broken_law(records)
    if broken:
        return f"FAULT {broken}"
    if records.makespan > AGES and not exact:
        return "lawful, too long for times to the last digit"
    found = _compared(records, _twin_records(case))
    return "lawful, near ties of rough times" if found.startswith("FAULT") and not exact and _parted(case) else found


def _parted(case: Case) -> bool:
    """Whether two instants of the kernel's, or of the twin's, nearly tie at or before the first difference of their records."""
    run = twin.Twin(*case)
    run.run()
    wanted = run.records()
    found, steps = simulate_steps(*case, skip=False)
    names = ("arrival", "visit_ready", "visit_start", "visit_end")
    mine, others = (np.concatenate([getattr(records, name) for name in names]) for records in (found, wanted))
    differ = ~np.isclose(mine, others, rtol=1e-9, atol=1e-12, equal_nan=True)
    first = np.nanmin(np.append(np.fmin(mine, others)[differ], max(found.makespan, wanted.makespan)))
    ties = _near_tie(run.clock.instants), _near_tie([*mine, *steps.start, *steps.end])
    return bool(min(ties) <= first * (1 + CLOSE))


def _near_tie(times: list[float]) -> float:
    """The first time that is later than another by no more than a rounding, inf if none is."""
    distinct = np.unique([time for time in times if time == time])
    return float(min(distinct[1:][np.diff(distinct) <= CLOSE * distinct[1:]], default=np.inf))


def _is_clear(message: str) -> bool:
    return 10 < len(message) < LONG and "\n" not in message


def _compared(records: rows.Records, wanted: Any) -> str:
    if not isinstance(wanted, rows.Records):
        return f"lawful, twin {wanted}"
    try:
        assert_agree(records, wanted)
    except AssertionError as error:
        return f"FAULT not as the twin: {' '.join(str(error).split())[:LONG]}"
    return "as the twin"


def _twin_records(case: Case) -> Any:
    """The twin's records, or a word that says why there are none."""

    ranks = [(engine, engine.replicas * engine.ranks) for engine in case.servers.engines]
    if sum(count * engine.lanes for engine, count in ranks) > MANY or sum(count * engine.blocks for engine, count in ranks) > MANY_BLOCKS:
        return "late"

    def late(*_: object) -> None:
        raise _LateError

    previous = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.05)  # again and again: what is raised in a callback of the collector is lost
        try:
            return twin.simulate(*case)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except twin.LivelockError:
        return "livelock"
    except (_LateError, MemoryError, OverflowError):
        signal.setitimer(signal.ITIMER_REAL, 0)  # the alarm may have come in the last moment
        return "late"
    finally:
        signal.signal(signal.SIGALRM, previous)


def people_verdict(seed: object) -> str:
    """What becomes of a workload, a design or a trace file with something wrong: a word, or ``FAULT`` and what is wrong."""
    run, said = misused(seed)
    try:
        broken = run()
    except ValueError as error:
        ours = type(error).__module__.startswith("mist_dse.")
        return "refused" if ours and _is_clear(str(error)) else f"FAULT {type(error).__name__}: {error} after {said}"
    except BaseException as error:
        return f"FAULT {type(error).__name__}: {error} after {said}"
    return f"FAULT {broken} after {said}" if broken.startswith("FAULT") else broken


LEVELS: dict[str, Callable[[object], str]] = {"rows": row_verdict, "people": people_verdict}


def fuzzed(level: str, seed: int, *, seconds: float, most: int = 2**62, first: int = 0) -> tuple[Counter[str], list[str]]:
    """How many cases ended how, and every fault with its index."""
    simulate(*rolled(Dice(b""), True, None))  # compiles, once for all children
    judge, counts, faults = LEVELS[level], Counter[str](), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, found in isolated.outcomes(lambda index: judge(f"{seed} {index}"), first, seconds=seconds, most=most):
            lives = found.split()[0] in ("refused", "livelock", "lawful,", "as", "lawful", "infeasible")
            counts[found if lives else "fault"] += 1
            faults += [] if lives else [f"{level} {seed} {index}: {found.removeprefix('FAULT ')}"]
    return counts, faults


def main() -> int:
    """Fuzz both levels, half of the time each; what was found goes to the standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=tuple(LEVELS), action="append", help="rows or people; both where not given")
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--most", type=int, default=2**62, help="cases of a level")
    asked = parser.parse_args()
    levels, failed = asked.level or list(LEVELS), 0
    for level in levels:
        counts, faults = fuzzed(level, asked.seed, seconds=asked.seconds / len(levels), most=asked.most, first=asked.first)
        ended = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        sys.stdout.write(f"{level}: {counts.total()} cases: {ended}\n" + "".join(f"  {fault}\n" for fault in islice(faults, 200)))
        failed += len(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
