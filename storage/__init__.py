"""Bytes on disk: atomic writes, digests, content-addressed blobs, tables, arrays, manifests and leases.

Imports neither `clc` nor `flows`, and knows nothing of pictures or models. Its contract: what is read is what was
written, or a `StorageError` says why not; a writer that dies leaves nothing that looks finished.
"""
