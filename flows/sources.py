"""Where pictures come from: the built-in photos, a folder, a pattern, a list, an archive, a table, a store, the web.

`ingest-images` asks `read_source` what a source is. What lies in files of its own is a `Source` at once; what must be
brought first is an `Origin` (`flows.intake`), of which `brought` makes a `Source`. `split_parts` decides the parts.
Nothing here decodes a picture or downloads one: the built-in photos are read as files of scikit-image and scikit-learn,
whose own functions would fetch some of them from the network. What a folder holds beside pictures is counted, and what
cannot be searched is named.

The contract: a picture's name can be written into any table and is that of no other picture of the source
(`storage.names`), while its path opens the file whatever bytes it is made of.
"""

import glob
import importlib.metadata
import importlib.util
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from clc.bundle.identity import own_names
from clc.errors import InputError
from clc.pictures.folders import SPECIAL, find_pictures, passed_over_text
from clc.pictures.picture import PICTURE_SUFFIXES
from flows.intake.gather import Gathered
from flows.intake.journal import JournalLine
from flows.intake.origin import Origin, kind_of
from flows.intake.packed import TABLE_SUFFIX, Archive, Table, file_identity, named, table_columns
from flows.intake.stores import Store
from flows.intake.url_lists import URL_COLUMNS, UrlList, is_url, names_urls
from flows.listing import expanded, read_listing
from storage.archives import ARCHIVE_SUFFIXES
from storage.blobs import BlobStore
from storage.names import real_name, shown_name
from storage.regular import open_regular

BUILTIN = "builtin"
PARTS = ("dictionary", "training", "evaluation")


@dataclass(frozen=True)
class SourcePicture:
    """One picture of a source: its name within the source, as `shown_name` writes it, its file, and its origin.

    `part` is None where the split decides. `row` is "natural", or "pair" for the two pictures that show what references
    do: views of the same scene, one in the dictionary part and one in the evaluation part. `journal` says how the file
    was brought, where it was; it is a blob then.
    """

    name: str
    path: Path
    source: str
    licence: str
    part: str | None = None
    row: str = "natural"
    journal: JournalLine | None = None


@dataclass(frozen=True)
class Source:
    """The pictures of one source in a fixed order, and the limits that come with it.

    `patch_px` is the side of the patches where the user names none. Pictures of the dictionary part are cut into such
    patches, and those of the training part if `is_training_cut` (the built-in photos). `passed_over` counts the files
    of a folder that are no pictures, by extension. `unreadable` has the reasons why subfolders could not be searched
    and links not be followed, by name. `missing` are entries that did not come.
    """

    label: str
    pictures: Sequence[SourcePicture]
    patch_px: int
    is_training_cut: bool
    passed_over: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[SourcePicture] = ()


@dataclass(frozen=True)
class _BuiltinPhoto:
    package: str
    file: str
    part: str
    licence: str
    row: str = "natural"


_SKIMAGE_DATA = "skimage/data"
_SKLEARN_DATA = "sklearn/datasets/images"
_CC0 = "CC0-1.0"
_PUBLIC = "public domain (NASA)"
_MIDDLEBURY = "Middlebury 2014 stereo data set, Scharstein et al., free for research with citation"

