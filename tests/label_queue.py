"""Labels that somebody else has drawn: half from what judges dispute, half from the rest, with their probabilities."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from store.ids import content_hash
from store.latest import latest_study
from store.queue import frame_query

if TYPE_CHECKING:
    from store.reader import Reader


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


def draw_queue(reader: Reader, annotator: str, size: int, seed: int) -> list[QueueItem]:
    """Draw up to `size` items of the latest study: half disputed, half not, in an order of the annotator's own.

    The same store, size and seed give the same items to everybody, so that labels overlap; only the order differs."""
    study_id = latest_study(reader.arrow)
    frame = reader.rows(frame_query(study_id))
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
