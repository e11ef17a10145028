"""Puts a new model into the package and keeps the former one decodable: the weights' part of a release.

    python bench/models/ship_model.py FOLDER --release 0.17.0

FOLDER is a whole bundle with its self-test, as `train-codec` makes it. In this order:

1. the decoder's bundle of the model that ships now is written to clc/assets/released/ID, and compared with the register
2. golden streams of the new model are coded, to tests/golden/released/ID
3. the new model is written into the register, clc/assets/released/models.json
4. FOLDER takes the place of clc/assets/shipped

Each step may be done already, so that a run that was interrupted is started again. What to do by hand is printed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clc.archive.pictures import ReferredPictures, nothing_stored
from clc.bundle.decoder_bundle import keep, write_reduced
from clc.bundle.identity import (
    MANIFEST,
    id_of,
    is_bundle,
    is_decoder_bundle,
    parse_manifest,
    read_manifest_bytes,
)
from clc.bundle.released import Register, ReleasedModel, read_register, write_register
from clc.bundle.serving import check_files
from clc.codec import Codec
from clc.codec.search.selection import References
from clc.codec.selftest import DIGESTS_NAME, probe_picture, replay
from clc.errors import ClcError, InputError
from clc.pictures.picture import Picture
from storage.atomic import write_bytes
from storage.digest import sha256_bytes

ROOT = Path(__file__).parents[2]
LICENCE = "Apache-2.0, see NOTICE"
LARGEST_BYTES = 16 * 2**20
MOST_FORMER = 2
"""Decoder's bundles that the package carries; older ones become packages of their own (ADR 023)."""

HEIGHT_PX, WIDTH_PX = 150, 170
GOLDENS: Mapping[str, tuple[float, References]] = {
    "plain.clc": (35.0, "none"),
    "finest.clc": (100.0, "none"),
    "tokens.clc": (35.0, "tokens"),
}
"""The golden streams of a model: the quality and the references that each is coded with."""


@dataclass(frozen=True)
class Places:
    """Where the models of a checkout lie, and the golden streams of them."""

    assets: Path = ROOT / "clc" / "assets"
    goldens: Path = ROOT / "tests" / "golden" / "released"

    @property
    def shipped(self) -> Path:
        """The model that ships."""
        return self.assets / "shipped"

    @property
    def released(self) -> Path:
        """The former ones, and the register."""
        return self.assets / "released"

    @property
    def register(self) -> Path:
        """The register of all."""
        return self.released / "models.json"


def ship(new: Path, release: str, places: Places) -> list[str]:
    """Do all four steps; returns lines about what was done. Raises `ClcError` before anything is changed."""
    _finish_replacing(places.shipped)
    register = read_register(places.register)
    new_id, shipped_id = _id_in(new), _id_in(places.shipped)
    if new_id != shipped_id and register.find(shipped_id) is None:
        raise InputError(
            f"the shipped bundle {shipped_id} is not in {places.register}: ship it first, as {places.shipped}"
        )
    _refuse_unfit(new)
    lines = []
    if new_id != shipped_id:
        lines.append(_keep_former(places, shipped_id))
    model = registered(new, release, places.goldens / new_id)
    known = register.find(new_id)
    if known is not None and known != model:
        raise InputError(f"bundle {new_id} stands in {places.register} already, and otherwise: {known}")
    if known is None:
        write_register(places.register, Register((*register.models, model), register.earlier))
    lines.append(f"{new_id}: in the register as the model of {release}, with {len(model.golden)} golden streams")
    if new_id != shipped_id:
        _replace(places.shipped, new)
        lines.append(f"{new_id}: in {places.shipped}, where {shipped_id} was")
    return lines + _by_hand(places, shipped_id)


