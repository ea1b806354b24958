"""The statements by which a collection's documents are copied under another embedding model, and change places."""
