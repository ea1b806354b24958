"""From the results as they are kept to what people read. Nothing here measures.

::

    page.py       out/report.html, one file with all plots and tables, of templates/
    plots.py      what each plot shows; style.py how all of them look
    tables.py     what each table says, on the page and in the docs
    markdown.py   the tables into docs/benchmarks.md: ``python -m benchmarks.reporting.markdown``
"""
