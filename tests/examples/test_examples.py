"""Every program in examples/ runs with one `wf run`, offline, and does what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples import publish_post, research_agent
from tests.observing import wf
from wf.testing import Env

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS: dict[str, list[str]] = {
    "onboarding": [f"@{EXAMPLES}/onboarding.json"],
    "publish_post": ["Why we moved"],
    "process_video": ['{"url": "https://videos.example.com/talk.mp4"}'],
    "welcome_batch": ['["a@example.com", "b@example.com", "a@example.com"]'],
    "research_agent": ["How do tides work?"],
    "trial": [f"@{EXAMPLES}/onboarding.json"],
    "word_count": [str(EXAMPLES.parent / "README.md")],
    "data_pipeline": ["60000"],
    "sync_orders": ['["berlin", "rome", "oslo"]'],
    "daily_digest": ['{"timestamp": "2025-06-02T09:00+02:00", "timezone": "Europe/Berlin"}'],
}


def test_every_example_is_run_here() -> None:
    assert set(RUNS) == {path.stem for path in EXAMPLES.glob("*.py")}


def output_of(name: str, folder: Path) -> Any:
    database = f"sqlite:///{folder}/wf.db"
    words = RUNS[name]
    options = ["--skip-waits", "--json"]
    ran = wf("run", str(EXAMPLES / f"{name}.py"), *options, *words, database=database)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["status"] == "COMPLETED"
    assert wf("audit", "--replay", str(EXAMPLES / f"{name}.py"), database=database).returncode == 0
    return told["output"]


def test_onboarding_ends_with_an_offer(tmp_path: Path) -> None:
    assert output_of("onboarding", tmp_path).startswith("upgrade-offer-")


def test_a_post_that_nobody_looks_at_is_dropped(tmp_path: Path) -> None:
    assert output_of("publish_post", tmp_path) is None


def test_a_post_is_written_anew_as_the_editor_says_and_published_when_she_agrees(
    wf_env: Env,
) -> None:
    run = wf_env.start(publish_post.publish_post, "Why we moved")
    run.answer({"approved": False, "comment": "shorter"}, tag="editor")
    assert "shorter" in str([call.arguments for call in wf_env.calls(publish_post.write_draft)])
    run.answer({"approved": True}, tag="editor")
    post = run.result()
    assert post is not None
    assert (post.url, post.drafts) == ("https://blog.example.com/why-we-moved", 2)


def test_a_video_has_its_renditions(tmp_path: Path) -> None:
    output = output_of("process_video", tmp_path)
    assert set(output["renditions"]) == {"1080p", "720p", "360p"}
    assert output["thumbnail"].endswith(".jpg")


def test_a_digest_tells_of_the_day_before(tmp_path: Path) -> None:
    assert output_of("daily_digest", tmp_path) == "digest of Sunday: 3 orders"


def test_one_address_twice_is_welcomed_once(tmp_path: Path) -> None:
    output = output_of("welcome_batch", tmp_path)
    assert output == ["welcome, a@example.com", "welcome, b@example.com", "welcome, a@example.com"]


def test_every_order_of_every_shop_reaches_the_vendor_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    output = output_of("sync_orders", tmp_path)
    assert output == [f"{shop} {n}" for shop in ("berlin", "rome", "oslo") for n in (1, 2, 3)]
    ledger = (tmp_path / "wf_sync_orders_vendor.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(ledger) == len({json.loads(line)["key"] for line in ledger}) == 9


def test_the_agent_answers_and_tells_what_it_used(tmp_path: Path) -> None:
    output = output_of("research_agent", tmp_path)
    assert "Moon" in output["answer"]
    assert output["approved"] is False
    assert output["model_requests"] == 2
    assert output["output_tokens"] > 0


def test_the_agent_asks_the_model_that_the_environment_names(
    wf_env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WF_MODEL", "test")  # one of pydantic-ai's own, which needs no network
    report = wf_env.run(research_agent.research_agent, "How do tides work?")
    assert report.answer == '{"look_up":"nothing"}'


def test_a_trial_charges_three_months(tmp_path: Path) -> None:
    output = output_of("trial", tmp_path)
    assert len(set(output)) == 3


def test_words_are_counted(tmp_path: Path) -> None:
    assert len(output_of("word_count", tmp_path)) == 10


def test_primes_are_found(tmp_path: Path) -> None:
    assert output_of("data_pipeline", tmp_path) == {"count": 6057, "largest": 59999}


@pytest.mark.parametrize("name", RUNS)
def test_every_example_says_how_it_is_run(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert f"wf run examples/{name}.py" in text
