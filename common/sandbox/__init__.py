"""Runs Python that a model wrote: in a process of its own, without network, within bounds.

    from common.sandbox.contract import Limits
    from common.sandbox.pool import Sandbox

    with Sandbox(preload=("numpy",)) as sandbox:
        outcome = sandbox.run("print(input())", stdin="42", limits=Limits(wall=5.0))

Two levels (`Level`). `FULL`: a program sees a file system of the interpreter and system libraries, all of it
read-only, and an empty scratch directory of bounded size that goes with it; no network, no `/proc`, no
processes but its own, no capabilities, no calls outside a filter; every process that it starts ends with it.
`LIMITS`, where the kernel gives no namespaces: a process group of its own, bounds, a clean environment and a
scratch directory. A sandbox verifies its level with a program of its own before the first one runs, and
refuses to work below the level asked for. The code of a pretrained model asks for `FULL`. The lowest level at
which a job ran generated code stands in the manifest of its results.

Not covered:

- Faults of the kernel itself. A virtual machine or gVisor would be the next wall.
- Side channels and load: a program can fill its cores until its time is up, and can read the clock.
- Memory is bounded per process, so that together they may hold `Limits.processes` times as much.
- Programs of one sandbox follow each other in the same network namespace, and start from the same warm
  interpreter: they can read what `preload` imported. They meet no other trace of an earlier program.
- What a program prints is a claim of that program. Compare answers outside, and parse them as hostile text.
- At `LIMITS`, besides: network, reading and writing files of this user, signals to and inspection of this
  user's processes, the number of processes, all of the disk, memory in files. It keeps honest mistakes apart,
  not attacks.
- Elsewhere than on Linux there is nothing; the sandbox says so.

Why no library: bubblewrap and nsjail give the same walls, but start an interpreter per program, which takes
0.3 s and more with a solver imported. They are not on the registries that this project installs from, as
packages of their authors, and what is needed per program (processes, scratch, bounds, output) would stay ours
in a warm interpreter inside them. Landlock bounds files and TCP, neither UDP nor processes nor memory, and is
not switched on in every kernel. pyseccomp needs libseccomp installed; the filter is 20 lines.
"""
