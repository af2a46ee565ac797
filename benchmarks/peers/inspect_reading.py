"""What inspect_ai takes to do what `browse.py` measures, on logs of the same transcripts; prints JSON.

PYTHON_WITH_INSPECT inspect_reading.py LOGS BEGAN
"""

from __future__ import annotations

import json
import resource
import sys
import time

from inspect_ai.analysis import samples_df
from inspect_ai.log import list_eval_logs, read_eval_log_sample, read_eval_log_samples


def main() -> None:
    logs, began = sys.argv[1], float(sys.argv[2])
    found = samples_df(logs, quiet=True)
    first = (time.time() - began) * 1e3
    one: list[float] = []
    for _, row in found.sample(20, random_state=1).iterrows():
        start = time.perf_counter()
        read_eval_log_sample(row["log"], row["id"], int(row["epoch"]))
        one.append((time.perf_counter() - start) * 1e3)
    start, hits = time.perf_counter(), 0
    for info in list_eval_logs(logs):
        for sample in read_eval_log_samples(info, all_samples_required=False):
            hits += sum("consciousness, zz" in message.text for message in sample.messages)
    searched = (time.perf_counter() - start) * 1e3
    assert not hits
    taken = {
        "first page": ("a frame of all summaries", [first]),
        "transcript": ("read_eval_log_sample", one),
        "search, everything": ("every sample is read, and its messages searched", [searched]),
        "memory": (
            "of the process at its most",
            [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3],
        ),
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