def registered(bundle: Path, release: str, goldens: Path) -> ReleasedModel:
    """Return the row of a whole bundle; its golden streams are coded into `goldens`, or taken from there.

    Raises `InputError` where a picture's exact pixels lie too near to a rounding edge, and what `Codec.load` raises.
    """
    data = read_manifest_bytes(bundle)
    with tempfile.TemporaryDirectory() as folder:
        reduced = write_reduced(bundle, parse_manifest(data, bundle), Path(folder))
    codec = Codec.load(bundle)
    found = {}
    for name, (quality, references) in GOLDENS.items():
        path = goldens / name
        if not path.exists():
            write_bytes(path, codec.encode(probe_picture()[:HEIGHT_PX, :WIDTH_PX], quality, references))
        found[name] = sha256_bytes(exact_pixels(codec, path.read_bytes()).tobytes())
    return ReleasedModel(id_of(data), release, LICENCE, reduced.files, reduced.left_out, found)


def exact_pixels(codec: Codec, data: bytes) -> Picture:
    """Return the pixels of a stream that every machine makes; `InputError` where one might make others."""
    exact = ReferredPictures(codec.decoder, nothing_stored, bytes.hex).exactly(data)
    if not exact.is_safe:
        raise InputError(f"a pixel lies {exact.clearance:.1e} levels from a rounding edge; change the golden's quality")
    return exact.image_HW3


def _refuse_unfit(new: Path) -> None:
    if is_decoder_bundle(new):
        raise InputError(f"{new} only decodes; the shipped bundle encodes")
    check_files(new)
    large = [path.name for path in new.rglob("*") if path.is_file() and path.stat().st_size > LARGEST_BYTES]
    if large:
        raise InputError(f"{new}: {', '.join(large)}: larger than {LARGEST_BYTES >> 20} MiB")
    difference = replay(Codec.load(new)).first_difference
    if difference is not None:
        raise InputError(f"{new}: its self-test ({DIGESTS_NAME}) differs here in {difference}")


def _keep_former(places: Places, shipped_id: str) -> str:
    kept = places.released / shipped_id
    if is_bundle(kept) and _id_in(kept) == shipped_id:
        return f"{shipped_id}: its decoder's bundle lies in {kept} already"
    keep(places.shipped, kept, read_register(places.register))
    return f"{shipped_id}: its decoder's bundle is in {kept}"


def _replace(shipped: Path, new: Path) -> None:
    """Put a copy of a folder in the place of another, which is removed last."""
    copied, former = _beside(shipped)
    for left in (copied, former):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(new, copied)
    shipped.rename(former)
    copied.rename(shipped)
    shutil.rmtree(former)


def _finish_replacing(shipped: Path) -> None:
    """End what an interrupted run left: the former folder comes back where no other took its place, else it goes."""
    _, former = _beside(shipped)
    if shipped.exists():
        shutil.rmtree(former, ignore_errors=True)
    elif former.exists():
        former.rename(shipped)


def _beside(shipped: Path) -> tuple[Path, Path]:
    return shipped.with_name(".shipped.new"), shipped.with_name(".shipped.former")


def _by_hand(places: Places, shipped_id: str) -> list[str]:
    former = sorted(path.name for path in places.released.iterdir() if (path / MANIFEST).is_file())
    releases = [model.bundle_id for model in read_register(places.register).models if model.bundle_id in former]
    lines = ["by hand: docs/model-card.md, NOTICE, CHANGELOG.md; make test ARGS='tests/golden tests/docs'"]
    for bundle_id in releases[: max(0, len(releases) - MOST_FORMER)]:
        package = f"python bench/models/model_packages.py {bundle_id}"
        lines.append(f"by hand: git rm -r clc/assets/released/{bundle_id}, once {package} has made its package")
    return lines


def _id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


def main() -> int:
    """Ship the model that is named; returns the exit status."""
    parser = argparse.ArgumentParser(description="Ship a new model, and keep the former one decodable.")
    parser.add_argument("bundle", type=Path, metavar="FOLDER", help="the new bundle, whole")
    parser.add_argument("--release", required=True, help="the release that will ship it, such as 0.17.0")
    options = parser.parse_args()
    try:
        print("\n".join(ship(options.bundle, options.release, Places())))
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
