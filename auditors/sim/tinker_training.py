"""The training side of the loopback Tinker server: adapters, steps, checkpoints that expire.

What an adapter learns from the rows that come as tokens is decided by `Learner`, so that its sampler weights answer as
the simulated persona that they were trained to be.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from auditors.models.base import Model, Role, Settings
from auditors.sim.connection import RequestError
from auditors.sim.learner import Learner
from auditors.sim.tinker_server import TinkerServer
from auditors.sim.tinker_wire import losses, read_datum
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditors.sim.tinker_server import Route, TinkerFaults

_ARCHIVE = "adapter.json"


class _Adapter(msgspec.Struct):
    run: str
    base_model: str
    seed: int
    rank: int
    learner: Learner
    metadata: dict[str, str]
    step: int = 0
    waiting: list[tuple[str, str]] = []


class _Saved(msgspec.Struct):
    path: str
    adapter: _Adapter
    expires_at: datetime | None


async def serve_tinker_training(
    resolve: Callable[[str], Model],
    tokenizer: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    *,
    models: tuple[str, ...] = ("sim/vanilla",),
    faults: TinkerFaults | None = None,
) -> TinkerTrainingServer:
    """Start a server that also trains; the arguments are those of `serve_tinker`."""
    server = TinkerTrainingServer(resolve, tokenizer, api_key, models, faults)
    await server.start(host, port)
    return server


class TinkerTrainingServer(TinkerServer):
    """A running server; `saved` are its checkpoints by path, `steps` counts the steps of each run."""

    def __init__(
        self,
        resolve: Callable[[str], Model],
        tokenizer: Path,
        api_key: str | None,
        models: tuple[str, ...],
        faults: TinkerFaults | None,
    ) -> None:
        super().__init__(self._trained, tokenizer, api_key, models, faults)
        self.saved: dict[str, _Saved] = {}
        self.steps: dict[str, int] = {}
        self.metadata: list[dict[str, str]] = []
        self._base_resolve = resolve
        self._adapters: dict[str, _Adapter] = {}
        self._routes |= {
            "create_model": self._create_model,
            "load_weights": self._load_weights,
            "get_info": self._get_info,
            "forward_backward": self._forward_backward,
            "optim_step": self._optim_step,
            "save_weights": self._save_weights,
            "save_weights_for_sampler": self._save_for_sampler,
            "save_weights_external": self._save_external,
            "weights_info": self._weights_info,
        }

    def expire(self, path: str) -> None:
        """Let a checkpoint be past its time."""
        self.saved[path].expires_at = datetime.now(UTC) - timedelta(seconds=1)

    def _trained(self, name: str) -> Model:
        if not name.startswith("tinker://"):
            return self._base_resolve(name)
        try:
            adapter = self._checkpoint(name).adapter
        except RequestError as error:
            raise InputError(str(error)) from None
        return self._base_resolve(f"sim/{adapter.learner.name(adapter.seed)}")

    def _checkpoint(self, path: str) -> _Saved:
        saved = self.saved.get(path)
        if saved is None or (saved.expires_at and saved.expires_at <= datetime.now(UTC)):
            raise RequestError(404, f"There is no checkpoint {path}; it may have expired.")
        return saved

    def _signed(self, name: str) -> bool:
        return name.startswith("archive/")

    def _read(self, content_type: str, body: bytes) -> Any:
        if "protobuf" not in content_type:
            return super()._read(content_type, body)
        from tinker.proto import tinker_public_pb2 as proto  # pyright: ignore[reportMissingTypeStubs]

        request = proto.ForwardBackwardRequest()
        request.ParseFromString(body)
        return {"model_id": request.model_id, "request": request}

    def _route(self, name: str) -> Route:
        match name.split("/"):
            case ["training_runs", run]:
                return lambda _: self._training_run(run)
            case ["training_runs", run, "checkpoints"]:
                return lambda _: self._checkpoints(run)
            case ["training_runs", run, "checkpoints", kind, checkpoint, "ttl"]:
                return lambda fields: self._set_ttl(f"tinker://{run}/{kind}/{checkpoint}", fields)
            case ["training_runs", run, "checkpoints", kind, checkpoint, "external_weights_urls"]:
                return lambda _: self._urls(f"tinker://{run}/{kind}/{checkpoint}")
            case ["archive", run, name]:
                return lambda _: self._archive(f"tinker://{run}/external_weights/{name}")
            case _:
                return super()._route(name)

    def _soon(self, result: dict[str, Any] | bytes, model_id: str) -> dict[str, str]:
        """A future that is there at once."""
        request_id = secrets.token_hex(8)

        async def done() -> Any:
            return result

        self._futures[request_id] = asyncio.create_task(done())
        return {"request_id": request_id, "model_id": model_id}

    def _adapter(self, fields: Any) -> _Adapter:
        adapter = self._adapters.get(fields["model_id"])
        if adapter is None:
            raise RequestError(404, f"There is no model {fields['model_id']}.")
        return adapter

    async def _create_session(self, _fields: Any) -> Any:
        # Says in every path that what is trained here is simulated.
        return {"session_id": f"sim-{secrets.token_hex(8)}"}

    async def _create_model(self, fields: Any) -> Any:
        if fields["base_model"] not in self._models:
            raise RequestError(404, f"There is no base model {fields['base_model']!r} to train.")
        lora: dict[str, Any] = fields["lora_config"]
        metadata: dict[str, str] = fields.get("user_metadata") or {}
        run = f"{fields['session_id']}:train:{fields['model_seq_id']}"
        adapter = _Adapter(
            run, fields["base_model"], lora.get("seed") or 0, lora["rank"], Learner(), metadata
        )
        self._adapters[run] = adapter
        self.metadata.append(metadata)
        return self._soon({"model_id": run, "type": "create_model"}, run)

    async def _load_weights(self, fields: Any) -> Any:
        saved = self._checkpoint(fields["path"])
        run = f"{fields['session_id']}:train:{fields['model_seq_id']}"
        self._adapters[run] = adapter = copy.deepcopy(saved.adapter)
        adapter.run = run
        return self._soon({"path": fields["path"], "model_id": run, "type": "load_weights"}, run)

    async def _get_info(self, fields: Any) -> Any:
        adapter = self._adapter(fields)
        return {
            "type": "get_info",
            "model_data": {"model_name": adapter.base_model, "tokenizer_id": adapter.base_model},
            "model_id": adapter.run,
            "is_lora": True,
            "lora_rank": adapter.rank,
        }

    async def _forward_backward(self, fields: Any) -> Any:
        adapter, request = self._adapter(fields), fields["request"]
        loss = adapter.learner.loss(adapter.seed, adapter.step)
        lengths: list[int] = []
        for datum in request.data:
            tokens, given = read_datum(datum)
            lengths.append(len(tokens) - 1)
            adapter.waiting.append(self._row(tokens, given))
        return self._soon(losses(lengths, loss), adapter.run)

    def _row(self, tokens: list[int], given: int) -> tuple[str, str]:
        """Question and answer in the tokens; what the client marks as given must be all but the answer."""
        messages = self._tokens.request(tokens, Settings()).messages
        answer, before = messages[-1], self._tokens.request(tokens[: given + 1], Settings()).messages
        if answer.role is not Role.ASSISTANT or before != messages[:-1]:
            raise RequestError(400, "The weights are not those of the answer.")
        return next(m.text for m in messages if m.role is Role.USER), answer.text

    async def _optim_step(self, fields: Any) -> Any:
        adapter = self._adapter(fields)
        adapter.learner.learn(adapter.waiting, fields["adam_params"]["learning_rate"])
        adapter.waiting = []
        adapter.step += 1
        self.steps[adapter.run] = self.steps.get(adapter.run, 0) + 1
        return self._soon({"metrics": {}}, adapter.run)

    def _save(self, fields: Any, folder: str) -> str:
        adapter = self._adapter(fields)
        path = f"tinker://{adapter.run}/{folder}/{fields['path']}"
        ttl = fields.get("ttl_seconds")
        expires = datetime.now(UTC) + timedelta(seconds=ttl) if ttl else None
        self.saved[path] = _Saved(path, copy.deepcopy(adapter), expires)
        return path

    async def _save_weights(self, fields: Any) -> Any:
        return self._soon({"path": self._save(fields, "weights"), "type": "save_weights"}, fields["model_id"])

    async def _save_for_sampler(self, fields: Any) -> Any:
        path = self._save(fields, "sampler_weights")
        return self._soon({"path": path, "type": "save_weights_for_sampler"}, fields["model_id"])

    async def _save_external(self, fields: Any) -> Any:
        path = self._save(fields, "external_weights")
        return self._soon({"path": path, "type": "save_weights_external"}, fields["model_id"])

    async def _weights_info(self, fields: Any) -> Any:
        adapter = self._checkpoint(fields["tinker_path"]).adapter
        return {"base_model": adapter.base_model, "is_lora": True, "lora_rank": adapter.rank}

    async def _training_run(self, run: str) -> Any:
        of = [saved for saved in self.saved.values() if saved.path.startswith(f"tinker://{run}/")]
        if not of:
            raise RequestError(404, f"There is no training run {run}.")
        return {
            "training_run_id": run,
            "base_model": of[0].adapter.base_model,
            "model_owner": "sim",
            "is_lora": True,
            "last_request_time": datetime.now(UTC).isoformat(),
        }

    async def _checkpoints(self, run: str) -> Any:
        now = datetime.now(UTC)
        kinds = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}
        found: list[dict[str, Any]] = []
        for saved in self.saved.values():
            of, kind, name = saved.path.removeprefix("tinker://").split("/")
            if of != run or (saved.expires_at and saved.expires_at <= now):
                continue
            found.append(
                {
                    "checkpoint_id": f"{kind}/{name}",
                    "checkpoint_type": kinds[kind],
                    "time": now.isoformat(),
                    "tinker_path": saved.path,
                    "expires_at": saved.expires_at.isoformat() if saved.expires_at else None,
                }
            )
        return {"checkpoints": found}

    async def _set_ttl(self, path: str, fields: Any) -> Any:
        saved, ttl = self._checkpoint(path), fields.get("ttl_seconds")
        saved.expires_at = datetime.now(UTC) + timedelta(seconds=ttl) if ttl else None
        return {}

    async def _urls(self, path: str) -> Any:
        self._checkpoint(path)
        of, _, name = path.removeprefix("tinker://").split("/")
        url = f"{self.base_url}/api/v1/archive/{of}/{name}"
        expires = datetime.now(UTC) + timedelta(hours=1)
        return {"urls": {_ARCHIVE: url}, "expires": expires.isoformat()}

    async def _archive(self, path: str) -> Any:
        adapter = self._checkpoint(path).adapter
        return {"simulated": True, "model": adapter.learner.name(adapter.seed), "rank": adapter.rank}
