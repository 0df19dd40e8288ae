"""What the demonstration model is taught: seeded generators of examples, one file a subject."""
