"""Text and tokens of the simulated models behind Tinker's protocol: a tokenizer of bytes, and how chats are written.

The tokenizer is a folder as publishers make them, so that a client loads it and its chat template with the
libraries that it uses for real models. Here the tokens are read back.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import ChatMessage, Request, Role, Settings, StopReason, Tool, ToolCall
from auditors.sim.connection import RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from auditors.models.base import Response

_START, _END = "<|turn|>", "<|end|>"
_TOOLS = "tools"
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_TEMPLATE = (
    "{% if tools %}<|turn|>tools\n{{ tools | tojson }}<|end|>{% endif %}"
    "{% for message in messages %}<|turn|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    '<tool_call>{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>"
    "{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer, with its chat template, into a folder that exists."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer: Any = Tokenizer(
        models.BPE(vocab={char: token for token, char in enumerate(alphabet)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_START, _END])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": _END, "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


class ChatTokens:
    """Reads prompts and writes answers, as tokens of the tokenizer in `folder`."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        # `Any`, as the library's signatures are typed in part only.
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._start: int = self._tokenizer.token_to_id(_START)
        self._end: int = self._tokenizer.token_to_id(_END)

    def request(self, tokens: list[int], settings: Settings) -> Request:
        """The request that a prompt is; a last turn without an end is a prefill, unless it is empty.

        Raises:
            ValueError: the tokens are no chat.
        """
        messages: list[ChatMessage] = []
        tools: tuple[Tool, ...] = ()
        for turn in _split(tokens, self._start):
            ended = turn[-1:] == [self._end]
            role, _, text = self._tokenizer.decode(turn[:-1] if ended else turn).partition("\n")
            if role == _TOOLS:
                tools = tuple(msgspec.convert(tool["function"], Tool) for tool in json.loads(text))
            elif ended or text:
                messages.append(_message(Role(role), text))
        return Request(tuple(messages), tools, settings=settings)

    def answer(self, response: Response, max_tokens: int | None) -> tuple[list[int], bool]:
        """The tokens of an answer, and whether they end with the model's own end."""
        message = response.message
        text = f"<think>{message.reasoning}</think>" if message.reasoning else ""
        text += message.text
        for call in message.tool_calls:
            text += (
                f'<tool_call>{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}</tool_call>'
            )
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if max_tokens is not None and len(tokens) >= max_tokens:
            return tokens[:max_tokens], False
        return (tokens, False) if response.stop is StopReason.LENGTH else ([*tokens, self._end], True)


def _split(tokens: list[int], start: int) -> list[list[int]]:
    turns: list[list[int]] = []
    for token in tokens:
        if token == start:
            turns.append([])
        elif turns:
            turns[-1].append(token)
        else:
            raise ValueError("the prompt does not begin with a turn")
    return turns


class _Call(msgspec.Struct):
    name: str
    arguments: Any


def _message(role: Role, text: str) -> ChatMessage:
    if role is not Role.ASSISTANT:
        return ChatMessage(role, text)
    thought = _THOUGHT.match(text)
    text = _THOUGHT.sub("", text, count=1) if thought else text
    calls = [msgspec.json.decode(found, type=_Call) for found in _CALL.findall(text)]
    return ChatMessage(
        role,
        _CALL.sub("", text),
        thought[1] if thought else "",
        tuple(
            ToolCall(f"call_{place}", call.name, json.dumps(call.arguments))
            for place, call in enumerate(calls)
        ),
    )


def read_datum(datum: Any) -> tuple[list[int], int]:
    """The tokens of a datum of training with its last target, and how many of them are given and not learned.

    Raises:
        RequestError: its parts do not fit each other.
    """
    import numpy as np

    tokens = [
        int(token)
        for chunk in datum.model_input
        for token in np.frombuffer(chunk.encoded_text.tokens, dtype=np.int32)
    ]
    targets = np.frombuffer(datum.loss_fn_inputs["target_tokens"].dense, dtype=np.int64)
    weights = np.frombuffer(datum.loss_fn_inputs["weights"].dense, dtype=np.float32)
    if not len(tokens) == len(targets) == len(weights) or not weights.any():
        raise RequestError(400, "A datum's tokens, targets and weights do not fit each other.")
    return [*tokens, int(targets[-1])], len(tokens) - int((weights > 0).sum())


def losses(lengths: list[int], loss: float) -> bytes:
    """The answer to a forward and backward pass: the same loss for every token of each datum."""
    import numpy as np
    from tinker.proto import tinker_public_pb2 as proto  # pyright: ignore[reportMissingTypeStubs]

    values = np.full(sum(lengths), -loss, dtype=np.float32)
    output = proto.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord")
    record = output.loss_fn_outputs.add()
    record.num_datums = len(lengths)
    tensor = record.fields["logprobs"]
    tensor.dtype = proto.DTYPE_FLOAT32
    tensor.data = values.tobytes()
    tensor.offsets = (values.itemsize * np.cumsum([0, *lengths], dtype=np.int64)).tobytes()
    return output.SerializeToString()
