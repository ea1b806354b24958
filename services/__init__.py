"""What an app calls: sources, chunks, embeddings, ingest."""
