"""Which references are tried for a picture, and which are kept: every threshold of that decision, in one place.

A decoder needs none of it: what is chosen travels in the stream. Registration (`clc.references.registration`), the
search (`clc.codec.search.selection`), the contest between ways to code a picture (`clc.codec.search.contest`) and the
choice of key pictures for a collection (`clc.references.overlaps`) read `POLICY`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReferencePolicy:
    """The thresholds. A reference that fails one is left out, and the picture is coded without it.

    Does a key picture show the same scene? (registration)

    | field | default | unit | a key picture is a candidate where |
    |---|---|---|---|
    | `scene_coverage` | 0.01 | share of the picture | it covers at least this much |
    | `scene_correlation` | 0.2 | correlation | means of 8x8 px agree by more than this |
    | `shown_in_place` | 0.05 | share of the detail | it shows as much with no map at all, where none is found |

    Does the identity go before the homography? Do mesh, brightness and regions pay for their bytes? (registration)

    | field | default | unit | meaning |
    |---|---|---|---|
    | `clearly_nearer` | 1.1 | ratio | by which the identity's worth must exceed that of the homography |
    | `coded_error` | 100 | squared levels | the codec's squared step, about: coefficients below it take no bits |
    | `coded_share` | 0.6 | share of the estimate | bits that are saved of those that the estimate says |
    | `trusted_bits` | 12 | bits | by which a block may cost more beside a reference before it is not covered |
    | `moved_gain` | 0.1 | share of the bits | regions that moved must save more than this to replace a mesh |
    | `misled_share` | 1.1 | share of the bits alone | a block beside a reference that shows something else |
    | `misled_bits` | 10 | bits | takes this share and these bits, because the codec learns to mistrust it |

    Which key pictures are laid over one another? (selection)

    | field | default | unit | meaning |
    |---|---|---|---|
    | `flat_db` | 20 | dB | PSNR of a flat prediction: a reference is worth its coverage times the dB above it |
    | `added_coverage` | 0.03 | share of the picture | a further key picture must show at least this much more |
    | `located_at_once` | 4 | entries | are registered before it is asked whether more are needed |
    | `nearly_all` | 0.97 | share of the picture | once good key pictures cover this much, no more are looked at |
    | `sure_db` | 3 | dB | nearer than means of 8x8 px by this much, a key picture saves bytes at every quality |
    | `sure_coverage` | 0.5 | share of the picture | provided that it covers this much |

    Which of the ways that were coded is kept? (contest)

    | field | default | unit | meaning |
    |---|---|---|---|
    | `further_gain` | 0.003 | share of the cost | a further key picture must promise more than this |
    | `light_alignment` | 0.1 | share of the cost | alignments of fewer bytes cast no doubt on a sure key picture |
    | `tokens_gain` | 0.005 | share of the cost | what tokens save at best: alignment that saved more ends the contest |
    | `tokens_rate_gain` | 0.002 | share of the rate | tokens that save less are not synthesised to learn their cost |
    | `hopeless` | 1.15 | ratio | what costs this much more than another codec beside the best key picture has lost |

    Which pictures become key pictures of a collection? (overlaps)

    | field | default | unit | meaning |
    |---|---|---|---|
    | `overlap_coverage` | 0.1 | share of the picture | two pictures overlap from here on |
    | `key_picture_worth` | 20 | dB | what a key picture is worth to itself, beside `flat_db` above for the others |
    """

    scene_coverage: float = 0.01
    scene_correlation: float = 0.2
    shown_in_place: float = 0.05
    clearly_nearer: float = 1.1
    coded_error: float = 100.0
    coded_share: float = 0.6
    trusted_bits: float = 12.0
    moved_gain: float = 0.1
    misled_share: float = 1.1
    misled_bits: float = 10.0
    flat_db: float = 20.0
    added_coverage: float = 0.03
    located_at_once: int = 4
    nearly_all: float = 0.97
    sure_db: float = 3.0
    sure_coverage: float = 0.5
    further_gain: float = 0.003
    light_alignment: float = 0.1
    tokens_gain: float = 0.005
    tokens_rate_gain: float = 0.002
    hopeless: float = 1.15
    overlap_coverage: float = 0.1
    key_picture_worth: float = 20.0


POLICY = ReferencePolicy()
"""The policy of the encoder and of the choice of key pictures."""
