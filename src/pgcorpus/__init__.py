"""Documents and their embeddings in PostgreSQL: models, migrations, repositories and services on pgvector."""
