"""Finding the function that HANDLER (or TRANSFORM) names.

    async def handle(records: Sequence[AccessRecord]) -> None: ...

It gets the records of one partition, in order, at most MAX_POLL_RECORDS of them. They count as done when it returns.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

from shared.errors import HandlerNotFound
from shared.schemas import AccessRecord

Handler = Callable[[Sequence[AccessRecord]], Awaitable[None]]


def load_handler(name: str) -> Handler:
    """Import `package.module:function`. Raises HandlerNotFound, which says what is missing and where it was sought.

    The working directory is searched as well.
    """
    function = import_function("HANDLER", name)
    if not inspect.iscoroutinefunction(function):
        raise HandlerNotFound(f"HANDLER={name}: {name.partition(':')[2]} is not an async function (`async def`).")
    return cast(Handler, function)


def import_function(variable: str, name: str) -> object:
    """What `package.module:function` names, for the setting `variable`. Raises HandlerNotFound."""
    module_name, _, function_name = name.partition(":")
    # `python -m` has put the working directory first already; an installed command or a test has not.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does when it is imported
        raise HandlerNotFound(
            f"{variable}={name}: importing {module_name} failed: {type(error).__name__}: {error}. "
            "It must be on PYTHONPATH or below the working directory."
        ) from error
    function: object = getattr(module, function_name, None)
    if function is None:
        raise HandlerNotFound(f"{variable}={name}: {module_name} has no {function_name}.")
    return function
