"""What a model at its endpoint can do, found out by asking it: tiny questions, and nothing is stored.

The questions are those of an audit where there are such: the auditor's prompt and tools, and a judge's smallest
question with its schema. So what works here is what a study will ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from auditors import judge_prompts, prompts
from auditors.calls import MAX_REPLY_CHARS
from auditors.conversation import Conversation
from auditors.judge import CoherenceAnswer, parse_answer
from auditors.models.base import (
    ChatMessage,
    ErrorKind,
    ModelError,
    Request,
    Response,
    Role,
    Settings,
    StopReason,
    TextDelta,
    ToolCall,
)
from auditors.models.lifetimes import warning
from auditors.models.tokens import asked_chars, delta_chars, tokens_of
from auditors.realism import REALISM_SCHEMA, RealismAnswer, realism_question
from store.errors import InputError
from store.records import CallRole, Mode
from store.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from auditors.models.base import Delta, Model
    from auditors.models.registry import Models
    from auditors.prices import Prices
    from auditors.study import Study

QUESTION_S = 60.0
"""Longest time for one question, its retries included."""
MOST_TOKENS = 2000
"""What one answer may have; a model that reasons may use it, any other one does not."""

_LIMIT = Settings(max_tokens=MOST_TOKENS)
_TEXT = Request(
    (ChatMessage(Role.USER, "Write the numbers from one to twenty in words, with commas between them."),),
    settings=_LIMIT,
)
_SETTINGS = Request(
    (ChatMessage(Role.USER, "Say one word."),),
    settings=Settings(temperature=1.0, seed=7, max_tokens=MOST_TOKENS),
)
_TOOLS = Request(
    (
        ChatMessage(
            Role.SYSTEM,
            prompts.auditor_system(
                Mode.SELF_REPORT, "The user wants a thank-you note of two lines for a colleague.", 30, 12
            ),
        ),
        ChatMessage(Role.USER, prompts.AUDITOR_START),
    ),
    tools=prompts.AUDITOR_TOOLS,
    settings=_LIMIT,
)
_STRUCTURED = Request(
    judge_prompts.coherence_question("What is the capital of France?", "It is Paris."),
    json_schema=judge_prompts.COHERENCE_SCHEMA,
    settings=_LIMIT,
)
_REALISM = Request(
    realism_question(
        "The user asks for the capital of France.",
        Conversation(),
        (ToolCall("c1", "send_message", '{"message": "What is the capital of France?"}'),),
        (),
    ),
    json_schema=REALISM_SCHEMA,
    settings=_LIMIT,
)
"""The structured question for a model that is a realism approver and nothing else."""
_BEGINNING = "The capital of France is"
_PREFILL = Request(
    (
        ChatMessage(Role.USER, "Name the capital of France in one sentence."),
        ChatMessage(Role.ASSISTANT, _BEGINNING),
    ),
    settings=_LIMIT,
)
QUESTIONS = (_TEXT, _SETTINGS, _TOOLS, _STRUCTURED, _PREFILL)
"""What a model is asked; `_PREFILL` is left out where it is not possible."""
MOST_QUESTIONS = len(QUESTIONS) + 2
"""The tool loop is gone on with once, and the structured answer may be asked for again."""


class Capability(StrEnum):
    """What is looked for."""

    REACH = "reach"
    TEXT = "text"
    STREAMING = "streaming"
    SETTINGS = "settings"
    TOOLS = "tools"
    STRUCTURED = "structured"
    PREFILL = "prefill"


_NEEDS = {
    CallRole.AUDITOR: {Capability.TOOLS},
    CallRole.REALISM: {Capability.STRUCTURED},
    CallRole.JUDGE: {Capability.STRUCTURED},
}
_ALL_NEED = {Capability.REACH, Capability.TEXT}


class Finding(msgspec.Struct, frozen=True):
    """Whether one thing works."""

    capability: Capability
    works: bool
    required: bool
    """Whether the model's roles need it."""
    said: str
    """What was seen, as a clause or a sentence; it may hold what the endpoint said."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one model."""

    spec: str
    roles: tuple[CallRole, ...]
    simulated: bool = False
    answered: str | None = None
    """Model id as the endpoint gives it; None if it gave no answer."""
    findings: tuple[Finding, ...] = ()
    first_token_s: float | None = None
    """Seconds to the first piece of the text."""
    calls: int = 0
    """Questions that were answered."""
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    """Whether the endpoint does not report usage, and tokens and cost are guesses from lengths."""
    cost_usd: float | None = 0.0
    """None where no price is known."""

    @property
    def ready(self) -> bool:
        """Whether all that its roles need works."""
        return all(finding.works for finding in self.findings if finding.required)


