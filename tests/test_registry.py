"""From specification strings to models, and to clear words where there is none."""

import subprocess
import sys

import pytest

from auditors.models.base import TextDelta, complete
from auditors.models.endpoint import Endpoint
from auditors.models.registry import Models
from auditors.models.specs import providers
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


def test_importing_the_registry_imports_no_sdk() -> None:
    heavy = "openai anthropic tinker httpx2 duckdb pyarrow numpy scipy"
    code = f"import sys, auditors.models.registry; print(sorted(sys.modules.keys() & set({heavy!r}.split())))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
