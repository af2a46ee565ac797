"""Reads our exports with inspect_ai, inspect_scout and inspect_petri, in an environment of theirs; prints JSON.

python read_logs.py LOGS DATABASE
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample
from inspect_petri._judge.branches import has_branches, render_timeline
from inspect_scout import TranscriptContent, transcripts_db, transcripts_from


def inspect(logs: str) -> dict[str, object]:
    """By transcript: what a whole log says of it, and what is read when it alone is asked for."""
    found = {}
    for info in list_eval_logs(logs):
        log = read_eval_log(info)
        assert len(log.samples) == log.results.completed_samples
        for sample in log.samples:
            alone = read_eval_log_sample(info, sample.id, sample.epoch)
            found[sample.uuid] = {
                "messages": [message.text for message in sample.messages],
                "alone": [message.text for message in alone.messages],
                "scores": {judge: score.value for judge, score in sample.scores.items()},
                "simulated": log.eval.metadata["simulated"],
            }
    return found


async def scout(transcripts: object) -> dict[str, object]:
    """By transcript: what inspect_scout reads of it, and how the judge of inspect_petri is shown it."""
    found = {}
    async with transcripts.reader() as reader:
        async for info in reader.index():
            whole = await reader.read(info, TranscriptContent(messages="all", events="all", timeline="all"))
            shown = await render_timeline(whole)
            found[info.transcript_id] = {
                "messages": [message.text for message in whole.messages],
                "score": info.score,
                "metadata": dict(info.metadata),
                "judged_as": shown.messages,
                "branches": has_branches(shown.segments),
            }
    return found


def main() -> None:
    """Read both."""
    logs, database = sys.argv[1:]
    read = {
        "inspect": inspect(logs),
        "scout on logs": asyncio.run(scout(transcripts_from(logs))),
        "scout": asyncio.run(scout(transcripts_from(database))),
        "files": sorted(path.name for path in Path(database).glob("*.parquet")),
    }
    assert transcripts_db(database)
    print(json.dumps(read, default=str))


if __name__ == "__main__":
    main()
