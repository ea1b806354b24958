"""Writing: drafts checked, compared, and sent in one way each for new, changed and many documents."""
