"""Rewrite the catalogue entries of accelerators, hosts, links, tiers, models and prices from the reference tables.

    python studies/catalogue/run.py FOLDER [CONF]

FOLDER holds accelerators.csv, hosts.csv, links.csv, memory_tiers.csv, models.csv and prices.csv; without it,
``$MIST_DSE_DATA/catalog``. CONF is where to write, by default this repository's ``conf``.
"""

import csv
import os
import sys
from pathlib import Path

import entries
import names
import yaml

HERE = Path(__file__).resolve().parent


def rows(path: Path) -> list[entries.Row]:
    """The rows of one table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def catalogue(folder: Path) -> dict[str, list[tuple[str, entries.Entry]]]:
    """All entries by group."""
    devices = {row["name"]: row for row in rows(folder / "accelerators.csv")}
    links = [entries.link(row) for row in rows(folder / "links.csv") if row["name"] in names.LINKS]
    tiers = [row for row in rows(folder / "memory_tiers.csv") if row["latency_s"] and (row["read_bw_Bps"] or row["read_bw_effective_Bps"])]
    return {
        "accelerator": [entries.accelerator(devices[name]) for name in names.ACCELERATORS],
        "host": [entries.host(row) for row in rows(folder / "hosts.csv")],
        "link": links + [entries.own_link(name, devices) for name in names.OWN_LINKS],
        "tier": [entries.tier(row) for row in tiers],
        "model": [entries.model(row) for row in rows(folder / "models.csv")],
        "price": list(entries.price_books(rows(folder / "prices.csv"))),
    }


def block(item: tuple[str, object]) -> str:
    """One key and its value as YAML: sources one a line, other small mappings on one."""
    flow = None if item[0] != "source" and isinstance(item[1], dict | list) else False
    return yaml.safe_dump(dict([item]), sort_keys=False, width=10_000, allow_unicode=True, default_flow_style=flow)


def main(arguments: list[str]) -> None:
    """Write one file per entry and say how many."""
    folder = Path(arguments[0]) if arguments else Path(os.environ.get("MIST_DSE_DATA", ".")) / "catalog"
    conf = Path(arguments[1]) if len(arguments) > 1 else HERE.parent.parent / "conf"
    for group, found in catalogue(folder).items():
        (conf / group).mkdir(parents=True, exist_ok=True)
        for name, entry in found:
            (conf / group / f"{name}.yaml").write_text("".join(map(block, entry.items())), encoding="utf-8")
        print(f"{group}: {len(found)} files", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
