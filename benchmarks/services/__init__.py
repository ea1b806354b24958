"""What embedding, ingest and answers cost beside the model's own time: ``python -m benchmarks.services``.

::

    __main__.py       the command line, and the tables
    measure.py        the three measurements, each with its own base in the same run
    model_server.py   a server in place of a model: it answers after a set time
"""
