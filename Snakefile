# Tidemark: start or attach to workloads, and take each through its epochs: clear the trackers,
# advance, collect, merge, dump; then restore and verify every dump, and report.
from pathlib import Path

from snakemake.utils import min_version

from tidemark import workflow as tidemark
from tidemark.cluster import resources as cluster
from tidemark.interruption import end_on_signals
from tidemark.scheduling import schedule_on_events

min_version("9.14")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


if workflow.is_main_process:
    end_on_signals()

CONFIG = tidemark.load_config(config, workflow.configfiles)
RESULTS = CONFIG.results
EPOCH = f"{RESULTS}/{{w}}/e{{e}}"
RUNS = [(name, workload.epochs) for name, workload in CONFIG.workloads.items()]
SCRIPTS = Path(workflow.basedir, "workflow", "scripts")

tidemark.prepare_jobs(SCRIPTS, Path(RESULTS), workflow)
if workflow.is_main_process:
    tidemark.prepare_results(Path(RESULTS))


onstart:
    tidemark.open_results(Path(RESULTS), RUNS)
    tidemark.check_cluster(CONFIG, workflow)
    end_on_signals()
    schedule_on_events(workflow)


onerror:
    tidemark.report_failure(Path(RESULTS), RUNS, workflow)


wildcard_constraints:
    w="[A-Za-z][A-Za-z0-9_-]*",
    e="[0-9]+",


include: "workflow/rules/live.smk"
include: "workflow/rules/dump.smk"
include: "workflow/rules/fused.smk"
include: "workflow/rules/offline.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.report.input,
    localrule: True
