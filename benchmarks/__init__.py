"""Compare pgcorpus with what people use instead, all in one run on one private PostgreSQL: ``make bench``.

::

    __main__.py   the command line
    run.py        one run: server, tables, workers, measurements
    state.py      what a run was asked for, and what it has at hand
    prepare.py    the tables: ours and the peers' own
    measure.py    the measurements
    terms.py      what is equal for all: dimensions, k, index parameters, ef_search
    data.py       the vectors and rows, and the exact answers
    server.py     the private PostgreSQL, its databases and tables
    delay.py      a proxy that makes the network slower
    venvs.py      virtual environments for peers that cannot share ours
    client.py     a worker process as the run sees it
    worker.py     the process in which one peer works
    rounds.py     interleaved rounds and their medians
    figures.py    from rounds to the keys of peers.json
    report.py     the tables, and peers.json
    peers/        the peers, each in its own words

The base of every ratio is ``peers/by_hand.py``. A peer runs in a process of its own, and one at a time.
"""
