"""The forms of a vector index beside each other: time to build, size, and recall and speed of their searches.

::

    run.py          one run: tables, builds, searches
    kinds.py        the forms, and the settings that each is asked at
    acceptance.py   which setting of a smaller form makes up for what it leaves out

HNSW is asked at several ``ef_search``; the binary form with several numbers of rows to compare exactly (``rerank``),
which is what decides there; IVFFlat at several ``probes``. Searches are our repository's.
"""
