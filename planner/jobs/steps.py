"""What goes wrong in one step of a job is that step's, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trimtab.profilers import DeviceLost
from trimtab_runtime.errors import StoreError, TrimtabError, UnforeseenError, reason_of

#: What ends a job in whatever step it arises: no other step could do better.
ENDS_JOB = (StoreError, DeviceLost)


@contextmanager
def one_step() -> Iterator[None]:
    """Within it, every error is a TrimtabError: one that is none of Trimtab's becomes an
    UnforeseenError, which says its type and where it arose. So who records the failure of a step
    records any."""
    try:
        yield
    except TrimtabError:
        raise
    except Exception as error:
        raise UnforeseenError(reason_of(error)) from error
