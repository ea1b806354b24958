"""What an app needs to test its use of pgcorpus: an embedder without a model, and fixtures for pytest.

The fixtures are in ``pgcorpus.testing.fixtures`` and are asked for by name::

    pytest_plugins = ["pgcorpus.testing.fixtures"]
"""

from pgcorpus.testing.embedder import HashEmbedder

__all__ = ["HashEmbedder"]
