"""An agent that is durable as it is: a pydantic-ai agent in a task body.

    wf run examples/research_agent.py "How do tides work?"
    WF_MODEL=openai:gpt-5 wf run examples/research_agent.py "How do tides work?"

Each request to the model is a recorded step that streams its tokens (`handle.stream("answer")`),
each tool call is a recorded step, and before the answer goes out a person reviews it. Killed at any
moment, it goes on without asking the model again for what it has said; the days until the review
cost rows. Without WF_MODEL a scripted model answers, so that it runs offline.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter
from pydantic_ai import Agent
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

import wf

LIBRARY = {
    "tides": "The Moon pulls the oceans into two bulges; the Earth turns under them in a day.",
    "spring tides": "At new and full moon the Sun pulls along, and tides are highest.",
}
MAX_REVIEWS = 2
STAMPS = ("timestamp", "run_id", "conversation_id")


class Review(BaseModel):
    approved: bool
    comment: str = ""


class Report(BaseModel):
    answer: str
    approved: bool
    model_requests: int
    input_tokens: int
    output_tokens: int


# --- the model ------------------------------------------------------------------------------------


async def script(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
    """A model that looks two things up and then says what it found, word by word."""
    found = [
        str(part.content)
        for message in messages
        for part in message.parts
        if part.part_kind == "tool-return"
    ]
    if not found:
        for place, topic in enumerate(LIBRARY):
            arguments = f'{{"topic": "{topic}"}}'
            call = DeltaToolCall("look_up", arguments, tool_call_id=f"call-{place}")
            calls: DeltaToolCalls = {place: call}
            yield calls
        return
    for word in " ".join(found).split():
        await asyncio.sleep(0.002)
        yield f"{word} "


def model() -> Model:
    """The one that WF_MODEL names, made in the step that asks it, where its client belongs."""
    name = os.environ.get("WF_MODEL")
    return infer_model(name) if name else FunctionModel(stream_function=script)


_tools = TypeAdapter(list[ToolDefinition])
_response = TypeAdapter(ModelResponse)


@wf.step(retry=wf.Retry(max_attempts=5), timeout="5m")
async def ask_model(conversation: list[Any], tools: list[Any]) -> Any:
    """One request. Its tokens are streamed while they come; its whole answer is recorded."""
    messages = ModelMessagesTypeAdapter.validate_python(conversation)
    parameters = ModelRequestParameters(function_tools=_tools.validate_python(tools))
    answer = wf.stream("answer")
    async with model_request_stream(
        model(), messages, model_request_parameters=parameters
    ) as stream:
        async for event in stream:
            if event.event_kind == "part_start" and event.part.part_kind == "text":
                answer.append(event.part.content)
            elif event.event_kind == "part_delta" and event.delta.part_delta_kind == "text":
                answer.append(event.delta.content_delta)
    return _response.dump_python(stream.get(), mode="json")


class Recorded(WrapperModel):
    """Requests go through `ask_model`. What the library stamps with its own clock and ids stays
    behind: they would differ on a replay."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        conversation = unstamped(ModelMessagesTypeAdapter.dump_python(messages, mode="json"))
        tools = _tools.dump_python(model_request_parameters.function_tools, mode="json")
        return _response.validate_python(await ask_model(conversation, tools))


def unstamped(value: Any) -> Any:
    """JSON without what tells when and in which run it was said."""
    match value:
        case dict():
            items = cast("dict[str, Any]", value).items()
            return {key: unstamped(one) for key, one in items if key not in STAMPS}
        case list():
            return [unstamped(one) for one in cast("list[Any]", value)]
        case _:
            return value


# --- the agent ------------------------------------------------------------------------------------


@wf.step
async def look_up(topic: str) -> str:
    """What the library knows about a topic."""
    return LIBRARY.get(topic.lower(), "nothing")


agent = Agent(Recorded(FunctionModel(stream_function=script)), tools=[look_up])


@wf.task
async def research_agent(question: str) -> Report:
    result = await agent.run(question)
    usage = result.usage
    approved = False
    for _ in range(MAX_REVIEWS):
        wf.metadata.set("draft", result.output)
        token = await wf.wait.create_token(Review, timeout="3d", tags=["review"])
        try:
            review = await wf.wait.for_token(token)
        except wf.TokenTimedOut:
            break  # nobody looked: it goes out as a draft
        approved = review.approved
        if approved:
            break
        history = result.all_messages()
        result = await agent.run(review.comment, message_history=history, usage=usage)
    return Report(
        answer=result.output.strip(),
        approved=approved,
        model_requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )
