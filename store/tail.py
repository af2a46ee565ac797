"""What is new in the journals of a study, so that who holds its rows need not read them all again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from store import layout, manifest
from store.lake import whole_lines_end
from store.records import Audit, Event, Judgement

if TYPE_CHECKING:
    from pathlib import Path


class News(msgspec.Struct, frozen=True):
    """Rows that were written, in the order of each writer."""

    audits: list[Audit]
    judgements: list[Judgement]
    events: list[Event]


class _Line(msgspec.Struct):
    """A journal line; the tables that are not named here are passed over."""

    audits: Audit | None = None
    judgements: Judgement | None = None
    events: Event | None = None
    # Of these any row changes what the others mean.
    studies: msgspec.Raw | None = None
    conditions: msgspec.Raw | None = None
    items: msgspec.Raw | None = None
    runs: msgspec.Raw | None = None


_decoder = msgspec.json.Decoder(_Line)


class Tail:
    """A place in the journals of a study: what was written before it is known.

    It does not hold what is written: whoever wants the whole takes the place first and reads the views then, and
    may meet some of the rows again in the news.
    """

    def __init__(self, root: Path, study_id: str) -> None:
        self._root = root
        self._study_id = study_id
        self._known = self._sealed()
        """By writer the last segment of which all rows are known; no other writer may come."""
        self._offset: dict[str, int] = {}
        """Of the segment after that the bytes that are known."""
        for writer, segments in self._journals().items():
            known = int(segments[-1].stem) - 1 if segments else 0
            self._known[writer] = max(known, self._known.get(writer, 0))
            if segments and known == self._known[writer]:
                self._offset[writer] = whole_lines_end(segments[-1])

    def news(self) -> News | None:
        """What was written since this was last asked; None if that cannot be told from the journals' ends alone.

        That is so after a run has begun or ended, what a study asks has changed, rows came from elsewhere, or
        segments were cleared away unread. Then it is of no more use.
        """
        try:
            return self._read()
        except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def _read(self) -> News | None:
        # First what is sealed: its segments have all their rows when they are read below.
        sealed, journals = self._sealed(), self._journals()
        if not {*sealed, *journals} <= self._known.keys():
            return None
        news = News([], [], [])
        for writer, segments in journals.items():
            fresh = [segment for segment in segments if int(segment.stem) > self._known[writer]]
            for segment in fresh:
                if int(segment.stem) != self._known[writer] + 1:
                    return None
                whole = segment is not fresh[-1] or int(segment.stem) <= sealed.get(writer, 0)
                if not self._take(segment, news, whole=whole):
                    return None
        if any(last > self._known[writer] for writer, last in sealed.items()):
            return None
        return news

    def _take(self, segment: Path, news: News, *, whole: bool) -> bool:
        """Take in what is new in a segment; `whole` if it will not grow."""
        writer = segment.parent.name
        offset = self._offset.pop(writer, 0)
        with segment.open("rb") as handle:
            size = handle.seek(0, 2)
            if size < offset or (whole and size == 0):
                return False
            handle.seek(offset)
            data = handle.read()
        end = len(data) if whole else data.rfind(b"\n") + 1
        for text in data[:end].splitlines():
            line = _decoder.decode(text)
            if line.audits:
                news.audits.append(line.audits)
            elif line.judgements:
                news.judgements.append(line.judgements)
            elif line.events:
                news.events.append(line.events)
            elif line.studies or line.conditions or line.items or line.runs:
                return False
        if whole:
            self._known[writer] += 1
        else:
            self._offset[writer] = offset + end
        return True

    def _sealed(self) -> dict[str, int]:
        """By writer of the study the last segment that is Parquet."""
        last: dict[str, int] = {}
        for span in manifest.spans(self._root):
            if span.writer.startswith(f"{self._study_id}."):
                last[span.writer] = max(int(span.last), last.get(span.writer, 0))
        return last

    def _journals(self) -> dict[str, list[Path]]:
        """By writer - of any study, since one that begins may become the latest - its segments in order.

        Those of other studies are not listed.
        """
        return {
            folder.name: sorted(folder.glob("*.jsonl"))
            if folder.name.startswith(f"{self._study_id}.")
            else []
            for folder in layout.writer_folders(self._root)
        }
