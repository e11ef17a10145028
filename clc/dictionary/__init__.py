"""Which pictures stand for a collection. Needs the extra `pipeline`."""

from storage.extras import need

need("pipeline", "pyarrow", "sklearn")
