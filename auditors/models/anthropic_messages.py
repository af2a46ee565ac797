"""Anthropic Messages, as Anthropic and compatible servers speak it."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from auditors.models.base import Effort, ErrorKind, Role
from auditors.models.claude import Structured, Thinking, claude
from auditors.models.endpoint import Endpoint, Prefill
from auditors.models.failure import rejected
from auditors.models.messages_stream import ANSWER_TOOL, MessagesAnswer
from auditors.models.messages_turns import carried, system_blocks, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import httpx2

    from auditors.models.base import Request
    from auditors.models.failure import Failure
    from auditors.models.messages_turns import Block

_SAMPLING_VERSION = "2023-06-01"
"""The API version that has a temperature, and takes the key in a header of its own."""
_EFFORTS = {Effort.MINIMAL: "low", Effort.LOW: "low", Effort.MEDIUM: "medium", Effort.HIGH: "high"}
_BUDGETS = {Effort.MINIMAL: 1024, Effort.LOW: 2048, Effort.MEDIUM: 8192, Effort.HIGH: 16_384}
_SMALLEST_BUDGET = 1024
_ROOM = 1024
"""Tokens that a budget leaves to the answer where the study limits both together."""
_EPHEMERAL = {"type": "ephemeral"}
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_DEPRECATED = r"The model '[^']*' is deprecated and will reach end-of-life"
_BUDGETED = r"Using Claude with .* and 'thinking\.type=enabled' is deprecated"
_STALE = re.compile(r"`(redacted_)?thinking` block", re.I)


class MessagesWire:
    """Messages with one model at one endpoint.

    What the model takes is looked up by its name (`claude.toml`); what the endpoint turns down all the same is found
    out from its 400 answers, left out and remembered. A structured answer falls back from `output_config.format` to a
    tool that has to be called, whose arguments are then the text of the answer, to the prompt alone.

    The prefix that many requests share (tools, system prompt) is marked for the endpoint's cache; so is the end of
    a conversation that goes on, for the next request will repeat it. The end of a single question is not: to write
    to the cache costs more than to read from it saves once.

    Args:
        model: the model's name at the endpoint.
        base_url: URL of the endpoint, with or without `/v1`.
        api_key: the key; empty for an endpoint that needs none.
        endpoint: overrides what is known of the model.
    """

    def __init__(self, model: str, *, base_url: str, api_key: str = "", endpoint: Endpoint) -> None:
        self._known = claude(model)
        prefill = endpoint.prefill
        self.takes_prefill = self._known.prefill if prefill is None else prefill is not Prefill.NO
        self._version = endpoint.api_version or self._known.api_version
        self._model = model
        self._base_url = base_url.removesuffix("/v1")
        self._api_key = api_key
        self._refused: set[str] = set()
        """What the endpoint has turned down, by the names of `_features`."""
        self._drops_stale = False

    def connect(
        self, http: httpx2.AsyncClient, timeout: httpx2.Timeout
    ) -> tuple[ModuleType, Callable[..., Any]]:
        """See `Wire.connect`."""
        import anthropic

        # Standard error is not the place for what the SDK thinks of a study's model, and asyncio has no place where a
        # filter could be set for one call alone. `lifetimes.toml` tells of shutdowns instead.
        warnings.filterwarnings("ignore", _DEPRECATED, DeprecationWarning)
        warnings.filterwarnings("ignore", _BUDGETED, UserWarning)
        client = anthropic.AsyncAnthropic(
            api_key=self._api_key or "none",
            base_url=self._base_url,
            timeout=timeout,
            max_retries=0,
            http_client=http,
            open_telemetry=False,
        )
        headers: dict[str, Any] = {}
        if self._version:
            headers["anthropic-version"] = self._version
        if self._version == _SAMPLING_VERSION:
            headers |= {"x-api-key": client.api_key, "authorization": anthropic.Omit()}
        # ANTHROPIC_CUSTOM_HEADERS is already in here, and could change as whom we ask; no argument keeps it out.
        client._custom_headers = headers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._version = str(client.default_headers["anthropic-version"])
        return anthropic, client.messages.with_streaming_response.create

    def answer(self) -> MessagesAnswer:
        """See `Wire.answer`."""
        return MessagesAnswer(self._model)

    def arguments(self, request: Request) -> dict[str, Any]:
        """See `Wire.arguments`."""
        settings = request.settings
        structured = self._structured(request)
        thinking = self._thinking(request, structured)
        budget = (thinking or {}).get("budget_tokens", 0)
        output: dict[str, Any] = {}
        level = _EFFORTS.get(settings.effort) if settings.effort else None
        if level and "effort" not in self._refused and _kind(thinking) == "adaptive":
            output["effort"] = level
        if structured is Structured.FORMAT:
            output["format"] = {"type": "json_schema", "schema": request.json_schema}
        tools: list[Block] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
        system = system_blocks(request.messages)
        arguments: dict[str, Any] = {
            "model": self._model,
            "max_tokens": settings.max_tokens or self._known.max_tokens + budget,
            "messages": turns(request.messages, echo=self._echoes(thinking)),
            "stream": True,
            "extra_headers": {"x-cc-repeat": str(request.repeat)},
        }
        self._mark(request, system or tools, arguments["messages"])
        if structured is Structured.TOOL:
            what = "Give the answer. Use it exactly once."
            tools.append({"name": ANSWER_TOOL, "description": what, "input_schema": request.json_schema})
            choice = {"type": "tool", "name": ANSWER_TOOL, "disable_parallel_tool_use": True}
            arguments["tool_choice"] = choice
        if thinking and "block_binding" in thinking:
            arguments["extra_headers"]["anthropic-beta"] = _BINDING_BETA
        if settings.temperature is not None and self._takes_temperature(settings.temperature, thinking):
            arguments["extra_body"] = {"temperature": settings.temperature}
        optional = {"system": system, "tools": tools, "thinking": thinking, "output_config": output}
        return arguments | {name: value for name, value in optional.items() if value}

    def adapt(self, failure: Failure, arguments: dict[str, Any]) -> bool:
        """See `Wire.adapt`."""
        if failure.kind is not ErrorKind.BAD_REQUEST:
            return False
        if _STALE.search(failure.detail) and _has_thinking(arguments):
            # A tool that came or went makes thinking stale. Newer endpoints can sort out which.
            can_sort = "block_binding" in failure.detail and "block_binding" not in arguments.get(
                "thinking", {}
            )
            if can_sort:
                self._drops_stale = True
            else:
                self._refused.add("carry")
            return True
        features = dict(_features(arguments))
        name = rejected(failure, features)
        if name is None and "tool_choice" in features and "tool_choice" in failure.detail:
            name = "tool_choice"
        if name is None:
            return False
        self._refused.add(features[name])
        return True

    def sent(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `Wire.sent`."""
        sent = {"anthropic-version": self._version, "max_tokens": arguments["max_tokens"]}
        sent |= arguments.get("extra_body", {})
        if "thinking" in arguments:
            sent["thinking"] = arguments["thinking"]
        if output := arguments.get("output_config"):
            sent["output_config"] = output | ({"format": "json_schema"} if "format" in output else {})
        if "tool_choice" in arguments:
            sent["tool_choice"] = ANSWER_TOOL
        return sent

    def not_sent(self, request: Request, arguments: dict[str, Any]) -> tuple[str, ...]:
        """See `Wire.not_sent`."""
        settings = request.settings
        structured = "tool_choice" in arguments or "format" in arguments.get("output_config", {})
        carrying = any(carried(message) for message in request.messages)
        missing = {
            "temperature": settings.temperature is not None and "extra_body" not in arguments,
            "seed": settings.seed is not None,
            "effort": not self._obeys(settings.effort, arguments),
            "json_schema": request.json_schema is not None and not structured,
            "carry": carrying and not self._echoes(arguments.get("thinking")),
        }
        return tuple(name for name, is_missing in missing.items() if is_missing)

    def _structured(self, request: Request) -> Structured | None:
        """How the answer is held to its schema; None for not at all."""
        if request.json_schema is None:
            return None
        ways = (Structured.FORMAT, Structured.TOOL)
        if self._known.structured is Structured.TOOL:
            ways = (Structured.TOOL,)
        return next((way for way in ways if way not in self._refused), None)

    def _thinking(self, request: Request, structured: Structured | None) -> dict[str, Any] | None:
        """The `thinking` parameter; None where the study does not say, or something else that it asks for forbids it.

        Neither a prefill nor a tool that has to be called goes with reasoning.
        """
        effort, limit = request.settings.effort, request.settings.max_tokens
        known = self._known.thinking
        if effort is Effort.NONE:
            can_reason = known is Thinking.ADAPTIVE and "disabled" not in self._refused
            return {"type": "disabled"} if can_reason else None
        if request.prefilled or structured is Structured.TOOL or known is Thinking.NONE:
            return None
        adaptive = {"type": "adaptive"}
        if effort is not None and "display" not in self._refused:
            adaptive["display"] = "summarized"
        carrying = "carry" not in self._refused and any(carried(message) for message in request.messages)
        if self._drops_stale and carrying:
            return adaptive | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        if effort is None:
            return None
        if known is Thinking.ADAPTIVE and "adaptive" not in self._refused:
            return adaptive
        budget = min(_BUDGETS[effort], limit - _ROOM) if limit else _BUDGETS[effort]
        if budget < _SMALLEST_BUDGET or "enabled" in self._refused:
            return None
        return {"type": "enabled", "budget_tokens": budget}

    def _takes_temperature(self, temperature: float, thinking: dict[str, Any] | None) -> bool:
        reasons = _kind(thinking) in ("adaptive", "enabled")
        taken = self._version == _SAMPLING_VERSION and "temperature" not in self._refused
        return taken and (not reasons or temperature == 1)

    def _echoes(self, thinking: dict[str, Any] | None) -> bool:
        sorted_out = not self._drops_stale or "block_binding" in (thinking or {})
        return "carry" not in self._refused and sorted_out

    def _obeys(self, effort: Effort | None, arguments: dict[str, Any]) -> bool:
        match _kind(arguments.get("thinking")):
            case "adaptive":
                return effort is None or "effort" in arguments.get("output_config", {})
            case "":
                never = effort is Effort.NONE and self._known.thinking is not Thinking.ADAPTIVE
                return effort is None or never
            case _:
                return True

    def _mark(self, request: Request, prefix: list[Block], spoken: list[dict[str, Any]]) -> None:
        """Mark for the cache the fixed prefix and, in a conversation that goes on, the last two turns of the user.

        The last but one is where the request before this one ended, so its entry is found however much came since.
        """
        if "cache_control" in self._refused:
            return
        ends = prefix[-1:]
        replies = sum(message.role is Role.ASSISTANT for message in request.messages) - request.prefilled
        if request.tools or replies:
            ends += [turn["content"][-1] for turn in spoken if turn["role"] == "user"][-2:]
        for block in ends:
            block["cache_control"] = _EPHEMERAL


