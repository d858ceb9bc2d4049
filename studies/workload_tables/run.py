"""Makes the packaged workload tables of ``mist_dse/data/workloads`` from the published traces: see README.md.

Usage: ``MIST_DSE_DATA=/path/to/data python studies/workload_tables/run.py [FOLDER]`` (default: the packaged folder).
"""

import os
import sys
from pathlib import Path

from mist_dse.requests.joint import joint_path
from mist_dse.requests.tabulate import Source, table_text, workload_table

SCRIPT = "studies/workload_tables/run.py"
AZURE = "https://github.com/Azure/AzurePublicDataset (commit b469a113, data/); Patel et al., Splitwise, ISCA 2024"
MOONCAKE = "https://github.com/kvcache-ai/Mooncake (commit 3b5a5941, FAST25-release/traces); Qin et al., Mooncake, FAST 2025"
SOURCES = (
    Source("azure_conv", "azure/AzureLLMInferenceTrace_conv.csv.gz", AZURE, "CC-BY-4.0", "one hour of 2023-11-16, conversation"),
    Source("azure_code", "azure/AzureLLMInferenceTrace_code.csv.gz", AZURE, "CC-BY-4.0", "one hour of 2023-11-16, code completion"),
    Source(
        "mooncake_conversation",
        "mooncake/conversation_trace.jsonl.gz",
        MOONCAKE,
        "Apache-2.0",
        "one hour of Kimi conversation; times are rounded to ticks of 3 s, which the gap cv shows",
    ),
    Source("mooncake_synthetic", "mooncake/synthetic_trace.jsonl.gz", MOONCAKE, "Apache-2.0", "synthetic long context, Poisson arrivals"),
)


def main(folder: Path | None) -> None:
    """Write one table per source and print what it holds."""
    traces = Path(os.environ["MIST_DSE_DATA"]) / "traces"
    for source in SOURCES:
        table = workload_table(source, traces / source.file, script=SCRIPT)
        path = folder / f"{source.name}.json" if folder else joint_path(source.name)
        path.write_text(table_text(table))
        arrivals = table["arrivals"]
        print(f"{source.name}: {table['requests']:,} requests, {table['input_mean']:.1f} in, {table['output_mean']:.1f} out, "
              f"{arrivals['rate']:.3f} req/s, gap cv {arrivals['cv']:.2f}, dispersion {arrivals['dispersion_1min']:.1f}, "
              f"{len(table['bins'])} bins, {path.stat().st_size:,} B")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
