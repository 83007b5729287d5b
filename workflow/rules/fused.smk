# The live part of a workload whose config says `live: fused`: all steps of live.smk and dump.smk by
# one job, which leaves the same files. A job names its files, so there is a rule for each number
# of epochs that such a workload has.

for epochs in tidemark.fused_epochs(CONFIG):

    rule:
        name:
            f"live_{epochs}"
        output:
            live=f"{RESULTS}/{{w}}/live.json",
            files=expand(
                f"{RESULTS}/{{{{w}}}}/e{{e}}/{{file}}",
                e=range(epochs),
                file=[
                    "clear.json",
                    "advance.json",
                    "scan.pb",
                    "layout.json",
                    "truth.json",
                ],
            ),
            images=directory(
                expand(f"{RESULTS}/{{{{w}}}}/e{{e}}/image", e=range(epochs))
            ),
            bitmaps=report(
                expand(f"{RESULTS}/{{{{w}}}}/e{{e}}/bitmap.pb", e=range(epochs)),
                caption="../report/bitmap.rst",
                category="{w}",
            ),
            costs=expand(
                f"{RESULTS}/{{{{w}}}}/e{{e}}/cost/{{step}}.json",
                e=range(epochs),
                step=tidemark.LIVE_STEPS,
            ),
        log:
            f"{RESULTS}/{{w}}/log/live.log",
        wildcard_constraints:
            w=tidemark.names(CONFIG, fused=True, epochs=epochs),
        conda:
            "../envs/tidemark.yaml"
        threads: lambda w: cluster.live_threads(CONFIG, w.w)
        resources:
            mem_mb=lambda w: cluster.live(CONFIG, w.w).mem_mb,
            runtime=lambda w: cluster.live(CONFIG, w.w).runtime,
        params:
            workload=lambda w: CONFIG.workload_json(w.w),
            programs=lambda w: tidemark.programs(CONFIG.workloads[w.w]),
            keeper=f"{RESULTS}/run/{{w}}/keeper.json",
            directory=lambda w, output: Path(output.live).parent,
            epochs=epochs,
            code=tidemark.code(SCRIPTS / "fused.py"),
        shell:
            "tidemark-step $TIDEMARK_SCRIPTS/fused.py workload={params.workload:q}"
            " keeper={params.keeper:q} epochs={params.epochs} directory={params.directory:q}"
            " log={log:q}"
