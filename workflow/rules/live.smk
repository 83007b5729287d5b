# The live part of a workload: from keep to seal, in this order, on one machine. A live state
# cannot be resumed: the loss of one output runs the whole chain of that workload again.
#
# All rules of the chain share one group (one batch job on a cluster) and take the same number of
# threads; a workload that has begun goes before one that has not. The memory and the time of that
# job are asked for by keep, for all of them.

STEPWISE = tidemark.names(CONFIG, fused=False)
LIVE_GROUP = tidemark.live_group(workflow)


rule keep:
    output:
        keeper=temp(f"{RESULTS}/run/{{w}}/keeper.json"),
    log:
        f"{RESULTS}/{{w}}/log/keep.log",
    wildcard_constraints:
        w=STEPWISE,
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    resources:
        mem_mb=lambda w: cluster.live(CONFIG, w.w).mem_mb,
        runtime=lambda w: cluster.live(CONFIG, w.w).runtime,
    params:
        workload=lambda w: CONFIG.workload_json(w.w),
        programs=lambda w: tidemark.programs(CONFIG.workloads[w.w]),
        code=tidemark.code(SCRIPTS / "keep.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/keep.py workload={params.workload:q}"
        " keeper={output.keeper:q} log={log:q}"


rule clear:
    input:
        keeper=rules.keep.output.keeper,
        before=lambda w: (
            f"{RESULTS}/{w.w}/e{int(w.e) - 1}/truth.json" if int(w.e) else []
        ),
    output:
        cleared=f"{EPOCH}/clear.json",
        cost=f"{EPOCH}/cost/clear.json",
    log:
        f"{EPOCH}/log/clear.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "clear.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/clear.py keeper={input.keeper:q} epoch={wildcards.e}"
        " cleared={output.cleared:q} cost={output.cost:q} log={log:q}"


rule advance:
    input:
        keeper=rules.keep.output.keeper,
        cleared=rules.clear.output.cleared,
    output:
        advance=f"{EPOCH}/advance.json",
        cost=f"{EPOCH}/cost/advance.json",
    log:
        f"{EPOCH}/log/advance.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "advance.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/advance.py keeper={input.keeper:q} epoch={wildcards.e}"
        " advance={output.advance:q} cost={output.cost:q} log={log:q}"


rule seal:
    input:
        keeper=rules.keep.output.keeper,
        lives=lambda w: expand(
            f"{RESULTS}/{w.w}/e{{e}}/{{step}}.json",
            e=range(CONFIG.workloads[w.w].epochs),
            step=["clear", "advance"],
        ),
        truths=lambda w: expand(
            f"{RESULTS}/{w.w}/e{{e}}/truth.json", e=range(CONFIG.workloads[w.w].epochs)
        ),
    output:
        live=f"{RESULTS}/{{w}}/live.json",
    log:
        f"{RESULTS}/{{w}}/log/seal.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "seal.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/seal.py keeper={input.keeper:q} live={output.live:q}"
        " log={log:q} lives={input.lives:q}"
