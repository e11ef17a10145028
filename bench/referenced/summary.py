"""What bench/references.py found: its JSON, and its tables with the peer beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hevc import Settings
from rich.console import Console
from rich.table import Table

from clc.evaluation.bd_rate import RateCurve
from clc.evaluation.summary import versions
from referenced.collection import Collection
from referenced.curves import Saving, levels_db, mean_curve, mean_of_pictures, rate_at, saving, usable, within
from referenced.rows import ALIGNED, MODES, NONE, ORACLE, CodedFile
from referenced.x265 import INTRA, RAW, WARPED, X265_MODES

KEY_MEANING = "BD-rate of the mean curve (bpp and PSNR averaged over the pictures), PCHIP, per cent against none"


@dataclass(frozen=True)
class Peer:
    """x265 on some of the pictures: savings against its own intra coding, ours on the same pictures, sizes.

    What a reference saves depends on the PSNR, so only `same_range`, x265 over the range of `ours`, may be held against
    `ours`. `bare` are the savings without the parameter sets and the alignment's bytes. `levels` are mean bytes a
    picture by codec at each PSNR level; None where a curve does not reach it.
    """

    pictures: tuple[str, ...]
    percent: Mapping[str, Saving]
    same_range: Mapping[str, Saving]
    bare: Mapping[str, Saving]
    ours: Saving
    levels: tuple[Mapping[str, float | None], ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `raw` and `warped` are the per cents."""
        return {
            "settings": str(Settings()),
            "pictures": list(self.pictures),
            "raw": self.percent[RAW].percent,
            "warped": self.percent[WARPED].percent,
            "ours_aligned_on_these": self.ours.percent,
            "bd_rates": {mode: one.to_json() for mode, one in [*self.percent.items(), (ALIGNED, self.ours)]},
            "over_our_range": {mode: one.to_json() for mode, one in self.same_range.items()},
            "without_headers_and_alignment": {mode: one.to_json() for mode, one in self.bare.items()},
            "mean_bytes_at_equal_psnr": [dict(level) for level in self.levels],
        }


@dataclass(frozen=True)
class Summary:
    """The figures of a set; `savings` by mode, `by_picture` by name and mode, `key_names` from entry `first_key` on.

    `beside_oracle` is the saving of mode `aligned` on the oracle's pictures, which may be fewer than all.
    """

    files: Sequence[CodedFile]
    left_out: Mapping[str, str]
    bundle_id: str
    key_names: Sequence[str]
    first_key: int
    savings: Mapping[str, Saving]
    by_picture: Mapping[str, Mapping[str, Saving]]
    beside_oracle: Saving | None
    peer: Peer | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object with the keys tokens, random, aligned, oracle: per cents, null where none could be taken."""
        return {
            **{mode: self.savings[mode].percent if mode in self.savings else None for mode in MODES if mode != NONE},
            "key_is": KEY_MEANING,
            "aligned_on_the_oracles_pictures": self.beside_oracle.percent if self.beside_oracle else None,
            "mean_of_pictures": {mode: self.mean_of_pictures(mode) for mode in self.savings},
            "worst_picture": {mode: self.worst(mode) for mode in self.savings},
            "bd_rates": {mode: one.to_json() for mode, one in self.savings.items()},
            "bundle": self.bundle_id,
            "key_pictures": list(self.key_names),
            "first_key_entry": self.first_key,
            "left_out": dict(self.left_out),
            "per_picture": [self._picture(name) for name in self.by_picture],
            "x265": self.peer.to_json() if self.peer else None,
            "versions": versions(),
        }

    def mean_of_pictures(self, mode: str) -> float | None:
        """The mean of the pictures' own BD-rates."""
        return mean_of_pictures(found[mode] for found in self.by_picture.values() if mode in found)

    def worst(self, mode: str) -> float | None:
        """The highest BD-rate of any picture, in per cent: how much a mode may lose."""
        found = [one[mode].percent for one in self.by_picture.values() if mode in one]
        return max((percent for percent in found if percent is not None), default=None)

    def covered(self, name: str) -> float:
        """The largest share of a picture that aligned references cover at any quality, 0 to 1."""
        return max((f.covered for f in self.files if f.name == name and f.mode == ALIGNED), default=0.0)

    def references(self, name: str) -> list[int]:
        """The entries that mode `aligned` aligned at any quality."""
        own = [file for file in self.files if file.name == name and file.mode == ALIGNED]
        return sorted({entry for file in own for entry in file.references[: file.n_aligned]})

    def _picture(self, name: str) -> dict[str, Any]:
        own = [file for file in self.files if file.name == name]
        return {
            "name": name,
            "covered": self.covered(name),
            "aligned_references": [self.name_of(entry) for entry in self.references(name)],
            "bd_rates": {mode: one.to_json() for mode, one in self.by_picture[name].items()},
            "files": {
                mode: [_describe(file) for file in own if file.mode == mode]
                for mode in dict.fromkeys(file.mode for file in own)
            },
        }

    def name_of(self, entry: int) -> str:
        """The file name of a key picture, or the number of an entry that the bundle had before."""
        return self.key_names[entry - self.first_key] if entry >= self.first_key else f"entry {entry}"


