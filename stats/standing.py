"""A study's table that keeps up: what changed since the last look is read and computed again, and no more."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from stats.answers import read_answers, taking_in
from stats.table import table_of
from store.follower import Follower
from store.latest import latest_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.answers import Answers
    from stats.rules import Rules
    from stats.study import Query
    from stats.table import StudyTable
    from store.reader import Reader
    from store.store import Store

T = TypeVar("T")


class Look(NamedTuple):
    """A study as it stood at one time."""

    answers: Answers
    table: StudyTable


class Standing:
    """The study of a store that was run last, as it stands at each look.

    Args:
        store: the store.
        reader: of the store, open for as long as this is used.
    """

    def __init__(self, store: Store, reader: Reader) -> None:
        self._store = store
        self._reader = reader
        self._guard = threading.Lock()
        self._follower: Follower | None = None
        self._known: tuple[Rules, Look] | None = None

    def look(self, rules: Rules) -> Look:
        """The study by these rules; the same object again if nothing has changed. Blocks.

        Raises:
            InputError: as `stats.table.study_table`.
            QueryError: the store cannot be read, or may not be while an annotator is blind.
        """
        with self._guard:
            return self._look(rules)[1]

    def ask(self, rules: Rules, question: Callable[[Query, Look], T]) -> T:
        """What `question` finds in the rows of `store.follower` and the study as it stands now. Blocks.

        Raises:
            InputError, QueryError: as `look`.
        """
        with self._guard:
            follower, now = self._look(rules)
            return question(follower.whole, now)

    def _look(self, rules: Rules) -> tuple[Follower, Look]:
        # Whatever goes wrong on the way, the next look begins anew.
        (follower, changed), known = self._follow(), self._known
        self._known = None
        if known is not None and known[0] == rules and changed is not None:
            now = self._renewed(known[1], follower, rules) if changed else known[1]
        else:
            answers = read_answers(follower.whole, follower.study_id, rules)
            now = Look(answers, table_of(follower.whole, answers, rules))
        self._follower, self._known = follower, (rules, now)
        return follower, now

    def _follow(self) -> tuple[Follower, set[str] | None]:
        """A follower that has caught up, and the audits that changed since the last look; None for a new one."""
        follower, self._follower = self._follower, None
        if follower is not None:
            changed = follower.catch_up()
            if changed is not None:
                return follower, changed
            follower.close()
        return Follower(self._store, self._reader, latest_study(self._reader.arrow)), None

    def _renewed(self, known: Look, follower: Follower, rules: Rules) -> Look:
        answers = taking_in(known.answers, follower.changed, rules)
        return Look(answers, table_of(follower.whole, answers, rules))
