"""Rows of the reference tables as catalogue entries: plain dictionaries, quantities with units, a source each."""

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import fields

import names

from mist_dse.specs.model import ModelSpec
from mist_dse.units import quantity

Row = dict[str, str]
Entry = dict[str, object]
SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "m": 1e-3, "u": 1e-6, "n": 1e-9}
BINARY = {"Gi": 2.0**30, "Mi": 2.0**20, "Ti": 2.0**40}


def amount(text: str, unit: str) -> str | None:
    """A number of SI units as the shortest text that means exactly the same; None for an empty cell."""
    if text == "":
        return None
    value = float(text)
    scales = SCALES | (BINARY if unit == "B" else {})
    texts = {f"{value / scale:.12g} {prefix}{unit}": 1 <= value / scale < 1000 for prefix, scale in scales.items()}
    exact = [item for item in texts if abs(quantity(item, unit) - value) <= 1e-12 * value]
    return min(exact, key=lambda item: (not texts[item], len(item)))


def clean(entry: Entry) -> Entry:
    """The entry without what is unknown."""
    return {key: value for key, value in entry.items() if value not in (None, "", [], {})}


def sources(row: Row, present: Iterable[str]) -> dict[str, str] | str:
    """The row's source, and for each key that was not reopened, that it was not."""
    words = set(re.split(r"[\s,]+", row.get("recalled_fields", "")))
    keys = set(present) if "all" in words else {names.RECALLED[word] for word in words if word in names.RECALLED} & set(present)
    if "link" in words or "bridge" in words:
        keys |= {"scale_up"} & set(present)
    stated = dict.fromkeys(sorted(keys), "datasheet figure as recalled, not reopened")
    return {"default": row["source"]} | stated if stated else row["source"]


def about(row: Row) -> Entry:
    """What every row says about itself."""
    return {"confidence": row.get("confidence"), "verified": row.get("verified"), "note": row.get("note")}


def accelerator(row: Row) -> tuple[str, Entry]:
    """One accelerator."""
    name, link = names.ACCELERATORS[row["name"]]
    rates = {"fp32": "fp32_flops", "tf32": "tf32_flops", "bf16": "bf16_flops", "fp8": "fp8_flops", "int8": "int8_ops", "fp4": "fp4_flops"}
    peaks = clean({dtype: amount(row[column], "FLOP/s") for dtype, column in rates.items()})
    domain = names.PCIE_HOST_DOMAIN if link.startswith("pcie") else int(row["scaleup_domain"])
    entry: Entry = {
        "aliases": [row["name"], *names.ACCELERATOR_ALIASES.get(name, [])],
        "vendor": row["vendor"],
        "year": int(row["year"]),
        "peaks": peaks,
        "memory": amount(row["hbm_bytes"], "B"),
        "visible_memory": amount(row["hbm_visible_bytes"], "B"),
        "memory_bandwidth": amount(row["hbm_bw_Bps"], "B/s"),
        "scale_up": {"link": link, "domain": domain},
        "host_link": amount(row["pcie_bw_Bps_per_dir"], "B/s"),
        "nic": amount(row["nic_Bps_per_dir"], "B/s"),
        "tdp": amount(row["tdp_W"], "W"),
        "idle_power": amount(row["idle_W"], "W"),
    }
    present = [*(f"peaks.{dtype}" for dtype in peaks), *clean(entry)]
    said = sources(row, [key for key in present if key not in ("aliases", "vendor", "year", "peaks")])
    if name in names.IDLE_SOURCES:
        said = ({"default": said} if isinstance(said, str) else said) | {"idle_power": names.IDLE_SOURCES[name]}
    note = {"note": "; ".join(filter(None, [row["note"], link_note(row, domain)]))}
    return name, clean(entry | {"source": said} | about(row) | note)


def link_note(row: Row, domain: int) -> str:
    """How the scale-up link was read where the table leaves a choice."""
    if domain != int(row["scaleup_domain"]):
        return f"the optional NVLink bridge of a pair is not modelled: {row['scaleup_link']}"
    return "link of the device that it resembles" if row["name"].startswith("RAGO") else ""


