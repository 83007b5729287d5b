# What is read of the frozen workload at the end of each epoch: a part of the live chain.


rule collect:
    input:
        keeper=rules.keep.output.keeper,
        advance=rules.advance.output.advance,
    output:
        scan=f"{EPOCH}/scan.pb",
        cost=f"{EPOCH}/cost/collect.json",
    log:
        f"{EPOCH}/log/collect.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "collect.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/collect.py keeper={input.keeper:q} epoch={wildcards.e}"
        " scan={output.scan:q} cost={output.cost:q} log={log:q}"


rule merge:
    input:
        scan=rules.collect.output.scan,
    output:
        bitmap=report(
            f"{EPOCH}/bitmap.pb", caption="../report/bitmap.rst", category="{w}"
        ),
        cost=f"{EPOCH}/cost/merge.json",
    log:
        f"{EPOCH}/log/merge.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "merge.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/merge.py scan={input.scan:q} bitmap={output.bitmap:q}"
        " cost={output.cost:q} log={log:q}"


rule dump:
    input:
        keeper=rules.keep.output.keeper,
        bitmap=rules.merge.output.bitmap,
        parent=lambda w: f"{RESULTS}/{w.w}/e{int(w.e) - 1}/image" if int(w.e) else [],
    output:
        image=directory(f"{EPOCH}/image"),
        layout=f"{EPOCH}/layout.json",
        truth=f"{EPOCH}/truth.json",
        cost=f"{EPOCH}/cost/dump.json",
    log:
        f"{EPOCH}/log/dump.log",
    wildcard_constraints:
        w=STEPWISE,
    priority: 50
    group:
        LIVE_GROUP
    conda:
        "../envs/tidemark.yaml"
    threads: lambda w: cluster.live_threads(CONFIG, w.w)
    params:
        code=tidemark.code(SCRIPTS / "dump.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/dump.py keeper={input.keeper:q} epoch={wildcards.e}"
        " bitmap={input.bitmap:q} parent={input.parent:q} image={output.image:q}"
        " layout={output.layout:q} truth={output.truth:q} cost={output.cost:q} log={log:q}"
