"""How a flow fails: an error of ours is the run's message, the first line that a person sees, and no traceback.

Prefect logs whatever a flow raises as two tracebacks with the message between them. Errors that were raised on purpose
(`ClcError`) say what to do and need none, so the flows of this project are wrapped in `saying_why`. Who calls a flow
gets the same error as ever.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, cast

from prefect.context import FlowRunContext
from prefect.states import Failed

from clc.errors import ClcError

P = ParamSpec("P")


def saying_why(function: Callable[P, str]) -> Callable[P, str]:
    """Wrap the function of a flow: what it raises on purpose ends its run in a state with that message alone."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return function(*args, **kwargs)
        except ClcError as error:
            if FlowRunContext.get() is None:
                raise  # called as a function, without Prefect
            # A flow may return a state of its own; who calls the flow gets the error in it raised.
            return cast(str, cast(Any, Failed(message=str(error), data=error)))

    return wrapped
