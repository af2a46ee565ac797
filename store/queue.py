"""Which transcripts a person labels next, and the questions they answer.

The queue is half from items on which judges disagree and half from the rest, each drawn at random and then
shuffled together, so that nobody can tell why an item is there. Every item carries its stratum and the
probability with which it was drawn; without these a queue full of disputes would say nothing about the whole.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from store.errors import InputError
from store.ids import content_hash
from store.latest import latest_study
from store.parquet import quoted

if TYPE_CHECKING:
    from store.reader import Reader

MID_SCORE = 6.0
WIDE_GAP = 3.0


class QueueItem(msgspec.Struct, frozen=True):
    """One question about one transcript. The annotator's screen must show neither `stratum` nor `inclusion_prob`."""

    audit_id: str
    dimension: str
    kind: str
    """`rubric` or `statement`."""
    mode: str
    queue: str
    stratum: str
    """`disputed` or `rest`."""
    inclusion_prob: float


class Question(msgspec.Struct, frozen=True):
    """What an annotator is asked on a dimension."""

    dimension: str
    title: str
    definition: str
    statement: str
    bands: dict[str, str]
    counts: list[str]
    does_not_count: list[str]
    rubric_hash: str
    statement_hash: str

    def hash_of(self, kind: str) -> str:
        """Hash of what is asked, equal to that of a judge who is asked the same."""
        return self.rubric_hash if kind == "rubric" else self.statement_hash


def frame_query(study_id: str) -> str:
    """SQL for the whole that a study's queue is drawn from: one row for each question, with its stratum's sign."""
    return f"""
    SELECT audit_id, dimension, kind, any_value(mode) AS mode,
           count(DISTINCT verdict) > 1
           OR max(score) - min(score) >= {WIDE_GAP}
           OR (max(score) >= {MID_SCORE} AND min(score) < {MID_SCORE})
           OR count(*) FILTER (judgement_status <> 'ok') > 0 AS disputed
    FROM scores
    WHERE study_id = {quoted(study_id)} AND kind IN ('rubric', 'statement') AND audit_status = 'ok'
      AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
    GROUP BY audit_id, dimension, kind
    ORDER BY audit_id, dimension, kind
    """


def draw_queue(reader: Reader, annotator: str, size: int, seed: int) -> list[QueueItem]:
    """Draw up to `size` items of the latest study: half disputed, half not, in an order of the annotator's own.

    The same store, size and seed give the same items to everybody, so that labels overlap; only the order differs.
    An item is disputed when judges give different verdicts, scores that differ by 3 points or lie on both sides
    of 6, or when one of them failed.

    Raises:
        InputError: nothing has been judged yet.
    """
    study_id = latest_study(reader.arrow)
    frame = reader.rows(frame_query(study_id))
    if not frame:
        raise InputError("Nothing has been judged yet: run a study first.")
    disputed = [row for row in frame if row["disputed"]]
    rest = [row for row in frame if not row["disputed"]]
    from_disputed = min(len(disputed), max(size // 2, size - len(rest)))
    from_rest = min(len(rest), size - from_disputed)
    draw = random.Random(seed)
    # A queue drawn from more transcripts is another queue: its probabilities differ.
    name = f"half-disputed-{size}-{seed}-{content_hash([list(row.values()) for row in frame])[:6]}"
    items = [
        QueueItem(
            audit_id=row["audit_id"],
            dimension=row["dimension"],
            kind=row["kind"],
            mode=row["mode"],
            queue=name,
            stratum=stratum,
            inclusion_prob=take / len(rows),
        )
        for stratum, rows, take in (("disputed", disputed, from_disputed), ("rest", rest, from_rest))
        for row in draw.sample(rows, take)
    ]
    random.Random(f"{seed}/{annotator}").shuffle(items)
    return items


def questions(reader: Reader, study_id: str | None = None) -> dict[str, Question]:
    """The question of each dimension, as the study resolved it."""
    study_id = study_id or latest_study(reader.arrow)
    found = reader.rows(
        "SELECT resolved->'$.preferences' AS p FROM studies WHERE study_id = ? LIMIT 1", [study_id]
    )
    return {
        preference["id"]: Question(
            dimension=preference["id"],
            title=preference["title"],
            definition=preference["definition"],
            statement=preference["statement"],
            bands=preference["rubric"]["bands"],
            counts=preference["rubric"]["counts"],
            does_not_count=preference["rubric"]["does_not_count"],
            rubric_hash=content_hash([preference["title"], preference["definition"], preference["rubric"]]),
            statement_hash=content_hash(preference["statement"]),
        )
        for preference in msgspec.json.decode(found[0]["p"])
    }