def host(row: Row) -> tuple[str, Entry]:
    """One CPU socket."""
    name = re.sub(r"[^a-z0-9]+", "_", row["name"].lower().replace("+", "_plus")).strip("_")
    entry: Entry = {
        "aliases": [row["name"], *names.HOST_ALIASES.get(name, [])],
        "vendor": row["vendor"],
        "year": int(row["year"]),
        "cores": int(row["cores"]),
        "fp32": amount(row["fp32_flops"], "FLOP/s"),
        "bf16": amount(row["bf16_flops"], "FLOP/s"),
        "memory": amount(row["mem_max_bytes"], "B"),
        "memory_bandwidth": amount(row["mem_bw_Bps"], "B/s"),
        "pq_scan": amount(row["pq_scan_Bps_per_core"], "B/s"),
        "tdp": amount(row["tdp_W"], "W"),
    }
    present = [key for key in clean(entry) if key not in ("aliases", "vendor", "year")]
    return name, clean(entry | {"source": sources(row, present)} | about(row))


def link(row: Row) -> tuple[str, Entry]:
    """One link technology."""
    kind = row["kind"] if row["kind"] in ("scale-up", "scale-out", "host") else "scale-out"
    entry: Entry = {
        "aliases": [row["name"]],
        "kind": kind,
        "bandwidth": amount(row["bw_Bps_per_dir_per_device"], "B/s"),
        "latency": amount(row["alpha_s"], "s"),
        "efficiency": float(row["efficiency_typical"]) if row["efficiency_typical"] else None,
        "links": neighbours(row) if kind == "scale-up" else None,
    }
    basis = row["efficiency_basis"] or "none found: the default of 0.8 is an assumption"
    return names.LINKS[row["name"]], clean(entry | {"source": {"default": row["source"], "efficiency": basis}} | about(row))


def neighbours(row: Row) -> int | None:
    """Links that the bandwidth is the sum of, by the topology of the table; None where any pair gets it all."""
    if row["topology"] == "fully connected":
        peers = int(row["domain"]) - 1
        return peers if peers > 1 else None
    return names.LINKS_OF_TOPOLOGY.get(row["topology"])


def own_link(name: str, devices: dict[str, Row]) -> tuple[str, Entry]:
    """A link that only one accelerator's row describes."""
    device, kind, latency, basis = names.OWN_LINKS[name]
    row = devices[device]
    entry: Entry = {"kind": kind, "bandwidth": amount(row["scaleup_bw_Bps_per_dir"], "B/s"), "latency": amount(str(latency), "s")}
    said = {"default": row["source"], "latency": basis, "efficiency": "none found: the default of 0.8 is an assumption"}
    return name, clean(entry | {"source": said, "confidence": row["confidence"], "verified": row["verified"]})


def tier(row: Row) -> tuple[str, Entry]:
    """One memory or storage tier; effective rates of large transfers where they are known."""
    name = re.sub(r"[^a-z0-9]+", "_", row["technology"].lower()).strip("_")
    read, write = row["read_bw_effective_Bps"] or row["read_bw_Bps"], row["write_bw_effective_Bps"] or row["write_bw_Bps"]
    basis = "effective rate of large transfers" if row["read_bw_effective_Bps"] else "nominal rate"
    entry: Entry = {
        "aliases": [row["technology"]],
        "technology": row["technology"],
        "scope": names.TIER_SCOPES.get(name, row["unit"]),
        "read": amount(read, "B/s"),
        "write": amount(write, "B/s"),
        "latency": amount(row["latency_s"], "s"),
        "capacity": amount(row["capacity_bytes"], "B"),
    }
    return name, clean(entry | {"source": {"default": row["source"], "read": f"{basis}; {row['source']}"}} | about(row))


