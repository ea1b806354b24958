"""pgcorpus beside hand-written psycopg 3 and other libraries, in interleaved rounds on one server.

::

    run.py        one run: server, tables, workers, measurements
    state.py      what a run was asked for, and what it has at hand
    prepare.py    the tables: ours and the peers' own
    measure.py    the measurements; sweeps.py those by ef_search and by selectivity
    rounds.py     the rounds, and the medians over them
    delay.py      a proxy that makes the network slower
    client.py     a worker process as the run sees it; worker.py the process in which one peer works
    venvs.py      virtual environments for peers that cannot share ours, of requirements/
    peers/        the peers, each in its own words; by_hand.py is the base of every ratio

    measured.py   all that was measured
    figures.py    from that to the keys of peers.json; summary.py to those of comparison.json
    terminal.py   the tables on the terminal

A peer runs in a process of its own, and one at a time.
"""
