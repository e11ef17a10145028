"""A released model that is small: a bundle with a self-generated prior and a key picture, and the register of it."""

from pathlib import Path

import numpy as np
import pytest

from bench.models.ship_model import registered
from clc.bundle import released
from clc.bundle.decoder_bundle import keep
from clc.bundle.extend import add_pictures
from clc.bundle.released import Register, write_register
from clc.codec.selftest import write_vectors
from tests.conftest import Picture
from tests.self_prior import export_with_self_prior

RELEASE = "9.8.7"


def write_bundle_of_release(folder: Path, photo: Picture) -> None:
    """Write the whole bundle, with everything that a bundle may have, into a new folder."""
    export_with_self_prior(folder.with_name("base"), photo)
    add_pictures(folder.with_name("base"), folder, [np.ascontiguousarray(photo[:96, :128])], [{"name": "view"}])
    write_vectors(folder)


class TinyRelease:
    """The whole bundle in `whole`, its decoder's bundle in `decoder`, and the `register`, all below one folder."""

    def __init__(self, folder: Path, photo: Picture) -> None:
        self.folder, self.whole = folder, folder / "whole"
        write_bundle_of_release(self.whole, photo)
        self.goldens = folder / "goldens"
        self.model = registered(self.whole, RELEASE, self.goldens)
        self.bundle_id = self.model.bundle_id
        self.released = folder / "released"
        self.register = Register((self.model,), {"0123456789abcdef": "0.0.1"})
        write_register(self.released / "models.json", self.register)
        self.decoder = self.released / self.bundle_id
        keep(self.whole, self.decoder, self.register)

    def install(self, monkeypatch: pytest.MonkeyPatch, *, is_carried: bool = True) -> None:
        """Have the package know this release alone; `is_carried` says whether it has the decoder's bundle, too."""
        monkeypatch.setattr(released, "REGISTER", self.released / "models.json")
        monkeypatch.setattr(released, "RELEASED", self.released if is_carried else self.folder / "nowhere")
