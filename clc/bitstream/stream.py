"""The fields of one coded picture. `clc.bitstream.container` packs them into bytes and parses them."""

from __future__ import annotations

from dataclasses import dataclass

from clc.bitstream.alignment import MAX_ALIGNMENTS, Alignment, mesh_shape
from clc.bitstream.embedding import EMBEDDED_PROFILES, EXACT_PROFILES, Embedding
from clc.bitstream.insets import Inset, check_insets
from clc.bitstream.sections import ALPHA, Section, check_sections
from clc.errors import InputError, LimitError
from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_REFERENCES, check_size
from clc.quality import MAX_QUALITY_Q6

VERSION = 1
ALIGNED_VERSION = 2
SECTIONED_VERSION = 3
REFERRING_VERSION = 4
EMBEDDED_VERSION = 5
COPYING_VERSION = 6
COMPOUND_VERSION = 7
PROFILE = 0
OVERFITTED_PROFILE = 1
"""What the payload holds: latents of the bundle's model, or a function overfitted to the picture (`clc.overfitted`)."""

LATENT_PROFILES = (PROFILE, OVERFITTED_PROFILE)
PROFILES = (*LATENT_PROFILES, *EMBEDDED_PROFILES)
BUNDLE_ID_BYTES = 8
NO_BUNDLE = bytes(BUNDLE_ID_BYTES)
"""Stands for the bundle of streams that need none; it is not written."""
STREAM_ID_BYTES = 8

Reference = int | bytes
"""A picture to align: the dictionary entry of a key picture, or the id of a stream."""


