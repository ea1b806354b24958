"""What embedding, ingest and answers cost beside the model's own time: ``python -m benchmarks.services``."""
