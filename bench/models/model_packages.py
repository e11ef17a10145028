"""Packages of released models: a wheel for each, with its decoder's bundle and no code.

    python bench/models/model_packages.py                          # of all that the package itself does not carry
    python bench/models/model_packages.py de3449ba54d8c6e8 --out dist

A wheel clc_codec_model_ID installs clc_codec_models/ID beside the other packages of an environment, where every decoder
looks (`clc.bundle.locate`). A model is taken from clc/assets/released or clc/assets/shipped, else from git's history,
which has each folder that a release shipped. Nothing is downloaded or uploaded.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clc.bundle.decoder_bundle import keep
from clc.bundle.identity import MANIFEST, SHIPPED, id_of, is_bundle, is_decoder_bundle, read_manifest_bytes
from clc.bundle.released import PACKAGES, RELEASED, ReleasedModel, read_register
from clc.errors import ClcError, InputError

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "clc-codec-model-{bundle_id}"
version = "{release}"
description = "The model of clc {release}, for decoding its streams with later releases; no code"
license = "Apache-2.0"
license-files = ["LICENSE", "NOTICE"]

[tool.setuptools]
packages = ["{packages}"]
package-data = {{ "*" = ["**/*"] }}
"""


def not_carried() -> list[str]:
    """Return the ids of the released models that the package itself carries in no form."""
    carried = [SHIPPED, *(path for path in RELEASED.iterdir() if is_bundle(path))]
    there = {id_of(read_manifest_bytes(folder)) for folder in carried}
    return [model.bundle_id for model in read_register().models if model.bundle_id not in there]


def build(model: ReleasedModel, out: Path) -> Path:
    """Build the wheel of a model into a folder, without a network; returns its path. Raises `ClcError`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_decoder_bundle(model, work / PACKAGES / model.bundle_id, work / "history")
        for text in ("LICENSE", "NOTICE"):
            shutil.copyfile(ROOT / text, work / text)
        fields = {"bundle_id": model.bundle_id, "release": model.release, "packages": PACKAGES}
        (work / "pyproject.toml").write_text(PROJECT.format(**fields))
        out.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(out.absolute())], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InputError(f"the wheel of {model.bundle_id} could not be built:\n{done.stdout}{done.stderr}")
        return out / done.stdout.strip().splitlines()[-1]


def write_decoder_bundle(model: ReleasedModel, goal: Path, scratch: Path) -> None:
    """Write the decoder's bundle of a model, wherever the checkout has the model. Raises `ClcError`."""
    for folder in (RELEASED / model.bundle_id, SHIPPED):
        if is_bundle(folder) and id_of(read_manifest_bytes(folder)) == model.bundle_id:
            break
    else:
        folder = out_of_history(model.bundle_id, scratch)
    if is_decoder_bundle(folder):
        shutil.copytree(folder, goal)
    else:
        keep(folder, goal)


def out_of_history(bundle_id: str, scratch: Path, root: Path = ROOT) -> Path:
    """Write the folder of a bundle that a commit has into `scratch`; returns it. `InputError` where no commit does."""
    for path in (f"clc/assets/released/{bundle_id}", "clc/assets/shipped"):
        for commit in _git(root, "log", "--all", "--format=%H", "--", f"{path}/{MANIFEST}").decode().split():
            try:
                manifest = _git(root, "show", f"{commit}:{path}/{MANIFEST}")
            except InputError:  # the commit that removed it
                continue
            if id_of(manifest) == bundle_id:
                with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", commit, path))) as archive:
                    archive.extractall(scratch, filter="data")
                return scratch / path
    raise InputError(f"no commit here has bundle {bundle_id}: fetch the whole history, git fetch --unshallow")


def _git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the wheels that are asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build packages of released models, one each.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids of released models; all that are not carried")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the wheels (dist)")
    options = parser.parse_args(arguments)
    register, wanted = read_register(), options.ids or not_carried()
    if not wanted:
        print("the package carries every released model; name an id to build its package all the same")
    try:
        for bundle_id in wanted:
            model = register.find(bundle_id)
            if model is None:
                raise InputError(f"{bundle_id} is no released model; `clc models` lists them")
            wheel = build(model, options.out)
            print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
