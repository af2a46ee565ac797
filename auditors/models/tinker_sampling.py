"""Tinker's own sampling service, through its SDK.

The default road to Tinker's models is its OpenAI-compatible side, which streams; this one is for what that cannot
do, such as going on from a given beginning. Prompts go out as tokens and answers come back whole, as tokens;
`ChatTemplate` stands in between.

The SDK makes its own attempts and does not say how many, so none are recorded. Where it would wait for an hour,
this module's deadline comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from auditors.models.base import (
    Delta,
    ErrorKind,
    FailedAttempt,
    ReasoningDelta,
    Request,
    Response,
    StopReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from auditors.models.failure import BLOT, Failure, StreamError, classify, status_failure
from auditors.models.limiter import Limiter
from auditors.models.tokens import asked_chars, tokens_of
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    import tinker

    from auditors.models.chat_template import ChatTemplate
    from auditors.models.endpoint import Endpoint

_T = TypeVar("_T")

_KEY_STARTS = ("tml-", "eyJ")
_PREFLIGHT_S = 2.0
"""The SDK tries an address that does not answer for minutes before it says so."""
_CLOSE_S = 3.0
_SETTINGS = ("temperature", "max_tokens", "seed")
_NO_HUB = (
    "its tokenizer comes from {hub}, which cannot be reached: give the endpoint a local folder as `tokenizer`, "
    "or set HF_HUB_OFFLINE=1 if this machine has it in its cache"
)


class _SdkLog(logging.Handler):
    """Keeps the SDK's last warning, which is the only place where it says why it waits.

    It also keeps the SDK's warnings off the terminal, where Python puts what nobody handles.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = ""
        self._at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self._said, self._at = record.getMessage(), time.monotonic()

    def since(self, began: float) -> str:
        """The last warning, if it is not older than that, as a clause to append."""
        return f"; the SDK last said: {self._said}" if self._at >= began else ""


sdk_log = _SdkLog()


class _Session(NamedTuple):
    """What it takes to ask a model."""

    sampler: tinker.SamplingClient
    template: ChatTemplate


class TinkerModel:
    """A base model or a checkpoint on Tinker.

    An answer comes as one delta of each sort. A seed and a prefill are taken, an effort and a schema for
    structured answers are not. Each call has the endpoint's `answer_seconds`, the first one for opening a session
    too.
    """

    takes_prefill = True

    def __init__(
        self,
        spec: str,
        model: str,
        endpoint: Endpoint,
        *,
        base_url: str,
        api_key: str,
        limiter: Limiter | None = None,
    ) -> None:
        """Set up a model; nothing is opened before the first call.

        Args:
            spec: specification string of the model.
            model: name of a base model, or path of a checkpoint's sampler weights (`tinker://…`).
            endpoint: the service.
            base_url: its URL.
            api_key: its key.
            limiter: traffic that is shared with other models of the endpoint; None for an own one.

        Raises:
            InputError: the key cannot be one, or there is no tokenizer where the endpoint says.
        """
        if not api_key.startswith(_KEY_STARTS):
            where = endpoint.api_key_env or "the endpoint's api_key_env"
            raise InputError(f"{spec}: {where} holds no Tinker key; set it to one, which begins with 'tml-'.")
        if endpoint.tokenizer and not Path(endpoint.tokenizer).expanduser().is_dir():
            raise InputError(
                f"{spec}: the endpoint's tokenizer {endpoint.tokenizer!r} is not a folder; "
                "give one that holds tokenizer.json and tokenizer_config.json."
            )
        self.spec = spec
        self.simulated = model.startswith(("sim/", "tinker://sim-"))
        self._model = model
        self._endpoint = endpoint
        self._base_url = base_url
        self._key = api_key
        self._limiter = limiter or Limiter()
        self._opening = asyncio.Lock()
        self._service: tinker.ServiceClient | None = None
        self._session: _Session | None = None

    async def aclose(self) -> None:
        """End the session."""
        if self._service is not None:
            # A service that is gone must not hold up the end of a run; sessions also end by themselves.
            with contextlib.suppress(Exception):
                await self._service.close("success").result_async(_CLOSE_S)

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Response]:
        """See `Model.stream`."""
        began = time.monotonic()
        async with self._limiter.permit(tokens_of(asked_chars(request))) as permit:
            answer = await self._in_time(request)
            if isinstance(answer, Failure):
                permit.failed(answer, {})
            else:
                permit.heard({})
                permit.done(answer.usage)
        if isinstance(answer, Failure):
            host = urlsplit(self._base_url).netloc
            attempt = FailedAttempt(answer.kind, answer.said(self._key), time.monotonic() - began)
            raise answer.error(self.spec, host, self._key, (attempt,))
        message = answer.message
        if message.reasoning:
            yield ReasoningDelta(message.reasoning)
        if message.text:
            yield TextDelta(message.text)
        for index, call in enumerate(message.tool_calls):
            yield ToolCallDelta(index, call.name, call.arguments)
        yield answer

    async def _in_time(self, request: Request) -> Response | Failure:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._endpoint.answer_seconds):
                return await self._ask(request)
        except StreamError as error:
            return error.failure
        except TimeoutError:
            what = f"no answer in {self._endpoint.answer_seconds:g} s{sdk_log.since(began)}"
            return Failure(ErrorKind.TIMEOUT, what)

    async def _ask(self, request: Request) -> Response:
        sampler, template = await self._open()
        import tinker

        prompt = template.prompt(request)
        settings = {
            name: value for name in _SETTINGS if (value := getattr(request.settings, name)) is not None
        }
        params = tinker.SamplingParams(stop=template.stops or None, **settings)
        sampled = await told(sampler.sample(tinker.ModelInput.from_ints(prompt.tokens), 1, params))
        (sequence,) = sampled.sequences
        text = template.text(sequence.tokens).replace(self._key, BLOT)
        message = template.message(text, prompt.thinking, request.tools)
        stop = StopReason.LENGTH if sequence.stop_reason == "length" else StopReason.END
        asked = {"effort": request.settings.effort, "json_schema": request.json_schema}
        return Response(
            message=message,
            stop=StopReason.TOOL_CALLS if message.tool_calls and stop is StopReason.END else stop,
            usage=Usage(len(prompt.tokens), len(sequence.tokens), sampled.prompt_cache_hit_tokens),
            # The service names no model in its answers.
            model=self._model,
            sent=params.model_dump(exclude={"stop"}, exclude_none=True),
            not_sent=tuple(name for name, value in asked.items() if value is not None),
            request_id=sequence.sequence_id,
        )

    async def _open(self) -> _Session:
        async with self._opening:
            if self._session is None:
                if self._service is None:
                    await told(asyncio.to_thread(preflight, self._base_url))
                sampler = await told(await told(asyncio.to_thread(self._connect)))
                template = await told(
                    asyncio.to_thread(load_template, self._endpoint.tokenizer, sampler, self._model)
                )
                self._session = _Session(sampler, template)
        return self._session

    def _connect(self) -> tinker.APIFuture[tinker.SamplingClient]:
        """Open a session if there is none; blocking, as the SDK does it."""
        os.environ.setdefault("TINKER_TELEMETRY", "0")
        import tinker
        from tinker.lib.retry_handler import RetryConfig  # pyright: ignore[reportMissingTypeStubs]

        logging.getLogger("tinker").addHandler(sdk_log)
        if self._service is None:
            self._service = tinker.ServiceClient(base_url=self._base_url, api_key=self._key)
        is_path = self._model.startswith("tinker://")
        return self._service.create_sampling_client(
            model_path=self._model if is_path else None,
            base_model=None if is_path else self._model,
            # Its inner loop already tries for five minutes; the outer one would go on until our deadline and
            # take the reason along.
            retry_config=RetryConfig(enable_retry_logic=False),
        )


