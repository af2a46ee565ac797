"""OpenAI Responses, used without any state at the endpoint: the transcript is ours, and each request holds it all."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Effort, Request, Role
from auditors.models.failure import Failure, rejected
from auditors.models.responses_stream import ResponsesAnswer
from auditors.models.strict import qualifies
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import httpx2

_SETTINGS = ("temperature", "max_output_tokens", "reasoning.effort", "text.format")
_OPTIONAL = ("reasoning.summary", "max_output_tokens", "include", "prompt_cache_key", "strict")
_PLAIN = re.compile(r"(ft:)?(gpt-3|gpt-4|chatgpt)")
"""Models that do not reason; they refuse what asks for it."""
_UNREADABLE = re.compile(
    r"encrypted content.*could not be|invalid_encrypted_content|not persisted", re.I | re.S
)


class ResponsesWire:
    """Responses with one model at one endpoint.

    What the endpoint does not take is found out from its 400 answers, left out and remembered: a setting, a
    level of effort (the next higher one goes out instead), a structured answer (which falls back from
    `json_schema` to `json_object` to the prompt alone, so the prompt has to describe the form of the answer too).

    Args:
        model: the model's name at the endpoint.
        base_url: URL of the endpoint, `/v1` included.
        api_key: bearer key; empty for an endpoint that needs none.
    """

    def __init__(self, model: str, *, base_url: str, api_key: str = "") -> None:
        self.takes_prefill = False
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        # What the endpoint takes; an entry goes when it is rejected.
        self._formats = ["json_schema", "json_object"]
        self._efforts = list(Effort)
        self._optional = set(_OPTIONAL)
        if _PLAIN.match(model):
            self._efforts.clear()
            self._optional.remove("include")
        self._fixed_temperature: set[str | None] = set()
        """Levels of effort at which no temperature is taken."""
        self._unreadable: set[str] = set()
        """Ids of reasoning items that the endpoint turned down."""

    def connect(
        self, http: httpx2.AsyncClient, timeout: httpx2.Timeout
    ) -> tuple[ModuleType, Callable[..., Any]]:
        """See `Wire.connect`."""
        import openai

        from auditors.models.openai_sdk import openai_client

        client = openai_client(http, timeout, base_url=self._base_url, api_key=self._api_key)
        return openai, client.responses.with_streaming_response.create

    def answer(self) -> ResponsesAnswer:
        """See `Wire.answer`."""
        return ResponsesAnswer(self._model)

    def arguments(self, request: Request) -> dict[str, Any]:
        """See `Wire.arguments`."""
        messages, settings = request.messages, request.settings
        system = storable(messages[0].text) if messages and messages[0].role is Role.SYSTEM else ""
        effort = self._effort(settings.effort)
        reasoning: dict[str, Any] = {}
        if effort is not None:
            reasoning["effort"] = effort.value
            if effort is not Effort.NONE and "reasoning.summary" in self._optional:
                reasoning["summary"] = "auto"
        optional = {
            "instructions": system,
            "tools": self._tools(request),
            "reasoning": reasoning,
            "text": self._text(request),
            "include": ["reasoning.encrypted_content"] if "include" in self._optional else None,
            "prompt_cache_key": _cache_key(system, request) if "prompt_cache_key" in self._optional else None,
        }
        arguments: dict[str, Any] = {
            "model": self._model,
            "input": [item for message in messages[bool(system) :] for item in self._items(message)],
            "store": False,
            "stream": True,
            "extra_headers": {"x-cc-repeat": str(request.repeat)},
        } | {name: value for name, value in optional.items() if value}
        if settings.temperature is not None and reasoning.get("effort") not in self._fixed_temperature:
            arguments["temperature"] = settings.temperature
        if settings.max_tokens is not None and "max_output_tokens" in self._optional:
            arguments["max_output_tokens"] = settings.max_tokens
        return arguments

    def _effort(self, asked: Effort | None) -> Effort | None:
        """The lowest level that the model takes and that is not below the one asked for."""
        levels = list(Effort)
        return next(
            (level for level in self._efforts if asked and levels.index(level) >= levels.index(asked)), None
        )

    def _tools(self, request: Request) -> list[dict[str, Any]]:
        return [
            {
                "type": "function",
                **msgspec.to_builtins(tool),
                "strict": "strict" in self._optional and qualifies(tool.parameters),
            }
            for tool in request.tools
        ]

    def _text(self, request: Request) -> dict[str, Any] | None:
        schema = request.json_schema
        if schema is None or not self._formats:
            return None
        form: dict[str, Any] = {"type": self._formats[0]}
        if form["type"] == "json_schema":
            form |= {"name": "answer", "strict": qualifies(schema), "schema": schema}
        return {"format": form}

    def _items(self, message: ChatMessage) -> list[dict[str, Any]]:
        text = storable(message.text)
        if message.role is Role.TOOL:
            return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": text}]
        if message.role is not Role.ASSISTANT:
            empty = message.role is Role.SYSTEM and not text
            return [] if empty else [{"role": message.role.value, "content": text}]
        items: list[dict[str, Any]] = []
        if text:
            content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
            items.append({"type": "message", "role": "assistant", "content": [content]})
        items += [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": storable(call.arguments),
            }
            for call in message.tool_calls
        ]
        # Reasoning that nothing follows is refused; what another endpoint left is not for this one.
        thoughts = [item for item in message.carry if _is_thought(item) and not self._unread(item)]
        return [*thoughts, *items] if items else []

    def _unread(self, item: dict[str, Any]) -> bool:
        return _is_thought(item) and str(item.get("id")) in self._unreadable

    def adapt(self, failure: Failure, arguments: dict[str, Any]) -> bool:
        """See `Wire.adapt`."""
        if _UNREADABLE.search(f"{failure.code} {failure.detail}"):
            return self._leave_out(arguments)
        flat = _flat(arguments)
        match rejected(failure, flat):
            case None:
                return False
            case "text.format" as name:
                if self._formats and self._formats[0] == flat[name]:
                    self._formats.pop(0)
            case "temperature":
                self._fixed_temperature.add(flat.get("reasoning.effort"))
            case "reasoning.effort" as name if "value" in (failure.code or failure.detail).lower():
                self._efforts = [level for level in self._efforts if level.value != flat[name]]
            case "reasoning.effort" | "reasoning":
                self._efforts.clear()
            case name:
                self._optional.discard(name)
        return True

    def _leave_out(self, arguments: dict[str, Any]) -> bool:
        """Send none of the request's reasoning items again; False if there is none."""
        ids = {str(item.get("id")) for item in arguments["input"] if _is_thought(item)}
        self._unreadable |= ids
        return bool(ids)

    def sent(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `Wire.sent`."""
        flat = _flat(arguments)
        return {name: flat[name] for name in _SETTINGS if name in flat}

    def not_sent(self, request: Request, arguments: dict[str, Any]) -> tuple[str, ...]:
        """See `Wire.not_sent`."""
        settings, sent = request.settings, self.sent(arguments)
        missing = {
            "temperature": settings.temperature is not None and "temperature" not in sent,
            "seed": settings.seed is not None,
            "effort": settings.effort is not None and sent.get("reasoning.effort") != settings.effort.value,
            "max_tokens": settings.max_tokens is not None and "max_output_tokens" not in sent,
            "json_schema": request.json_schema is not None and sent.get("text.format") != "json_schema",
            "carry": any(map(self._unread, (item for message in request.messages for item in message.carry))),
        }
        return tuple(name for name, is_missing in missing.items() if is_missing)


def _is_thought(item: dict[str, Any]) -> bool:
    return item.get("type") == "reasoning"


def _flat(arguments: dict[str, Any]) -> dict[str, Any]:
    """What may be given up, by the names in the API's errors, the more particular ones first."""
    flat: dict[str, Any] = {}
    if "text" in arguments:
        flat["text.format"] = arguments["text"]["format"]["type"]
    for name in ("temperature", "max_output_tokens", "include", "prompt_cache_key"):
        if name in arguments:
            flat[name] = arguments[name]
    if any(tool["strict"] for tool in arguments.get("tools", ())):
        flat["strict"] = True
    if reasoning := arguments.get("reasoning"):
        flat |= {f"reasoning.{name}": reasoning[name] for name in ("summary", "effort") if name in reasoning}
        flat["reasoning"] = reasoning
    return flat


def _cache_key(system: str, request: Request) -> str:
    """A name for the part of a conversation that all its requests begin with, which tells nothing of it."""
    return hashlib.sha256(msgspec.json.encode((system, request.tools))).hexdigest()[:32]