# The dictionary holds the left picture of the motorcycle pair and textures; evaluation holds a person, an animal, a
# building, a flower and a grey scene, so that no class of photograph decides the result alone.
_BUILTIN_PHOTOS: Mapping[str, _BuiltinPhoto] = {
    "motorcycle_left": _BuiltinPhoto(_SKIMAGE_DATA, "motorcycle_left.png", "dictionary", _MIDDLEBURY, "pair"),
    "hubble_deep_field": _BuiltinPhoto(_SKIMAGE_DATA, "hubble_deep_field.jpg", "dictionary", _PUBLIC),
    "retina": _BuiltinPhoto(_SKIMAGE_DATA, "retina.jpg", "dictionary", _CC0),
    "brick": _BuiltinPhoto(_SKIMAGE_DATA, "brick.png", "dictionary", _CC0),
    "gravel": _BuiltinPhoto(_SKIMAGE_DATA, "gravel.png", "dictionary", _CC0),
    "coins": _BuiltinPhoto(_SKIMAGE_DATA, "coins.png", "dictionary", "no known copyright restrictions"),
    "coffee": _BuiltinPhoto(_SKIMAGE_DATA, "coffee.png", "training", _CC0),
    "rocket": _BuiltinPhoto(_SKIMAGE_DATA, "rocket.jpg", "training", "public domain (SpaceX)"),
    "immunohistochemistry": _BuiltinPhoto(_SKIMAGE_DATA, "ihc.png", "training", "no known copyright restrictions"),
    "grass": _BuiltinPhoto(_SKIMAGE_DATA, "grass.png", "training", _CC0),
    "astronaut": _BuiltinPhoto(_SKIMAGE_DATA, "astronaut.png", "evaluation", _PUBLIC),
    "chelsea": _BuiltinPhoto(_SKIMAGE_DATA, "chelsea.png", "evaluation", _CC0),
    "camera": _BuiltinPhoto(_SKIMAGE_DATA, "camera.png", "evaluation", _CC0),
    "china": _BuiltinPhoto(_SKLEARN_DATA, "china.jpg", "evaluation", "CC-BY-2.0, danielbuechele"),
    "flower": _BuiltinPhoto(_SKLEARN_DATA, "flower.jpg", "evaluation", "CC-BY-2.0, vultilion"),
    "motorcycle_right": _BuiltinPhoto(_SKIMAGE_DATA, "motorcycle_right.png", "evaluation", _MIDDLEBURY, "pair"),
}

_DISTRIBUTIONS = {_SKIMAGE_DATA: "scikit-image", _SKLEARN_DATA: "scikit-learn"}


def read_source(source: str) -> Source | Origin:
    """Return the pictures of "builtin", of a folder, a pattern or a list of files, or the origin of pictures to bring.

    A folder is searched with all below it (`clc.pictures.folders`), a pattern (`photos/**/*.jpg`) as `glob` does. A
    text file lists paths (`flows.listing`) or URLs; CSV lists URLs; Parquet holds bytes or lists URLs; zip and tar hold
    pictures; `s3://bucket/folder` and others name a store. A path may be given as `shown_name` writes it. Raises
    `InputError` when there is no such thing, when it cannot be read, or when it holds no picture.
    """
    if source == BUILTIN:
        return _builtin_source()
    if not source.strip():
        raise InputError(f'no folder or list of pictures is named; name one, or use "{BUILTIN}"')
    if is_url(source):
        raise InputError(f"{source} is on the web; save the list, or name a list of URLs that holds this one")
    path = _existing(source)
    # The functions of `os.path` say no where those of `Path` raise: over a path that is too long or out of reach.
    if os.path.isdir(path):  # noqa: PTH112
        return _folder_source(path)
    if os.path.isfile(path):  # noqa: PTH113
        return _file_origin(path)
    if "://" in source:
        return _store_origin(source)
    if any(letter in source for letter in "*?["):
        return _pattern_source(source)
    raise InputError(f'no folder or list of pictures at {shown_name(str(path))}; name one, or use "{BUILTIN}"')


def brought(origin: Origin, gathered: Gathered, blobs: BlobStore) -> Source:
    """Return what came of an origin as a source, whose files are blobs."""
    name = _origin_name(origin.label)
    pictures, missing = [], []
    for line in gathered.lines:
        path = blobs.path(line.sha256) if line.sha256 else Path(line.name)
        one = SourcePicture(line.name, path, name, line.licence or "not stated", journal=line)
        (missing if line.reason else pictures).append(one)
    return Source(
        origin.label,
        pictures,
        patch_px=256,
        is_training_cut=False,
        passed_over=gathered.passed_over,
        missing=missing,
    )