@dataclass(frozen=True)
class Stream:
    """The fields of one coded picture, as the module's table describes them.

    - `profile` 0 for the bundle's model; 1 for a function overfitted to the picture, which refers to nothing; 2 to 4
      for the bitstream of another codec (`clc.bitstream.embedding`), which refers to no entry.
    - `width`, `height` in px; `quality_q6` the quality x 64, 0..6400; `bundle_id` 8 bytes, of an
      autoencoder in profile 1, `NO_BUNDLE` in profiles 2 to 4 without insets.
    - `references` the indexes of dictionary entries in order, empty where none is used.
    - `streams` the ids (`clc.bitstream.container.stream_id`) of other streams, whose pictures are aligned; in
      profiles 2 to 4 parts of these are copied.
    - `alignments` one for each of `streams`; without these, one for each of the first of `references`, whose key
      pictures are aligned. All other references give tokens.
    - `latents_crc32` the CRC-32 of the header and the decoded latents (`clc.model.prior.walk.latents_crc32`); in
      profiles 2 and 4 that of the decoded pixels, in profile 3 there is none, and it is 0.
    - `sections` what the picture has beside its colours, in rising order of their kinds.
    - `embedding` in profiles 2 to 4 how that bitstream came about; its quality, or 0, is `quality_q6`.
    - `insets` in profiles 2 to 4 rectangles that the bundle's model shows, laid over the payload's picture; a CRC of
      pixels is that of the payload's own. Beside them nothing is copied.

    Raises `InputError` on construction where a field is out of range, `LimitError` over a cap.
    """

    profile: int
    width: int
    height: int
    quality_q6: int
    bundle_id: bytes
    references: tuple[int, ...]
    latents_crc32: int
    payload: bytes
    alignments: tuple[Alignment, ...] = ()
    sections: tuple[Section, ...] = ()
    streams: tuple[bytes, ...] = ()
    embedding: Embedding | None = None
    insets: tuple[Inset, ...] = ()

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        if self.profile not in PROFILES:
            raise InputError(f"profile {self.profile} does not exist: there are {PROFILES}")
        if self.is_overfitted and (self.references or self.alignments or self.streams):
            raise InputError("an overfitted stream refers to no entry and no other stream")
        self._check_embedding()
        if not 0 <= self.quality_q6 <= MAX_QUALITY_Q6:
            raise InputError(f"the quality x 64 must lie within 0..{MAX_QUALITY_Q6}, not {self.quality_q6}")
        if len(self.bundle_id) != BUNDLE_ID_BYTES:
            raise InputError(f"a bundle id has {BUNDLE_ID_BYTES} bytes, not {len(self.bundle_id)}")
        if len(self.references) > MAX_REFERENCES:
            raise LimitError(f"{len(self.references)} references, at most {MAX_REFERENCES} are allowed")
        if not all(0 <= index < MAX_DICTIONARY_ENTRIES for index in self.references):
            raise InputError(f"references must lie within 0..{MAX_DICTIONARY_ENTRIES - 1}: {self.references}")
        if not 0 <= self.latents_crc32 < 1 << 32:
            raise InputError(f"a CRC-32 has 32 bits: {self.latents_crc32}")
        if len(self.alignments) > MAX_ALIGNMENTS:
            raise LimitError(f"{len(self.alignments)} aligned references, at most {MAX_ALIGNMENTS} are allowed")
        self._check_streams()
        check_sections(self.sections)
        for a in self.alignments:
            shape = mesh_shape(self.height, self.width)
            if a.mesh is not None and a.mesh.shape[:2] != shape:
                raise InputError(f"a mesh of {a.mesh.shape[:2]} nodes, but the picture's needs {shape}")

    def _check_embedding(self) -> None:
        if (self.profile in EMBEDDED_PROFILES) != (self.embedding is not None):
            raise InputError(f"profiles {EMBEDDED_PROFILES} have an embedding, and no other has")
        if self.embedding is None:
            if self.insets:
                raise InputError("insets lie over the bitstream of another codec")
            return
        self.embedding.check_profile(self.profile)
        if self.references or len(self.alignments) != len(self.streams):
            raise InputError("a stream with the bitstream of another codec refers to no entry")
        if self.streams and self.embedding.has_alpha:
            raise InputError("a payload beside parts that are copied has no alpha: that is in a section")
        self._check_insets(has_alpha=self.embedding.has_alpha)
        if self.quality_q6 != (self.embedding.quality_q6 or 0):
            raise InputError("a stream with the bitstream of another codec has its embedding's quality")
        if not self.payload or (self.latents_crc32 and self.profile not in EXACT_PROFILES):
            raise InputError("the bitstream of another codec is not empty, and has a CRC of pixels where it is exact")
        if self.embedding.has_alpha and any(section.kind == ALPHA for section in self.sections):
            raise InputError("a picture has one alpha plane: in the payload, or in a section")

    def _check_insets(self, *, has_alpha: bool) -> None:
        if (self.bundle_id != NO_BUNDLE) != bool(self.insets):
            raise InputError("the bitstream of another codec needs a bundle where there are insets, and only there")
        if self.insets and (self.streams or has_alpha):
            raise InputError("beside insets nothing is copied, and alpha stands in a section")
        check_insets(self.insets, self.width, self.height)

    def _check_streams(self) -> None:
        n_alignments, n_streams = len(self.alignments), len(self.streams)
        if n_streams and n_alignments != n_streams:
            raise InputError(f"{n_alignments} alignments for {n_streams} streams that are referred to")
        if not n_streams and n_alignments > len(self.references):
            raise InputError(f"{n_alignments} alignments for {len(self.references)} references")
        if any(len(one) != STREAM_ID_BYTES for one in self.streams):
            raise InputError(f"a stream's id has {STREAM_ID_BYTES} bytes: {self.streams}")
        if len(set(self.streams)) != n_streams:
            raise InputError("a stream refers to another stream once")

    @property
    def is_overfitted(self) -> bool:
        """Whether the payload is a function (`clc.overfitted.coding`), in place of latents under a bundle's prior."""
        return self.profile == OVERFITTED_PROFILE

    @property
    def needs_bundle(self) -> bool:
        """Whether a bundle decodes the stream, or an autoencoder; else it needs nothing beside itself and `streams`."""
        return self.embedding is None or bool(self.insets)

    @property
    def inset_streams(self) -> tuple[Stream, ...]:
        """What each of `insets` would be as a stream of its own."""
        return tuple(
            Stream(
                profile=PROFILE,
                width=inset.width,
                height=inset.height,
                quality_q6=inset.quality_q6,
                bundle_id=self.bundle_id,
                references=(),
                latents_crc32=inset.latents_crc32,
                payload=inset.payload,
            )
            for inset in self.insets
        )

    @property
    def aligned_references(self) -> tuple[Reference, ...]:
        """What is aligned: ids of streams, or dictionary entries; one for each of `alignments`."""
        return self.streams or self.references[: len(self.alignments)]

    @property
    def token_references(self) -> tuple[int, ...]:
        """The dictionary entries that give tokens."""
        return self.references if self.streams else self.references[len(self.alignments) :]

    @property
    def version(self) -> int:
        """The version of the container that holds this stream: the least that can."""
        if self.embedding is not None:
            return self.version_of_fields
        if self.sections and not self.streams:
            return SECTIONED_VERSION
        return self.version_of_fields

    @property
    def version_of_fields(self) -> int:
        """The version that stands in `clc.bitstream.container.pack_fields`: sections do not count."""
        if self.embedding is not None:
            if self.insets:
                return COMPOUND_VERSION
            return COPYING_VERSION if self.streams else EMBEDDED_VERSION
        if self.streams:
            return REFERRING_VERSION
        return ALIGNED_VERSION if self.alignments else VERSION
