"""The modules whose source text decides what the codec computes: part of the key of every stage that runs the codec.

A stage names what it imports, room by room, so that a word changed elsewhere does not run it again. Of `clc.bundle` and
`clc.codec` the files are named one by one: how a bundle is found, and the command line, decide nothing.
`tests/flows/test_stage_keys.py` compares the lists with the imports.
"""

CODEC_MODULES = (
    "clc.bitstream",
    "clc.bundle.bundle",
    "clc.bundle.decoder_bundle",
    "clc.bundle.identity",
    "clc.bundle.released",
    "clc.codec.beside",
    "clc.codec.buffers",
    "clc.codec.codec",
    "clc.codec.search.alignment_search",
    "clc.codec.search.contest",
    "clc.codec.decoder",
    "clc.codec.effort",
    "clc.codec.embedded",
    "clc.codec.encoding",
    "clc.codec.info",
    "clc.codec.latent_coding",
    "clc.codec.refinement",
    "clc.codec.search.selection",
    "clc.codec.ways",
    "clc.exact",
    "clc.limits",
    "clc.machine",
    "clc.model",
    "clc.payloads",
    "clc.pictures",
    "clc.quality",
    "clc.references",
    "clc.retrieval",
    "storage.arrays",
    "storage.digest",
)
