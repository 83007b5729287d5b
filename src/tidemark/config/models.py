"""The config, section by section: what every key means, takes and defaults to.

Titles and descriptions become the reference in ``config/README.md`` and the JSON schema.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails

from tidemark.config import fields
from tidemark.config.mistakes import nearest
from tidemark.config.section import Section, mistake
from tidemark.errors import ConfigError

NULL: JsonDict = {"type": "null"}
GIVEN: JsonDict = {"not": NULL}


def _only(name: str, *others: str) -> JsonDict:
    """Return the JSON schema that wants ``name`` and none of ``others``; null is not given."""
    return {"required": [name], "properties": {name: GIVEN, **dict.fromkeys(others, NULL)}}


class AttachSection(Section):
    """A process that already runs."""

    exactly_one = ("pid", "pidfile")
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [_only("pid", "pidfile"), _only("pidfile", "pid")]}
    )

    pid: fields.Pid | None = Field(
        default=None, title="a process id", description="The process's id."
    )
    pidfile: fields.Text | None = Field(
        default=None, title="a path", description="A file that holds the process's id."
    )


class AdvanceSection(Section):
    """What the workload does in an epoch, between being thawed and being frozen."""

    exactly_one = ("steps", "seconds", "command")
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _only("steps", "seconds", "command"),
                _only("seconds", "steps", "command"),
                _only("command", "steps", "seconds"),
            ]
        }
    )

    steps: fields.Count | None = Field(
        default=None,
        title="a whole number, at least 1",
        description="So many of the program's own steps, after which it stops itself; "
        "every run does the same. Only with `run`.",
    )
    seconds: fields.Seconds | None = Field(
        default=None, title="seconds, more than 0", description="So much time."
    )
    command: fields.Words | None = Field(
        default=None,
        title="a program, or a list of words",
        description="Until this command has ended, which drives the workload from outside.",
    )


class ReadySection(Section):
    """How it is known that a workload that was started is ready for its first epoch."""

    exactly_one = ("step", "output", "seconds")
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _only("step", "output", "seconds"),
                _only("output", "step", "seconds"),
                _only("seconds", "step", "output"),
            ]
        }
    )

    step: fields.Yes | None = Field(
        default=None, title="true", description="It asks for leave to do its first step."
    )
    output: fields.Pattern | None = Field(
        default=None,
        title="a regular expression",
        description="A line of its output matches; anywhere in the line, unless `^` or `$` say so.",
    )
    seconds: fields.Seconds | None = Field(
        default=None, title="seconds, more than 0", description="So much time has passed."
    )


class StopSection(Section):
    """How a workload that was started is ended after its last epoch."""

    signal: fields.Signal = Field(
        default="TERM",
        title="one of TERM, INT, HUP, QUIT, USR1, USR2 or KILL",
        description="The signal that asks it to end.",
    )
    grace: fields.Delay = Field(
        default=10.0,
        title="seconds, at least 0",
        description="How long it may take to do so before it is killed.",
    )


class ResourcesSection(Section):
    """What a batch job of the workload asks a cluster for. A run on one machine heeds threads."""

    threads: fields.Count | None = Field(
        default=None,
        title="a whole number, at least 1",
        description="The processors of its live part. Not given: `live_threads`.",
    )
    shared_mb: fields.Count | None = Field(
        default=None,
        title="MiB, at least 1",
        description="How much memory it shares, from which `mem_mb` and `runtime` are derived. "
        "Not given: what its last dump in the results holds.",
    )
    mem_mb: fields.Count | None = Field(
        default=None,
        title="MiB, at least 1",
        description="The memory of its live part. Not given: 1024, and twice what it shares, "
        "which is taken for 512 where it is not known.",
    )
    runtime: fields.Count | None = Field(
        default=None,
        title="minutes, at least 1",
        description="How long its live part may take. Not given: as long as its epochs and its "
        "`timeout` let it.",
    )


class WorkloadSection(Section):
    """One declared program."""

    started_only: ClassVar = ("ready", "stop")

    exactly_one = ("run", "attach")
    elsewhere: ClassVar = {
        **dict.fromkeys(("steps", "seconds", "command"), "advance"),
        **dict.fromkeys(("step", "output"), "ready"),
        **dict.fromkeys(("pid", "pidfile"), "attach"),
        **dict.fromkeys(("signal", "grace"), "stop"),
        **dict.fromkeys(("threads", "shared_mb", "mem_mb", "runtime"), "resources"),
    }
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                _only("run", "attach"),
                {
                    "required": ["attach"],
                    "properties": {
                        "run": NULL,
                        "attach": GIVEN,
                        "ready": NULL,
                        "stop": False,
                        "advance": {"properties": {"steps": NULL}},
                    },
                },
            ]
        }
    )

    run: fields.Words | None = Field(
        default=None,
        title="a program, or a list of words",
        description="The program to start. A string is a program without arguments.",
    )
    attach: AttachSection | None = Field(
        default=None,
        title="a mapping",
        description="The process to attach to, which runs on afterwards.",
    )
    epochs: fields.Count = Field(
        title="a whole number, at least 1",
        description="How many times the workload is let run, frozen and dumped.",
    )
    advance: AdvanceSection = Field(
        title="a mapping", description="What the workload does in each epoch."
    )
    tracker: fields.Tracker = Field(
        default="auto",
        title="one of auto, uffd-wp, soft-dirty or content",
        description="How writes are seen. `auto` takes the best that this machine has.",
    )
    audit: fields.Audit = Field(
        default=0.0,
        title="one of off or full, or a share from 0 to 1",
        description="How many of the pages that are called unchanged are compared with the parent "
        "dump all the same: none, all, or this share of them, picked at random. One that did "
        "change fails the run.",
    )
    strict: bool = Field(
        default=False,
        title="true or false",
        description="Whether the run fails where somebody who does not stand with the workload may "
        "write a region while it is dumped: a process outside, one that may not be inspected, or "
        "the kernel, for a process that registered buffers with io_uring; and where processes "
        "share and may write what no dump holds, such as a file on a disk or a device.",
    )
    drop_unchanged: bool = Field(
        default=False,
        title="true or false",
        description="Whether pages that were stored to, but with what they held already, are left "
        "to the parent dump. To find them out, all written pages are compared.",
    )
    live: fields.Form | None = Field(
        default=None,
        title="one of stepwise or fused",
        description="How its live part is run. Not given: as `live` of the whole config says.",
    )
    ready: ReadySection | None = Field(
        default=None,
        title="a mapping",
        description="When the program is ready for its first epoch. Not given: at its first step "
        "where it advances by steps, otherwise as soon as it maps shared memory. Only with `run`.",
    )
    stand: fields.Seconds = Field(
        default=2.0,
        title="seconds, more than 0",
        description="For how long the processes of a program that runs already may stand while it "
        "is attached to; longer, and it is refused and left as it was.",
    )
    timeout: fields.Seconds = Field(
        default=60.0,
        title="seconds, more than 0",
        description="How long to wait for the program to be ready, and for an epoch's steps or "
        "command to end.",
    )
    stop: StopSection = Field(
        default=StopSection(),
        title="a mapping",
        description="How the program is ended after its last epoch. Only with `run`.",
    )
    check: fields.Words | None = Field(
        default=None,
        title="a program, or a list of words",
        description="A command that is run at the end, while the workload runs; the run fails if "
        "it exits with anything but 0.",
    )
    env: fields.Environment = Field(
        default={},
        title="a mapping of names to text or numbers",
        description="Environment variables for the program, its `advance.command` and its `check`, "
        "besides those of the run. A program that was attached to keeps its own.",
    )
    resources: ResourcesSection = Field(
        default=ResourcesSection(),
        title="a mapping",
        description="What its batch jobs ask a cluster for.",
    )

    @classmethod
    def rules(cls, given: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
        """Yield what is declared for a started program although this one is attached to."""
        if given.get("attach") is None or given.get("run") is not None:
            return
        for name in cls.started_only:
            if given.get(name) is not None:
                yield mistake("is only for a workload with `run`; remove it", name)
        advance = given.get("advance")
        if isinstance(advance, Mapping) and advance.get("steps") is not None:
            text = "is only for a workload with `run`; advance by `seconds` or `command`"
            yield mistake(text, "advance", "steps")


class Config(Section):
    """What a run does. How it does it (cores, cluster, where logs go) is for profiles."""

    results: fields.Results = Field(
        default="results",
        title="a path",
        description="The directory for everything that a run makes.",
    )
    live_threads: fields.Count = Field(
        default=1,
        title="a whole number, at least 1",
        description="The threads that each live job takes: as many workloads are live at once as "
        "this goes into `--cores`.",
    )
    live: fields.Form = Field(
        default="stepwise",
        title="one of stepwise or fused",
        description="How the live part of a workload is run: as a job for each step, or as one "
        "job for all of them, which is quicker and leaves the same files.",
    )
    workloads: Annotated[dict[str, WorkloadSection], fields.ByName] = Field(
        min_length=1,
        title="a mapping of names to workloads",
        description="The programs to track, at least one, under names of your own.",
        json_schema_extra={"propertyNames": fields.NAME_SCHEMA},
    )

    def fused(self, name: str) -> bool:
        """Return whether the live part of a workload is one job."""
        return (self.workloads[name].live or self.live) == "fused"

    def digest(self) -> str:
        """Return a digest of all that the config says of its workloads, in hex digits."""
        texts = [self.workload_json(name) for name in sorted(self.workloads)]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]

    def workload_json(self, name: str) -> str:
        """Return a workload with all its defaults, as ``tidemark.workload`` reads it.

        :raises ConfigError: when there is no workload of that name
        """
        if name not in self.workloads:
            near = nearest(name, self.workloads)
            hint = f"did you mean `{near}`?" if near else "see `workloads` in the config"
            raise ConfigError(f"there is no workload `{name}`; {hint}")
        # How and where its steps are run makes no difference to what comes of them.
        section = self.workloads[name].model_dump(mode="json", exclude={"live", "resources"})
        return json.dumps({"name": name, **section}, sort_keys=True)
