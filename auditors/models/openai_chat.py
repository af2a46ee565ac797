"""OpenAI Chat Completions, as compatible servers speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Request, Role
from auditors.models.chat_stream import ChatAnswer
from auditors.models.endpoint import Prefill
from auditors.models.failure import Failure, rejected
from store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import httpx2

_LIMITS = ("max_tokens", "max_completion_tokens")
_SETTINGS = ("temperature", "seed", "reasoning_effort", *_LIMITS)


class ChatWire:
    """Chat Completions with one model at one endpoint.

    What the endpoint does not take (a structured answer, a sampling setting) is found out from its 400 answers,
    left out and remembered. A structured answer falls back from `json_schema` to `json_object` to the prompt
    alone, so the prompt has to describe the form of the answer too.

    Args:
        model: the model's name at the endpoint.
        base_url: URL of the endpoint, `/v1` included.
        api_key: bearer key; empty for an endpoint that needs none.
        prefill: how the endpoint goes on from the beginning of an answer.
    """

    def __init__(
        self, model: str, *, base_url: str, api_key: str = "", prefill: Prefill = Prefill.NO
    ) -> None:
        self.takes_prefill = prefill is not Prefill.NO
        self._prefill = prefill
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        # What the endpoint takes, best first; an entry goes when it is rejected.
        self._formats: list[str] = ["json_schema", "json_object"]
        self._limits: list[str] = list(_LIMITS)
        self._optional = {"temperature", "seed", "reasoning_effort", "stream_options"}

    def connect(
        self, http: httpx2.AsyncClient, timeout: httpx2.Timeout
    ) -> tuple[ModuleType, Callable[..., Any]]:
        """See `Wire.connect`."""
        import openai

        from auditors.models.openai_sdk import openai_client

        client = openai_client(http, timeout, base_url=self._base_url, api_key=self._api_key)
        return openai, client.chat.completions.with_streaming_response.create

    def answer(self) -> ChatAnswer:
        """See `Wire.answer`."""
        return ChatAnswer(self._model)

    def arguments(self, request: Request) -> dict[str, Any]:
        """See `Wire.arguments`."""
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": [_wire_message(message) for message in request.messages],
            "stream": True,
            "extra_headers": {"x-cc-repeat": str(request.repeat)},
        }
        if request.tools:
            arguments["tools"] = [
                {"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools
            ]
        if request.json_schema is not None and self._formats:
            form: dict[str, Any] = {"type": self._formats[0]}
            if self._formats[0] == "json_schema":
                form["json_schema"] = {"name": "answer", "strict": True, "schema": request.json_schema}
            arguments["response_format"] = form
        if request.settings.max_tokens is not None and self._limits:
            arguments[self._limits[0]] = request.settings.max_tokens
        if request.prefilled and self._prefill is Prefill.CONTINUE:
            arguments["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        optional = {
            "temperature": request.settings.temperature,
            "seed": request.settings.seed,
            "reasoning_effort": request.settings.effort and request.settings.effort.value,
            "stream_options": {"include_usage": True},
        }
        return arguments | {
            name: value for name, value in optional.items() if value is not None and name in self._optional
        }

    def adapt(self, failure: Failure, arguments: dict[str, Any]) -> bool:
        """See `Wire.adapt`."""
        names = ("response_format", *_SETTINGS, "stream_options")
        match rejected(failure, [name for name in names if name in arguments]):
            case None:
                return False
            case "response_format" as name:
                _give_up(self._formats, arguments[name]["type"])
            case "max_tokens" | "max_completion_tokens" as name:
                _give_up(self._limits, name)
            case name:
                self._optional.discard(name)
        return True

    def sent(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """See `Wire.sent`."""
        sent = {name: arguments[name] for name in _SETTINGS if name in arguments}
        if "response_format" in arguments:
            sent["response_format"] = arguments["response_format"]["type"]
        return sent

    def not_sent(self, request: Request, arguments: dict[str, Any]) -> tuple[str, ...]:
        """See `Wire.not_sent`."""
        settings, sent = request.settings, self.sent(arguments)
        missing = {
            "temperature": settings.temperature is not None and "temperature" not in sent,
            "seed": settings.seed is not None and "seed" not in sent,
            "effort": settings.effort is not None and "reasoning_effort" not in sent,
            "max_tokens": settings.max_tokens is not None and not sent.keys() & {*_LIMITS},
            "json_schema": request.json_schema is not None and sent.get("response_format") != "json_schema",
        }
        return tuple(name for name, is_missing in missing.items() if is_missing)


def _give_up(choices: list[str], name: str) -> None:
    # Another call may have found out first, and then the head of the list is already the next choice.
    if choices and choices[0] == name:
        choices.pop(0)


def _wire_message(message: ChatMessage) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role.value, "content": storable(message.text)}
    if message.role is Role.TOOL:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["content"] = wire["content"] or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": storable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return wire
