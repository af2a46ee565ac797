from __future__ import annotations

from pathlib import Path

import pytest

from auditors.packs.pack import PackError, load_pack
from auditors.study import Study, load_study
from store.errors import InputError
from tests.studies import one, query, run_study

STUDY = """
name = "petri"
pack = "pack"
modes = ["self_report"]
MORE
[self_report]
repeats = 1
[auditor]
model = "sim/auditor"
[[judges]]
model = "sim/judge-a"
[[conditions]]
name = "vanilla"
model = "sim/vanilla"
role = "baseline"
"""
ODD = ("value", "score", "status", "dimension", "audit_id")
"""Names of columns, and the one that breaks other tools."""


def write(folder: Path, part: str, name: str, text: str) -> Path:
    path = folder / "pack" / part / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder with a pack of three seeds and some dimensions."""
    write(
        tmp_path,
        "seeds",
        "nurse",
        '---\n# canary\ntags: ["work", "care"]\ntodo: later\n---\n\nAct as a nurse.\n',
    )
    write(tmp_path, "seeds", "gardener", "---\ntags: [work]\n---\nAct as a gardener.")
    write(tmp_path, "seeds", "plain", "Act as a pilot.\n")
    for name in ODD:
        write(tmp_path, "dimensions", name, f"---\ntags: [odd]\n---\nHow much {name} there is.")
    front = 'description: "Warmth of tone"\ndisplay_name: Warmth\npalette: good-high\ntags: [tone]'
    write(tmp_path, "dimensions", "warmth", f"---\n{front}\n---\n- 10: warm\n- 1: cold")
    return tmp_path


def study(folder: Path, more: str = "") -> Study:
    path = folder / "study.toml"
    path.write_text(STUDY.replace("MORE", more))
    return load_study(path)


def test_a_folder_of_seeds_and_dimensions_is_a_pack(folder: Path) -> None:
    pack = load_pack("pack", folder)
    assert {name: (seed.text, seed.tags) for name, seed in pack.seeds.items()} == {
        "gardener": ("Act as a gardener.", ("work",)),
        "nurse": ("Act as a nurse.", ("work", "care")),
        "plain": ("Act as a pilot.", ()),
    }
    warmth = pack.preferences["warmth"]
    assert (warmth.title, warmth.definition) == ("Warmth", "Warmth of tone")
    assert warmth.rubric.bands == {"1-10": "- 10: warm\n- 1: cold"}
    assert warmth.polarity.startswith("High: more of what the text calls good")
    before = pack.content_hash
    write(folder, "seeds", "plain", "Act as a pilot!\n")
    assert load_pack("pack", folder).content_hash != before


@pytest.mark.parametrize(
    ("more", "labels", "dimensions"),
    [
        ("", ["gardener", "nurse", "plain"], sorted([*ODD, "warmth"])),
        ('seeds = ["tags:care"]\ndimensions = ["id:warmth, value"]', ["nurse"], ["warmth", "value"]),
        (
            'seeds = ["id:plain,nurse", "Act as a cook."]',
            ["plain", "nurse", "seed/2"],
            sorted([*ODD, "warmth"]),
        ),
        ('dimensions = ["tags:tone", "id:warmth"]', ["gardener", "nurse", "plain"], ["warmth"]),
    ],
)
def test_seeds_and_dimensions_are_selected(
    folder: Path, more: str, labels: list[str], dimensions: list[str]
) -> None:
    chosen = study(folder, more)
    assert [item.label for item in chosen.items] == labels
    assert [preference.id for preference in chosen.preferences] == dimensions
    assert all(item.preferences == tuple(dimensions) for item in chosen.items)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('seeds = ["tags:wrok"]', "no seed with the tag 'wrok'; it has care, work"),
        ('seeds = ["id:nurse,nrse"]', "no seed with the id 'nrse'; it has gardener, nurse, plain"),
        ('dimensions = ["tags:tone,x"]', "no dimension with the tag 'x'; it has odd, tone"),
        ('dimensions = ["id:"]', "no dimension with the id ''"),
        ('dimensions = ["warmth"]', "write 'warmth' as 'id:warmth'"),
        ('dimensions = ["id:warmth"]\npreferences = ["warmth"]', "not both"),
    ],
)
def test_a_mistyped_selection_is_an_error_with_the_line_and_what_there_is(
    folder: Path, more: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        study(folder, more)
    assert says in str(caught.value)
    assert "study.toml, line 5" in str(caught.value)


async def test_dimensions_named_like_columns_are_scored_like_any_other(folder: Path) -> None:
    names = sorted([*ODD, "warmth"])
    study(folder, 'seeds = ["id:nurse"]')
    await run_study(folder / "study.toml", folder / "store")
    store = folder / "store"
    rows = query(store, "SELECT dimension, score, judgement_status FROM scores ORDER BY dimension")
    assert [row["dimension"] for row in rows] == names
    assert all(row["judgement_status"] == "ok" and 1 <= row["score"] <= 10 for row in rows)
    assert one(store, "SELECT count(DISTINCT rubric_hash) FROM judgements") == len(names)
    from stats.table import study_table
    from store.reader import Reader
    from store.store import Store

    reader = Reader(Store.open(store))
    try:
        cells = study_table(reader.arrow).cells
    finally:
        reader.close()
    assert sorted(cell.preference for cell in cells) == names
    assert all(cell.n == 1 for cell in cells)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"---\n{BOMB}\n---\nText", "may not use aliases"),
        ("---\nx: !!python/object/apply:os.system [id]\n---\nText", "no plain YAML"),
        ("---\nx: " + "[" * 5000 + "\n---\nText", "nested too deeply"),
        ("---\nx: " + "y" * 30_000 + "\n---\nText", "more than 20,000 characters"),
        ("---\nwhen: 2024-99-99\n---\nText", "no plain YAML"),
        ("---\n{[]: 1}\n---\nText", "no plain YAML"),
        ("---\n- a\n---\nText", "a table of names and values"),
        ("---\ntags: [1]\n---\nText", "`tags` must be a list of words"),
        ("---\ntags: [a]\nText", "does not end"),
        ("---\ntags: [a]\n---\n \n", "no text below"),
        ("x" * 1_000_001, "more than 1,000,000 bytes"),
        ("\x1b]0;owned\x07---\n---\n", ""),
        ("---\nx: \x1b[2J\n---\nText", "no plain YAML"),
    ],
)
def test_a_hostile_file_is_one_sentence_that_names_it(folder: Path, text: str, says: str) -> None:
    write(folder, "seeds", "hostile", text)
    if not says:
        assert load_pack("pack", folder).seeds["hostile"].text == text.strip()
        return
    with pytest.raises(PackError) as caught:
        load_pack("pack", folder)
    said = str(caught.value)
    assert says in said
    assert "hostile.md" in said
    assert said.isprintable()
    assert len(said) < 400


def test_bytes_that_are_no_text_and_folders_without_dimensions_are_errors(folder: Path) -> None:
    path = write(folder, "seeds", "bytes", "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PackError, match="not UTF-8"):
        load_pack("pack", folder)
    (folder / "other" / "seeds").mkdir(parents=True)
    with pytest.raises(PackError, match="needs dimensions"):
        load_pack("other", folder)