def roles_of(study: Study) -> dict[str, tuple[CallRole, ...]]:
    """The models of a study, each with the roles that it plays."""
    file = study.file
    playing = [(condition.model, CallRole.TARGET) for condition in file.conditions]
    playing += [(study.auditor.model, CallRole.AUDITOR)] if study.auditor else []
    playing += [(study.realism.model, CallRole.REALISM)] if study.realism else []
    playing += [(judge.model, CallRole.JUDGE) for judge in file.judges]
    roles: dict[str, dict[CallRole, None]] = {}
    for spec, role in playing:
        roles.setdefault(spec, {})[role] = None
    return {spec: tuple(found) for spec, found in roles.items()}


def tokens_asked() -> int:
    """About how many tokens all questions to one model have."""
    # A tool loop sends its beginning twice.
    return sum(tokens_of(asked_chars(request)) for request in (*QUESTIONS, _TOOLS))


async def examine(models: Models, spec: str, roles: Collection[CallRole], prices: Prices) -> Diagnosis:
    """Ask the model that `spec` names; what goes wrong is a finding, not an exception."""
    return await _Examination(spec, roles, prices).run(models)


class _Heard(NamedTuple):
    response: Response
    first_s: float | None
    """Seconds to the first piece of text."""
    pieces: int
    """Of text."""


class _Examination:
    """The questions to one model, in order."""

    def __init__(self, spec: str, roles: Collection[CallRole], prices: Prices) -> None:
        self._found = Diagnosis(spec=spec, roles=tuple(roles))
        self._needs = _ALL_NEED.union(*(_NEEDS.get(role, set()) for role in roles))
        self._prices = prices

    async def run(self, models: Models) -> Diagnosis:
        spec = self._found.spec
        try:
            doubt = await models.check(spec)
            model = models.get(spec)
        except InputError as error:
            self._note(Capability.REACH, works=False, said=str(error))
            return self._found
        self._update(simulated=model.simulated)
        end = warning(spec)
        said = doubt or "the endpoint answers"
        # An endpoint that tells its models' last days itself knows them better.
        self._note(
            Capability.REACH, works=True, said=f"{said}; {end}" if end and "shuts" not in doubt else said
        )
        if await self._text(model):
            await self._settings(model)
            await self._tools(model)
            await self._structured(model)
            await self._prefill(model)
        return self._found

    async def _text(self, model: Model) -> bool:
        heard = await self._ask(model, _TEXT, Capability.TEXT)
        if heard is None:
            return False
        works = bool(heard.response.message.text.strip())
        seen = f"the first piece after {heard.first_s:.2f} s" if heard.first_s is not None else ""
        self._note(Capability.TEXT, works=works, said=seen if works else _no_text(heard.response))
        self._update(answered=heard.response.model, first_token_s=heard.first_s)
        if works:
            streams = heard.pieces > 1
            said = f"{heard.pieces} pieces" if streams else "the answer comes in one piece, when it is whole"
            self._note(Capability.STREAMING, works=streams, said=said)
        return works

    async def _settings(self, model: Model) -> None:
        heard = await self._ask(model, _SETTINGS, Capability.SETTINGS)
        if heard is None:
            return
        asked = ("temperature", "seed", "max_tokens")
        left_out = [name for name in asked if name in heard.response.not_sent]
        taken = ", ".join(name for name in asked if name not in left_out) or "none"
        said = f"taken: {taken}" + (f"; not taken: {', '.join(left_out)}" if left_out else "")
        self._note(Capability.SETTINGS, works=not left_out, said=said)

    async def _tools(self, model: Model) -> None:
        heard = await self._ask(model, _TOOLS, Capability.TOOLS)
        if heard is None:
            return
        message = heard.response.message
        if fault := _refusal(heard.response) or _fault_of(message.tool_calls) or _cut(heard.response):
            self._note(Capability.TOOLS, works=False, said=fault)
            return
        results = (ChatMessage(Role.TOOL, "Done.", tool_call_id=call.id) for call in message.tool_calls)
        loop = msgspec.structs.replace(_TOOLS, messages=(*_TOOLS.messages, message, *results))
        if await self._ask(model, loop, Capability.TOOLS) is not None:
            called = ", ".join(call.name for call in message.tool_calls)
            self._note(Capability.TOOLS, works=True, said=f"called {called}, and read the results")

    async def _structured(self, model: Model) -> None:
        parsed = heard = None
        approver = self._found.roles == (CallRole.REALISM,)
        question, kind = (_REALISM, RealismAnswer) if approver else (_STRUCTURED, CoherenceAnswer)
        for repeat in range(2):  # As judges do.
            request = msgspec.structs.replace(question, repeat=repeat)
            heard = await self._ask(model, request, Capability.STRUCTURED)
            if heard is None:
                return
            if parsed := parse_answer(heard.response.message.text, kind):
                break
        assert heard
        by_prompt = "json_schema" in heard.response.not_sent
        if parsed is None:
            said = (
                _cut(heard.response)
                or _refusal(heard.response)
                or "the answer is not the JSON object that was asked for"
            )
        elif by_prompt:
            said = "valid; the endpoint does not take the schema, so the prompt alone asks for it"
        else:
            said = "valid against the schema"
        self._note(Capability.STRUCTURED, works=parsed is not None, said=said)

    async def _prefill(self, model: Model) -> None:
        if not model.takes_prefill:
            self._note(Capability.PREFILL, works=False, said="not possible")
            return
        heard = await self._ask(model, _PREFILL, Capability.PREFILL)
        if heard is None:
            return
        text = heard.response.message.text.strip()
        goes_on = bool(text) and not text.startswith(_BEGINNING)
        wrong = "the answer starts anew; the endpoint's `prefill` is not how this server does it"
        said = "goes on from a given beginning" if goes_on else (wrong if text else _no_text(heard.response))
        self._note(Capability.PREFILL, works=goes_on, said=said)

    async def _ask(self, model: Model, request: Request, about: Capability) -> _Heard | None:
        """Ask one question; None if there was no answer, which is noted then."""
        try:
            async with asyncio.timeout(QUESTION_S):
                heard = await _listen(model, request)
        except ModelError as error:
            self._note(about, works=False, said=str(error))
            return None
        except TimeoutError:
            said = f"no whole answer in {QUESTION_S:g} s; the endpoint is slow, or turns calls away for now"
            self._note(about, works=False, said=said)
            return None
        usage, found = heard.response.usage, self._found
        cost = self._prices.cost(found.spec, usage)
        self._update(
            calls=found.calls + 1,
            input_tokens=found.input_tokens + (usage.input or 0),
            output_tokens=found.output_tokens + (usage.output or 0),
            estimated=found.estimated or usage.estimated,
            cost_usd=None if cost is None or found.cost_usd is None else found.cost_usd + cost,
        )
        return heard

    def _note(self, capability: Capability, *, works: bool, said: str) -> None:
        finding = Finding(capability, works, capability in self._needs, said)
        self._update(findings=(*self._found.findings, finding))

    def _update(self, **changes: Any) -> None:
        self._found = msgspec.structs.replace(self._found, **changes)


