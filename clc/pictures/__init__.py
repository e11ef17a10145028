"""Pictures: read from untrusted bytes, written as PNG, cut into patches, compared for near-duplicates."""
