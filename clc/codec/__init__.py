"""Pictures to `.clc` streams and back.

    from clc.codec import Codec, stream_info

The names are loaded on first use: whoever only reads headers, or only imports `clc`, does not pay for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clc.codec.codec import Codec
    from clc.codec.info import StreamInfo, stream_info

__all__ = ["Codec", "StreamInfo", "stream_info"]

_HOMES = {"Codec": "clc.codec.codec", "StreamInfo": "clc.codec.info", "stream_info": "clc.codec.info"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
