"""Decoding that stops to retrieve (RAGO, Case III, Figure 10b): what waiting for a batch of retrievals costs, by Monte Carlo.

Each of ``slots`` sequences decodes ``tokens`` tokens and asks for retrieval at so many uniform positions; it stands still until ``batch``
of them ask, which then go on at once: the retrieval itself takes no time. A slot whose sequence ends begins the next one at once. A run
starts with every slot at a uniform position of its sequence. Where all wait for all, who is in step stays in step for the whole run (all at
their first position would wait least), so results are means over runs.
"""

from heapq import heapify, heappop, heappush

import numpy as np

ROUNDS = 128
"""Sequences of each slot in one run."""


def stalled_latency(slots: int, batch: int, *, sequences: int = 32768, retrievals: int = 2, tokens: int = 256, seed: int = 0) -> float:
    """Mean time of a sequence over that of one that never waits, over at least so many sequences."""
    generator = np.random.default_rng(seed)
    runs = -(-sequences // (slots * ROUNDS))
    return float(np.mean([_one_run(slots, batch, retrievals, tokens, generator) for _ in range(runs)]))


def _one_run(slots: int, batch: int, retrievals: int, tokens: int, generator: np.random.Generator) -> float:
    """Slot-seconds over those of decoding, until the first slot runs out of sequences."""
    rounds = ROUNDS + 2  # one for the part skipped at the start, one for what others have left at the end
    stops = np.sort(generator.uniform(0, tokens, (slots, rounds, retrievals)), axis=2) + tokens * np.arange(rounds)[:, None]
    asked = stops.reshape(slots, rounds * retrievals) - generator.uniform(0, tokens, slots)[:, None]  # tokens decoded by then
    numbers = (asked < 0).sum(axis=1)
    waited, asking = np.zeros(slots), [(float(asked[slot, number]), slot) for slot, number in enumerate(numbers)]
    heapify(asking)
    waiting: list[tuple[float, int]] = []
    while True:
        now, slot = heappop(asking)
        waiting.append((now, slot))
        if len(waiting) < batch:
            continue
        for since, stood in waiting:
            waited[stood] += now - since
            numbers[stood] += 1
            if numbers[stood] == asked.shape[1]:
                return float(slots * now / (slots * now - waited.sum()))
            heappush(asking, (float(asked[stood, numbers[stood]] + waited[stood]), stood))
        waiting = []
