"""A decoder that some pictures end, for `test_ingest.py`; a process behind the wall imports it."""

import os

from clc.collection.examination import Examined, Refused, examine


def hostile(data: bytes, name: str) -> Examined | Refused:
    """What stands in for the decoders: some pictures do to it what no error tells."""
    if name == "0.png":
        raise MemoryError
    if name == "1.png":
        os.abort()
    return examine(data, name)