def split_parts(contents: Sequence[str], shares: Mapping[str, float]) -> dict[str, str]:
    """Return the part of every content digest (hex), decided by the digest alone wherever that fills all parts.

    `shares` (parts of 1) gives each part an interval of the digests, so a picture keeps its part when others come or
    go. A part that would stay empty gets one picture of the part that has most. Raises `InputError` when there are
    fewer pictures than parts.
    """
    wanted = [part for part in PARTS if shares[part] > 0]
    unique = sorted(set(contents))
    if len(unique) < len(wanted):
        raise InputError(
            f"{len(unique)} readable pictures cannot fill the parts {', '.join(wanted)}; give at least {len(wanted)}"
        )
    parts = {content: _part_at(int(content[:8], 16) / 2**32, wanted, shares) for content in unique}
    for part in wanted:
        if part not in parts.values():
            parts[_spare(parts, unique)] = part
    return parts


def _part_at(position: float, wanted: Sequence[str], shares: Mapping[str, float]) -> str:
    total = sum(shares[part] for part in wanted)
    edge = 0.0
    for part in wanted:
        edge += shares[part] / total
        if position < edge:
            return part
    return wanted[-1]


def _spare(parts: Mapping[str, str], unique: Sequence[str]) -> str:
    """Return the last picture of the part that holds most."""
    holders = list(parts.values())
    fullest = max(PARTS, key=holders.count)
    return max(content for content in unique if parts[content] == fullest)


def _builtin_source() -> Source:
    pictures = [
        SourcePicture(
            name=name,
            path=_package_file(photo.package, photo.file),
            source=f"{_DISTRIBUTIONS[photo.package]} {importlib.metadata.version(_DISTRIBUTIONS[photo.package])}",
            licence=photo.licence,
            part=photo.part,
            row=photo.row,
        )
        for name, photo in _BUILTIN_PHOTOS.items()
    ]
    return Source(BUILTIN, pictures, patch_px=256, is_training_cut=True)


def _package_file(folder: str, name: str) -> Path:
    """Return a file of an installed package without calling it, because its functions might reach for the network."""
    package, *below = folder.split("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {package}, which carries the built-in photo {name}, is not installed")
    path = Path(spec.origin).parent.joinpath(*below, name)
    if not path.is_file():
        raise InputError(f"this release of {package} carries no {name}; install the one that constraints.txt names")
    return path


def _existing(source: str) -> Path:
    """Return the absolute path that `source` names, as it stands or as `shown_name` wrote it."""
    written, meant = (expanded(name).absolute() for name in (source, real_name(source)))
    return meant if not os.path.lexists(written) and os.path.lexists(meant) else written


def _file_origin(path: Path) -> Source | Origin:
    """Return what a file is: an archive, a table of pictures or URLs, a list of URLs, or a list of paths."""
    name = path.name.lower()
    if name.endswith(ARCHIVE_SUFFIXES):
        archive = Archive(shown_name(str(path)), file_identity(str(path)), path.name, lambda: _opened(path))
        archive.check()
        return archive
    if name.endswith(TABLE_SUFFIX):
        return _table_origin(path)
    return _url_list(path) if names_urls(path) else _list_source(path)


def _table_origin(path: Path) -> Origin:
    label = shown_name(str(path))
    with _opened(path) as file:
        columns, names = table_columns(label, file)
    if columns.picture:
        return Table(label, file_identity(str(path)), path.name, lambda: _opened(path))
    if named(names, URL_COLUMNS):
        return _url_list(path)
    raise InputError(f"{label} has no column of bytes or of URLs ({', '.join(names[:12])}); call one bytes or url")


def _url_list(path: Path) -> UrlList:
    listing = UrlList(path)
    listing.check()
    return listing


