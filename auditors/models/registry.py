"""The models of a run, made from their specification strings.

A provider's SDK is imported when its first model is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from auditors.models.connections import ConnectionPool
from auditors.models.endpoint import Prefill, WireProtocol
from auditors.models.http_model import HttpModel, Patience
from auditors.models.limiter import Limiter
from auditors.models.reach import Listing, listing
from auditors.models.redact import blotted
from auditors.models.specs import Remote, remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.models.base import Model
    from auditors.models.endpoint import Endpoint
    from auditors.models.http_model import Wire


class Models:
    """The models of a run, each made once; those of HTTP endpoints share their connections."""

    def __init__(self, endpoints: Mapping[str, Endpoint], *, seed: int, speed: float) -> None:
        """Set up a registry.

        Args:
            endpoints: the aliases of `compatible:<alias>/<model>`, and changes of providers by their names.
            seed: seed of the simulated models.
            speed: how many times faster than real models the simulated ones answer.
        """
        self._endpoints = endpoints
        self._seed = seed
        self._speed = speed
        self._pool = ConnectionPool()
        self._limiters: dict[tuple[str, ...], Limiter] = {}
        self._listings: dict[str, Listing] = {}
        self._models: dict[str, Model] = {}

    def get(self, spec: str) -> Model:
        """The model that `spec` names.

        Raises:
            InputError: the specification is wrong, or its endpoint or key is missing.
        """
        if spec not in self._models:
            self._models[spec] = self._make(spec)
        return self._models[spec]

    async def check(self, spec: str) -> str:
        """See whether the model's endpoint answers and takes the key.

        Returns:
            What gives reason for doubt, such as that the endpoint does not list the model, as a clause; empty if
            nothing does. Servers do not always list all they have.

        Raises:
            InputError: as `get`, or the endpoint cannot be reached or refuses the key.
        """
        self.get(spec)
        if spec.startswith("sim/"):
            return ""
        place = remote(spec, self._endpoints)
        if place.name not in self._listings:
            self._listings[place.name] = await listing(await self._pool.client(), place)
        return blotted(self._listings[place.name].warning(place), place.key())

    def endpoint(self, spec: str) -> Endpoint | None:
        """The server behind a model, as the run speaks to it; None for a simulated model.

        Raises:
            InputError: as `get`, for what does not need the key.
        """
        if spec.startswith("sim/"):
            return None
        place = remote(spec, self._endpoints)
        return msgspec.structs.replace(place.endpoint, base_url=place.base_url)

    async def aclose(self) -> None:
        """Close every model and connection."""
        for model in self._models.values():
            await model.aclose()
        await self._pool.aclose()

    def _make(self, spec: str) -> Model:
        if spec.startswith("sim/"):
            from auditors.sim.models import sim_model

            return sim_model(spec.removeprefix("sim/"), seed=self._seed, speed=self._speed)
        place = remote(spec, self._endpoints)
        endpoint, key = place.endpoint, place.key()
        if place.protocol is WireProtocol.TINKER:
            from auditors.models.tinker_sampling import TinkerModel

            limiter = self._limiter(place)
            return TinkerModel(
                spec, place.model, endpoint, base_url=place.base_url, api_key=key, limiter=limiter
            )
        return HttpModel(
            spec,
            _wire(place, key),
            base_url=place.base_url,
            api_key=key,
            pool=self._pool,
            limiter=self._limiter(place),
            patience=Patience(silence=endpoint.silence_seconds, answer=endpoint.answer_seconds),
            # Our own servers name what they trained after its base model, or after the run.
            simulated=place.model.removeprefix("ft:").startswith(("sim/", "tinker://sim-")),
        )

    def _limiter(self, place: Remote) -> Limiter:
        # A fine-tuned model is counted with its base model.
        base = place.model.removeprefix("ft:").partition(":")[0]
        key = (place.name, base) if place.counts_by_model else (place.name,)
        if key not in self._limiters:
            self._limiters[key] = Limiter(
                max_concurrent=place.endpoint.max_concurrent,
                requests_per_minute=place.endpoint.requests_per_minute,
                tokens_per_minute=place.endpoint.tokens_per_minute,
            )
        return self._limiters[key]


def _wire(place: Remote, key: str) -> Wire:
    endpoint = place.endpoint
    match endpoint.protocol:
        case WireProtocol.RESPONSES:
            from auditors.models.openai_responses import ResponsesWire

            return ResponsesWire(place.model, base_url=place.base_url, api_key=key)
        case WireProtocol.MESSAGES:
            from auditors.models.anthropic_messages import MessagesWire

            return MessagesWire(place.model, base_url=place.base_url, api_key=key, endpoint=endpoint)
        case _:
            from auditors.models.openai_chat import ChatWire

            prefill = endpoint.prefill or Prefill.NO
            return ChatWire(place.model, base_url=place.base_url, api_key=key, prefill=prefill)
