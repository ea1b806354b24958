"""How time and memory grow with the rows.

::

    run.py      one run: a ladder of sizes, goes on where it stopped
    size.py     one of them, on a server of its own
    stream.py   its vectors, of any number
    memory.py   the server's memory while something runs
    growth.py   power laws, fitted, and the figures that are followed
"""
