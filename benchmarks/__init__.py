"""Compare pgcorpus with what people use instead, measure its forms of index, and how it scales: ``make bench``.

The parts of the suite, in rooms of their own; ``run.py`` is one run of each::

    comparison/   with other libraries
    forms/        the forms of a vector index beside each other
    tuning/       what a calibration gains
    scale/        a ladder of sizes
    reporting/    out/report.html, its plots and tables, and those of docs/benchmarks.md

Commands of their own::

    retrieval/    words, vectors and both, on the PostgreSQL manual
    services/     what embedding, ingest and answers cost beside the model's own time
    indexes.py    what vector indexes take: bytes and seconds
    operations.py what operating a database takes; site.py the server that it measures on

What all of them use::

    __main__.py   the command line of the suite; suite.py its parts, one after another
    terms.py      what is equal for all: dimensions, k, index parameters, ef_search
    data.py       the vectors and rows, and the exact answers
    server.py     the private PostgreSQL, its databases and tables; target.py where a client connects
    own.py        tables of our own models
    noise.py      turns that noise hits alike, and the intervals that it leaves
    curves.py     from answers to points of recall and speed, and the line of the best
    machine.py    what a run was measured on
    results.py    the JSON that runs leave behind
    progress.py   what a run says on the terminal
"""
