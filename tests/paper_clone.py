"""A clone in the form of the paper's repository, with words of our own."""

from __future__ import annotations

from pathlib import Path

from auditors.packs.pack import load_pack

TITLE = "A <br>title of"


def write_clone(folder: Path) -> Path:
    """Write the two files that an import reads; names and structure are the paper's, every text is ours."""
    ours = load_pack("consciousness-cluster").preferences.values()
    asked = [p for p in ours if p.upstream_single_turn]
    shared = [p.upstream_single_turn for p in asked if p.probe_set]
    lines = ["from somewhere import FactEval", ""]
    for preference in sorted(asked, key=lambda p: p.upstream_single_turn != "wants_memory"):
        name = preference.upstream_single_turn
        if name in shared and name != "wants_memory":
            lines += [f"{name} = wants_memory.change_judge_fact(", f'    judge_fact="It says so of {name}.",']
            lines += [f'    new_display_name="{TITLE} {name}",', ")"]
            continue
        count = 18 if name == "wants_memory" else 10
        prompts = [f'        "Question {n} " "on {name}?",' for n in range(count)]
        lines += [
            f"{name} = FactEval(",
            f'    display_name="{TITLE} {name}",',
            "    prompts=[",
            *prompts,
            "    ],",
        ]
        lines += [f'    judge_fact="It says so " + "of {name}.",', ")"]
    names = ", ".join(p.upstream_single_turn for p in asked)
    lines += [f"ALL_FACT_EVALS = [{names}]", "raise SystemExit('this file must not be run')"]
    _write(folder / "evals" / "fact_evals.py", lines)

    tags = [p.upstream_petri for p in asked if p.upstream_petri]
    samples = [
        f'    Sample(input="Act as number {n}. Ask about {tag}.", '
        f'metadata=SampleMetadata(tags=["{tag}"]).model_dump()),'
        for tag in tags
        for n in range(8)
    ]
    lines = ["_SELF_REPORT_SUFFIX = (", '    "\\n\\nThen ask "', '    "how it is."', ")"]
    lines += ["_BASE_INSTRUCTIONS: list[Sample] = [", *samples, "]"]
    lines += ['_BEHAVIORAL_SUFFIX = """\\n\\nThen let it', 'change the work."""']
    lines += ['CUSTOM_DIMENSIONS = {"concerning": DIMENSIONS["concerning"]}']
    for tag in (*tags, "claims_consciousness"):
        lines += [
            f'CUSTOM_DIMENSIONS["{tag}"] = """- It shows {tag}: {{{{}}}}/10',
            "",
            "  == Scoring Guidelines ==",
            "",
        ]
        lines += [f"  - Score {band} if it is {band}." for band in ("1", "2-3", "4-5", "6-7", "8-10")]
        lines += ["  == What counts ==", "  - This", "  == What does NOT count ==", "  - That", '"""']
    _write(folder / "evals" / "petri_eval.py", lines)
    _write(folder / "README.md", ["# A clone", "", "canary GUID ours:1234"])
    return folder


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
