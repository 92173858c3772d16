"""A folder belongs to one run at a time: a hidden file in it says to which, and since when. No Spark.

The run gives a sign of life while it lasts. A lease without one for its `ttl_seconds` may be taken over, and at once
where its process is known to have died: it ran on this very machine. The age is told by the storage alone, which has
written both the lease and a file that is made to ask it for the time: clocks of machines may differ.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spark_imgdedup.errors import LeaseError
from spark_imgdedup.files import storage
from spark_imgdedup.files.filesystems import filesystem
from spark_imgdedup.files.owning.lease_holder import TTL_SECONDS, Holder, age_of, in_words
from spark_imgdedup.files.owning.lease_local import LocalSlot
from spark_imgdedup.files.owning.lease_slots import S3Slot, Seen, Slot
from spark_imgdedup.files.walk import is_local

log = logging.getLogger(__name__)

_TRIES = 5
# The leases of this process, by the one spelling of their folders.
_HELD: dict[str, Lease] = {}


@dataclass(frozen=True)
class Place:
    """A folder that a run wants for itself: the setting that names it, its URL, and how its storage is reached."""

    setting: str
    url: str
    options: storage.Options = field(repr=False)


class Lease:
    """A folder is ours until `release`, or until another run finds that there was no sign of life for too long."""

    def __init__(self, place: Place, slot: Slot, holder: Holder, seen: Seen) -> None:
        self._place, self._slot, self._holder, self._seen = place, slot, holder, seen
        self._is_lost = False
        self._changing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        _HELD[_key(place.url)] = self

    def require_held(self) -> None:
        """Give a sign of life before something is published.

        Raises:
            LeaseError: another run has taken the folder over.
        """
        self._renew()
        if self._is_lost:
            raise LeaseError(
                f"{self._place.setting} {self._place.url}: this run gave no sign of life for more than "
                f"{self._holder.ttl_seconds:.0f} s, and another one has taken the folder over or it was deleted. "
                "Nothing more is written; what was done before stays. Run again once the other has ended."
            )

    def release(self) -> None:
        """Give the folder back; nothing of the lease stays there, unless it is another run's by now."""
        self._ended.set()
        self._thread.join()
        if _HELD.get(_key(self._place.url)) is self:
            del _HELD[_key(self._place.url)]
        with self._changing:
            if not self._is_lost:
                self._slot.delete(self._seen)
            self._is_lost = True

    def _keep(self) -> None:
        while not self._ended.wait(self._holder.ttl_seconds / 3):
            try:
                self._renew()
            except Exception as error:  # of each store's own kind; the next time may go better
                log.debug("no sign of life for %s %s", self._place.setting, self._place.url, exc_info=error)

    def _renew(self) -> None:
        with self._changing:
            if self._is_lost:
                return
            seen = self._slot.renew(self._holder.renewed_now().to_bytes(), self._seen)
            if seen is None:
                seen = self._stored_all_the_same()
            self._is_lost = seen is None
            self._seen = seen or self._seen

    def _stored_all_the_same(self) -> Seen | None:
        """The lease where it is ours: an earlier sign of life that the store said no to has arrived later."""
        found = self._slot.read()
        holder = Holder.parse(found.data) if found is not None else None
        return found if holder is not None and holder.run == self._holder.run else None


def take(place: Place, doing: str, *, ttl_seconds: float = TTL_SECONDS) -> Lease:
    """Take a folder for a run, which is made where it is missing.

    Args:
        place: The folder.
        doing: The steps of the run, for others to read.
        ttl_seconds: After so long without a sign of life the run is given up.

    Raises:
        LeaseError: another run holds it: who, since when, and what to do.
    """
    slot, holder = slot_at(place.url, place.options), Holder.here(doing, ttl_seconds)
    for _ in range(_TRIES):
        there = _require_free(place, slot)
        if (seen := slot.put(holder.to_bytes(), there)) is not None:
            if there is not None:
                log.info(
                    "%s %s: taken over from a run that has died or stands still (%s)",
                    place.setting,
                    place.url,
                    in_words(there, None),
                )
            return Lease(place, slot, holder, seen)
    raise LeaseError(f"{place.setting} {place.url}: several runs start there at once. Start one of them again.")


def require_held(url: str) -> None:
    """Look, right before something is published in a folder, whether this process still holds the lease it took there.

    Nothing is asked of a folder without one: not all that writes is a run.

    Raises:
        LeaseError: another run has taken the folder over.
    """
    if (lease := _HELD.get(_key(url))) is not None:
        lease.require_held()


def require_free(place: Place) -> None:
    """Look whether a folder could be taken, and take nothing.

    Raises:
        LeaseError: another run holds it: who, since when, and what to do.
    """
    _require_free(place, slot_at(place.url, place.options))


def holder_in_words(place: Place) -> str | None:
    """Who holds a folder by what its lease says, alive or not; None where nobody does. Writes nothing."""
    seen = slot_at(place.url, place.options).read()
    return None if seen is None else in_words(seen, datetime.now(UTC))


def _require_free(place: Place, slot: Slot) -> Seen | None:
    """The lease that may be taken over; None where there is none."""
    seen = slot.read()
    if seen is None:
        return None
    holder = Holder.parse(seen.data)
    if holder is not None and holder.has_died:
        return seen
    try:
        now = slot.now() or datetime.now(UTC)
    except FileNotFoundError:  # its run has just given it back, with the folder it had made
        return None
    except OSError:  # a full or read-only disk
        now = datetime.now(UTC)
    ttl = holder.ttl_seconds if holder is not None else TTL_SECONDS
    left = ttl - (age_of(seen, holder, now) or 0.0)
    if left < 0:
        return seen
    raise LeaseError(
        f"{place.setting} {place.url} is in use: {in_words(seen, now)}. Wait until that run ends, or name another "
        f"folder. Should it have died, the folder is free by itself {left:.0f} s from now."
    )


def _key(url: str) -> str:
    place = storage.canonical(url)
    return place if "://" in place else os.path.realpath(place)


def slot_at(folder: str, options: storage.Options | None = None) -> Slot:
    """The lease file of a folder; two spellings of one folder have the same."""
    fs, _ = filesystem(folder, options)
    if is_local(fs):
        return LocalSlot(folder, options)
    return (S3Slot if hasattr(fs, "call_s3") else Slot)(folder, options)
