"""S68, S84: the agent of the examples, as somebody would use it from a service."""

from __future__ import annotations

from threading import Thread

import wf
from examples import research_agent
from tests.observing import until


async def test_s68_an_agent_answers_and_tells_what_it_used(database: str) -> None:
    async with wf.Engine(database, [research_agent]):
        client = wf.client()
        handle = client.trigger(research_agent.research_agent, "How do tides work?")
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        client.tokens.complete(token.id, {"approved": True})
        report = handle.result("60s")
    assert isinstance(report, research_agent.Report)
    assert "Moon" in report.answer
    assert (report.approved, report.model_requests) == (True, 2)
    assert report.output_tokens > 0


async def test_s84_an_agent_streams_calls_tools_as_steps_and_pauses_for_review(
    database: str,
) -> None:
    said: list[str] = []
    async with wf.Engine(database, [research_agent]):
        client = wf.client()
        handle = client.trigger(research_agent.research_agent, "How do tides work?")
        reader = Thread(
            target=lambda: said.extend(str(chunk.data) for chunk in handle.stream("answer"))
        )
        reader.start()
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        client.tokens.complete(token.id, {"approved": False, "comment": "say it shorter"})
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        waiting = client.runs.retrieve(handle.id)
        client.tokens.complete(token.id, {"approved": True})
        report = handle.result("60s")
        reader.join()
        steps = [event.name for event in handle.history() if event.kind == "STEP_FINISHED"]
    assert waiting.metadata == {"draft": f"{report.answer} "}
    assert "".join(said).split() == report.answer.split() * 2
    assert steps == ["ask-model", "look-up", "look-up", "ask-model", "ask-model"]
