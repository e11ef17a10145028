"""One picture's life at the encoder: search, analysis, refinement, the ways to code it, and which of them is kept.

    picture -> references worth trying (clc.codec.search.selection)
            -> g_a, refinement -> latents -> exact path (clc.codec.latent_coding) -> payload -> container, for each way
            -> the way with the least rate + lambda * distortion (clc.codec.search.contest) -> decoded again -> bytes

What is computed once for a picture, however often it is coded, is kept here: its latents where nothing is aligned, the
same refined, and the views of key pictures. `clc.codec.codec.Codec` makes an `Encoding` for each call; whoever codes a
picture at several qualities may hold on to one. One thread uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from clc.bitstream.container import ParsedStream, pack, pack_fields, parse_with_fields
from clc.bitstream.stream import PROFILE, Stream
from clc.bundle.bundle import Bundle
from clc.codec.decoder import Decoder
from clc.codec.effort import UNREFINED, Effort, refinements
from clc.codec.latent_coding import Analysed, encode_latents, rounded
from clc.codec.refinement import Target, refine
from clc.codec.search.contest import NO_RIVAL, Choice, Judge, Rival, cheapest
from clc.codec.search.selection import Search, Selector
from clc.limits import check_size
from clc.model.model import padded
from clc.model.prior.walk import Conditions, Decoded, aligned_latents, structure_of
from clc.pictures.picture import Picture, check_picture
from clc.quality import from_q6, rate_distortion_lambda
from clc.references.aligned import AlignedPixels
from clc.references.key_pictures import WarpedKeyPictures

_KEPT_PICTURES = 3


@dataclass(frozen=True, eq=False)
class Attempt:
    """A picture coded in one way: its fields and bytes, what both sides know of it, and what a decoder will decode."""

    choice: Choice
    stream: Stream
    data: bytes
    conditions: Conditions
    decoded: Decoded

    @property
    def bpp(self) -> float:
        """The rate, bits a pixel."""
        return len(self.data) * 8 / (self.stream.width * self.stream.height)


class SelfPrior(NamedTuple):
    """A self-generated prior at one quality: its symbols (1, P, h/2, w/2) and its structure (1, S, h, w), float64."""

    quality_q6: int
    p_hat: torch.Tensor
    structure: torch.Tensor


class Encoding:
    """One uint8 picture (H, W, 3) that is being coded; see the module.

    Raises `InputError` for another shape or dtype and for a bundle that only decodes, `LimitError` for a picture over
    `clc.limits`.
    """

    def __init__(self, decoder: Decoder, selector: Selector, image_HW3: Picture) -> None:
        decoder.bundle.refuse_unless_whole()
        self.image_HW3 = check_picture(image_HW3)
        check_size(image_HW3.shape[1], image_HW3.shape[0])
        self.warped = WarpedKeyPictures(decoder.key_pictures)
        self._decoder, self._selector = decoder, selector
        self._y: dict[int | None, torch.Tensor] = {}
        self._own: dict[int, SelfPrior] = {}
        self._errors: dict[bytes, float] = {}
        self._pictures: dict[bytes, Picture] = {}
        self._sought_at: int | None = None
        self._refined: dict[tuple[int, Effort], torch.Tensor] = {}

    def of_part(self, part_HW3: Picture) -> Encoding:
        """Begins to code a part of the picture, or windows of it, in the same way; raises as the class does."""
        return Encoding(self._decoder, self._selector, part_HW3)

    @property
    def bundle(self) -> Bundle:
        """The bundle that the picture is coded with."""
        return self._decoder.bundle

    def feature_map(self, image_HW3: Picture) -> npt.NDArray[np.float32]:
        """See `clc.codec.codec.Codec.feature_map`; of the picture itself from the latents that it is coded with.

        Those differ from quality to quality beside a self-generated prior: `proposals` says for which they are sought.
        """
        if image_HW3 is self.image_HW3:
            y = self._analysed(own=None if self._sought_at is None else self._self_prior(self._sought_at))
        else:
            y = self._decoder.model.analyse(image_HW3)
        mapped: npt.NDArray[np.float32] = self._decoder.model.feature_map(y)[0]
        return mapped

    def proposals(self, search: Search | None = None, quality_q6: int | None = None) -> list[Choice]:
        """The choices worth coding, at a quality or at any; see `clc.codec.search.selection.Selector.propose`."""
        self._sought_at = quality_q6
        return self._selector.propose(self, search or Search())

    @torch.no_grad()
    def encode(self, quality_q6: int, search: Search) -> bytes:
        """The stream with the least rate + lambda * distortion at a quality of 0..6400; see `Codec.encode`."""
        return self.best_of(self.proposals(search, quality_q6), quality_q6, search.effort).data

    @torch.no_grad()
    def best_of(
        self,
        choices: Sequence[Choice],
        quality_q6: int,
        level: Effort,
        alone: float | None = None,
        rival: Rival = NO_RIVAL,
    ) -> Attempt:
        """The way with the least rate + lambda * distortion among `choices`, the first of which aligns nothing.

        `alone` is what that one costs, bits a pixel, where it is known: it is then not coded beside ways that align.
        Where it is clear that none of them wins against `rival`, the result is whichever was coded by then.
        """
        cost = _once_for_each_stream(self.cost)
        # Beside aligned key pictures latents are refined anew each time, so the best's alone, once all were compared.
        first = UNREFINED if any(choice.alignments for choice in choices) else level
        code = partial(self.code, quality_q6, level=first)
        pixels = self.image_HW3.shape[0] * self.image_HW3.shape[1]
        best = cheapest(choices, Judge(code, lambda attempt: attempt.bpp, cost, pixels, alone, rival))
        if rival.beats(best.bpp, lambda: cost(best)):
            return best
        ways = dict.fromkeys((best.choice,) if best.choice.alignments else (best.choice, choices[0]))
        further = [refinement for refinement in refinements(level) if refinement != first]
        for refinement, way in product(further, ways):
            best = min(best, self.code(quality_q6, way, refinement), key=cost)
        self.check_decodes(best)
        return best

    def check_decodes(self, attempt: Attempt) -> None:
        """Decodes the latents of the finished stream, as any decoder will; raises `DecodeMismatch` if they differ."""
        parsed = parse_with_fields(attempt.data)
        is_same = parsed.stream == attempt.stream
        conditions = attempt.conditions if is_same else self._decoder.conditions(parsed)
        self._decoder.latents(parsed.stream, conditions)

    @torch.no_grad()
    def cost(self, attempt: Attempt) -> float:
        """Rate + lambda * distortion in bits a pixel, the objective of training, from real bytes and pixels."""
        trade = rate_distortion_lambda(torch.tensor(from_q6(attempt.stream.quality_q6))).item()
        return attempt.bpp + trade * self.squared_error(attempt)

    @torch.no_grad()
    def squared_error(self, attempt: Attempt) -> float:
        """The mean squared error of the decoded picture, in levels of 0..255, synthesised once for the same bytes."""
        if attempt.data not in self._errors:
            error = self.picture(attempt).astype(np.float32) - self.image_HW3
            self._errors[attempt.data] = float(np.square(error).mean())
        return self._errors[attempt.data]

    @torch.no_grad()
    def picture(self, attempt: Attempt) -> Picture:
        """What an attempt decodes to, uint8 (H, W, 3); the last ones are kept, for whoever looks at the best again."""
        known = self._pictures.pop(attempt.data, None)
        if known is None:
            known = self._decoder.picture(attempt.stream, attempt.decoded, attempt.conditions)
        self._pictures[attempt.data] = known
        for oldest in list(self._pictures)[:-_KEPT_PICTURES]:
            del self._pictures[oldest]
        return known

    @torch.no_grad()
    def estimated_error(self, attempt: Attempt) -> float:
        """About `squared_error`, from a few windows of the picture where that spares most of the synthesis.

        Where nothing is known of the picture's error, a window is synthesised in each of its quarters, and their error
        is scaled by how much the picture's neighbours differ, in them and in all of it.
        """
        windows = self._decoder.windows(attempt.stream, attempt.decoded)
        if attempt.data in self._errors or windows is None:
            return self.squared_error(attempt)
        differences_HW = local_differences(self.image_HW3)
        error = seen = 0.0
        for top, left, decoded in windows:
            place = slice(top, top + decoded.shape[0]), slice(left, left + decoded.shape[1])
            error += float(np.square(decoded.astype(np.float32) - self.image_HW3[place]).mean(axis=2).sum())
            seen += float(differences_HW[place].sum())
        return error / seen * float(differences_HW.mean())

    @torch.no_grad()
    def code(self, quality_q6: int, choice: Choice, level: Effort = UNREFINED) -> Attempt:
        """Codes the picture with given references and alignments; of `level` only the refinement is used."""
        decoder, model = self._decoder, self._decoder.model
        stream = Stream(
            profile=PROFILE,
            width=self.image_HW3.shape[1],
            height=self.image_HW3.shape[0],
            quality_q6=quality_q6,
            bundle_id=self.bundle.id_bytes,
            references=choice.references,
            alignments=choice.alignments,
            streams=choice.streams,
            latents_crc32=0,
            payload=b"",
        )
        conditions = decoder.conditions(ParsedStream(stream, pack_fields(stream)), self.warped)
        own = self._self_prior(quality_q6)
        y = self._analysed(conditions.aligned, own)
        quality = torch.tensor([quality_q6], device=decoder.device)
        step = model.gains.step(quality)
        reference = aligned_latents(decoder.prior, conditions)
        z = model.h_a(y / step, None if reference is None else reference.to_float())
        if level.down:
            x = padded(torch.from_numpy(self.image_HW3.copy()).to(decoder.device)) / 255.0
            target = Target(x, quality_q6, z, conditions.aligned, None if own is None else own.structure.float())
            y = self._refine(y, target, level)
        bits_per_squared_step = None if level.annealed else model.bits_per_squared_step(quality, step)
        analysed = Analysed(y / step, z, bits_per_squared_step, None if own is None else own.p_hat)
        payload, decoded = encode_latents(decoder.prior, self.bundle.table, analysed, conditions)
        stream = replace(stream, latents_crc32=decoded.crc32, payload=payload)
        return Attempt(choice, stream, pack(stream), conditions, decoded)

    def _analysed(self, aligned: AlignedPixels | None = None, own: SelfPrior | None = None) -> torch.Tensor:
        """The latents y (1, M, h, w); without an aligned reference they are the same for every way, and made once.

        Beside a self-generated prior they are made once for each quality.
        """
        structure, quality_q6 = (None, None) if own is None else (own.structure.float(), own.quality_q6)
        if aligned is not None:
            return self._decoder.model.analyse(self.image_HW3, aligned, structure)
        if quality_q6 not in self._y:
            for former in self._y.keys() - {None}:
                del self._y[former]
            self._y[quality_q6] = self._decoder.model.analyse(self.image_HW3, structure=structure)
        return self._y[quality_q6]

    def _self_prior(self, quality_q6: int) -> SelfPrior | None:
        """The self-generated prior at a quality, made once; None where the model has none."""
        if quality_q6 not in self._own:
            decoder = self._decoder
            p = decoder.model.self_prior_of(self.image_HW3, torch.tensor([quality_q6], device=decoder.device))
            if p is None:
                return None
            p_hat = rounded(p)
            self._own = {quality_q6: SelfPrior(quality_q6, p_hat, structure_of(decoder.prior, p_hat, quality_q6))}
        return self._own[quality_q6]

    def _refine(self, y: torch.Tensor, target: Target, level: Effort) -> torch.Tensor:
        """The latents y refined; without an aligned reference they too are made once for a quality."""
        if target.aligned is not None:
            return refine(self._decoder.model, y, target, level)
        key = target.quality_q6, level
        if key not in self._refined:
            self._refined = {key: refine(self._decoder.model, y, target, level), **self._of(target.quality_q6)}
        return self._refined[key]

    def _of(self, quality_q6: int) -> dict[tuple[int, Effort], torch.Tensor]:
        """Refined latents of one quality; those of others are forgotten when it is left."""
        return {key: refined for key, refined in self._refined.items() if key[0] == quality_q6}


def local_differences(image_HW3: Picture) -> npt.NDArray[np.float32]:
    """How far the green of each pixel of uint8 (H, W, 3) is from its neighbours', squared levels float32 (H, W).

    It is nowhere below 1.
    """
    levels = image_HW3[..., 1].astype(np.float32)
    differences = np.ones(levels.shape, np.float32)
    differences[:, 1:] += np.square(levels[:, 1:] - levels[:, :-1])
    differences[1:] += np.square(levels[1:] - levels[:-1])
    return differences


def _once_for_each_stream(cost: Callable[[Attempt], float]) -> Callable[[Attempt], float]:
    """`cost`, computed once for attempts with the same bytes: ways to code a picture often end alike."""
    known: dict[bytes, float] = {}

    def remembered(attempt: Attempt) -> float:
        if attempt.data not in known:
            known[attempt.data] = cost(attempt)
        return known[attempt.data]

    return remembered
