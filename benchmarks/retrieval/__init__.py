"""Measure how well words, vectors and both find what a human index says: ``python -m benchmarks.retrieval``.

::

    __main__.py   the command line
    run.py        one run: manual, server, searches, figures
    manual.py     where the PostgreSQL manual is, or comes from
    parsing.py    its sections, and the entries of its index
    store.py      embeds the sections and loads them
    systems.py    the ways of searching
    metrics.py    nDCG, recall, reciprocal rank
    fusion.py     reciprocal rank fusion over given ranks, and the grid of its settings
    tables.py     what is printed

The documents are the manual's sections; the queries are the entries of its index, which its authors wrote, and
relevant are the sections that an entry points to. The text is parsed at run time: none of it is in this repository.
"""
