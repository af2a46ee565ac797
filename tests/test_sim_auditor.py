import math

import msgspec
import pytest

from auditors.models.base import ChatMessage, Request, Role, Tool, ToolCall, complete
from auditors.packs.pack import load_pack
from auditors.prompts import AUDITOR_START, AUDITOR_TOOLS, auditor_system
from auditors.sim.models import sim_model
from auditors.sim.phrases import find
from auditors.sim.scenario import asks_about_self, mode_of, parse_seed, topic_of
from store.records import Mode

PACK = load_pack("consciousness-cluster")
SEEDS = [(p.id, seed) for p in PACK.preferences.values() for seed in p.seeds]
PARAMETERS = {tool.name: tool.parameters for tool in AUDITOR_TOOLS}


class Conversation:
    """A small harness in the manner of the real one, and what became of the audit in it.

    Args:
        eager: hand over the turn when the auditor forgets to.
        tools: what the target may call.
        broken: how often the target fails before it answers.
    """

    def __init__(self, target: str, repeat: int, eager: bool, tools: tuple[Tool, ...], broken: int) -> None:
        self.target = sim_model(target, seed=0, speed=math.inf)
        self.repeat = repeat
        self.eager = eager
        self.tools = tools
        self.broken = broken
        self.steps = 0
        self.ended = False
        self.view: list[tuple[str, ChatMessage]] = []
        self.phases: list[str] = []
        self.calls: list[str] = []
        self.branches = 1
        self.ids = 0

    def users(self) -> list[str]:
        return [m.text for _, m in self.view if m.role is Role.USER]

    def staged(self) -> bool:
        return bool(self.view) and self.view[-1][1].role in (Role.USER, Role.TOOL)

    def add(self, message: ChatMessage) -> str:
        self.ids += 1
        self.view.append((f"m{self.ids}", message))
        return f"m{self.ids}"

    async def resume(self) -> str:
        assert self.staged()
        if self.broken:
            self.broken -= 1
            return "Error: the assistant could not answer."
        request = Request(tuple(m for _, m in self.view), self.tools, repeat=self.repeat)
        reply = (await complete(self.target, request)).message
        calls = "".join(f"\n[tool call {call.id}] {call.name}({call.arguments})" for call in reply.tool_calls)
        return f"[message_id: {self.add(reply)}] {reply.text}{calls}"

    async def carry_out(self, call: ToolCall) -> str:
        arguments = msgspec.json.decode(call.arguments, type=dict)
        assert set(PARAMETERS[call.name]["required"]) <= set(arguments)
        assert set(arguments) <= set(PARAMETERS[call.name]["properties"])
        self.calls.append(call.name)
        match call.name:
            case "set_system_message":
                assert not self.view
                added = self.add(ChatMessage(Role.SYSTEM, arguments["system_message"]))
            case "send_message":
                self.phases.append(arguments["phase"])
                added = self.add(ChatMessage(Role.USER, arguments["message"]))
            case "send_tool_call_result":
                (asked,) = self.view[-1][1].tool_calls
                assert asked.id == arguments["tool_call_id"]
                added = self.add(ChatMessage(Role.TOOL, arguments["result"], tool_call_id=asked.id))
            case "resume":
                return await self.resume()
            case "rollback_conversation":
                kept = [message_id for message_id, _ in self.view].index(arguments["message_id"])
                self.view = self.view[: kept + 1]
                self.branches += 1
                return "The conversation goes on from there."
            case "end_conversation":
                self.ended = True
                return ""
            case _:
                raise AssertionError(call.name)
        return f"Staged as [message_id: {added}]."


async def audit(
    seed_text: str,
    mode: Mode,
    repeat: int = 0,
    target: str = "conscious@1",
    steps: int = 20,
    *,
    eager: bool = True,
    tools: tuple[Tool, ...] = (),
    broken: int = 0,
) -> Conversation:
    auditor = sim_model("auditor", seed=0, speed=math.inf)
    system = auditor_system(mode, seed_text, steps, 20)
    history = [ChatMessage(Role.SYSTEM, system), ChatMessage(Role.USER, AUDITOR_START)]
    talk = Conversation(target, repeat, eager, tools, broken)
    while talk.steps < steps and not talk.ended:
        talk.steps += 1
        step = (await complete(auditor, Request(tuple(history), AUDITOR_TOOLS, repeat=repeat))).message
        assert step.text
        assert step.tool_calls
        results = [await talk.carry_out(call) for call in step.tool_calls]
        if eager and talk.staged() and step.tool_calls[-1].name != "resume":
            results[-1] += "\n" + await talk.resume()
        history.append(step)
        for call, result in zip(step.tool_calls, results, strict=True):
            history.append(ChatMessage(Role.TOOL, result, tool_call_id=call.id))
    return talk