async def told(call: Awaitable[_T]) -> _T:
    """What the SDK gives; what it raises, as a `StreamError` that holds neither request nor key."""
    try:
        return await call
    except StreamError:
        raise
    except Exception as error:  # noqa: BLE001 - the SDK raises ValueError, RuntimeError and AssertionError too
        failure = _failure(error)
    raise StreamError(failure)


def _failure(error: BaseException) -> Failure:
    import tinker

    match error:
        case tinker.APIError():
            return classify(error, tinker)
        case tinker.RequestFailedError():
            kind = ErrorKind.BAD_REQUEST if error.category.value == "user" else ErrorKind.SERVER
            return Failure(kind, error.message.partition(" for self.request_id=")[0])
        case _ if isinstance(error.__cause__, tinker.APIError):
            return _failure(error.__cause__)
        case _:
            return Failure(ErrorKind.SERVER, f"the SDK gave up ({type(error).__name__}: {error})")


def preflight(base_url: str) -> None:
    """See whether the service answers; blocking.

    Raises:
        StreamError: it does not.
    """
    import httpx2

    try:
        health = httpx2.get(f"{base_url}/api/v1/healthz", timeout=_PREFLIGHT_S, follow_redirects=True)
    except httpx2.HTTPError as error:
        failure = Failure(ErrorKind.CONNECTION, f"no connection ({error or type(error).__name__})")
    else:
        if health.is_success:
            return
        failure = status_failure(health.status_code, health.text, health.headers)
    raise StreamError(failure)


def load_template(
    folder: str, client: tinker.SamplingClient | tinker.TrainingClient, name: str
) -> ChatTemplate:
    """The chat template of a tokenizer in a folder, or else of a client's base model; blocking.

    Raises:
        StreamError: it cannot be loaded; `name` says whose it is.
    """
    # Both libraries write to the terminal on their own.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from auditors.models.chat_template import ChatTemplate

    try:
        if folder:
            tokenizer = _local_tokenizer(folder)
        else:
            _hub_preflight()
            tokenizer = client.get_tokenizer()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        what = f"its tokenizer cannot be loaded from {folder or name} ({error})"
        failure = Failure(ErrorKind.UNSUPPORTED, what)
    else:
        return ChatTemplate(tokenizer)
    raise StreamError(failure)


@cache
def _local_tokenizer(folder: str) -> Any:
    # Shared by the checkpoints of a study: a large vocabulary takes a second and 100 MB. (The SDK shares its own.)
    from transformers import AutoTokenizer

    path = str(Path(folder).expanduser())
    return cast("Any", AutoTokenizer).from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _hub_preflight() -> None:
    import httpx2
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    try:
        httpx2.head(constants.ENDPOINT, timeout=_PREFLIGHT_S)
    except httpx2.HTTPError:
        pass
    else:
        return
    raise StreamError(Failure(ErrorKind.UNSUPPORTED, _NO_HUB.format(hub=constants.ENDPOINT)))