def _store_origin(source: str) -> Origin:
    store = Store(source)
    name = source.rstrip("/").rpartition("/")[2]
    kind = (
        Archive if name.lower().endswith(ARCHIVE_SUFFIXES) else Table if name.lower().endswith(TABLE_SUFFIX) else None
    )
    if kind is None or len(store.files) != 1:
        store.check()
        return store
    return kind(store.label, store.identity, name, lambda: store.open_file(store.files[0]))


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise InputError(f"{shown_name(str(path))} cannot be read ({error.strerror}); check its permissions") from error


def _pattern_source(pattern: str) -> Source:
    """Return the pictures among the files that a pattern matches; folders among them are not searched."""
    passed_over: Counter[str] = Counter()
    folder = Path(os.path.abspath(_before_magic(pattern)))  # noqa: PTH100 - `resolve` would follow links
    found = sorted(name for name in glob.glob(str(expanded(pattern)), recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207
    pictures = []
    for name in found:
        path = Path(name).absolute()
        kind = kind_of(path.name)
        if kind or not os.path.isfile(path):  # noqa: PTH113
            passed_over[kind or SPECIAL] += 1
        else:
            pictures.append(_own_picture(_name(path, folder), path, folder))
    if not pictures:
        others = f", but {passed_over_text(passed_over)}" if passed_over else ""
        raise InputError(f"no picture matches {shown_name(pattern)}{others}; quote the pattern, and check it with ls")
    return _own_source(folder, pictures, passed_over, {}, shown_name(pattern))


def _before_magic(pattern: str) -> str:
    """Return the folder in front of the first part of a pattern that is none."""
    parts = Path(expanded(pattern)).parts
    plain = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return str(Path(*parts[:plain])) if plain else "."


def _origin_name(label: str) -> str:
    """Return the last part of a source's name: it travels in every bundle that is made of its pictures."""
    return label.rstrip("/").rpartition("/")[2]


def _folder_source(folder: Path) -> Source:
    found = find_pictures(folder, own_names)
    unreadable = {_name(one.path, folder): one.reason for one in found.unreadable}
    pictures = [_own_picture(_name(path, folder), path, folder) for path in found.files]
    if not pictures:
        shown = shown_name(str(folder))
        reasons = "; ".join(f"{name} cannot be read: {reason}" for name, reason in unreadable.items())
        others = f"; it holds {passed_over_text(found.passed_over)}" if found.passed_over else ""
        raise InputError(
            f"no picture ({', '.join(sorted(PICTURE_SUFFIXES))}) in the folder {shown}{others}"
            f"{'; ' + reasons if reasons else ''}; add pictures to it or name another source"
        )
    return _own_source(folder, pictures, found.passed_over, unreadable)


def _list_source(listing: Path) -> Source:
    pictures = [_own_picture(one.name, one.path, listing, one.licence) for one in read_listing(listing)]
    if not pictures:
        raise InputError(
            f"the list {shown_name(str(listing))} names no picture; add pictures to it or name another source"
        )
    return _own_source(listing, pictures, {}, {})


def _own_source(
    origin: Path,
    pictures: Sequence[SourcePicture],
    passed_over: Mapping[str, int],
    unreadable: Mapping[str, str],
    label: str = "",
) -> Source:
    return Source(
        label or shown_name(str(origin)),
        pictures,
        patch_px=256,
        is_training_cut=False,
        passed_over=passed_over,
        unreadable=unreadable,
    )


def _own_picture(name: str, path: Path, origin: Path, licence: str = "") -> SourcePicture:
    # The origin's own name and not its path: it travels in every bundle that is made of the picture.
    return SourcePicture(name=name, path=path, source=shown_name(origin.name), licence=licence or "not stated")


def _name(path: Path, folder: Path) -> str:
    """Return what a file or folder at or below `folder` is called within it."""
    return shown_name(path.relative_to(folder).as_posix())
