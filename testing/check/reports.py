"""What `wf check` found, for people, for programs, for CI (JUnit) and for code hosts (SARIF)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from wf.testing.check.bodies import Finding
from wf.testing.check.gate import Misfit
from wf.testing.check.rules import RULES

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True)
class Report:
    """`tasks`: those whose bodies were looked at; `runs`: how many histories were replayed, None:
    none were asked for."""

    tasks: Sequence[str]
    findings: Sequence[Finding]
    runs: int | None
    misfits: Sequence[Misfit]

    @property
    def is_clean(self) -> bool:
        return not self.findings and not self.misfits

    def lines(self) -> Iterator[str]:
        for one in self.findings:
            where = f"{here(one.file)}:{one.line}:{one.column}"
            yield f"{where}: {one.rule.name}: {one.message} (task {one.task})"
        for misfit in self.misfits:
            yield f"{misfit.run} {misfit.task}: {misfit.reason}: {misfit.detail}"
        yield self.summary

    @property
    def summary(self) -> str:
        tasks = _counted(len(self.tasks), "task")
        if self.runs is None:
            looked = f"{tasks} looked at"
        else:
            looked = f"{tasks} looked at, {_counted(self.runs, 'run')} replayed"
        if self.is_clean:
            return f"{looked}: all is well"
        parts = [_counted(len(self.findings), "finding")] if self.findings else []
        if self.misfits:
            parts.append(f"{_counted(len(self.misfits), 'run')} that this code does not fit")
        return f"{looked}: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": list(self.tasks),
            "findings": [
                {
                    "rule": one.rule.name,
                    "file": here(one.file),
                    "line": one.line,
                    "column": one.column,
                    "task": one.task,
                    "message": one.message,
                }
                for one in self.findings
            ],
            "runs": self.runs,
            "misfits": [
                {"run": one.run, "task": one.task, "reason": one.reason, "detail": one.detail}
                for one in self.misfits
            ],
        }

    def to_sarif(self) -> str:
        """SARIF 2.1.0: a result for each finding, and for each run that does not fit."""
        rules = [
            {
                "id": f"wf/{rule.name}",
                "shortDescription": {"text": f"what {rule.why}"},
                "help": {"text": f"write instead: {rule.instead}"},
            }
            for rule in RULES
        ]
        results = [
            {
                "ruleId": f"wf/{one.rule.name}",
                "level": "error",
                "message": {"text": one.message},
                "locations": [_location(one)],
            }
            for one in self.findings
        ]
        results += [
            {
                "ruleId": f"wf/{one.reason}",
                "level": "error",
                "message": {"text": f"{one.run} {one.task}: {one.detail}"},
            }
            for one in self.misfits
        ]
        driver = {"name": "wf check", "rules": rules}
        log = {"$schema": _SARIF, "version": "2.1.0"}
        return json.dumps({**log, "runs": [{"tool": {"driver": driver}, "results": results}]})

    def to_junit(self) -> str:
        """A test for each task that was looked at, and for each run that does not fit."""
        failed = {one.task for one in self.findings}
        suite = ET.Element(
            "testsuite",
            name="wf check",
            tests=str(len(self.tasks) + len(self.misfits)),
            failures=str(len(failed) + len(self.misfits)),
        )
        for task in self.tasks:
            case = ET.SubElement(suite, "testcase", classname="tasks", name=task)
            told = [
                f"{here(one.file)}:{one.line}: {one.message}"
                for one in self.findings
                if one.task == task
            ]
            if told:
                failure = ET.SubElement(case, "failure", message=told[0])
                failure.text = "\n".join(told)
        for one in self.misfits:
            name = f"{one.task} {one.run}"
            case = ET.SubElement(suite, "testcase", classname="runs", name=name)
            ET.SubElement(case, "failure", message=one.reason).text = one.detail
        return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def here(file: str) -> str:
    """Relative to where the command runs, where it is below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _location(one: Finding) -> dict[str, Any]:
    region = {"startLine": one.line, "startColumn": one.column}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": Path(here(one.file)).as_posix()},
            "region": region,
        }
    }
