"""Pictures: read from untrusted bytes with alpha and metadata, written as PNG, cut, compared for near-duplicates."""
