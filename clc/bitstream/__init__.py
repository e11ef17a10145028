"""The bytes of a stream: container, alignment, range coder and its tables."""
