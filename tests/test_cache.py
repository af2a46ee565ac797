from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditors.models.base import (
    ChatMessage,
    Effort,
    ErrorKind,
    Model,
    ModelError,
    ReasoningDelta,
    Role,
    Settings,
    StopReason,
    TextDelta,
    Tool,
    ToolCallDelta,
    complete,
)
from auditors.models.cache import CachedModel
from auditors.models.endpoint import Endpoint
from auditors.models.registry import Models
from auditors.options import Options
from auditors.sim.server import Server, serve
from cc_tui.cli import main
from tests.studies import assert_whole, one, query, run_study, small_study
from tests.wire import Script, ask, collect

HELLO = (TextDelta("Hello"), TextDelta(" you"))
HERE = Endpoint(base_url="http://here/v1")


class Remote(Script):
    """A model whose answers count: the n-th one says so."""

    simulated = False

    async def stream(self, request: Any) -> AsyncGenerator[Any]:
        self.response = msgspec.structs.replace(
            self.response, message=ChatMessage(Role.ASSISTANT, f"answer {len(self.requests) + 1}")
        )
        async for part in super().stream(request):
            yield part


def cached(
    model: Model, folder: Path, sample: object = ("c", "i", 0), endpoint: Endpoint = HERE
) -> CachedModel:
    return CachedModel(model, folder, endpoint=endpoint, sample=sample)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_the_same_audit_run_again_gets_its_answers_again_without_asking(tmp_path: Path) -> None:
    parts = (ReasoningDelta("Hm."), TextDelta("Hello you"), ToolCallDelta(0, "look", "{}"))
    model = Script(*parts, stop=StopReason.TOOL_CALLS)
    model.simulated = False
    first = await complete(cached(model, tmp_path), ask())
    deltas, again = await collect(cached(model, tmp_path).stream(ask()))
    assert len(model.requests) == 1
    assert tuple(deltas) == parts
    assert (first.cache_hit, again.cache_hit) == (False, True)
    assert again == msgspec.structs.replace(first, cache_hit=True)


@pytest.mark.parametrize(
    "other",
    [
        {"request": ask(repeat=1)},
        {"request": ask("Hello!")},
        {"request": ask(settings=Settings(temperature=0.5))},
        {"request": ask(settings=Settings(seed=1))},
        {"request": ask(json_schema={"type": "object"})},
        {"request": ask(tools=(Tool("look", "Look.", {}),))},
        {"sample": ("c", "i", 1)},
        {"sample": ("d", "i", 0)},
        {"endpoint": Endpoint(base_url="http://there/v1")},
        {"endpoint": msgspec.structs.replace(HERE, effort=Effort.LOW)},
        {"spec": "another"},
    ],
    ids=lambda other: str(*other),
)
async def test_whatever_tells_two_questions_apart_keeps_their_answers_apart(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    model = Remote()
    await complete(cached(model, tmp_path), ask())
    model.spec = other.pop("spec", model.spec)
    request = other.pop("request", ask())
    answer = await complete(cached(model, tmp_path, **other), request)
    assert (answer.message.text, answer.cache_hit) == ("answer 2", False)


async def test_blocks_that_only_the_endpoint_understands_are_part_of_the_question(tmp_path: Path) -> None:
    model = Remote()
    for signature in ("a", "b"):
        said = ChatMessage(Role.ASSISTANT, "Yes.", carry=({"signature": signature},))
        asked = msgspec.structs.replace(ask(), messages=(*ask().messages, said, *ask("And?").messages))
        assert not (await complete(cached(model, tmp_path), asked)).cache_hit


async def test_what_one_audit_asks_twice_has_two_answers_now_and_later(tmp_path: Path) -> None:
    model = Remote()
    for hits in (False, True):
        audit = cached(model, tmp_path)
        answers = [await complete(audit, ask()) for _ in range(3)]
        assert [answer.message.text for answer in answers] == ["answer 1", "answer 2", "answer 3"]
        assert [answer.cache_hit for answer in answers] == [hits] * 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"message": 5}'])
async def test_a_file_that_cannot_be_read_is_no_answer_and_is_replaced(
    tmp_path: Path, content: bytes
) -> None:
    model = Remote()
    await complete(cached(model, tmp_path), ask())
    [file] = files(tmp_path)
    await asyncio.to_thread(file.write_bytes, content)
    assert (await complete(cached(model, tmp_path), ask())).message.text == "answer 2"
    assert (await complete(cached(model, tmp_path), ask())).cache_hit
    assert files(tmp_path) == [file]


