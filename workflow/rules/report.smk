# The report over all workloads. Their names are in a file: there may be more of them than a command
# line takes.


rule report:
    input:
        live=expand(f"{RESULTS}/{{w}}/live.json", w=[name for name, _ in RUNS]),
        epochs=[
            f"{RESULTS}/{name}/e{epoch}/{output}"
            for name, epochs in RUNS
            for epoch in range(epochs)
            for output in tidemark.EPOCH_OUTPUTS
        ],
    output:
        html=report(
            f"{RESULTS}/report.html", caption="../report/report.rst", category="Report"
        ),
        json=report(
            f"{RESULTS}/summary.json",
            caption="../report/summary.rst",
            category="Report",
        ),
        parquet=f"{RESULTS}/summary.parquet",
    log:
        f"{RESULTS}/log/report.log",
    localrule: True
    conda:
        "../envs/tidemark.yaml"
    params:
        results=lambda w, output: Path(output.html).parent,
        runs=f"{RESULTS}/{tidemark.RUNS_FILE}",
        config=CONFIG.digest(),
        code=tidemark.code(SCRIPTS / "report.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/report.py results={params.results:q} runs={params.runs:q}"
        " config={params.config}"
        " html={output.html:q} json={output.json:q} parquet={output.parquet:q} log={log:q}"