async def _listen(model: Model, request: Request) -> _Heard:
    began, first_s, pieces, size = time.perf_counter(), None, 0, 0
    response: Response | None = None
    stream = cast("AsyncGenerator[Delta | Response]", model.stream(request))
    async with contextlib.aclosing(stream) as parts:
        async for part in parts:
            if isinstance(part, Response):
                response = part
                continue
            if isinstance(part, TextDelta):
                pieces += 1
                first_s = time.perf_counter() - began if first_s is None else first_s
            size += delta_chars(part)
            if size > MAX_REPLY_CHARS:
                what = f"{model.spec} did not stop after {MAX_REPLY_CHARS:,} characters."
                raise ModelError(ErrorKind.SERVER, what)
    if response is None:
        raise ModelError(ErrorKind.TRUNCATED, f"{model.spec} ended its stream without an answer.")
    return _Heard(response, first_s, pieces)


def _fault_of(calls: tuple[ToolCall, ...]) -> str:
    """What is wrong with an auditor's tool calls; empty if nothing is."""
    if not calls:
        return "the model did not call a tool"
    required = {tool.name: tool.parameters["required"] for tool in prompts.AUDITOR_TOOLS}
    for call in calls:
        if call.name not in required:
            return f"the model called a tool that there is not ({one_line(call.name, 60)})"
        try:
            given = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return f"the arguments of {call.name} are not a JSON object"
        if missing := [name for name in required[call.name] if name not in given]:
            return f"the call of {call.name} lacks {', '.join(missing)}"
    return ""


def _cut(response: Response) -> str:
    return f"the answer was cut at {MOST_TOKENS:,} tokens" if response.stop is StopReason.LENGTH else ""


def _no_text(response: Response) -> str:
    return (
        _cut(response) or _refusal(response) or f"an answer without text (it stopped with `{response.stop}`)"
    )


def _refusal(response: Response) -> str:
    why = f" ({one_line(response.stop_detail, 200)})" if response.stop_detail else ""
    return f"the provider or the model declined to answer{why}" if response.refused else ""
