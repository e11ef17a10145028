"""Archives by flows: `pack-archive` and `verify-archive`, whose work is done by the workers of a Dask cluster."""