def _describe(file: CodedFile) -> dict[str, Any]:
    fields = asdict(file) | {"bpp": file.bpp}
    return {name: value for name, value in fields.items() if name not in ("name", "mode", "fault")}


def summarise(files: Sequence[CodedFile], bundle_id: str, key_names: Sequence[str], first_key: int) -> Summary:
    """Take all figures from the files of a set."""
    found, left_out = usable(files)
    names = list(dict.fromkeys(file.name for file in found))
    by_picture = {name: _savings([file for file in found if file.name == name]) for name in names}
    tried = {file.name for file in found if file.mode == ORACLE}
    beside_oracle = _savings([file for file in found if file.name in tried]).get(ALIGNED)
    return Summary(
        files=found,
        left_out=left_out,
        bundle_id=bundle_id,
        key_names=key_names,
        first_key=first_key,
        savings=_savings(found),
        by_picture=by_picture,
        beside_oracle=beside_oracle,
        peer=_peer(found),
    )


def _savings(files: Sequence[CodedFile]) -> dict[str, Saving]:
    """The saving of each measured mode, against `none` on the same pictures."""
    found = {}
    for mode in MODES:
        names = {file.name for file in files if file.mode == mode}
        if mode != NONE and names:
            same = [file for file in files if file.name in names]
            found[mode] = saving(mean_curve(same, NONE), mean_curve(same, mode))
    return found


def _peer(files: Sequence[CodedFile]) -> Peer | None:
    names = tuple(dict.fromkeys(file.name for file in files if file.mode == INTRA))
    if not names:
        return None
    same = [file for file in files if file.name in names]
    curves = {mode: mean_curve(same, mode) for mode in (NONE, ALIGNED, *X265_MODES)}
    bare = {mode: mean_curve(same, mode, without_side=True) for mode in X265_MODES}
    pixels = sum({file.name: file.pixels for file in same}.values()) / len(names)
    ours = saving(curves[NONE], curves[ALIGNED])
    anchor = within(curves[INTRA], ours.rate.low, ours.rate.high)
    return Peer(
        pictures=names,
        percent={mode: saving(curves[INTRA], curves[mode]) for mode in (RAW, WARPED)},
        same_range={mode: saving(anchor, curves[mode]) for mode in (RAW, WARPED)},
        bare={mode: saving(bare[INTRA], bare[mode]) for mode in (RAW, WARPED)},
        ours=ours,
        levels=tuple(_level(curves, level, pixels) for level in levels_db(curves[ALIGNED], curves[WARPED])),
    )


def _level(curves: Mapping[str, RateCurve], psnr_db: float, pixels: float) -> dict[str, float | None]:
    rates = {name: rate_at(curve, psnr_db) for name, curve in curves.items()}
    sizes = {name: None if bpp is None else bpp * pixels / 8 for name, bpp in rates.items()}
    return {"psnr_db": psnr_db, **sizes}


def print_summary(console: Console, title: str, summary: Summary) -> None:
    """Print the tables of a set."""
    console.print(_modes_table(title, summary))
    console.print(_pictures_table(summary))
    if summary.peer is not None:
        console.print(_peer_table(summary.peer))
        console.print(_levels_table(summary.peer))
    for name, reason in summary.left_out.items():
        console.print(f"left out: {name}: {reason}", highlight=False, markup=False)


