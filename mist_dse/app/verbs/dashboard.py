"""``mist-dse dashboard RUN``: every simulated design of a run as a trial in optuna-dashboard, until Ctrl-C."""

import errno
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UsageError
from mist_dse.app.output import format_of, json_text, show

EXTRA = "dashboard: optuna-dashboard is not installed; pip install 'mist-dse[viz]'"
"""Said where the extra is missing."""

ELSEWHERE = "is no address of this machine; 127.0.0.1 serves it alone, 0.0.0.0 others too"


class Server(ThreadingMixIn, WSGIServer):
    """One thread per request, none of which outlives the server."""

    daemon_threads = True


class Server6(Server):
    """The same at an address of IPv6."""

    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    """Requests leave no lines in the log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def status(job: Job) -> int:
    """Serve the journal of the run; Ctrl-C is how it ends."""
    form = format_of(job.config, ("table", "json"))
    journal = _journal(Path(str(job.config["run"])))
    host, port = str(job.config["address"]), _port(job.config["port"])
    with _server(host, port, _application(journal)) as server:
        address = f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/"
        show(
            json_text({"run": str(journal.parent), "address": address})
            if form == "json"
            else f"{address}  ({journal.parent}; Ctrl-C ends it)"
        )
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return DONE


def _journal(folder: Path) -> Path:
    """The journal of a run; ``UsageError`` for a folder that is no run, and for a run that has not written one yet."""
    if not (folder / "manifest.json").is_file():
        why = "it has no manifest.json" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"run={folder}: is not a run folder ({why}); give one that mist-dse sweep has written")
    path = folder / "journal.log"
    if not path.is_file():
        raise UsageError(f"run={folder}: has no journal.log, which a search writes at its end; wait for it, or finish it by "
                         f"mist-dse sweep resume={folder}")  # fmt: skip
    return path


def _port(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
        raise UsageError(f"port={value}: must be a whole number from 0 (any that is free) to 65535")
    return value


def _application(journal: Path) -> Any:
    """The dashboard over a journal; ``UsageError`` where the extra is missing or the file is no journal."""
    try:
        wsgi = import_module("optuna_dashboard").wsgi
    except ImportError:
        raise UsageError(EXTRA) from None
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        if storage.get_all_studies():
            return wsgi(storage)
        why = "it holds no study"
    except (ValueError, KeyError) as error:
        why = type(error).__name__
    raise UsageError(f"{journal}: is not an Optuna journal ({why}); search anew, or give another run")


def _server(host: str, port: int, application: Any) -> Server:
    """A server that listens; ``UsageError`` where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except socket.gaierror:
        raise UsageError(f"host={host}: {ELSEWHERE}") from None
    kind = Server6 if family == socket.AF_INET6 else Server
    try:
        return make_server(host, port, application, kind, QuietHandler)
    except PermissionError:
        raise UsageError(f"port={port}: this user may not listen there; choose one above 1023, such as port=8080") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"host={host}: {ELSEWHERE}") from None
        raise UsageError(f"port={port}: cannot listen on {host} ({error.strerror}); choose another, or port=0 for any free one") from None
