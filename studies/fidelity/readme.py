"""Puts the table of held-out errors into the project's README: ``mist-dse validate data=FILE format=markdown | python readme.py``.

Replaces the table that begins with its heading, and the sentence after it that names where the peer is nearer.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
HEADING = "| slice | rows |"
TABLE = re.compile(rf"^{re.escape(HEADING)}.*?(?=^(?!\||\n|The peer is nearer))", re.DOTALL | re.MULTILINE)


def renewed(text: str, table: str) -> str:
    """``text`` with ``table`` in place of the one that it holds."""
    if not table.startswith(HEADING):
        raise SystemExit(f"no table on standard input: its first line must begin with {HEADING!r}")
    return TABLE.sub(lambda _: table.strip() + "\n\n", text, count=1)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8"), sys.stdin.read()), encoding="utf-8")
