"""Which pictures stand for a collection."""
