"""Options that a run of the pipeline and the plan of one share: what they mean is said once."""

from typing import Annotated, Literal

import typer

from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_SEARCHED_ENTRIES

Source = Annotated[
    str, typer.Option(help='"builtin", a folder, a list of paths or URLs, an archive, a table or a store.')
]
PatchSide = Annotated[int | None, typer.Option(help="Cut what is not evaluated into patches of this side.", min=16)]
Backbone = Annotated[
    str,
    typer.Option(
        help='"codec" (needs nothing else; alike down to the texture), "resnet50" (alike in what is shown; weights of '
        "98 MB), or the path of an .onnx file (a network for such pictures)."
    ),
]
Entries = Annotated[int, typer.Option(help="Pictures in the dictionary.", min=1, max=MAX_DICTIONARY_ENTRIES)]
Candidates = Annotated[
    int | None,
    typer.Option(help="Choose so many, evict all but the most relevant.", min=1, max=MAX_SEARCHED_ENTRIES),
]
Fold = Annotated[
    bool, typer.Option("--fold", help="Fold new pictures into the newest dictionary instead of choosing all anew.")
]
Components = Annotated[int, typer.Option(help="Length of a dictionary key.", min=1)]
Minutes = Annotated[float, typer.Option(help="How long to train.", min=0.0)]
Start = Annotated[str, typer.Option(help='"shipped", a key of train-codec, or a bundle folder.')]
KeyPictures = Annotated[int, typer.Option(help="Pictures kept whole for overlapping ones.", min=0)]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="What to train on.")]
Processes = Annotated[int, typer.Option(help="Processes that train together.", min=1)]