def model(row: Row) -> tuple[str, Entry]:
    """One model's shape; counts that follow from it are left to the code."""
    entry: Entry = {"aliases": names.MODEL_ALIASES.get(row["name"])}
    for field in fields(ModelSpec):
        text = names.NATIVE_DTYPES.get(row["name"], row[field.name]) if field.name == "native_dtype" else row.get(field.name, "")
        if text == "" or field.name in ("name", "source", "confidence", "verified", "note"):
            continue
        value = text if field.type is str else bool(int(text)) if field.type is bool else int(text)
        if value != field.default:
            entry[field.name] = value
    return row["name"], clean(entry) | {key: value for key, value in entry.items() if value is False} | clean(
        {"source": row["source"]} | about(row)
    )


def price(row: Row) -> Entry:
    """One price, as listed."""
    return clean(
        {
            "price": f"{usd(row):.10g} USD/h",
            "provider": row["provider"],
            "date": row["date"],
            "kind": row["kind"],
            "source": row["source"],
            "confidence": row["confidence"],
        }
    )


def price_books(rows: list[Row]) -> Iterator[tuple[str, Entry]]:
    """One book per provider and date, and three over all of them: lowest, highest, and the median of on-demand prices."""
    books: dict[str, dict[str, Entry]] = defaultdict(dict)
    by_item: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        item = names.ACCELERATORS.get(row["device"], (names.PRICE_ITEMS.get(row["device"], row["device"]), ""))[0]
        if item == "Sohu":
            continue
        by_item[item].append(row)
        book = book_name(row)
        if item in books[book]:
            raise SystemExit(f"prices.csv: {book} has two prices of {item}")
        books[book][item] = price(row)
    for name, prices in books.items():
        date = " to ".join(sorted({str(entry["date"]) for entry in prices.values()}))
        billing = "node" if name.startswith(names.WHOLE_NODES) else "device"
        listed = "; ".join(dict.fromkeys(str(entry["source"]) for entry in prices.values()))
        yield name, {"billing": billing, "date": date, "prices": prices, "source": listed}
    yield from spread_books({item: found for item, found in by_item.items() if item != "cpu_machine"})


def book_name(row: Row) -> str:
    """Name of the book of one provider and date."""
    provider = next(name for start, name in names.PROVIDERS.items() if row["provider"].startswith(start))
    dated = re.match(r"(\d{4})(?:-(\d\d))?", row["date"])
    return provider + (
        "" if provider.startswith(("mist", "vidur")) or not dated else "_" + "_".join(part for part in dated.groups() if part)
    )


def spread_books(by_item: dict[str, list[Row]]) -> Iterator[tuple[str, Entry]]:
    """The books that take one price per accelerator (and of a vCPU) over all sources."""
    low = {item: price(min(rows, key=usd)) for item, rows in by_item.items()}
    high = {item: price(max(rows, key=usd)) for item, rows in by_item.items()}
    middle = {item: median_price(rows) for item, rows in by_item.items()}
    span = "2024 to 2026"
    yield "low", {"date": span, "prices": low, "source": "lowest listed price of each accelerator, of any kind, provider and date"}
    yield "high", {"date": span, "prices": high, "source": "highest listed price of each accelerator, of any kind, provider and date"}
    rule = "median of each accelerator's on-demand and list prices; where it has none, median of its marketplace or study prices"
    yield "default", {"date": span, "prices": middle, "source": rule, "note": "a device price includes its share of the host, as rented"}


def usd(row: Row) -> float:
    """The price of a row."""
    return float(row["usd_per_device_hour"])


def median_price(rows: list[Row]) -> Entry:
    """The median of the on-demand prices, or of all where there are none."""
    chosen = [row for row in rows if row["kind"] in ("on_demand", "list")] or rows
    dates = sorted({row["date"] for row in chosen if row["date"][0].isdigit()})
    providers = sorted({row["provider"] for row in chosen})
    kinds = " and ".join(sorted({row["kind"] for row in chosen}))
    return {
        "price": f"{statistics.median(map(usd, chosen)):.10g} USD/h",
        "provider": f"median of {len(chosen)} {kinds} prices",
        "date": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])) or "undated",
        "kind": "median",
        "source": "; ".join(providers),
        "confidence": "secondary",
    }
