"""What a user's own function is (HANDLER): how it is found, how it is called, and what the errors that it raises mean.

    async def handle(records: Sequence[AccessRecord]) -> None: ...    a batch of one partition at a time, in order
    async def handle(record: AccessRecord) -> None: ...               one record at a time, in the same order

The records count as done when it returns. `Reject` says that a record will never be taken, `Away` that something which
the function needs is not there.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from inspect import Parameter
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from shared.errors import HandlerNotFound
from shared.schemas import AccessRecord

_COLLECTING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
EXAMPLE = "async def handle(records: Sequence[AccessRecord]) -> None, or async def handle(record: AccessRecord) -> None"


class Away(Exception):
    """Raised by a handler: what it needs is away. It gets the same records again until that is back."""


class Reject(Exception):
    """Raised by a handler: these records will never be taken. They are set aside, the others come again.

    Without `records`, of a batch: the handler cannot tell which. Then parts of the batch show it.
    """

    def __init__(self, message: str, records: Iterable[AccessRecord] = ()) -> None:
        super().__init__(message)
        self.records = tuple(records)


class Meaning(Enum):
    """What becomes of the records when a handler has raised."""

    AWAY = "they wait, for as long as it takes; nothing is set aside"
    REJECTED = "no repetition helps; the record that it raises for is set aside"
    FAILED = "they are tried again; what fails SINK_MAX_ATTEMPTS times is set aside"


# The first row that fits holds: a certificate that is refused is an SSLError and a ValueError as well.
MEANINGS: tuple[tuple[tuple[type[Exception], ...], Meaning], ...] = (
    ((Away, ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError), Meaning.AWAY),
    ((Reject,), Meaning.REJECTED),
    (
        (TypeError, ValueError, LookupError, AttributeError, NameError, AssertionError, ArithmeticError),
        Meaning.REJECTED,
    ),
)
# What an OSError besides may say of a network, a disk or the limits of this process; none of it is the records' fault.
AWAY_ERRNOS = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENODEV,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENOTCONN,
        errno.EROFS,
        errno.ESTALE,
    }
)


def meaning_of(error: Exception) -> Meaning:
    """What the table says of it; of everything that it does not know: FAILED."""
    if isinstance(error, OSError) and error.errno in AWAY_ERRNOS:
        return Meaning.AWAY
    return next((meaning for kinds, meaning in MEANINGS if isinstance(error, kinds)), Meaning.FAILED)


@dataclass(frozen=True, slots=True)
class Handler:
    """The function, and whether it takes one record or a batch."""

    function: Callable[[Any], Awaitable[None]]
    takes_one: bool = False


def load_handler(name: str) -> Handler:
    """Import `package.module:function`. Raises HandlerNotFound, which says what is missing and where it was sought.

    The working directory is searched as well.
    """
    function = import_function("HANDLER", name)
    if not inspect.iscoroutinefunction(function):
        raise HandlerNotFound(f"HANDLER={name}: {name.partition(':')[2]} is not an async function (`async def`).")
    return as_handler(function, f"HANDLER={name}")


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


def as_handler(function: Callable[..., Awaitable[None]], place: str = "the handler") -> Handler:
    """Look at the signature. Raises HandlerNotFound, with an example, when it takes neither a record nor a batch."""
    parameters = list(inspect.signature(function).parameters.values())
    others = [one for one in parameters[1:] if one.default is one.empty and one.kind not in _COLLECTING]
    if not parameters or others or parameters[0].kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
        raise HandlerNotFound(f"{place} must take exactly one argument. Write {EXAMPLE}.")
    name = parameters[0].name
    annotation = _annotation(function, name, place)
    if annotation is AccessRecord:
        return Handler(function, takes_one=True)
    if not _takes_batch(annotation):
        shown = annotation.__name__ if isinstance(annotation, type) else annotation
        raise HandlerNotFound(f"{place} takes {name}: {shown}. Write {EXAMPLE}.")
    return Handler(function)


def _annotation(function: Callable[..., object], parameter: str, place: str) -> object:
    """What the parameter is declared as; Any without a declaration. Raises HandlerNotFound."""
    try:
        return cast(object, get_type_hints(function).get(parameter, Any))
    except NameError as error:
        raise HandlerNotFound(
            f"{place}: its annotations cannot be read: {error}. Import what they name, and not for type checkers alone."
        ) from error


def _takes_batch(annotation: object) -> bool:
    """Whether a list of records fits: `Sequence[AccessRecord]`, a list or an Iterable of them, or no annotation."""
    kind = get_origin(annotation) or annotation
    of = get_args(annotation)
    return kind is Any or (
        isinstance(kind, type) and kind is not object and issubclass(list, kind) and of in ((), (AccessRecord,), (Any,))
    )
