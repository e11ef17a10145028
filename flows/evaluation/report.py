"""The report of the flow `evaluate-codec`: which bundle, on which pictures, by which command and machine.

`retrain` writes it once more, with its decision on top, as `service/report.html`: the pages of a finished stage never
change.
"""

from collections.abc import Sequence
from pathlib import Path

from clc.evaluation.bd_rate import BdRate
from clc.evaluation.coders import TEST, WITHOUT_REFERENCES, BaselineSet, Coder
from clc.evaluation.curves import Comparison
from clc.evaluation.measure import NATURAL, PAIR, PICTURE_ERRORS, Row
from clc.evaluation.published import Published, rates_against
from clc.evaluation.report.facts import machine_facts
from clc.evaluation.report.report import Report, render, telling_pictures
from clc.evaluation.report.viewer import busiest_window, cut, thumbnails, view
from clc.evaluation.summary import JPEG, versions
from clc.pictures.picture import Picture
from flows.evaluation.measuring import Measuring

MOST_TRACKED = 2
"""Pictures of an evaluation that MLflow stores, up to a megabyte each and for each quality."""


def report_page(
    measuring: Measuring,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    baselines: BaselineSet,
    published: Published,
    command: str,
) -> str:
    """Return the report as HTML.

    `published` are others' curves on the same pictures, and `command` is what makes the same evaluation again.
    """
    subject = measuring.subject
    pictures = measuring.pictures()
    overfitted = measuring.overfitted
    others = [*baselines.available, *([overfitted.continuing()] if overfitted else [])]
    coders: list[Coder] = [*subject.coders, *others]
    by_id = {picture.item_id: picture for picture in pictures}
    shown = [by_id[item_id] for item_id in telling_pictures(rows, TEST, JPEG)]
    return render(
        Report(
            title=f"{TEST} {subject.bundle_id} on {Path(subject.dataset).name}",
            subject=f"All figures are of bundle {subject.bundle_id}, {subject.origin}.",
            test=TEST,
            without_references=WITHOUT_REFERENCES,
            rows=rows,
            comparisons=comparisons,
            settings={one.name: one.settings for one in coders},
            missing=baselines.missing,
            unmeasured=measuring.perceptual.missing,
            facts=_facts(measuring, rows, command),
            viewed=view(shown, rows, subject.coders[0], others),
            thumbnails=thumbnails(pictures),
            published={scale.key: list(curves.values()) for scale, curves in published.items()},
            published_rates=published_rates(comparisons, published),
        )
    )


def published_rates(comparisons: Sequence[Comparison], published: Published) -> list[BdRate]:
    """Return what the codec takes against each published curve, over the natural pictures."""
    natural = next((one for one in comparisons if one.row == NATURAL), None)
    curve = natural.find(TEST) if natural else None
    return rates_against(published, curve) if curve else []


def _facts(measuring: Measuring, rows: Sequence[Row], command: str) -> dict[str, str]:
    subject = measuring.subject
    count = sum(one.row == NATURAL for one in subject.items)
    facts = {"bundle": f"{subject.bundle_id}, {subject.origin}", "pictures from": f"{subject.dataset}: {count} natural"}
    patches = [item for item in subject.items if item.name != item.photo]
    if patches:
        photos = len({item.photo for item in patches})
        facts["not whole"] = f"{len(patches)} of the pictures are patches of {photos} photos"
    if subject.left_over:
        facts["not evaluated"] = f"{subject.left_over} further pictures, beyond the limit"
    if subject.twins and any(row.row == PAIR for row in rows):
        names = ", ".join(dict.fromkeys(item.photo for item in subject.twins))
        facts["the pair"] = f"coded beside {names} as key pictures, whose own bytes are not counted"
    if measuring.overfitted:
        facts["autoencoder of the overfitted streams"] = str(measuring.overfitted.codec.autoencoder.folder)
    own = "The codec several pictures at a time" if measuring.is_busy else "The codec alone on the machine"
    facts |= {"timings": f"{own}, the baselines one picture a core at the same time."}
    return facts | {"command": command} | machine_facts() | versions()


def tracked_pictures(measuring: Measuring) -> list[tuple[str, int, Picture]]:
    """Return what MLflow shows of a bundle beside others: name of the series, step, and pixels, uint8 (H, W, 3).

    Of the natural pictures with the lowest ids, which are the same for every bundle: the original, at step 0, and what
    the codec makes of it at its lowest quality and the middle one. Of a large picture a part, as in the report.
    """
    coder = measuring.subject.coders[0]
    ladder = measuring.subject.qualities
    tracked: list[tuple[str, int, Picture]] = []
    natural = [picture for picture in measuring.pictures() if picture.row == NATURAL]
    for picture in sorted(natural, key=lambda one: one.item_id)[:MOST_TRACKED]:
        try:
            image_HW3 = picture.load()
            window = busiest_window(image_HW3)
            shown = [(f"{picture.name}/original", 0, cut(image_HW3, window))]
            for quality in dict.fromkeys((ladder[0], ladder[len(ladder) // 2])):
                decoded_HW3 = coder.decode(coder.encode(image_HW3, quality))
                shown.append((f"{picture.name}/{coder.name}", round(quality), cut(decoded_HW3, window)))
        except PICTURE_ERRORS:
            continue  # its rows say why
        tracked += shown
    return tracked
