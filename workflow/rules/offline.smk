# The offline part, from the images alone: on any machine, in any order, again at any time.
#
# An image's parents are not named: whatever takes one of them away has the image made anew, too.
# Named for each image, they would be as many as the square of the epochs.


rule restore:
    input:
        image=f"{EPOCH}/image",
        layout=f"{EPOCH}/layout.json",
    output:
        restored=temp(directory(f"{EPOCH}/restored")),
        cost=f"{EPOCH}/cost/restore.json",
    log:
        f"{EPOCH}/log/restore.log",
    group:
        "offline_{w}"
    conda:
        "../envs/tidemark.yaml"
    resources:
        mem_mb=lambda w: cluster.offline(CONFIG, w.w).mem_mb,
        runtime=lambda w: cluster.offline(CONFIG, w.w).runtime,
    params:
        code=tidemark.code(SCRIPTS / "restore.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/restore.py image={input.image:q} layout={input.layout:q}"
        " restored={output.restored:q} cost={output.cost:q} log={log:q}"


rule verify:
    input:
        restored=rules.restore.output.restored,
        image=f"{EPOCH}/image",
        truth=f"{EPOCH}/truth.json",
        before=lambda w: (
            f"{RESULTS}/{w.w}/e{int(w.e) - 1}/truth.json" if int(w.e) else []
        ),
    output:
        verify=report(
            f"{EPOCH}/verify.json", caption="../report/verify.rst", category="{w}"
        ),
        cost=f"{EPOCH}/cost/verify.json",
    log:
        f"{EPOCH}/log/verify.log",
    group:
        "offline_{w}"
    conda:
        "../envs/tidemark.yaml"
    resources:
        mem_mb=lambda w: cluster.offline(CONFIG, w.w).mem_mb,
        runtime=lambda w: cluster.offline(CONFIG, w.w).runtime,
    params:
        code=tidemark.code(SCRIPTS / "verify.py"),
    shell:
        "tidemark-step $TIDEMARK_SCRIPTS/verify.py restored={input.restored:q} image={input.image:q}"
        " truth={input.truth:q} before={input.before:q} verify={output.verify:q}"
        " cost={output.cost:q} log={log:q}"