@pytest.mark.parametrize("stop", list(StopReason))
async def test_every_whole_answer_is_kept_so_that_none_is_favoured(tmp_path: Path, stop: StopReason) -> None:
    model = Script(*HELLO, stop=stop)
    model.simulated = False
    for hit in (False, True):
        response = await complete(cached(model, tmp_path), ask())
        assert (response.stop, response.cache_hit) == (stop, hit)


async def test_a_failed_or_abandoned_call_leaves_nothing(tmp_path: Path) -> None:
    failing = Remote(*HELLO, error=ModelError(ErrorKind.SERVER, "No."))
    with pytest.raises(ModelError):
        await complete(cached(failing, tmp_path), ask())
    waiting = Remote(*HELLO, gate=asyncio.Event())
    calling = asyncio.create_task(complete(cached(waiting, tmp_path), ask()))
    await waiting.started.wait()
    calling.cancel()
    await asyncio.wait([calling])
    assert files(tmp_path) == []


async def test_simulated_models_are_always_asked(tmp_path: Path) -> None:
    model = Remote(*HELLO)
    model.simulated = True
    texts = [(await complete(cached(model, tmp_path), ask())).message.text for _ in range(2)]
    assert texts == ["answer 1", "answer 2"]
    assert files(tmp_path) == []


@asynccontextmanager
async def remote_study(folder: Path) -> AsyncGenerator[tuple[Server, Path]]:
    """The small study on models that nobody knows to be simulated."""
    models = Models({}, seed=3, speed=float("inf"))
    server = await serve(lambda name: models.get(name.removeprefix("x")))
    more = f'\n[endpoints.here]\nbase_url = "{server.base_url}"\n'
    try:
        yield server, small_study(folder, "compatible:here/x", more)
    finally:
        await server.close()
        await models.aclose()


async def test_a_run_with_the_cache_asks_targets_only_unless_their_condition_says_otherwise(
    tmp_path: Path,
) -> None:
    options = Options(speed=None, cache=str(tmp_path / "answers"))
    hits = "SELECT role, bool_and(cache_hit) AS hit FROM model_calls GROUP BY role ORDER BY role"
    fresh = {"auditor": False, "judge": False, "target": False}
    async with remote_study(tmp_path) as (server, study):
        for store, expected in (("a", fresh), ("b", {"auditor": True, "judge": True, "target": False})):
            await run_study(study, tmp_path / store, options)
            assert_whole(tmp_path / store, 16)
            assert {row["role"]: row["hit"] for row in query(tmp_path / store, hits)} == expected
        # Equal questions of different audits have been asked: none was answered for another one.
        assert one(tmp_path / "a", "SELECT count(*) FROM model_calls WHERE cache_hit") == 0
        identity = one(tmp_path / "a", "SELECT study_id FROM studies")
        await asyncio.to_thread(
            study.write_text, study.read_text().replace('role = "', 'cache = true\nrole = "')
        )
        await run_study(study, tmp_path / "c", options)
        asked = server.requests
        await run_study(study, tmp_path / "d", options)
        assert server.requests == asked
    assert one(tmp_path / "d", "SELECT bool_and(cache_hit) FROM model_calls") is True
    assert one(tmp_path / "d", "SELECT study_id FROM studies") == identity
    said = "SELECT text FROM messages JOIN audits USING (audit_id) ORDER BY launch_index, seq"
    assert query(tmp_path / "d", said) == query(tmp_path / "a", said)
    assert one(tmp_path / "d", "SELECT sum(cost_usd) FROM model_calls") == 0.0


async def test_without_the_option_nothing_is_kept(tmp_path: Path) -> None:
    async with remote_study(tmp_path) as (_, study):
        await run_study(study, tmp_path / "store", Options(speed=None, limit=2))
    assert not (tmp_path / "cache-home").exists()


def test_the_option_makes_the_folder_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", str(small_study(tmp_path)), "--headless", "--speed", "max", "--limit", "1"]
    assert main([*run, "--store", str(tmp_path / "s"), "--cache"]) == 0
    assert (tmp_path / "cache-home" / "cc-tui" / "answers").is_dir()
    (tmp_path / "file").touch()
    assert main([*run, "--store", str(tmp_path / "t"), "--cache", str(tmp_path / "file" / "below")]) == 2
    assert "below cannot be made" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
