"""From specification strings to models.

Knowing which providers there are costs no SDK: each is imported when its first model is asked.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from auditors.models.openai_chat import ConnectionPool, OpenAIChatModel
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditors.models.base import Model

_CHECK_SECONDS = 3.0
_LONGEST_URL = 500


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that speaks OpenAI Chat Completions."""

    base_url: str
    """Where `/chat/completions` hangs below, such as `http://127.0.0.1:8000/v1`."""
    api_key_env: str = ""
    """Environment variable that holds the key; empty for a server that needs none."""


class ProviderStatus(msgspec.Struct, frozen=True):
    """Whether models of one provider can be asked, as `cc-tui models` shows it."""

    name: str
    form: str
    """What their specifications look like."""
    key_env: str
    """Environment variable of the key; empty where none is needed."""
    key_set: bool
    """Whether the key that is needed is there."""
    note: str


_OPENAI = Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY")
_LATER = "this version does not run these models yet"
_LATER_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "tinker": "TINKER_API_KEY"}
_FORMS = {
    "sim": "sim/<name>",
    "openai": "openai/<model>",
    "compatible": "compatible:<alias>/<model>",
    "anthropic": "anthropic/<model>",
    "tinker": "tinker/<base model> or tinker://<path of sampler weights>",
}
_SPEC = re.compile(
    r"(?P<provider>openai|anthropic|tinker)/(?P<model>[^\s/]\S*)"
    r"|tinker://\S+"
    r"|compatible:(?P<alias>[^\s/]+)/(?P<remote>[^\s/]\S*)"
)


class Models:
    """The models of a run, each made once; those of HTTP endpoints share their connections."""

    def __init__(self, endpoints: Mapping[str, Endpoint], *, seed: int, speed: float) -> None:
        """Set up a registry.

        Args:
            endpoints: the aliases of `compatible:<alias>/<model>`.
            seed: seed of the simulated models.
            speed: how many times faster than real models the simulated ones answer.
        """
        self._endpoints = endpoints
        self._seed = seed
        self._speed = speed
        self._pool = ConnectionPool()
        self._models: dict[str, Model] = {}

    def get(self, spec: str) -> Model:
        """The model that `spec` names.

        Raises:
            InputError: the specification is wrong, its endpoint or key is missing, or this version does not
                run such models.
        """
        if spec not in self._models:
            self._models[spec] = self._make(spec)
        return self._models[spec]

    def _make(self, spec: str) -> Model:
        if spec.startswith("sim/"):
            from auditors.sim.models import sim_model

            return sim_model(spec.removeprefix("sim/"), seed=self._seed, speed=self._speed)
        name, endpoint, model = self._remote(spec)
        return OpenAIChatModel(
            spec,
            model,
            base_url=_base_url(name, endpoint),
            api_key=_key(spec, endpoint),
            pool=self._pool,
            simulated=model.startswith("sim/"),
        )

    def _remote(self, spec: str) -> tuple[str, Endpoint, str]:
        """Name of the endpoint, the endpoint, and the name of the model there."""
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise InputError(
                f"{spec!r} is not the specification of a model: write one of {', '.join(_FORMS.values())}."
            )
        if alias := match["alias"]:
            if alias not in self._endpoints:
                known = ", ".join(sorted(self._endpoints)) or "none"
                raise InputError(
                    f"{spec}: there is no endpoint {alias!r} (configured: {known}); "
                    "add it to the configuration with its base_url."
                )
            return alias, self._endpoints[alias], match["remote"]
        if match["provider"] == "openai":
            return "openai", _OPENAI, match["model"]
        raise InputError(f"{spec}: {_LATER}; use sim/, openai/ or compatible: models.")

    async def check(self, spec: str) -> None:
        """See whether the model's endpoint answers (`GET /models`) and takes the key.

        Raises:
            InputError: as `get`, or the endpoint cannot be reached or refuses the key.
        """
        self.get(spec)
        if spec.startswith("sim/"):
            return
        name, endpoint, _ = self._remote(spec)
        http = await self._pool.client()
        import httpx2

        url = _base_url(name, endpoint) + "/models"
        headers = {"authorization": f"Bearer {_key(spec, endpoint) or 'none'}"}
        status, trouble = 0, ""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                status = (await http.get(url, headers=headers)).status_code
        except TimeoutError:
            trouble = f"no answer in {_CHECK_SECONDS:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            trouble = str(error) or type(error).__name__
        if trouble:
            raise InputError(
                f"{spec}: {urlsplit(url).netloc} cannot be reached ({trouble}); "
                "check that the server is up and the base_url is right."
            )
        if status in (401, 403):
            cure = f"check {endpoint.api_key_env}" if endpoint.api_key_env else "give it an api_key_env"
            raise InputError(f"{spec}: {urlsplit(url).netloc} refuses the key (HTTP {status}); {cure}.")

    async def aclose(self) -> None:
        """Close every model and connection."""
        for model in self._models.values():
            await model.aclose()
        await self._pool.aclose()


def providers(endpoints: Mapping[str, Endpoint] | None = None) -> list[ProviderStatus]:
    """Every provider that specifications can name, and each endpoint of `endpoints`."""
    found = [
        ProviderStatus("sim", _FORMS["sim"], "", True, "simulated; needs no key and no network"),
        _status("openai", _FORMS["openai"], _OPENAI.api_key_env, "Chat Completions"),
        *(
            _status(alias, f"compatible:{alias}/<model>", endpoint.api_key_env, endpoint.base_url)
            for alias, endpoint in sorted((endpoints or {}).items())
        ),
    ]
    if not endpoints:
        found.append(
            ProviderStatus("compatible", _FORMS["compatible"], "", True, "no endpoint is configured")
        )
    found += [_status(name, _FORMS[name], key, _LATER) for name, key in _LATER_KEYS.items()]
    return found


def _status(name: str, form: str, key_env: str, note: str) -> ProviderStatus:
    return ProviderStatus(name, form, key_env, not key_env or bool(os.environ.get(key_env)), note)


def _base_url(name: str, endpoint: Endpoint) -> str:
    try:
        url = urlsplit(endpoint.base_url)
        usable = (
            url.scheme in ("http", "https")
            and url.hostname
            and url.port != 0
            and "@" not in url.netloc
            and not (url.query or url.fragment)
            and len(endpoint.base_url) < _LONGEST_URL
            and endpoint.base_url.isprintable()
        )
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"The base_url of endpoint {name!r} must look like http://host:port/v1, "
            "without user name, password or anything behind the path."
        )
    return endpoint.base_url.rstrip("/")


def _key(spec: str, endpoint: Endpoint) -> str:
    if not endpoint.api_key_env:
        return ""
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(f"{spec} needs a key: set the environment variable {endpoint.api_key_env}.")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{spec}: the value of {endpoint.api_key_env} cannot be a key; set it again.")
    return key
