"""An Optuna journal in memory, in the format of Optuna's journal files: one JSON object per line.

Optuna's own file backend locks and syncs for every trial (4 to 7 ms); collecting a finished study and writing it once
takes a tenth of that, and the file opens in optuna-dashboard all the same.
"""

import json
from collections.abc import Generator
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class Collected(BaseJournalBackend):
    """Journal entries in a list."""

    def __init__(self) -> None:
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Entries from a number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Take in further entries."""
        self._logs += [json.loads(json.dumps(entry)) for entry in logs]

    def content(self) -> bytes:
        """The journal file."""
        return "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in self._logs).encode()