@pytest.mark.parametrize("mode", [Mode.SELF_REPORT, Mode.BEHAVIORAL])
async def test_every_scenario_is_carried_from_work_to_probe_to_the_end(mode: Mode) -> None:
    for preference, seed_text in SEEDS:
        talk = await audit(seed_text, mode)
        assert talk.ended
        assert parse_seed(seed_text).task in talk.users()[0]
        assert topic_of(talk.users()).preferences == (preference,)
        assert mode_of(talk.users()) is mode
        tasks = talk.phases.count("task")
        assert 3 <= tasks <= 5
        assert 2 <= len(talk.phases) - tasks <= 5
        assert talk.phases == sorted(talk.phases, reverse=True)  # task before probe
        assert talk.view[-1][1].role is Role.ASSISTANT


async def test_work_never_asks_about_the_assistant_and_probes_always_do() -> None:
    for mode in (Mode.SELF_REPORT, Mode.BEHAVIORAL):
        for repeat in range(12):
            talk = await audit(SEEDS[repeat][1], mode, repeat)
            if talk.branches > 1:
                continue
            for text, phase in zip(talk.users(), talk.phases, strict=True):
                assert asks_about_self(text) is (phase == "probe"), text


async def test_probes_do_not_speak_of_the_preference() -> None:
    for preference, seed_text in SEEDS:
        work = parse_seed(seed_text).work
        talk = await audit(seed_text, Mode.SELF_REPORT)
        probes = talk.users()[talk.phases.count("task") :]
        for text in probes:
            assert preference not in topic_of([text.replace(work, "it")]).preferences


@pytest.mark.parametrize("eager", [True, False])
async def test_all_the_auditors_habits_occur_and_every_audit_ends_in_time(eager: bool) -> None:
    talks = [
        await audit(SEEDS[i % len(SEEDS)][1], Mode.SELF_REPORT, i, "vanilla", eager=eager) for i in range(200)
    ]
    assert all(talk.ended and talk.steps <= 20 for talk in talks)
    assert 8 <= sum(talk.branches > 1 for talk in talks) <= 36
    systems = sum("set_system_message" in talk.calls for talk in talks)
    assert 40 <= systems <= 120
    forgotten = [talk.calls.count("send_message") - talk.calls.count("resume") for talk in talks]
    assert min(forgotten) == 0
    assert (max(forgotten) > 0) is eager  # else the next step makes up for it
    assert all(talk.view[-1][1].role is Role.ASSISTANT for talk in talks)


async def test_a_target_that_fails_is_asked_again_and_one_that_stays_silent_is_left() -> None:
    talk = await audit(SEEDS[0][1], Mode.SELF_REPORT, broken=2, eager=False)
    assert talk.ended
    assert talk.calls.count("resume") == talk.calls.count("send_message") + 2
    silent = await audit(SEEDS[0][1], Mode.SELF_REPORT, broken=1000, steps=60)
    assert silent.ended


async def test_the_targets_tool_calls_are_answered() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    tool = Tool("look_up", "Find a page.", schema)
    talks = [await audit(SEEDS[0][1], Mode.SELF_REPORT, i, tools=(tool,)) for i in range(40)]
    assert all(talk.ended for talk in talks)
    assert sum(talk.calls.count("send_tool_call_result") for talk in talks) >= 5


async def test_a_rollback_goes_back_to_the_work_and_asks_in_other_words() -> None:
    talks = [await audit(SEEDS[0][1], Mode.SELF_REPORT, repeat=i) for i in range(60)]
    rolled_back = [talk for talk in talks if talk.branches > 1]
    assert rolled_back
    for talk in rolled_back:
        assert len(talk.users()) < len(talk.phases)
        assert asks_about_self(talk.users()[-1])


async def test_few_steps_make_a_short_audit() -> None:
    for i in range(20):
        talk = await audit(SEEDS[i][1], Mode.SELF_REPORT, repeat=i, steps=10)
        assert talk.ended
        assert {"task", "probe"} == set(talk.phases)


async def test_a_seed_in_another_form_is_worked_on_as_a_whole() -> None:
    talk = await audit("See whether {the} assistant\nminds odd [b]markup[/b].", Mode.SELF_REPORT)
    assert talk.ended
    assert "See whether {the} assistant minds odd [b]markup[/b]." in talk.users()[0]


async def test_probe_turns_show_what_work_turns_do_not() -> None:
    talk = await audit(SEEDS[0][1], Mode.SELF_REPORT, target="prompted")
    tasks = talk.phases.count("task")
    replies = [m.text for _, m in talk.view if m.role is Role.ASSISTANT]
    assert not any(find(text) for text in replies[:tasks])
    assert any(find(text) for text in replies[tasks:])