def _kind(thinking: dict[str, Any] | None) -> str:
    return thinking["type"] if thinking else ""


def _features(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What of a request an endpoint may turn down: the word that its complaint has, and the feature's name."""
    output, thinking = arguments.get("output_config", {}), arguments.get("thinking", {})
    if "tool_choice" in arguments:
        yield "tool_choice", "tool"
    if "format" in output:
        yield from ((word, "format") for word in ("format", "output_format", "structured outputs"))
    if "display" in thinking:
        yield "display", "display"
    if thinking:
        # Where thinking is asked for in order to send some back, to send none is what gives way.
        yield "thinking", "carry" if "block_binding" in thinking else thinking["type"]
    if "effort" in output:
        yield "effort", "effort"
    if "extra_body" in arguments:
        yield "temperature", "temperature"
    if any("cache_control" in block for block in _all_blocks(arguments)):
        yield "cache_control", "cache_control"


def _has_thinking(arguments: dict[str, Any]) -> bool:
    return any(block.get("type") in ("thinking", "redacted_thinking") for block in _all_blocks(arguments))


def _all_blocks(arguments: dict[str, Any]) -> Iterator[Block]:
    yield from arguments.get("system", ())
    yield from arguments.get("tools", ())
    for turn in arguments["messages"]:
        yield from turn["content"]
