"""From specification strings to models, and to clear words where there is none."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditors.models.base import TextDelta, complete
from auditors.models.endpoint import Endpoint, Prefill, WireProtocol
from auditors.models.registry import Models
from auditors.models.specs import providers, remote
from auditors.study import load_study
from store.errors import InputError
from tests.wire import CANARY, Script, ask, everything_said, serving

HELLO = (TextDelta("Hel"), TextDelta("lo "), TextDelta("you"))


def registry(base_url: str = "http://127.0.0.1:9/v1", api_key_env: str = "") -> Models:
    return Models({"here": Endpoint(base_url=base_url, api_key_env=api_key_env)}, seed=1, speed=1000)


def test_a_specification_names_one_model() -> None:
    models = registry()
    assert models.get("compatible:here/org/model:tag") is models.get("compatible:here/org/model:tag")
    assert models.get("compatible:here/org/model:tag").spec == "compatible:here/org/model:tag"
    assert not models.get("compatible:here/org/model:tag").simulated
    assert models.get("compatible:here/sim/vanilla").simulated
    assert models.get("sim/vanilla").simulated


@pytest.mark.parametrize(
    "spec", ["", "gpt-4", "openai/", "openai", "compatible:here", "compatible:/x", "a/b", "openai/a b"]
)
def test_a_malformed_specification_is_answered_with_the_known_forms(spec: str) -> None:
    with pytest.raises(InputError, match="compatible:<alias>/<model>"):
        registry().get(spec)


def test_an_unknown_alias_is_answered_with_the_configured_ones() -> None:
    with pytest.raises(InputError, match=r"no endpoint 'there' \(configured: here\)"):
        registry().get("compatible:there/model")


@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://me:secret@host/v1", "http://h:port"]
)
def test_an_unusable_base_url_is_refused_without_showing_it(base_url: str) -> None:
    with pytest.raises(InputError, match="endpoint 'here' must look like") as caught:
        registry(base_url).get("compatible:here/model")
    assert base_url not in str(caught.value)


async def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC_TEST_KEY", raising=False)
    models = registry(api_key_env="CC_TEST_KEY")
    with pytest.raises(InputError, match="CC_TEST_KEY"):
        models.get("compatible:here/model")
    with pytest.raises(InputError, match="CC_TEST_KEY"):
        await models.check("compatible:here/model")


def test_a_key_that_cannot_be_sent_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_TEST_KEY", f"{CANARY}\n{CANARY}")
    with pytest.raises(InputError, match="CC_TEST_KEY") as caught:
        registry(api_key_env="CC_TEST_KEY").get("compatible:here/model")
    assert CANARY not in everything_said(caught.value)


async def test_check_passes_for_a_server_that_takes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY + "\n")
    async with serving(Script(*HELLO), api_key=CANARY) as server:
        models = registry(server.base_url, "CC_TEST_KEY")
        await models.check("compatible:here/script")
        assert (await complete(models.get("compatible:here/script"), ask())).message.text == "Hello you"
        await models.aclose()


async def test_check_tells_a_refused_key_from_a_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY)
    async with serving(Script(), api_key="another") as server:
        models = registry(server.base_url, "CC_TEST_KEY")
        with pytest.raises(InputError, match=r"refuses the key .*check CC_TEST_KEY") as refused:
            await models.check("compatible:here/script")
    with pytest.raises(InputError, match="cannot be reached") as gone:
        await models.check("compatible:here/script")
    await models.aclose()
    assert CANARY not in everything_said(refused.value)
    assert CANARY not in everything_said(gone.value)


def test_providers_tell_which_keys_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.delenv("CC_TEST_KEY", raising=False)
    found = {
        status.name: status
        for status in providers({"here": Endpoint(base_url="http://h/v1", api_key_env="CC_TEST_KEY")})
    }
    assert found["sim"].key_set
    assert found["openai"].key_set
    assert not found["here"].key_set
    assert found["here"].form == "compatible:here/<model>"
    assert found.keys() == {"sim", "openai", "here", "anthropic", "tinker"}
    assert CANARY not in repr(found)


async def test_a_model_that_the_endpoint_does_not_list_is_a_doubt() -> None:
    async with serving(Script(*HELLO)) as server:
        models = registry(server.base_url)
        assert await models.check("compatible:here/script") == ""
        doubt = await models.check("compatible:here/scripd")
        await models.aclose()
    assert doubt == f"{server.base_url.split('/')[2]} does not list scripd; it lists script, …"


@asynccontextmanager
async def answering(
    status: int = 200, body: Any = None, **headers: str
) -> AsyncGenerator[tuple[str, list[str]]]:
    """The address of a server that gives one answer to everything, and the heads of what it was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        data = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} -", f"content-length: {len(data)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


LISTS = {"data": [{"id": "m-1"}, {"id": "m-2", "shutdown_date": "2027-01-14"}, {"id": "n-20260101"}]}


async def asked_of(base_url: str, model: str, protocol: WireProtocol) -> str:
    """What a check of `model` says."""
    from auditors.models.connections import ConnectionPool
    from auditors.models.reach import listing

    pool = ConnectionPool()
    endpoint = Endpoint(base_url=base_url, api_key_env="CC_TEST_KEY", protocol=protocol)
    place = remote(f"compatible:here/{model}", {"here": endpoint})
    try:
        return (await listing(await pool.client(), place)).warning(place)
    finally:
        await pool.aclose()


@pytest.mark.parametrize("protocol", WireProtocol)
async def test_each_protocol_is_asked_in_its_own_way(
    protocol: WireProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY)
    async with answering(body=LISTS) as (address, asked):
        base_url = address if protocol is WireProtocol.TINKER else f"{address}/v1"
        assert await asked_of(base_url, "m-1", protocol) == ""
    [head] = asked
    line, *headers = head.splitlines()
    path = {
        WireProtocol.CHAT: "/v1/models",
        WireProtocol.RESPONSES: "/v1/models",
        WireProtocol.MESSAGES: "/v1/models?limit=1000",
        WireProtocol.TINKER: "/api/v1/healthz",
    }
    assert line == f"get {path[protocol]} http/1.1"
    # What tells only whether the service is up is asked without the key.
    assert (f"authorization: bearer {CANARY}" in headers) == (protocol is not WireProtocol.TINKER)
    assert (f"x-api-key: {CANARY}" in headers) == (protocol is WireProtocol.MESSAGES)
    assert ("anthropic-version: 2023-06-01" in headers) == (protocol is WireProtocol.MESSAGES)


@pytest.mark.parametrize(
    ("model", "body", "doubt"),
    [
        ("m-1", LISTS, ""),
        ("m-2", LISTS, "shuts m-2 down on 2027-01-14"),
        ("n", LISTS, ""),
        ("n-latest", LISTS, ""),
        ("m-3", LISTS, "does not list m-3; it lists m-"),
        ("m-3", LISTS | {"has_more": True}, ""),
        ("m-3", {"data": []}, ""),
        ("m-3", {"data": "none"}, ""),
        ("m-3", None, ""),
    ],
)
async def test_only_a_whole_list_gives_reason_to_doubt(
    model: str, body: Any, doubt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY)
    async with answering(body=body) as (address, _):
        said = await asked_of(address, model, WireProtocol.MESSAGES)
    assert doubt in said
    assert bool(said) == bool(doubt)


@pytest.mark.parametrize(("status", "doubt"), [(403, "HTTP 403"), (404, ""), (500, ""), (429, "")])
async def test_an_endpoint_without_a_list_is_no_error(
    status: int, doubt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY)
    async with answering(status, {}) as (address, _):
        said = await asked_of(address, "m-1", WireProtocol.CHAT)
    assert doubt in said
    assert bool(said) == bool(doubt)


@pytest.mark.parametrize("protocol", [WireProtocol.CHAT, WireProtocol.MESSAGES])
async def test_a_key_follows_no_redirect(protocol: WireProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_TEST_KEY", CANARY)
    async with (
        answering(body=LISTS) as (elsewhere, stolen),
        answering(307, {}, location=f"{elsewhere}/?key={CANARY}") as (address, asked),
    ):
        with pytest.raises(InputError, match=r"redirects \(HTTP 307") as caught:
            await asked_of(address, "m-1", protocol)
    assert (len(asked), stolen) == (1, [])
    assert CANARY not in everything_said(caught.value)


# What is configured


def test_an_entry_of_a_provider_changes_only_what_it_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    own = remote("openai/m", {})
    assert (own.base_url, own.protocol) == ("https://api.openai.com/v1", WireProtocol.RESPONSES)
    changed = remote("openai/m", {"openai": Endpoint(protocol=WireProtocol.CHAT, silence_seconds=300)})
    assert changed.endpoint == msgspec.structs.replace(
        own.endpoint, protocol=WireProtocol.CHAT, silence_seconds=300
    )
    assert changed.counts_by_model
    moved = remote("openai/m", {"openai": Endpoint(base_url="http://h:1/v1/")})
    assert (moved.base_url, moved.protocol) == ("http://h:1/v1", WireProtocol.RESPONSES)
    assert moved.endpoint.api_key_env == "OPENAI_API_KEY"
    assert not moved.counts_by_model


@pytest.mark.parametrize("provider", ["openai", "anthropic", "tinker"])
def test_the_environment_moves_a_provider_and_an_entry_of_the_study_comes_before_it(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{provider.upper()}_BASE_URL", "http://proxy:1")
    assert remote(f"{provider}/m", {}).host == "proxy:1"
    note = next(status.note for status in providers({}) if status.name == provider)
    assert note.endswith(f"(from {provider.upper()}_BASE_URL)")
    entry = {provider: Endpoint(base_url="http://study:2")}
    assert remote(f"{provider}/m", entry).host == "study:2"
    assert not any("BASE_URL" in status.note for status in providers(entry))


@pytest.mark.parametrize(
    ("spec", "model"), [("tinker/Qwen/Q", "Qwen/Q"), ("tinker://a/sampler_weights/b", None)]
)
def test_tinkers_models_are_spoken_to_at_its_compatible_side(
    spec: str, model: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in ("http://t:1/x", "http://t:1/x/", "http://t:1/x/oai/api/v1"):
        monkeypatch.setenv("TINKER_BASE_URL", given)
        place = remote(spec, {})
        assert (place.base_url, place.model) == ("http://t:1/x/oai/api/v1", model or spec)
    native = remote(spec, {"tinker": Endpoint(base_url="http://t:1/x", protocol=WireProtocol.TINKER)})
    assert native.base_url == "http://t:1/x"


def test_the_same_base_url_serves_every_protocol() -> None:
    urls = {
        protocol: remote(
            "compatible:a/m", {"a": Endpoint(base_url="http://h/v1", protocol=protocol)}
        ).base_url
        for protocol in (WireProtocol.CHAT, WireProtocol.RESPONSES, WireProtocol.MESSAGES)
    }
    assert urls == {"chat": "http://h/v1", "responses": "http://h/v1", "messages": "http://h"}


@pytest.mark.parametrize("name", ["openai", "anthropic", "tinker", "sim", "compatible"])
def test_no_alias_has_the_name_of_a_provider(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is the name of a provider"):
        remote(f"compatible:{name}/m", {name: Endpoint(base_url="http://h/v1")})


def test_models_of_one_endpoint_share_their_traffic_and_a_fine_tuned_one_that_of_its_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    models = registry()

    def limiter(spec: str) -> object:
        return models._limiter(remote(spec, models._endpoints))

    assert limiter("compatible:here/a") is limiter("compatible:here/b")
    assert limiter("openai/gpt-x") is limiter("openai/ft:gpt-x:lab::1")
    assert limiter("openai/gpt-x") is not limiter("openai/gpt-y")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://proxy/v1")
    assert limiter("openai/gpt-x") is limiter("openai/gpt-y")


def test_a_key_in_place_of_its_variables_name_is_refused_unseen(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    text = f'name = "x"\njudges = []\nconditions = []\n[endpoints.a]\napi_key_env = "{CANARY}"\n'
    path.write_text(text)
    with pytest.raises(InputError, match="the name of an environment variable") as caught:
        load_study(path)
    assert CANARY not in str(caught.value)


def test_a_password_in_a_base_url_is_not_shown() -> None:
    [status] = [s for s in providers({"a": Endpoint(base_url="http://me:secret@h/v1")}) if s.name == "a"]
    assert "must look like" in status.note
    assert "secret" not in repr(status)


def test_what_an_endpoint_is_known_to_do_reaches_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(base_url="http://h/v1", prefill=Prefill.CONTINUE)
    models = Models({"a": endpoint, "b": Endpoint(base_url="http://h/v1")}, seed=0, speed=1)
    assert models.get("compatible:a/m").takes_prefill
    assert not models.get("compatible:b/m").takes_prefill


def test_importing_the_registry_imports_no_sdk() -> None:
    heavy = "openai anthropic tinker httpx2 duckdb pyarrow numpy scipy"
    code = f"import sys, auditors.models.registry; print(sorted(sys.modules.keys() & set({heavy!r}.split())))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
