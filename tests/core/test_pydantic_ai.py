"""A whole pydantic-ai agent in a task body: its model requests and tool calls are recorded steps.

No wrapper and no plug-in: the agent's function model awaits a step, its tools are steps. Inside,
the library uses anyio's task groups and asyncio's tasks as it does anywhere.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.core.script import Script
from tests.core.stage import Stage, check_replays, facts_of, play
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.history.events import Kind

CITIES = {"Oslo": 3, "Rome": 24}
requests: list[str] = []
"""Model requests that were really made."""
lookups: list[str] = []
"""Tool calls that were really made."""


class Said(BaseModel):
    """A part of the conversation."""

    kind: str
    content: str


class Turn(BaseModel):
    """What the model answers: calls of tools, or a text."""

    cities: list[str] = []
    text: str = ""


@step
async def ask_model(conversation: list[Said]) -> Turn:
    """Stands for a vendor's API."""
    requests.append(conversation[-1].kind)
    if len(conversation) == 1:
        return Turn(cities=list(CITIES))
    told = [said.content for said in conversation if said.kind == "tool-return"]
    return Turn(text=" and ".join(told))


async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """What the vendor is to know: messages as such hold the library's own clock and ids."""
    turn = await ask_model(
        [
            Said(kind=part.part_kind, content=str(part.content))
            for message in messages
            for part in message.parts
            if isinstance(part, UserPromptPart | ToolReturnPart)
        ]
    )
    if turn.cities:
        return ModelResponse(
            parts=[
                ToolCallPart("temperature", {"city": city}, tool_call_id=f"call-{city}")
                for city in turn.cities
            ]
        )
    return ModelResponse(parts=[TextPart(turn.text)])


@step(retry=Retry(max_attempts=2, jitter=False))
async def temperature(city: str) -> str:
    """The temperature of a city, in degrees."""
    lookups.append(city)
    return f"{city}: {CITIES[city]}"


agent = Agent(FunctionModel(model), tools=[temperature])


@task
async def weather(question: str) -> str:
    result = await agent.run(question)
    return result.output


def took(step: str, arguments: object, attempt: int) -> int:
    """The second tool call ends before the first."""
    return {"Oslo": 20, "Rome": 10}.get(str(arguments), 5)


def test_an_agent_runs_in_a_body_and_its_requests_and_tool_calls_are_steps() -> None:
    requests.clear()
    lookups.clear()
    stage = Stage(weather, b'"How warm is it?"', Script(took=took)).play()
    assert stage.output == "Oslo: 3 and Rome: 24"
    assert stage.calls == ["ask-model", "temperature", "temperature", "ask-model"]
    assert (requests, sorted(lookups)) == (["user-prompt", "tool-return"], ["Oslo", "Rome"])
    requests.clear()
    lookups.clear()
    check_replays(stage)
    assert (requests, lookups) == ([], [])


def test_an_agent_whose_process_was_lost_goes_on_where_it_was() -> None:
    whole = Stage(weather, b'"How warm is it?"', Script(took=took)).play()
    for length in facts_of(whole.events)[:-1]:
        other = whole.cut(length).play()
        assert other.output == whole.output
        done = sum(event.kind == Kind.STEP_FINISHED for event in whole.events[:length])
        assert len(other.calls) == len(whole.calls) - done


def test_an_agent_is_canceled_while_its_tools_are_in_flight() -> None:
    stage = play(weather, "How warm is it?", Script(took=took, cancel_at=12, stops=False))
    assert stage.end is not None
    assert stage.end.status == "CANCELED"


@task
async def limited(question: str) -> str:
    try:
        async with asyncio.timeout(0.012):
            return (await agent.run(question)).output
    except TimeoutError:
        return "out of time"


def test_an_agent_runs_into_a_time_limit() -> None:
    stage = play(limited, "How warm is it?", Script(took=took, stops=False))
    assert stage.output == "out of time"
