"""RAGO's published figures beside ours at the same points: prints the table, writes table.csv and renews it in README.md (2 s)."""

import csv
import re
from pathlib import Path

import model as m
from iterative import stalled_latency

HERE = Path(__file__).parent
FITTED = (0.90, 0.92)  # efficiencies of prefix and decode that Figure 7c is read with
STALLS = {(64, 64): 2.77, (64, 16): 1.14, (256, 256): 3.08, (4, 4): 1.71, (16, 8): 1.32}  # Figure 10b: (decode batch, retrieval batch)
Row = tuple[str, float | None, float]


def rows() -> list[Row]:
    """(item, published or None, ours); shares in %, times in s."""
    most, base, least = (m.figures(plan) for plan in m.TABLE_4.values())
    served = min(1 / m.chip_time(m.SMALL, m.PROMPT, m.ANSWER), m.search_rate() / (32 * m.XPUS_PER_HOST))
    alone = m.prefix_time(m.LARGE, m.Chips(1), tokens=1e6, causal=False)
    ring = m.prefix_time(m.LARGE, m.Chips(64, 64, exposed=True), tokens=1e6, causal=False)
    return [
        ("retrieval of one query on 32 hosts", 0.010, m.search_time()),
        ("retrieval ceiling on 32 hosts, QPS per XPU", None, m.search_rate() / (32 * m.XPUS_PER_HOST)),
        ("Table 4, RAGO's most QPS/chip: QPS/chip", 1.08, most[1]), ("its TTFT", 2.47, most[0]),
        ("Table 4, baseline's most QPS/chip: QPS/chip", 0.65, base[1]), ("its TTFT", 1.54, base[0]),
        ("Table 4, least TTFT: QPS/chip", 0.22, least[1]), ("its TTFT", 0.03, least[0]),
        ("Case II: gain in QPS/chip over the baseline", 1.7, most[1] / base[1]),
        ("Case II: best over worst allocation, collocated", 52.5, m.sensitivity(collocated=True)),
        ("Case II: best over worst allocation, disaggregated", 64.1, m.sensitivity(collocated=False)),
        ("Figure 7c: retrieval share, 128 in, 128 out", 86.3, 100 * m.search_share(m.SMALL, 128, 128, efficiency=FITTED)),
        ("Figure 7c: retrieval share, 2048 in, 512 out", 30.9, 100 * m.search_share(m.SMALL, 2048, 512, efficiency=FITTED)),
        ("Figure 5: RAG with 8B over 70B alone, QPS/chip", 1.5, served * m.chip_time(m.LARGE, m.QUESTION, m.ANSWER)),
        *((f"retrieval share with 70B, {n} queries", None, 100 * m.search_share(m.LARGE, 512, 256, queries=n)) for n in (1, 2, 4, 8)),
        ("Case IV: TTFT with a rewriter over that without, 70B", 2.4, m.rewriter_factor(m.LARGE)),
        *((f"Figure 10b: stall at decode batch {slots}, retrieval batch {batch}", published, stalled_latency(slots, batch))
          for (slots, batch), published in STALLS.items()),
        ("1M tokens in the prompt over RAG: TTFT", 2852.6, ring / least[0]), ("the same: QPS/chip", 6633.9, alone * most[1]),
    ]  # fmt: skip


def table(found: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| {item} | {'' if said is None else f'{said:,.4g}'} | {ours:,.4g} | {'' if said is None else f'{ours / said - 1:+.1%}'} |"
             for item, said, ours in found]  # fmt: skip
    return "\n".join(["| item | published | ours | error |", "|---|---|---|---|", *lines])


if __name__ == "__main__":
    found = rows()
    print(table(found))
    with (HERE / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("item", "published", "ours"), *((item, said, f"{ours:.5g}") for item, said, ours in found)]
        )
    readme = HERE / "README.md"
    text = re.sub(r"^\| item \|.*?(?=^(?!\|))", table(found) + "\n", readme.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    readme.write_text(text, encoding="utf-8")