def _modes_table(title: str, summary: Summary) -> Table:
    heading = f"{title}: BD-rate of PSNR against no references ({len(summary.by_picture)} pictures, whole files)"
    table = _table(heading, "mode", "mean curve", "mean of pictures", "worst picture", "common range dB", "dominated")
    for mode, one in summary.savings.items():
        own = (_percent(summary.mean_of_pictures(mode)), _percent(summary.worst(mode)))
        table.add_row(mode, _percent(one.percent), *own, _range(one), str(one.dominated))
    if summary.beside_oracle is not None:
        one = summary.beside_oracle
        row = ("aligned (oracle's pictures)", _percent(one.percent), "", "", _range(one), str(one.dominated))
        table.add_row(*row)
    if summary.peer is not None:
        table.add_section()
        for mode, one in summary.peer.percent.items():
            table.add_row(f"{mode} (its own intra)", _percent(one.percent), "", "", _range(one), str(one.dominated))
    return table


def _pictures_table(summary: Summary) -> Table:
    modes = list(summary.savings)
    table = _table("by picture", "picture", *modes, "covered", "aligned with")
    for name, found in summary.by_picture.items():
        rates = [_percent(found[mode].percent) if mode in found else "" for mode in modes]
        references = ", ".join(summary.name_of(entry) for entry in summary.references(name))
        table.add_row(name, *rates, f"{100 * summary.covered(name):.0f} %", references)
    return table


def _peer_table(peer: Peer) -> Table:
    heading = f"beside x265 ({len(peer.pictures)} pictures; {Settings()})"
    columns = ("against its own intra", "range dB", "without headers and alignment", "over clc's range", "range dB")
    table = _table(heading, "codec", *columns)
    for mode, one in peer.percent.items():
        same = peer.same_range[mode]
        bare = _percent(peer.bare[mode].percent)
        table.add_row(mode, _percent(one.percent), _range(one), bare, _percent(same.percent), _range(same))
    ours = (_percent(peer.ours.percent), _range(peer.ours))
    table.add_row("clc aligned", *ours, "", *ours)
    return table


def _levels_table(peer: Peer) -> Table:
    codecs = (NONE, ALIGNED, *X265_MODES)
    table = _table("mean bytes a picture at equal PSNR", "PSNR dB", "clc none", "clc aligned", *X265_MODES, "ratio")
    for level in peer.levels:
        ours, theirs = level[ALIGNED], level[WARPED]
        ratio = "" if ours is None or theirs is None else f"{ours / theirs:.2f}"
        sizes = [_bytes(level[codec]) for codec in codecs]
        table.add_row(f"{level['psnr_db']:.1f}", *sizes, ratio)
    table.caption = "ratio: clc aligned over x265 warped"
    return table


def print_collection(console: Console, whole: Collection) -> None:
    """Print the table of a collection."""
    heading = "the whole collection: all files and the dictionary, against every picture alone"
    columns = ("quality", "files", "dictionary", "total", "PSNR dB", "mean PSNR dB", "BD-rate", "of mean PSNR")
    table = _table(heading, "key pictures", *columns)
    rows = zip((whole.alone, *whole.tries), (None, *whole.savings), (None, *whole.savings_of_means), strict=True)
    for one, own, of_means in rows:
        for index, t in enumerate(one.totals):
            rates = ["" if found is None or index else _percent(found.percent) for found in (own, of_means)]
            sizes = [_bytes(t.files_bytes), _bytes(t.dictionary_bytes), _bytes(t.total_bytes)]
            quality = (f"{t.quality:g}", *sizes, f"{t.psnr_db:.2f}", f"{t.mean_psnr_db:.2f}")
            table.add_row("" if index else one.name, *quality, *rates)
        table.add_section()
    console.print(table)
    if whole.best is not None:
        best = whole.tries[whole.best].name
        console.print(f"best: {best}, {whole.savings[whole.best].rate}", highlight=False)
    console.print(f"best of all at each rate: {whole.overall.rate}", highlight=False)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    return table


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:+.1f} %"


def _range(one: Saving) -> str:
    return one.rate.reason if one.percent is None else f"{one.rate.low:.1f} to {one.rate.high:.1f}"


def _bytes(value: float | None) -> str:
    return "out of range" if value is None else f"{value:,.0f}"
