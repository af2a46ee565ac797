from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from auditors.config import Config, load_config
from auditors.models.endpoint import Prefill, WireProtocol
from auditors.models.registry import Models
from auditors.options import Options
from auditors.sim.server import serve
from auditors.study import Study, load_study
from cc_tui.cli import main
from store.errors import InputError
from tests.studies import one, query, run_study, small_study
from tests.wire import CANARY

CONFIG = """
[endpoints.lab]
base_url = "http://127.0.0.1:8000/v1"
api_key_env = "CC_LAB_KEY"
prefill = "continue"

[endpoints.messages]
base_url = "http://127.0.0.1:9000"
protocol = "messages"

[prices."compatible:lab/my.model"]
input = 0.5
output = 1.5
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mine.toml"
    monkeypatch.setenv("CC_TUI_CONFIG", str(path))
    return path


def study(tmp_path: Path, more: str = "") -> Study:
    return load_study(small_study(tmp_path, more=more))


def test_a_configuration_holds_servers_and_prices(path: Path) -> None:
    path.write_text(CONFIG)
    config = load_config()
    assert config.endpoints["lab"].prefill is Prefill.CONTINUE
    assert config.endpoints["messages"].protocol is WireProtocol.MESSAGES
    assert config.prices["compatible:lab/my.model"].output == 1.5


def test_it_lies_in_the_configuration_home_and_need_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_config() == Config()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cc-tui").mkdir()
    (tmp_path / "cc-tui" / "config.toml").write_text(CONFIG)
    assert set(load_config().endpoints) == {"lab", "messages"}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[endpoints.lab]", "[endpoints.lab", 2, ""),
        ('protocol = "messages"', 'protocol = "http"', 9, "choose from chat, responses, messages, tinker"),
        ('prefill = "continue"', 'prefil = "continue"', 5, "unknown field `prefil`"),
        ("input = 0.5", "input = -1", 12, "expected `float` >= 0.0"),
        ("output = 1.5", "", 11, "missing required field `output`"),
        ("[endpoints.lab]", "[servers.lab]", 2, "unknown field `servers`"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_sentence_with_its_line(
    path: Path, tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    path.write_text(CONFIG.replace(old, new))
    for load in (load_config, lambda: study(tmp_path)):
        with pytest.raises(InputError) as caught:
            load()
        message = str(caught.value)
        assert message.startswith(str(path))
        assert f"line {line}" in message
        assert says in message
        assert "\n" not in message


def test_a_configuration_that_was_named_must_be_there(path: Path) -> None:
    with pytest.raises(InputError, match=f"no configuration file {path}"):
        load_config()


def test_a_study_files_own_tables_come_before_the_users(path: Path, tmp_path: Path) -> None:
    path.write_text(CONFIG)
    own = '[endpoints.lab]\nbase_url = "http://other:1/v1"\n[prices."compatible:lab/my.model"]\ninput = 7\noutput = 7'
    found = study(tmp_path, own)
    assert found.endpoints["lab"].base_url == "http://other:1/v1"
    assert "messages" in found.endpoints
    price = found.prices().price("compatible:lab/my.model")
    assert price
    assert price.input == 7


def test_the_configuration_is_no_part_of_a_studys_identity(path: Path, tmp_path: Path) -> None:
    path.write_text(CONFIG)
    one_server = study(tmp_path)
    path.write_text(CONFIG.replace("8000", "8001"))
    other = study(tmp_path)
    assert one_server.study_id == other.study_id
    places = [Models(s.endpoints, seed=0, speed=1).endpoint("compatible:lab/x") for s in (one_server, other)]
    assert [place and place.base_url for place in places] == [
        "http://127.0.0.1:8000/v1",
        "http://127.0.0.1:8001/v1",
    ]


async def test_the_same_study_runs_on_another_server_and_its_run_notes_which(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC_LAB_KEY", CANARY)
    models = Models({}, seed=3, speed=float("inf"))
    store, urls = tmp_path / "store", []
    for limit in (2, 4):
        server = await serve(models.get, api_key=CANARY)
        moved = CONFIG.replace("http://127.0.0.1:8000/v1", server.base_url)
        await asyncio.to_thread(path.write_text, moved)
        try:
            await run_study(small_study(tmp_path, "compatible:lab/"), store, Options(speed=None, limit=limit))
        finally:
            await server.close()
        urls.append(server.base_url)
    await models.aclose()
    assert one(store, "SELECT count(*) FROM studies") == 1
    assert one(store, "SELECT count(*) FROM audits WHERE status = 'ok'") == 4
    configs = [msgspec.json.decode(row["config"]) for row in query(store, "FROM runs ORDER BY started_at")]
    assert [set(config["base_urls"].values()) for config in configs] == [{url} for url in urls]
    assert "compatible:lab/sim/judge-a" in configs[0]["base_urls"]
    assert not any(CANARY.encode() in file.read_bytes() for file in store.rglob("*") if file.is_file())


def test_models_lists_the_users_servers_without_their_keys(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(CONFIG)
    monkeypatch.setenv("CC_LAB_KEY", "sk-secret-1")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "compatible:lab/<model>" in out
    assert "CC_LAB_KEY set" in out
    assert "sk-secret-1" not in out
