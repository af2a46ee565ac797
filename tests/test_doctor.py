"""What `cc-tui doctor` finds out about models, over the real SDK and real sockets."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from auditors import doctor, judge_prompts, prompts
from auditors.doctor import Capability, Diagnosis, examine, roles_of
from auditors.models.base import ChatMessage, Request, Response, Role, StopReason, TextDelta, ToolCall, Usage
from auditors.models.endpoint import Endpoint, Prefill, WireProtocol
from auditors.models.registry import Models
from auditors.prices import Price, Prices
from auditors.sim.server import Faults, Reply, Server, serve
from auditors.study import load_study
from store.records import CallRole
from tests.studies import ROOT, lab_study, small_study

NUMBERS = "one, two, three"
PRICES = Prices({"compatible:lab/*": Price(input=1.0, output=2.0)})


class Able:
    """A model that can do everything, but for what a test takes from it."""

    spec = "able"
    simulated = False
    takes_prefill = True

    def __init__(self, **answers: str) -> None:
        self.answers = {
            "call": '{"message": "Hello!"}',
            "structured": '{"coherence": 97}',
            "prefill": " Paris.",
            "text": NUMBERS,
            **answers,
        }
        self.requests: list[Request] = []

    async def stream(self, request: Request):
        self.requests.append(request)
        last, calls, text = request.messages[-1], (), self.answers["text"]
        if request.json_schema or "JSON Schema" in last.text:
            text = self.answers["structured"]
        elif request.prefilled:
            text = self.answers["prefill"]
        elif request.tools and last.role is Role.USER and self.answers["call"]:
            text, calls = "", (ToolCall("c1", "send_message", self.answers["call"]),)
        for word in text.split(" "):
            await asyncio.sleep(0)
            yield TextDelta(word + " ")
        message = ChatMessage(Role.ASSISTANT, text, tool_calls=calls)
        stop = StopReason.TOOL_CALLS if calls else StopReason.END
        yield Response(message, stop, Usage(input=100, output=10), "able-2026")

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def lab(model: Able, faults: Faults | None = None) -> AsyncGenerator[tuple[Server, Models]]:
    server = await serve(lambda _: model, models=["able"], faults=faults)
    endpoint = Endpoint(base_url=server.base_url, prefill=Prefill.LAST)
    models = Models({"lab": endpoint}, seed=1, speed=1000)
    try:
        yield server, models
    finally:
        await models.aclose()
        await server.close()


async def examined(
    model: Able, *roles: CallRole, faults: Faults | None = None, name: str = "able"
) -> Diagnosis:
    async with lab(model, faults) as (_, models):
        return await examine(models, f"compatible:lab/{name}", roles, PRICES)


def works(found: Diagnosis) -> dict[Capability, bool]:
    return {finding.capability: finding.works for finding in found.findings}


def said(found: Diagnosis, capability: Capability) -> str:
    return next(finding.said for finding in found.findings if finding.capability is capability)


async def test_a_model_that_can_do_everything_is_ready_and_its_price_is_told() -> None:
    model = Able()
    found = await examined(model, CallRole.AUDITOR, CallRole.JUDGE)
    assert works(found) == dict.fromkeys(Capability, True)
    assert found.ready
    assert found.answered == "able-2026"
    assert found.first_token_s is not None
    assert said(found, Capability.STREAMING) == "3 pieces"
    assert said(found, Capability.SETTINGS) == "taken: temperature, seed, max_tokens"
    assert (found.calls, found.input_tokens, found.output_tokens) == (6, 600, 60)
    assert not found.estimated
    assert found.cost_usd == pytest.approx(600 * 1e-6 + 60 * 2e-6)


async def test_an_auditor_is_asked_with_the_auditors_own_tools_and_a_judge_with_its_own_schema() -> None:
    model = Able()
    await examined(model)
    asked = [request for request in model.requests if request.tools]
    assert [request.tools for request in asked] == [prompts.AUDITOR_TOOLS] * 2
    assert (asked[1].messages[-1].role, asked[1].messages[-1].text) == (Role.TOOL, "Done.")
    assert [request.json_schema for request in model.requests].count(judge_prompts.COHERENCE_SCHEMA) == 1


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("", "did not call a tool"),
        ('{"message": "Hel', "are not a JSON object"),
        ('["Hello"]', "are not a JSON object"),
        ('{"text": "Hello"}', "send_message lacks message"),
    ],
)
async def test_only_an_auditor_needs_tools_that_work(call: str, why: str) -> None:
    target, auditor = [await examined(Able(call=call), role) for role in (CallRole.TARGET, CallRole.AUDITOR)]
    assert why in said(auditor, Capability.TOOLS)
    assert (works(target)[Capability.TOOLS], works(auditor)[Capability.TOOLS]) == (False, False)
    assert target.ready
    assert not auditor.ready


async def test_a_tool_loop_that_the_endpoint_turns_down_is_found_out() -> None:
    def no_results(_: int, body: dict) -> Reply | None:
        turned_down = body["messages"][-1]["role"] == "tool"
        return Reply(400, {"error": {"message": "role tool is not known"}}) if turned_down else None

    found = await examined(Able(), CallRole.AUDITOR, faults=no_results)
    assert "role tool is not known" in said(found, Capability.TOOLS)
    assert [finding.capability for finding in found.findings].count(Capability.TOOLS) == 1
    assert not found.ready


@pytest.mark.parametrize("answer", ["Quite coherent.", '{"coherence": "high"}', '{"coherence": 1'])
async def test_only_a_judge_needs_structured_answers(answer: str) -> None:
    target, judge = [
        await examined(Able(structured=answer), role) for role in (CallRole.TARGET, CallRole.JUDGE)
    ]
    assert not works(judge)[Capability.STRUCTURED]
    assert target.ready
    assert not judge.ready


async def test_what_the_endpoint_does_not_take_is_named_and_is_no_failure() -> None:
    def picky(_: int, body: dict) -> Reply | None:
        for name in ("temperature", "seed", "response_format"):
            if name in body:
                error = {"message": f"'{name}' is not supported", "param": name}
                return Reply(400, {"error": error})
        return None

    found = await examined(Able(), CallRole.JUDGE, faults=picky)
    assert said(found, Capability.SETTINGS) == "taken: max_tokens; not taken: temperature, seed"
    assert "the prompt alone" in said(found, Capability.STRUCTURED)
    assert found.ready


async def test_a_prefill_that_starts_anew_is_no_prefill() -> None:
    found = await examined(Able(prefill="The capital of France is Paris."))
    assert not works(found)[Capability.PREFILL]
    assert "starts anew" in said(found, Capability.PREFILL)
    assert found.ready


async def test_an_answer_in_one_piece_is_noted() -> None:
    found = await examined(Able(text="one,two"))
    assert works(found)[Capability.TEXT]
    assert not works(found)[Capability.STREAMING]
    assert found.ready


async def test_nothing_more_is_asked_where_there_is_no_answer() -> None:
    async with lab(Able(), lambda _n, _b: Reply(400, {"error": {"message": "no\x1b[31m"}})) as (
        server,
        models,
    ):
        found = await examine(models, "compatible:lab/able", (), PRICES)
        assert server.requests == 1
    assert works(found) == {Capability.REACH: True, Capability.TEXT: False}
    assert not found.ready
    assert found.calls == 0


async def test_a_question_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Able):
        async def stream(self, request: Request):
            await asyncio.Event().wait()
            yield TextDelta("never")

    monkeypatch.setattr(doctor, "QUESTION_S", 0.2)
    found = await examined(Silent())
    assert "no whole answer in 0.2 s" in said(found, Capability.TEXT)


async def test_an_endpoint_that_is_not_there_or_lacks_its_key_is_a_finding() -> None:
    gone = Endpoint(base_url="http://127.0.0.1:9/v1")
    models = Models({"gone": gone}, seed=1, speed=1)
    unreachable = await examine(models, "compatible:gone/x", (), PRICES)
    malformed = await examine(models, "nonsense", (), PRICES)
    await models.aclose()
    assert "cannot be reached" in said(unreachable, Capability.REACH)
    assert "not the specification of a model" in said(malformed, Capability.REACH)
    assert not unreachable.ready
    assert not malformed.ready


async def test_a_name_that_the_endpoint_does_not_list_is_a_doubt_and_no_failure() -> None:
    found = await examined(Able(), name="abel")
    assert "does not list abel; it lists able" in said(found, Capability.REACH)
    assert found.ready


def test_a_model_in_several_roles_is_asked_once(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    study.write_text(study.read_text().replace("sim/judge-a", "sim/vanilla"))
    assert roles_of(load_study(study)) == {
        "sim/vanilla": (CallRole.TARGET, CallRole.JUDGE),
        "sim/conscious@1": (CallRole.TARGET,),
        "sim/auditor": (CallRole.AUDITOR,),
    }


# The command


async def command(*arguments: object, **env: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cc_tui", *map(str, arguments),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), errors.decode()


def able_study(folder: Path, server: Server) -> Path:
    path = lab_study(folder, server.base_url, WireProtocol.CHAT)
    path.write_text(path.read_text().replace("lab/sim/", "lab/"))
    return path


async def test_the_command_prints_what_works_and_writes_nothing(tmp_path: Path) -> None:
    async with lab(Able()) as (server, _):
        study = able_study(tmp_path, server)
        code, out, errors = await command("doctor", study)
    assert (code, errors) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("Asking 4 models, each up to 7 tiny questions: about ")
    assert "compatible:lab/auditor (auditor)" in lines
    assert "ok tools called send_message, and read the results" in lines
    assert "answers as able-2026" in lines
    assert lines[-1] == "Everything that is needed works."
    assert os.listdir(tmp_path) == ["small.toml"]
    assert "\x1b" not in out


async def test_a_model_that_cannot_play_its_role_is_exit_code_1(tmp_path: Path) -> None:
    async with lab(Able(call="", structured="\x1b[31m")) as (server, _):
        study = able_study(tmp_path, server)
        code, out, errors = await command("doctor", study)
        json_code, report, _ = await command("doctor", study, "--json")
        one_code, _, _ = await command("doctor", study, "--model", "compatible:lab/vanilla")
    assert (code, json_code, one_code, errors) == (1, 1, 0, "")
    assert "FAIL  tools       the model did not call a tool" in out
    assert out.splitlines()[-1] == (
        "compatible:lab/auditor, compatible:lab/judge-a cannot be used for what the study needs."
    )
    found = json.loads(report)
    assert found["ready"] is False
    [auditor] = [model for model in found["models"] if model["roles"] == ["auditor"]]
    assert {
        "capability": "tools",
        "works": False,
        "required": True,
        "said": "the model did not call a tool",
    } in (auditor["findings"])


async def test_simulated_models_are_examined_and_marked() -> None:
    code, out, _ = await command("doctor", "--model", "sim/vanilla", "sim/nobody")
    assert code == 1
    assert "SIMULATED sim/vanilla" in out
    assert "There is no simulated model 'sim/nobody'" in out


async def test_without_a_model_the_command_says_how_to_name_one() -> None:
    assert await command("doctor") == (
        2,
        "",
        "cc-tui: Say which models: `cc-tui doctor STUDY.toml`, or `cc-tui doctor --model SPEC`.\n",
    )


async def test_ctrl_c_ends_the_command_without_a_word(tmp_path: Path) -> None:
    asked = asyncio.Event()

    class Silent(Able):
        async def stream(self, request: Request):
            asked.set()
            await asyncio.Event().wait()
            yield TextDelta("never")

    async with lab(Silent()) as (server, _):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cc_tui", "doctor", str(able_study(tmp_path, server)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        await asyncio.wait_for(asked.wait(), 30)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, errors.decode()) == (130, "")


async def test_a_realism_approver_is_asked_its_own_question(tmp_path: Path) -> None:
    study = load_study(small_study(tmp_path, more='[realism]\nmodel = "sim/realism"\n'))
    roles = roles_of(study)
    assert roles["sim/realism"] == (CallRole.REALISM,)
    models = Models({}, seed=0, speed=math.inf)
    found = await examine(models, "sim/realism", roles["sim/realism"], Prices())
    assert found.ready
    [structured] = [finding for finding in found.findings if finding.capability is Capability.STRUCTURED]
    assert (structured.works, structured.required) == (True, True)
