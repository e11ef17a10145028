"""What serves: the gate that a new bundle passes, the record, the registry that tells it, and notices of failures."""
